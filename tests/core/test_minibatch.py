"""Minibatch solvers: weights are repeats, runs can be taken up again, blow-ups are survived."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose

from skfm import FMClassifier, FMRegressor
from skfm.core.design import DesignMatrix
from skfm.core.parameters import FMParameters
from skfm.core.solvers import SOLVERS
from skfm.core.solvers.base import Problem, Settings
from skfm.core.solvers.optimizers import OPTIMIZERS

REGRESSION = ["squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma"]
CLASSIFICATION = ["log_loss", "hinge", "squared_hinge"]
ALL = pytest.mark.parametrize("solver", sorted(OPTIMIZERS))
LOSSES = pytest.mark.parametrize("loss", REGRESSION + CLASSIFICATION)


def draw(loss, n_rows=60):
    """Two categories and two numbers, targets in the range of the loss, weights of 1 to 3."""
    rng = np.random.default_rng(0)
    flags = np.hstack([np.eye(c)[rng.integers(0, c, n_rows)] for c in (6, 4)])
    X = np.hstack([flags, rng.normal(size=(n_rows, 2))])
    raw = X @ rng.normal(size=X.shape[1])
    if loss in CLASSIFICATION:
        y = np.digitize(raw, np.quantile(raw, [0.3, 0.7]))
    else:
        y = rng.gamma(2.0, np.exp(raw / 3)) if loss == "gamma" else raw + rng.normal(size=n_rows)
        y = np.floor(np.abs(y)) if loss == "poisson" else y
    return X, y, rng.integers(1, 4, n_rows)


def fit(solver, loss, X, y, weight=None, **options):
    kind = FMClassifier if loss in CLASSIFICATION else FMRegressor
    options = {"max_iter": 8, "batch_size": 256, "random_state": 0, "n_factors": 3} | options
    return kind(solver=solver, loss=loss, **options).fit(X, y, sample_weight=weight)


def outputs(model, X):
    return model.decision_function(X) if isinstance(model, FMClassifier) else model.predict(X)


@LOSSES
@ALL
def test_weights_are_repeats(solver, loss):
    """In one batch, a row of weight three is three rows."""
    X, y, weight = draw(loss)
    weighted = fit(solver, loss, X, y, weight)
    repeated = fit(solver, loss, np.repeat(X, weight, 0), np.repeat(y, weight))
    assert_allclose(outputs(weighted, X), outputs(repeated, X), rtol=1e-9, atol=1e-9)


@LOSSES
@ALL
def test_order_and_container_do_not_matter(solver, loss):
    """In one batch rows come in any order, and a sparse matrix is an array."""
    X, y, weight = draw(loss)
    expected = outputs(fit(solver, loss, X, y, weight), X)
    order = np.random.default_rng(1).permutation(len(X))
    permuted = fit(solver, loss, X[order], y[order], weight[order])
    assert_allclose(outputs(permuted, X), expected, rtol=1e-9, atol=1e-9)
    assert_allclose(
        outputs(fit(solver, loss, sp.csr_matrix(X), y, weight), X), expected, rtol=1e-9, atol=1e-9
    )


def make_run(solver, l2="auto"):
    """A run over several batches an epoch."""
    X, y, weight = draw("squared_error")
    design = DesignMatrix.from_array(X, dtype=torch.float64)
    rng = np.random.default_rng(2)
    start = FMParameters(
        torch.zeros(1, dtype=torch.float64),
        torch.zeros(1, X.shape[1], dtype=torch.float64),
        torch.tensor(rng.normal(size=(1, X.shape[1], 3)) * 0.1),
    )
    fields = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    problem = Problem(
        design, torch.tensor(y)[None], torch.tensor(weight, dtype=torch.float64), "squared_error", fields
    )
    settings = Settings(l2_linear=l2, l2_factors=l2, batch_size=16, max_iter=8)
    return SOLVERS[solver].sweeps(problem, start, settings)


@pytest.mark.parametrize("l2", ["auto", 0.5])
@ALL
def test_resumed_run_goes_on_identically(solver, l2):
    """Between two epochs nothing is lost: the bits of the next ones are the same."""
    straight = make_run(solver, l2)
    for _ in range(3):
        next(straight)
    tensors, numbers = straight.state()
    tensors = {name: t.clone() for name, t in tensors.items()}
    resumed = make_run(solver, l2)
    resumed.resume(tensors, numbers)
    for _ in range(4):
        one, other = next(straight), next(resumed)
        assert one.objective == other.objective
        assert all(torch.equal(a, b) for a, b in zip(one.parameters, other.parameters, strict=True))


@LOSSES
@ALL
def test_huge_learning_rate(solver, loss):
    """Whatever the step size, there is a finite model or an error that says so."""
    X, y, weight = draw(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = fit(solver, loss, X, y, weight, learning_rate=1e12, batch_size=16, max_iter=3)
        except ValueError as error:
            if "learning rate" not in str(error):
                raise
        else:
            assert np.isfinite(outputs(model, X)).all()


@ALL
def test_long_fit_is_ridge(solver):
    """Given penalties, a linear model comes within 1 % of the minimum of the penalized loss."""
    X, y, weight = draw("squared_error")
    X = X[:, :10]
    l2 = 2.0
    model = fit(
        solver, "squared_error", X, y, weight, n_factors=0, l2_linear=l2, l2_factors=1.0, max_iter=2000, tol=0
    )

    def objective(intercept, coef):
        return weight @ (y - intercept - X @ coef) ** 2 / 2 + l2 / 2 * coef @ coef

    A = np.column_stack([np.ones(len(X)), X])
    penalty = l2 * np.diag([0.0] + [1.0] * X.shape[1])
    best = np.linalg.solve(A.T @ (weight[:, None] * A) + penalty, A.T @ (weight * y))
    least = objective(best[0], best[1:])
    found = objective(np.ravel(model.intercept_)[0], np.ravel(model.coef_))
    assert least * (1 - 1e-9) <= found <= 1.01 * least
