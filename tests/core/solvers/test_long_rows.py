"""Rows with many more non-zeros than the average row: minibatch solvers learn them and all others."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse

from skfm import FMClassifier, FMRegressor
from skfm.core.interactions.pairwise import PAIRWISE
from skfm.core.matrix.batches import make_batches
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.samples import SideColumns, TensorSamples
from tests.helpers.slow import parametrize

SOLVERS = ("adagrad", "adam", "sgd", "ftrl")


def one_long_row(length, *, of_numbers=False, n=400, seed=0):
    """One-hot rows of two fields, and a last row with many non-zeros."""
    rng = np.random.default_rng(seed)
    width = max(length, 600)
    codes = np.column_stack([rng.integers(0, width // 2, n), rng.integers(width // 2, width, n)])
    rows = sparse.csr_matrix((np.ones(2 * n), codes.ravel(), np.arange(0, 2 * n + 1, 2)), shape=(n, width))
    values = rng.normal(size=length) if of_numbers else np.ones(length)
    columns = np.sort(rng.choice(width, length, replace=False))
    long = sparse.csr_matrix((values, columns, [0, length]), shape=(1, width))
    return sparse.vstack([rows, long]).tocsr(), rng.normal(size=n + 1)


@parametrize(
    ("solver", "length", "of_numbers"),
    [
        (solver, length, of_numbers)
        for solver in SOLVERS
        for length in (30, 60, 300, 3000, 16000)
        for of_numbers in (False, True)
        # For longer rows, adam still falls back to a smaller learning rate, with a warning.
        if solver != "adam" or length < (3000 if of_numbers else 16000)
    ],
    fast=lambda solver, length, of_numbers: length in (60, 3000) and not of_numbers,
)
@pytest.mark.parametrize("estimator", [FMRegressor, FMClassifier])
def test_a_long_row_is_learned_with_the_others(estimator, solver, length, of_numbers):
    X, y = one_long_row(length, of_numbers=of_numbers)
    model = estimator(solver=solver, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training stopped")
        model.fit(X, y if estimator is FMRegressor else y > 0)
    assert model.n_iter_ == 20
    if estimator is FMRegressor:
        predictions = model.predict(X)
        assert abs(predictions).max() < 10
        # The steps of adam are about as long as its learning rate, which takes more epochs.
        assert abs(predictions[-1] - y[-1]) < (3 if solver == "adam" else 1)
    else:
        # A long row that is classified well from the start has no slope, and stays as it is.
        assert model.predict(X[-1:]) == (y[-1] > 0)
        assert abs(model.decision_function(X[:-1])).max() < 10


@pytest.mark.parametrize("has_dense", [False, True])
def test_the_bound_is_at_least_the_curvature_of_the_loss(has_dense):
    """Along any direction, the second derivative of the loss of a long row is at most that of the bound."""
    rng = np.random.default_rng(0)
    X = sparse.random(6, 12, 0.2, random_state=0).toarray()
    X[2] = rng.normal(size=12)
    if has_dense:
        X[:, 3] = rng.normal(size=6)
    design = DesignMatrix.from_array(
        sparse.csr_matrix(X), dtype=torch.float64, dense_columns=np.array([3] if has_dense else [], int)
    )
    y = torch.from_numpy(rng.normal(size=6))
    samples = TensorSamples(design, y, SideColumns(torch.ones(6, dtype=torch.float64)))
    (batch,) = make_batches(samples, 6)
    assert batch.longest_row == np.count_nonzero(X, axis=1).max()
    columns = torch.cat([batch.columns, design.dense_columns])
    theta = torch.from_numpy(rng.normal(size=(12, 4)))[columns]
    mask = PAIRWISE.factor_mask(3, theta)
    # Rows of no more than eight non-zeros do not count.
    long = np.count_nonzero(X, axis=1) > 8
    assert long.sum() == 1
    raw, _, squares = PAIRWISE.forward(batch, theta, torch.zeros(1, dtype=torch.float64), mask)
    delta, omega = raw - y[:, None], torch.ones_like(raw)
    bound = PAIRWISE.bound_long_rows(batch, squares, delta, omega, 8)

    def loss(step):
        found = PAIRWISE.forward(batch, theta + step, torch.zeros(1, dtype=torch.float64), mask).raw
        return float(((found - y[:, None]).square() / 2)[torch.from_numpy(long)].sum())

    for _ in range(50):
        step = torch.from_numpy(rng.normal(size=theta.shape)) * 1e-3
        second = loss(step) + loss(-step) - 2 * loss(0)
        assert second <= float((bound * step.square()).sum()) * (1 + 1e-3)


def test_rows_of_like_lengths_have_no_bound():
    X, y = one_long_row(20)
    X = X[:-1]
    before = FMRegressor(2, solver="adagrad", max_iter=3, random_state=0).fit(X, y[:-1]).factors_
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(PAIRWISE), "bound_long_rows", None)
        again = FMRegressor(2, solver="adagrad", max_iter=3, random_state=0).fit(X, y[:-1]).factors_
    assert_allclose(again, before, rtol=0, atol=0)
