"""Derivatives of the layer: checked by differences, differentiated again, sparse as dense, and used by optimizers."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from tests.helpers.layers import N_FEATURES, gradients, matrices, random_layer, triplet

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")


def of_tensors(layer, indices, starts, names):
    """The layer as a function of its values and parameters."""

    def function(values, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, given, ((indices, starts, values),))

    return function


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("n_features", [N_FEATURES, 20])  # all columns in a table, and those in use
def test_derivatives_by_differences(check, n_features):
    """By values, factors, linear weights and bias, of rows with a column twice."""
    indices, starts, values = triplet()
    indices = indices.clone()
    indices[5] = indices[6]  # row 4
    for subtract, linear, half in itertools.product([True, False], repeat=3):
        layer = random_layer(
            n_features, 2, linear=linear, bias=True, subtract_self_interactions=subtract, half=half
        )
        layer.factors.sparse = layer.sparse_grad = False
        names = [name for name, _ in layer.named_parameters()]
        parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
        x = values.clone().requires_grad_()
        assert check(of_tensors(layer, indices, starts, names), (x, *parameters))


@pytest.mark.parametrize("sparse", [True, False])
def test_derivatives_of_dense_rows_by_differences(sparse):
    X = matrices(*triplet(), N_FEATURES).requires_grad_()
    for subtract in (True, False):
        layer = random_layer(
            n_factors=2, linear=True, subtract_self_interactions=subtract, sparse_grad=sparse
        )
        assert gradcheck(layer, (X,))
        assert gradgradcheck(layer, (X,))


def test_second_derivatives_with_sparse_gradients():
    """A penalty of the gradient has the same gradient whatever the layout of the first one."""
    found = []
    for sparse, rows in itertools.product([True, False], ["triplet", "dense"]):
        layer = random_layer(linear=True, sparse_grad=sparse)
        input = triplet() if rows == "triplet" else matrices(*triplet(), N_FEATURES)
        output = layer(input).square().sum()
        first = torch.autograd.grad(output, list(layer.parameters()), create_graph=True)
        sum(g.square().sum() for g in first).backward()
        found.append([p.grad.to_dense() for p in layer.parameters()])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradients_of_sparse_matrices():
    """Values that were put into a sparse tensor have their gradients as in the triplet."""
    indices, starts, values = triplet()
    ends = torch.cat([starts, torch.tensor([len(indices)])])
    rows = torch.arange(len(starts)).repeat_interleave(ends.diff())
    # CSR tensors of torch have the columns of each row in order.
    order = (rows * N_FEATURES + indices).argsort()
    shape = (len(starts), N_FEATURES)
    layer, found = random_layer(linear=True), []
    for make in (
        lambda x: (indices, starts, x),
        lambda x: torch.sparse_coo_tensor(torch.stack([rows, indices]), x, shape, check_invariants=True),
        lambda x: torch.sparse_csr_tensor(ends, indices[order], x[order], shape, check_invariants=True),
    ):
        x = values.clone().requires_grad_()
        layer(make(x)).square().sum().backward()
        found.append(x.grad)
    assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    assert_close(found[2], found[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_features", [N_FEATURES, 50])
@pytest.mark.parametrize("rows", ["triplet", "dense"])
def test_sparse_gradients_name_the_columns_in_use(n_features, rows):
    """Each once, in order, with the same numbers as the dense ones."""
    indices, starts, values = triplet()
    input = (indices, starts, values) if rows == "triplet" else matrices(indices, starts, values, n_features)
    layers = [random_layer(n_features, linear=True, sparse_grad=sparse) for sparse in (True, False)]
    for layer in layers:
        layer(input).square().sum().backward()
    # A stored zero is in use.
    used = torch.unique(indices) if rows == "triplet" else (input != 0).any(0).nonzero()[:, 0]
    for sparse, dense in zip(*(layer.parameters() for layer in layers), strict=True):
        assert sparse.grad.is_sparse
        assert not dense.grad.is_sparse
        assert torch.equal(sparse.grad._indices()[0], used)
        assert_close(sparse.grad.to_dense(), dense.grad, rtol=1e-12, atol=1e-12)


# Optimizers of torch make sparse tensors without saying whether to check them.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
@pytest.mark.parametrize("optimizer_type", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.SparseAdam])
@pytest.mark.parametrize("rows", ["triplet", "dense"])
def test_optimizers_move_as_with_dense_gradients(optimizer_type, rows):
    """The same three steps, from gradients that were dense at first."""
    input = triplet() if rows == "triplet" else matrices(*triplet(), N_FEATURES)
    found = []
    for sparse in (True, False):
        layer = random_layer(linear=True, sparse_grad=sparse)
        before = layer.factors.weight.detach().clone()
        optimizer = optimizer_type(list(layer.parameters()), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (layer(input) - 1).square().sum().backward()
            for parameter in layer.parameters():
                parameter.grad = parameter.grad if sparse else parameter.grad.to_sparse(1)
            optimizer.step()
        assert not torch.equal(layer.factors.weight, before)
        found.append([p.detach() for p in layer.parameters()])
    for a, b in zip(*found, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
def test_columns_that_are_not_in_use_stay():
    layer = random_layer(20)
    before = layer.factors.weight.detach().clone()
    optimizer = torch.optim.SparseAdam(list(layer.parameters()))
    for indices in ([0, 1, 2], [3, 4]):
        optimizer.zero_grad()
        layer((torch.tensor([indices]), None)).sum().backward()
        optimizer.step()
    moved = (layer.factors.weight != before).any(1)
    assert moved.tolist() == [True] * 5 + [False] * 15


def test_frozen_parameters_have_no_gradient():
    """Each part of the gradient is there without the others."""
    indices, starts, values = triplet()
    layer = random_layer(linear=True, bias=True)
    full = gradients(layer, layer(indices, starts, values))
    for free in full:
        layer.zero_grad(set_to_none=True)
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(name == free)
        found = gradients(layer, layer(indices, starts, values))
        assert [name for name, gradient in found.items() if gradient is not None] == [free]
        assert torch.equal(found[free], full[free])


def test_sorting_and_counting_give_the_same_columns():
    """A GPU sorts where a CPU counts."""
    from skfm.nn._entries import Entries, Layout

    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(0, 12, (60,), generator=generator, dtype=torch.int32)
    starts = torch.tensor([0, 0, 10, 35, 35, 60], dtype=torch.int32)
    for values in (None, torch.rand(60, generator=generator)):
        counted, sorted_ = (Layout(Entries((6, 15), indices, starts, values)) for _ in range(2))
        assert counted.columns is None
        columns, place, found = sorted_._sort_by_column()
        assert torch.equal(columns[place.long()], indices.long())
        for whole in (counted.by_column, sorted_._with_unused_columns(columns, found)):
            assert len(whole.colptr) == 16
            assert torch.equal(whole.rows, found.rows)
            assert torch.equal(whole.colptr[columns], found.colptr[:-1])
            assert values is None or torch.equal(whole.values, found.values)
