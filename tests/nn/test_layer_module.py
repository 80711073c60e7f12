"""The layer as a module: arguments, state, copies, lazy columns, errors."""

import copy
import pickle
import warnings

import pytest
import torch

from skfm.nn import FactorizationMachine, LazyFactorizationMachine
from tests.helpers.layers import N_FEATURES, random_layer, triplet


def test_default_parameters():
    layer = FactorizationMachine(5000, linear=True, bias=True)
    assert layer.factors.weight.shape == (5000, 10)
    assert 0.0098 < float(layer.factors.weight.detach().std()) < 0.0102
    assert not layer.linear.weight.any()
    assert not layer.bias.any()
    assert {name: tuple(p.shape) for name, p in layer.state_dict().items()} == {
        "factors.weight": (5000, 10),
        "linear.weight": (5000, 1),
        "bias": (1,),
    }
    assert FactorizationMachine(3).linear is None
    assert FactorizationMachine(3).bias is None


def test_factor_init():
    """In place, returned, or given."""
    start = torch.arange(6.0).view(3, 2)
    for init in (start, lambda factors: start, lambda factors: factors.copy_(start), start.double()):
        layer = FactorizationMachine(3, 2, factor_init=init)
        assert torch.equal(layer.factors.weight, start)
        layer.factors.weight.data.zero_()
        layer.reset_parameters()
        assert torch.equal(layer.factors.weight, start)
    layer.factors.weight.data.zero_()
    assert torch.equal(start, torch.arange(6.0).view(3, 2))  # not shared
    with pytest.raises(ValueError, match=r"shape \(3, 2\), but the factors have .* \(4, 2\)"):
        FactorizationMachine(4, 2, factor_init=start)
    with pytest.raises(TypeError, match="factor_init must be callable or a tensor"):
        FactorizationMachine(4, 2, factor_init="zeros")


def test_zeros_are_a_dead_start():
    for init in (torch.nn.init.zeros_, torch.zeros(N_FEATURES, 10)):
        with pytest.warns(UserWarning, match="gradients of the factors are zero"):
            layer = FactorizationMachine(N_FEATURES, factor_init=init)
        layer(triplet(torch.float32)).sum().backward()
        assert not layer.factors.weight.grad.to_dense().any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FactorizationMachine(3, 0, factor_init=torch.nn.init.zeros_)
        FactorizationMachine(0, 3, factor_init=torch.nn.init.zeros_)


def test_regularization():
    layer = random_layer(factor_regularizer=lambda factors: factors.square().sum() / 2)
    penalty = layer.regularization()
    assert penalty.shape == ()
    penalty.backward()
    assert torch.equal(layer.factors.weight.grad, layer.factors.weight)
    # Both gradients add up, though one is sparse.
    layer.zero_grad()
    (layer(triplet()).sum() + layer.regularization()).backward()
    expected = layer.factors.weight.grad.clone()
    layer.zero_grad()
    layer(triplet()).sum().backward()
    torch.testing.assert_close(layer.factors.weight.grad.to_dense() + layer.factors.weight, expected)
    assert float(random_layer().regularization()) == 0
    with pytest.raises(ValueError, match="a tensor with one number"):
        random_layer(factor_regularizer=lambda factors: factors.sum(0)).regularization()


def test_output_shape():
    layer = random_layer()
    assert layer.output_shape((4, N_FEATURES)) == (4, 1)
    assert layer.output_shape(torch.Size([0, N_FEATURES])) == (0, 1)
    assert layer.output_shape((None, N_FEATURES)) == (None, 1)
    for wrong in ((4, 3), (N_FEATURES,), (1, 4, N_FEATURES)):
        with pytest.raises(ValueError, match="input_shape must be"):
            layer.output_shape(wrong)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(copied):
    options = {"linear": True, "bias": True, "half": False, "binary_values": True, "activation": "tanh"}
    layer = random_layer(**options)
    other = copied(layer)
    assert torch.equal(other(triplet()), layer(triplet()))
    with torch.no_grad():
        other.factors.weight += 1
    assert not torch.equal(other(triplet()), layer(triplet()))


def test_state_travels(tmp_path):
    layer = random_layer(linear=True, bias=True)
    torch.save(layer.state_dict(), tmp_path / "state")
    other = FactorizationMachine(N_FEATURES, 3, linear=True, bias=True, dtype=torch.float64)
    assert not torch.equal(other(triplet()), layer(triplet()))
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert torch.equal(other(triplet()), layer(triplet()))


def test_device_and_dtype():
    layer = FactorizationMachine(3, linear=True, bias=True, dtype=torch.float64, device="meta")
    assert {(p.dtype, p.device.type) for p in layer.parameters()} == {(torch.float64, "meta")}
    # `half` is a method of every module, whatever the argument of that name.
    assert {p.dtype for p in random_layer(linear=True, half=False).half().parameters()} == {torch.float16}


def test_repr():
    layer = FactorizationMachine(3, 2, bias=True, half=False, sparse_grad=False, activation="exp")
    shown = "n_features=3, n_factors=2, sparse_grad=False, half=False, bias=True, activation='exp'"
    assert layer.extra_repr() == shown
    assert "Table(3, 2)" in repr(layer)


def test_lazy_columns():
    layer = LazyFactorizationMachine(3, linear=True, bias=True, dtype=torch.float64)
    assert layer.has_uninitialized_params()
    assert "Lazy" in repr(layer)
    with pytest.raises(ValueError, match="must be a matrix"):
        layer(*triplet())
    X = torch.eye(4, N_FEATURES, dtype=torch.float64)
    assert layer(X).shape == (4, 1)
    assert type(layer) is FactorizationMachine
    assert layer.n_features == layer.factors.num_embeddings == N_FEATURES
    assert layer.factors.weight.any()
    assert not layer.linear.weight.any()
    assert not layer.bias.any()
    assert layer(*triplet()).shape == (7, 1)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(X), layer(X))
    layer(X).sum().backward()
    assert layer.factors.weight.grad.is_sparse


def test_lazy_columns_from_a_state():
    layer = random_layer(linear=True, bias=True)
    lazy = LazyFactorizationMachine(3, linear=True, bias=True, dtype=torch.float64)
    copy.deepcopy(lazy)
    lazy.load_state_dict(layer.state_dict())
    assert torch.equal(lazy(*triplet()), layer(*triplet()))
    assert type(lazy) is FactorizationMachine
    with pytest.raises(ValueError, match="n_features=7"):
        lazy(torch.ones(2, 3, dtype=torch.float64))


def test_a_lazy_layer_takes_the_initial_factors():
    start = torch.randn(5, 3)
    layer = LazyFactorizationMachine(3, factor_init=start)
    layer(torch.ones(1, 5))
    assert torch.equal(layer.factors.weight, start)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_features": -1}, ValueError, "n_features must be a non-negative integer, got -1"),
        ({"n_factors": 2.5}, ValueError, "n_factors must be a non-negative integer, got 2.5"),
        ({"activation": "swish"}, ValueError, "activation must be one of 'exp', 'relu'.* got 'swish'"),
        ({"activation": 3}, TypeError, "activation must be callable, got 3"),
        ({"factor_regularizer": 0.1}, TypeError, "factor_regularizer must be callable, got 0.1"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a floating-point dtype, got torch.int64"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        FactorizationMachine(**{"n_features": 3, **arguments})


ONE, TWO = torch.tensor([0, 1]), torch.tensor([0])


@pytest.mark.parametrize(
    ("input", "error", "message"),
    [
        ([[1.0] * N_FEATURES], TypeError, "indices of a triplet must be a one- or two-dimensional tensor"),
        ("text", TypeError, "must be a torch tensor or a tuple of tensors .* got a str object"),
        (torch.ones(2, 3), ValueError, r"shape \(n_samples, n_features=7\), got \(2, 3\)"),
        (torch.ones(N_FEATURES), ValueError, r"got \(7,\)"),
        (torch.ones(2, N_FEATURES) * 1j, TypeError, "real numbers, got torch.complex64"),
        (torch.ones(2, N_FEATURES).to_mkldnn(), TypeError, "layout torch._mkldnn"),
        (torch.ones(2, N_FEATURES).to_sparse(1), ValueError, "two sparse dimensions, got 1"),
        ((ONE, TWO, None, None), TypeError, "got a tuple of length 4 and 0 further arguments"),
        ((ONE.float(), TWO), TypeError, "of int32 or int64, got a tensor of shape .* torch.float32"),
        ((ONE, None), TypeError, "offsets of a triplet must be a one-dimensional tensor .* got None"),
        ((ONE, TWO.float()), TypeError, "offsets of a triplet must be a one-dimensional tensor"),
        (
            (ONE, TWO, torch.ones(3)),
            ValueError,
            r"shape as the indices, \(2,\), got a tensor of shape \(3,\)",
        ),
        ((ONE[None], TWO), ValueError, "Pass offsets=None"),
        ((torch.tensor([0, 7]), TWO), IndexError, "from 0 to n_features - 1 = 6, got 7"),
        ((torch.tensor([-1, 2]), TWO), IndexError, "from 0 to n_features - 1 = 6, got -1"),
        ((ONE, torch.tensor([1])), ValueError, "The first offset must be 0"),
        ((ONE, torch.tensor([], dtype=torch.int64)), ValueError, "The first offset must be 0"),
        ((ONE, torch.tensor([0, 2, 1])), ValueError, "must be non-decreasing"),
        ((ONE, torch.tensor([0, 3])), ValueError, "not exceed the number of indices, 2"),
    ],
)
def test_wrong_inputs(input, error, message):
    with pytest.raises(error, match=message):
        random_layer()(input)
    if isinstance(input, tuple) and len(input) < 4 and input[1] is not None:
        with pytest.raises(error, match=message):
            random_layer()(input[0], *input[1:])
