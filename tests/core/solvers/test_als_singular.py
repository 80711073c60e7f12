"""The solver "als" without penalties, where many columns have no unique optimum."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skfm import FMClassifier, FMRegressor
from skfm.core.interactions.pairwise import raw_prediction
from skfm.core.matrix import tiles as layout
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers import Problem
from skfm.core.solvers.als import ALSRun

#: Far above the factors of exact fits, far below what a walk along the null space leads to.
LARGE = {torch.float64: 1e7, torch.float32: 1e5}


def make_matrix(kind, rng, n_rows, n_features):
    """A small matrix, often of low rank or with repeated columns."""
    if kind == "dense":
        return rng.integers(-3, 4, (n_rows, n_features)).astype(float)
    if kind == "low rank":
        x = rng.normal(size=(n_rows, 1))
        return x / np.sqrt(np.mean(x**2)) @ rng.choice([-1.0, 1.0], (1, n_features))
    if kind == "sparse":
        return rng.choice([-1.0, 1.0, 2.0], (n_rows, n_features)) * (rng.random((n_rows, n_features)) < 0.4)
    codes = [rng.integers(0, n_features, n_rows) for _ in range(3 if kind == "three fields" else 2)]
    return np.hstack([np.eye(n_features)[c] for c in codes])


def start_run(X, y, loss, n_factors, seed, dtype, **options):
    X = sp.csr_matrix(X)
    numeric = np.bincount(X.indices[X.data != 1], minlength=X.shape[1]) > 0
    dense = np.flatnonzero(numeric & (2 * X.getnnz(0) > X.shape[0]))
    design = DesignMatrix.from_array(X, dtype=dtype, dense_columns=dense)
    target, weight = torch.tensor(y, dtype=dtype)[None], torch.ones(len(y), dtype=dtype)
    problem = Problem(design, target, weight, loss, layout.describe_fields(design), **options)
    factors = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, X.shape[1], n_factors)) * 0.1)
    start = FMParameters(torch.zeros(1), torch.zeros(1, X.shape[1]), factors)
    return ALSRun(problem, FMParameters(*(t.to(dtype) for t in start)), 0.0, 0.0)


@given(
    kind=st.sampled_from(["dense", "low rank", "sparse", "two fields", "three fields"]),
    loss=st.sampled_from(["squared_error", "log_loss", "probit"]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    n_rows=st.integers(1, 12),
    n_features=st.integers(1, 5),
    n_factors=st.integers(0, 4),
    fit_linear=st.booleans(),
    seed=st.integers(0, 2**16),
)
@example(
    kind="dense",
    loss="squared_error",
    dtype=torch.float64,
    n_rows=5,
    n_features=2,
    n_factors=2,
    fit_linear=True,
    seed=0,
)
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore:Training with solver='als' ended early")
def test_objective_never_rises(kind, loss, dtype, n_rows, n_features, n_factors, fit_linear, seed):
    """Sweeps over singular problems do not raise the objective, and do not move along the null space."""
    rng = np.random.default_rng(seed)
    X = make_matrix(kind, rng, n_rows, n_features)
    y = rng.normal(size=n_rows)
    if loss != "squared_error":
        y = (y > 0).astype(float)
    run = start_run(X, y, loss, n_factors, seed, dtype, fit_linear=fit_linear)
    objectives = [run.finish(), *(run.step().objective for _ in range(40))]
    eps = torch.finfo(dtype).eps
    rises = np.diff(objectives)
    assert (rises <= eps**0.5 * np.array(objectives[:-1]) + 1e7 * eps**2 * n_rows).all(), objectives
    parameters = run.iterate().parameters
    assert all(float(t.abs().max()) < LARGE[dtype] for t in parameters if t.numel())
    # The predictions are those of the parameters, not only of what the engine keeps of the rows.
    raw = raw_prediction(run.problem.design, parameters)
    size = 1 + float(parameters.factors.square().sum()) * float(np.square(X).max(initial=0))
    assert_allclose(run.mean, raw, atol=100 * eps * size, rtol=0)


@pytest.mark.parametrize("n_factors", [0, 1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_exact_fits_are_found(seed, n_factors):
    """Where there are more columns than rows, the predictions are the target, and those of new rows are of its size."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 7, (5, 6)).astype(float), rng.normal(300, 200, 5)
    model = FMRegressor(
        n_factors, solver="als", l2_linear=0, l2_factors=0, max_iter=60, tol=0, random_state=seed
    ).fit(X, y)
    assert_allclose(model.predict(X), y, atol=1e-6 * np.ptp(y))
    assert np.abs(model.predict(X + 1)).max() < 1e3 * np.abs(y).max()


@pytest.mark.parametrize("n_factors", [1, 2, 5])
def test_a_product_is_found(n_factors):
    """Two columns and their product, where the factors of a column are not determined by those of the other."""
    X = np.array([[6, 1], [2, 3], [3, 0], [6, 1], [4, 5]], float)
    y = np.array([298, 266, 29, 298, 848.0])
    for seed in (*range(5), 123):
        model = FMRegressor(
            n_factors, solver="als", l2_linear=0, l2_factors=0, max_iter=60, random_state=seed
        ).fit(X, y)
        assert_allclose(model.predict(X), y, atol=1e-3)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_separable_classes(n_classes, sparse):
    """Separable classes without penalties are separated, with finite predictions."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4)) * (rng.random((30, 4)) < 0.7)
    y = np.digitize(X[:, 0] + 2 * X[:, 1], [0, 1][: n_classes - 1])
    X = sp.csr_matrix(X) if sparse else X
    model = FMClassifier(3, solver="als", l2_linear=0, l2_factors=0, max_iter=50, tol=0, random_state=0)
    assert model.fit(X, y).score(X, y) > 0.9
    assert np.isfinite(model.decision_function(X)).all()
    assert (np.diff(model.history_["objective"]) <= 1e-7).all()


def test_a_rise_is_undone(monkeypatch):
    """A sweep that raises the objective is undone with one warning, and the next ones change nothing."""
    rng = np.random.default_rng(0)
    run = start_run(rng.normal(size=(20, 3)), rng.normal(size=20), "squared_error", 2, 0, torch.float64)
    lowest = run.step().objective
    kept = [t.clone() for t in run.iterate().parameters]
    with monkeypatch.context() as patch:
        update = ALSRun.update
        patch.setattr(ALSRun, "update", lambda *args: (update(*args)[0] + 1.0, None))
        with pytest.warns(UserWarning, match="ended early: rounding errors raised the objective") as caught:
            assert run.step().objective == lowest
    assert len(caught) == 1
    assert run.step().objective == lowest
    for before, after in zip(kept, run.iterate().parameters, strict=True):
        assert torch.equal(before, after)
