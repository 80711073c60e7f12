"""The gradient in closed form: against a double loop over pairs and against autograd."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfm.core.interactions.pairwise_gradient import backward, factor_mask, forward
from skfm.core.matrix.batches import make_batches
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.samples import SideColumns, TensorSamples
from skfm.core.observation.registry import make_loss

CONTAINERS = ["ones", "values", "dense", "mixed", "flags and dense"]
CLASSES = ["log_loss", "hinge", "squared_hinge"]
LOSSES = ["squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma", *CLASSES]


def make_matrix(container, rng, n_rows=9):
    """A matrix and which of its columns are kept dense; some rows and columns are empty."""
    X = (rng.random((n_rows, 7)) < 0.4).astype(float)
    X[2], X[:, 3] = 0, 0
    dense = []
    if container in ("values", "mixed"):
        X *= rng.normal(size=X.shape)
    if container == "dense":
        X, dense = rng.normal(size=(n_rows, 4)), [0, 1, 2, 3]
    elif container in ("mixed", "flags and dense"):
        dense = [1, 6]
        X[:, dense] = rng.normal(size=(n_rows, 2)) * (rng.random((n_rows, 2)) < 0.8)
    return X, np.array(dense, dtype=int)


def make_batch(X, dense_columns, target=None, weight=None):
    design = DesignMatrix.from_array(sp.csr_matrix(X), dtype=torch.float64, dense_columns=dense_columns)
    target = torch.zeros(len(X), dtype=torch.float64) if target is None else target
    weight = torch.ones(len(X), dtype=torch.float64) if weight is None else weight
    (batch,) = make_batches(TensorSamples(design, target, SideColumns(weight)), len(X))
    return batch, torch.cat([batch.columns, design.dense_columns])


def make_theta(rng, n_columns, n_outputs, n_factors):
    """Rows of [w, v] of every output, and intercepts."""
    table = rng.normal(size=(n_columns, n_outputs * (1 + n_factors))) * 0.7
    return torch.tensor(table), torch.tensor(rng.normal(size=n_outputs))


def double_loop(X, theta, intercept):
    """w0 + sum_j w_j x_j + sum_{i<j} <v_i, v_j> x_i x_j, (n_rows, n_outputs)."""
    n_outputs = len(intercept)
    table = theta.numpy().reshape(len(theta), n_outputs, -1)
    out = np.tile(intercept.numpy(), (len(X), 1))
    for r, x in enumerate(X):
        for b in range(n_outputs):
            out[r, b] += x @ table[:, b, 0]
            for i in range(len(x)):
                for j in range(i + 1, len(x)):
                    out[r, b] += x[i] * x[j] * table[i, b, 1:] @ table[j, b, 1:]
    return out


def explicit(X, theta, intercept):
    """The same in torch, over all columns, for autograd."""
    n_outputs = len(intercept)
    w, V = theta.view(len(theta), n_outputs, -1).tensor_split([1], dim=2)
    s = torch.einsum("np,pbk->nbk", X, V)
    squares = torch.einsum("np,pbk->nbk", X.square(), V.square())
    return intercept + X @ w[:, :, 0] + (s.square() - squares).sum(2) / 2


def draw_target(loss, n_outputs, rng, n_rows=9):
    if loss in CLASSES:
        return torch.tensor(rng.integers(0, max(2, n_outputs), n_rows)).double()
    positive = rng.gamma(2.0, 1.0, n_rows)
    return torch.tensor(positive if loss in ("poisson", "gamma") else rng.normal(size=n_rows))


class Model(torch.autograd.Function):
    """Raw predictions whose derivative is what `backward` says."""

    @staticmethod
    def forward(ctx, theta, intercept, batch):
        mask = factor_mask(theta.shape[1] // len(intercept) - 1, theta)
        raw, sums, _ = forward(batch, theta, intercept, mask)
        ctx.batch = batch
        ctx.save_for_backward(theta, sums)
        return raw

    @staticmethod
    def backward(ctx, delta):
        theta, sums = ctx.saved_tensors
        gradient, _ = backward(ctx.batch, theta, sums, delta.contiguous(), torch.ones_like(delta))
        return gradient, delta.sum(0), None


@pytest.mark.parametrize("n_factors", [0, 1, 3])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("container", CONTAINERS)
def test_forward_is_a_double_loop(container, n_outputs, n_factors):
    """Raw predictions by pairs of columns, and the sums of the factors."""
    rng = np.random.default_rng([CONTAINERS.index(container), n_outputs, n_factors])
    X, dense_columns = make_matrix(container, rng)
    batch, columns = make_batch(X, dense_columns)
    theta, intercept = make_theta(rng, len(columns), n_outputs, n_factors)
    before = theta.clone()
    raw, sums, squares = forward(batch, theta, intercept, factor_mask(n_factors, theta))
    used = X[:, columns]
    assert_allclose(raw, double_loop(used, theta, intercept), rtol=1e-12, atol=1e-12)
    expected = np.einsum("np,pbk->nbk", used, theta.view(len(theta), n_outputs, -1).numpy())
    expected[:, :, 0] = 1
    assert_allclose(sums, expected, rtol=1e-12, atol=1e-12)
    assert_allclose(squares, expected**2, rtol=1e-12, atol=1e-12)
    assert torch.equal(theta, before)


@pytest.mark.parametrize("n_factors", [0, 2])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("container", CONTAINERS)
def test_gradcheck(container, n_outputs, n_factors):
    """Finite differences of the forward pass agree with the backward pass."""
    rng = np.random.default_rng([CONTAINERS.index(container), n_outputs, n_factors])
    X, dense_columns = make_matrix(container, rng)
    batch, columns = make_batch(X, dense_columns)
    theta, intercept = make_theta(rng, len(columns), n_outputs, n_factors)
    theta.requires_grad_()
    intercept.requires_grad_()
    assert torch.autograd.gradcheck(lambda t, i: Model.apply(t, i, batch), (theta, intercept))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("name", "n_outputs"), [*((name, 1) for name in LOSSES), *((name, 3) for name in CLASSES)]
)
def test_gradient_of_a_loss_is_autograd(name, container, n_outputs):
    """The weighted sum of the losses, through the loss's own derivatives."""
    rng = np.random.default_rng([CONTAINERS.index(container), n_outputs, LOSSES.index(name)])
    X, dense_columns = make_matrix(container, rng)
    weight = torch.tensor(rng.gamma(2.0, 1.0, len(X)))
    target = draw_target(name, n_outputs, rng)
    batch, columns = make_batch(X, dense_columns, target, weight)
    theta, intercept = make_theta(rng, len(columns), n_outputs, 2)
    loss = make_loss(name, n_outputs, quantile=0.3)

    raw, sums, _ = forward(batch, theta, intercept, factor_mask(2, theta))
    slope, curve = loss.derivatives(target[None], raw.T)
    delta, omega = (slope * weight).T.contiguous(), (curve * weight).T.contiguous()
    gradient, curvature = backward(batch, theta, sums, delta, omega)

    theta.requires_grad_()
    intercept.requires_grad_()
    used = torch.tensor(X[:, columns])
    values = loss.loss(target[None], explicit(used, theta, intercept).T)
    expected, of_intercept = torch.autograd.grad((values.sum(0) * weight).sum(), (theta, intercept))
    assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9)
    assert_allclose(delta.sum(0), of_intercept, rtol=1e-9, atol=1e-9)
    assert_allclose(curvature, (used.square().T @ omega), rtol=1e-12, atol=1e-14)


@given(
    container=st.sampled_from(CONTAINERS),
    n_outputs=st.integers(1, 4),
    n_factors=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_gradient_and_curvature_are_sums_over_rows(container, n_outputs, n_factors, seed):
    """The formulas at the top of the module, for any slopes and curvatures of the rows."""
    rng = np.random.default_rng(seed)
    X, dense_columns = make_matrix(container, rng)
    batch, columns = make_batch(X, dense_columns)
    theta, intercept = make_theta(rng, len(columns), n_outputs, n_factors)
    _, sums, _ = forward(batch, theta, intercept, factor_mask(n_factors, theta))
    delta, omega = (torch.tensor(rng.normal(size=(len(X), n_outputs))) for _ in range(2))
    given_sums = sums.clone(), theta.clone()
    gradient, curvature = backward(batch, theta, sums, delta, omega)
    assert torch.equal(sums, given_sums[0])
    assert torch.equal(theta, given_sums[1])
    gradient = gradient.view(len(columns), n_outputs, -1)
    for row, j in enumerate(columns.tolist()):
        for b in range(n_outputs):
            v = theta.view(len(columns), n_outputs, -1)[row, b, 1:].numpy()
            x, d = X[:, j], delta[:, b].numpy()
            assert_allclose(gradient[row, b, 0], d @ x, rtol=1e-10, atol=1e-10)
            expected = (d * x) @ sums[:, b, 1:].numpy() - v * (d @ x**2)
            assert_allclose(gradient[row, b, 1:], expected, rtol=1e-10, atol=1e-10)
            assert_allclose(curvature[row, b], omega[:, b].numpy() @ x**2, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_dense_is_sparse(n_outputs):
    """Which columns are kept dense does not matter."""
    rng = np.random.default_rng(n_outputs)
    X = rng.normal(size=(9, 5))
    full, intercept = make_theta(rng, 5, n_outputs, 3)
    delta, omega = (torch.tensor(rng.normal(size=(9, n_outputs))) for _ in range(2))
    found = []
    for dense_columns in ([], [1, 3], [0, 1, 2, 3, 4]):
        batch, columns = make_batch(X, np.array(dense_columns, dtype=int))
        assert sorted(columns.tolist()) == [0, 1, 2, 3, 4]
        theta = full[columns]
        raw, sums, _ = forward(batch, theta, intercept, factor_mask(3, theta))
        gradient, curvature = backward(batch, theta, sums, delta, omega)
        order = columns.argsort()
        found.append((raw, sums, gradient[order], curvature[order]))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_factor_mask():
    """The mask sums the factors of an output, and leaves the linear weight out."""
    mask = factor_mask(2, torch.ones(1, dtype=torch.float32))
    assert mask.dtype == torch.float32
    assert mask.tolist() == [[0], [1], [1]]
    assert factor_mask(0, mask).tolist() == [[0]]
