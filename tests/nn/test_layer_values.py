"""Outputs and gradients of the layer are those of a double loop over pairs, for all arguments and inputs."""

import functools
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.nn import LazyFactorizationMachine
from tests.helpers.layers import N_FEATURES, double_loop, gradients, matrices, random_layer, triplet

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")


def as_input(kind, indices, starts, values, n_features):
    """The rows in one of the forms that the layer takes."""
    numbers = torch.ones(len(indices), dtype=torch.float64) if values is None else values
    ends = torch.cat([starts, starts.new_tensor([len(indices)])])
    rows = torch.arange(len(starts)).repeat_interleave(ends.diff().long())
    shape = (len(starts), n_features)
    if kind == "tuple":
        return ((indices, starts, values),)
    if kind == "arguments":
        return (indices, starts, values)
    if kind == "csr":
        return (torch.sparse_csr_tensor(ends, indices, numbers, shape, check_invariants=False),)
    coo = torch.sparse_coo_tensor(torch.stack([rows, indices.long()]), numbers, shape, check_invariants=False)
    if kind == "coalesced":
        coo = coo.coalesce()
    return (coo.to_dense() if kind == "dense" else coo,)


KINDS = ["tuple", "arguments", "csr", "coo", "coalesced", "dense"]


def repeated_entry(index=torch.int64):
    """The triplet with column 3 of row 4 twice, its values cancelling in part."""
    indices, starts, values = triplet(index=index)
    indices = torch.cat([indices[:6], indices[6:7], indices[6:]])
    values = torch.cat([values[:6], values.new_tensor([2.0]), values[6:]])
    return indices, torch.where(starts > 6, starts + 1, starts), values


def given_values(values, kind, binary, with_values):
    # A dense matrix does not store zeros.
    used = torch.where(values == 0, 1.0, values) if kind == "dense" and binary else values
    return used if with_values else None


@functools.cache
def expected_of(linear, bias, binary, subtract, half, with_values, is_dense):
    """Output and gradients of the double loop, which know nothing of the layout of rows and gradients."""
    indices, starts, values = repeated_entry()
    values = given_values(values, "dense" if is_dense else "", binary, with_values)
    layer = random_layer(
        linear=linear, bias=bias, binary_values=binary, subtract_self_interactions=subtract, half=half
    )
    X = matrices(indices, starts, values, N_FEATURES, binary=binary)
    output = double_loop(layer, X, subtract=subtract, half=half)
    return output.detach(), gradients(layer, output)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_every_combination_of_arguments(kind, index):
    """2^7 combinations: output and all gradients, with duplicated, unsorted and missing entries."""
    indices, starts, values = repeated_entry(index)
    for linear, bias, sparse, binary, subtract, half, with_values in itertools.product(
        [True, False], repeat=7
    ):
        numbers = given_values(values, kind, binary, with_values)
        options = {"linear": linear, "bias": bias, "sparse_grad": sparse, "binary_values": binary}
        layer = random_layer(subtract_self_interactions=subtract, half=half, **options)
        expected, wanted = expected_of(linear, bias, binary, subtract, half, with_values, kind == "dense")
        output = layer(*as_input(kind, indices, starts, numbers, N_FEATURES))
        assert output.shape == (len(starts), 1) == layer.output_shape((len(starts), N_FEATURES))
        assert_close(output.detach(), expected, rtol=1e-12, atol=1e-12)
        found = gradients(layer, output)
        assert found.keys() == wanted.keys()
        for name in found:
            assert_close(found[name], wanted[name], rtol=1e-12, atol=1e-12)


@given(
    n_rows=st.integers(0, 4),
    n_features=st.sampled_from([1, 2, 5, 25]),
    n_factors=st.integers(0, 4),
    n_entries=st.integers(0, 30),
    binary=st.booleans(),
    ones=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_triplet(n_rows, n_features, n_factors, n_entries, binary, ones, seed):
    """Any entries in any order: few of many columns, and many of few."""
    generator = torch.Generator().manual_seed(seed)
    n_entries = n_entries if n_rows else 0
    indices = torch.randint(0, n_features, (n_entries,), generator=generator)
    starts = torch.randint(0, n_entries + 1, (n_rows,), generator=generator).sort()[0]
    starts[:1] = 0
    values = None if ones else torch.randn(n_entries, dtype=torch.float64, generator=generator)
    layer = random_layer(n_features, n_factors, linear=True, bias=True, binary_values=binary)
    expected = double_loop(layer, matrices(indices, starts, values, n_features, binary=binary))
    output = layer(indices, starts, values)
    assert_close(output, expected, rtol=1e-10, atol=1e-10)
    found, wanted = gradients(layer, output), gradients(layer, expected)
    for name in found:
        wanted_here = torch.zeros_like(found[name]) if wanted[name] is None else wanted[name]
        assert_close(found[name], wanted_here, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch(kind):
    none = torch.empty(0, dtype=torch.int64)
    for binary in (True, False):
        layer = random_layer(linear=True, bias=True, binary_values=binary)
        output = layer(*as_input(kind, none, none, none.double(), N_FEATURES))
        assert output.shape == (0, 1)
        output.sum().backward()
        assert not layer.factors.weight.grad.to_dense().any()


def test_only_empty_rows():
    layer = random_layer(linear=True, bias=True)
    output = layer(torch.empty(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    assert torch.equal(output, layer.bias.expand(4, 1))
    output.sum().backward()
    assert not layer.factors.weight.grad.to_dense().any()
    assert float(layer.bias.grad) == 4


def test_rows_of_one_length():
    """Indices of two dimensions are as those with offsets."""
    indices = torch.tensor([[0, 3], [5, 1], [2, 2]])
    values = torch.randn(3, 2, dtype=torch.float64)
    layer = random_layer(linear=True)
    offsets = torch.tensor([0, 2, 4])
    for some in (values, None):
        flat = None if some is None else some.view(-1)
        assert torch.equal(layer((indices, None, some)), layer(indices.view(-1), offsets, flat))
    assert torch.equal(layer(indices, values=values), layer((indices, None, values)))


def test_values_of_other_types():
    """Values are converted to the type of the parameters."""
    indices, starts, values = triplet()
    layer = random_layer(linear=True)
    rounded = values.round()
    expected = layer(indices, starts, rounded)
    for other in (torch.float32, torch.int64, torch.float16):
        assert torch.equal(layer(indices, starts, rounded.to(other)), expected)
    X = matrices(indices, starts, rounded, N_FEATURES)
    assert_close(layer(X.long().to_sparse()), expected, rtol=1e-12, atol=1e-12)
    assert_close(layer(X != 0), layer((X != 0).double()), rtol=0, atol=0)


@pytest.mark.parametrize("length", [1, 3, N_FEATURES, N_FEATURES + 2])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_integers_are_indices(length, dtype, device):
    """As for `torch.nn.EmbeddingBag`, also where a table of indices is as wide as a matrix."""
    layer = random_layer(linear=True, bias=True).to(device)
    indices = torch.randint(0, N_FEATURES, (4, length), generator=torch.Generator().manual_seed(0)).to(dtype)
    found = layer(indices.to(device))
    assert found.shape == (4, 1)
    assert found.device.type == device
    if device == "cpu":
        expected = layer(indices.view(-1), torch.arange(4) * length)
        assert torch.equal(found, expected)
        assert torch.equal(layer((indices,)), expected)
        assert torch.equal(layer((indices, None)), expected)


def test_errors_lead_to_an_input_that_works():
    """The errors name the data types of indices and matrices."""
    layer = random_layer()
    with pytest.raises(
        ValueError, match=r"matrix, which must have shape .* indices must be of dtype int32 or"
    ):
        layer(torch.ones(2, 3))
    with pytest.raises(TypeError, match=r"int32 or int64, got .*int16. A dense matrix must be of a floating"):
        layer(torch.ones(2, N_FEATURES, dtype=torch.int16))
    with pytest.raises(TypeError, match=r"got None. Rows of equal length need no offsets"):
        layer(torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="not a triplet or a table of indices"):
        LazyFactorizationMachine()(torch.ones(2, 3, dtype=torch.int64))


def test_it_is_the_machine_of_the_estimators():
    indices, starts, values = triplet()
    X = matrices(indices, starts, values, N_FEATURES)
    layer = random_layer(linear=True, bias=True)
    parameters = FMParameters(layer.bias, layer.linear.weight.T, layer.factors.weight[None])
    expected = raw_prediction(DesignMatrix.from_array(X.numpy(), dtype=torch.float64), parameters)
    assert_close(layer(indices, starts, values), expected.T, rtol=1e-12, atol=1e-12)


def test_activations():
    """A function, a module or a name, applied to the output."""
    indices, starts, values = triplet()
    raw = random_layer(bias=True)(indices, starts, values)
    for activation, function in (
        ("exp", torch.exp),
        ("relu", torch.relu),
        ("sigmoid", torch.sigmoid),
        ("softplus", torch.nn.functional.softplus),
        ("tanh", torch.tanh),
        (torch.nn.Softsign(), torch.nn.functional.softsign),
        (torch.sin, torch.sin),
    ):
        layer = random_layer(bias=True, activation=activation)
        assert torch.equal(layer(indices, starts, values), function(raw))


def test_rows_do_not_depend_on_their_neighbors():
    """A row's output has the same bits alone as in any batch of its kind."""
    generator = torch.Generator().manual_seed(1)
    layer = random_layer(40, 5, linear=True, bias=True, dtype=torch.float32)
    indices = torch.randint(0, 40, (200, 6), generator=generator)
    values = torch.rand(200, 6, generator=generator)
    whole = layer((indices, None, values))
    for i in range(0, 200, 37):
        assert torch.equal(layer((indices[i : i + 1], None, values[i : i + 1])), whole[i : i + 1])
