"""Losses for targets with outliers: the other rows are fitted as if the outliers were of moderate size."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skfm import FMRegressor
from skfm.core.observation.robust import location_by_bisection

LOSSES = ["absolute_error", "quantile", "huber", "log_cosh"]


def make_problem(kind, n_rows=600):
    rng = np.random.default_rng(0)
    if kind == "dense":
        X = rng.normal(size=(n_rows, 5))
    else:
        parts = [np.eye(size)[rng.integers(0, size, n_rows)] for size in (12, 9)]
        X = sparse.csr_matrix(np.hstack(parts))
    y = X @ rng.normal(size=X.shape[1])
    return X, y / y.std() + 0.03 * rng.normal(size=n_rows), rng


@pytest.mark.parametrize("size", [1e4, 1e6, 1e250])
@pytest.mark.parametrize("kind", ["one-hot", "dense"])
@pytest.mark.parametrize("loss", LOSSES)
def test_outliers_hardly_matter(loss, kind, size):
    X, y, rng = make_problem(kind)
    bad = rng.choice(len(y), 6, replace=False)
    changed = y.copy()
    changed[bad] = size * rng.choice([-1, 1], 6)
    model = FMRegressor(4, solver="adagrad", loss=loss, random_state=0).fit(X, changed)
    good = np.delete(np.arange(len(y)), bad)
    assert model.score(X[good], y[good]) > 0.995


@pytest.mark.parametrize("loss", LOSSES)
def test_a_single_huge_target(loss):
    """One target of 1e250 leaves the predictions where the others are."""
    X, y, _ = make_problem("dense", 60)
    y[7] = 1e250
    model = FMRegressor(2, solver="adagrad", loss=loss, random_state=0).fit(X, y)
    assert np.abs(model.predict(X)).max() < 20


@given(
    values=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
    slope=st.sampled_from([torch.tanh, lambda e: e.clamp(-1.35, 1.35)]),
)
def test_locations_are_exact_whatever_the_range(values, seed, slope):
    """The slope changes its sign at the location, also next to outliers, and weights are repeats."""
    weight = np.random.default_rng(seed).integers(1, 4, len(values))
    y, w = torch.tensor(values, dtype=torch.float64), torch.tensor(weight, dtype=torch.float64)
    repeated = y.repeat_interleave(w.long())
    # Where the slope is flat, rounding decides between locations of the same loss.
    for found in (
        location_by_bisection(y, w, slope),
        location_by_bisection(repeated, torch.ones_like(repeated), slope),
    ):
        below, above = (torch.nextafter(found, torch.tensor(side * np.inf).double()) for side in (-1, 1))
        assert float(w @ slope(below - y)) <= 1e-12
        assert float(w @ slope(above - y)) >= -1e-12
