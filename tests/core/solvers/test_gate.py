"""Factors are left out where the data do not support them, and only there."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skfm import FMClassifier, FMRegressor
from skfm.core.matrix.design import DesignMatrix
from skfm.core.matrix.parameters import FMParameters
from skfm.core.solvers import Problem
from skfm.core.solvers.gate import _direction
from skfm.core.solvers.vb import VBRun

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def table(rank, seed=0, n=3000, levels=(60, 30, 6), noise=1.0):
    """Main effects of fields, an interaction of some rank of the first two, and noise."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, n) for size in levels], 1)
    f = sum(rng.standard_normal(size)[codes[:, k]] for k, size in enumerate(levels))
    if rank:
        U, V = (rng.standard_normal((size, rank)) for size in levels[:2])
        f = f + (U[codes[:, 0]] * V[codes[:, 1]]).sum(1)
    columns, width = codes + np.cumsum([0, *levels[:-1]]), len(levels)
    X = sparse.csr_matrix(
        (np.ones(codes.size), columns.ravel(), np.arange(0, codes.size + 1, width)), (n, sum(levels))
    )
    return X, f + noise * rng.standard_normal(n)


@pytest.mark.parametrize("rank", [0, 1, 4])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("solver", ["vb", "mcmc"])
def test_regression(solver, seed, rank):
    X, y = table(rank, seed)
    model = FMRegressor(3, solver=solver, max_iter=10, random_state=0).fit(X, y)
    assert model.n_factors_ == (3 if rank else 0)
    if not rank:
        linear = FMRegressor(0, solver=solver, max_iter=10, random_state=0).fit(X, y)
        if solver == "vb":
            assert_array_equal(model.predict(X, return_std=True)[1], linear.predict(X, return_std=True)[1])
        assert_allclose(model.predict(X), linear.predict(X), atol=0.5)


@pytest.mark.parametrize("loss", ["log_loss", "probit"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("rank", [0, 2])
def test_classification(rank, n_classes, loss):
    X, f = table(rank, n=4000, noise=0.0)
    rng = np.random.default_rng(100)
    if n_classes == 2:
        noise = rng.logistic(size=len(f)) if loss == "log_loss" else rng.standard_normal(len(f))
        labels = f + noise > 0
    else:
        # Whether a score is in the middle is an interaction, too.
        labels = np.digitize(f, np.quantile(f, [1 / 3, 2 / 3])) if rank else rng.integers(0, 3, len(f))
    model = FMClassifier(2, solver="mcmc", loss=loss, max_iter=10, random_state=0).fit(X, labels)
    assert model.n_factors_ == rank
    # The test could miss a weak interaction, and factors cost little in "vb".
    assert FMClassifier(2, loss=loss, max_iter=3, random_state=0).fit(X, labels).n_factors_ == 2


def test_the_switch():
    X, y = table(0)
    model = FMRegressor(3, select_factors=False, max_iter=5, random_state=0).fit(X, y)
    assert model.n_factors_ == 3
    with pytest.raises(ValueError, match="select_factors=False is not used by solver='als'"):
        FMRegressor(3, solver="als", select_factors=False).fit(X, y)


def test_numeric_columns_keep_their_factors():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    model = FMRegressor(2, max_iter=5, random_state=0).fit(X, X.sum(1) + rng.standard_normal(300))
    assert model.n_factors_ == 2


def test_two_fields_keep_their_factors_in_vb():
    """There, factors cost little where they are not needed, and the test could miss a weak interaction."""
    X, y = table(0, levels=(60, 30))
    assert FMRegressor(2, max_iter=5, random_state=0).fit(X, y).n_factors_ == 2
    assert FMRegressor(2, solver="mcmc", max_iter=5, random_state=0).fit(X, y).n_factors_ == 0


def test_ordered_targets_have_no_bound():
    X, y = table(0, n=300)
    model = FMClassifier(2, solver="mcmc", loss="ordered_probit", max_iter=5, random_state=0)
    assert model.fit(X, np.digitize(y, [-1, 1])).n_factors_ == 2


@pytest.mark.parametrize("solver", ["vb", "als", "mcmc", "adagrad"])
def test_a_warm_start_gets_factors_when_the_data_support_them(solver):
    """From a linear model all solvers continue with random factors, and those that test for them test again."""
    X, y = table(0)
    model = FMRegressor(3, warm_start=True, max_iter=10, random_state=0).fit(X, y)
    assert model.n_factors_ == 0
    with_factors = table(2)
    model.set_params(solver=solver).fit(*with_factors)
    assert model.n_factors_ == 3
    assert model.score(*with_factors) > 0.6
    if solver in ("vb", "mcmc"):
        model = FMRegressor(3, solver=solver, warm_start=True, max_iter=10, random_state=0)
        assert model.fit(X, y).fit(X, y).n_factors_ == 0


def test_rows_in_another_order_decide_the_same():
    for rank in (0, 1):
        X, y = table(rank)
        order = np.random.default_rng(0).permutation(len(y))
        model = FMRegressor(2, max_iter=3, random_state=0)
        assert model.fit(X, y).n_factors_ == model.fit(X[order], y[order]).n_factors_


def make_run(X, y):
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    fields = torch.tensor([0] * 60 + [1] * 30)
    problem = Problem(design, torch.tensor(y)[None], torch.ones(len(y)).double(), "squared_error", fields)
    zero = torch.zeros(1, 90, dtype=torch.float64)
    run = VBRun(problem, FMParameters(zero[:, 0], zero, zero[:, :, None][:, :, :0]), "diag")
    for _ in range(5):
        run.step()
    return run


def test_the_direction_is_the_leading_one():
    """Along it the score grows as along the leading eigenvector of the scaled matrix of all pairs."""
    X, y = table(1, n=800, levels=(60, 30))
    run = make_run(X, y)
    v = _direction(run, 0)[0].numpy()
    score = float(run.state.noise_precision[0]) * (y - run.mean[0].numpy())
    dense = X.toarray()
    M = dense.T @ (score[:, None] * dense)
    np.fill_diagonal(M, 0)
    count = float(run.state.noise_precision[0]) * dense.sum(0)
    typical = np.repeat([count[:60].mean(), count[60:].mean()], [60, 30])
    scale = 1 / np.sqrt(count + typical)
    leading = np.linalg.eigvalsh(scale[:, None] * M * scale)[-1]
    direction = v / scale
    found = direction @ (scale[:, None] * M * scale) @ direction / (direction @ direction)
    assert found > 0.95 * leading


def test_embeddings_without_factors_have_no_columns():
    X, y = table(0)
    frame = pd.DataFrame(
        {
            "a": np.asarray(X[:, :60].argmax(axis=1)).ravel(),
            "b": np.asarray(X[:, 60:90].argmax(axis=1)).ravel(),
            "c": np.asarray(X[:, 90:].argmax(axis=1)).ravel(),
        }
    ).astype(str)
    model = FMRegressor(2, max_iter=5, random_state=0).fit(frame, y)
    assert model.embedding("a").shape == (60, 0)
    classes = FMClassifier(2, max_iter=5, random_state=0).fit(frame, np.arange(len(y)) % 3)
    assert classes.embedding("b").shape == (90, classes.n_factors_)
