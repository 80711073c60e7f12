"""Weights and targets of all scales: a fit that does not raise has finite predictions, and right ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import r2_score

from skfm import FMClassifier, FMRegressor
from tests.helpers.slow import parametrize

SOLVERS = ["vb", "als", "mcmc", "adagrad", "adam", "ftrl", "sgd"]
BLOCK = {"vb", "als", "mcmc"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:The sample weights sum to"),
    pytest.mark.filterwarnings("ignore:.*reached the maximum number of sweeps"),
    pytest.mark.filterwarnings("ignore:The loss diverged"),
    pytest.mark.filterwarnings("ignore:Training stopped"),
    # Of the diagnostics of chains whose log likelihoods are that large.
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered"),
    pytest.mark.filterwarnings("ignore:The (chains|halves of the chain) disagree"),
]


def planted(as_sparse, dtype, n_rows=80):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 4))
    if as_sparse:
        X = np.hstack([X, X]) * (rng.random((n_rows, 8)) < 0.4)
    y = X @ rng.normal(size=X.shape[1])
    y = y / y.std() + 0.2 * rng.normal(size=n_rows)
    return (sparse.csr_matrix(X) if as_sparse else X).astype(dtype), y


def make(kind, solver):
    return kind(2, solver=solver, random_state=0, max_iter=10 if solver in BLOCK else 40)


def fitted(model, X, y, weight):
    """Return the fitted model, or None and the message of the error."""
    try:
        return model.fit(X, y, sample_weight=weight), ""
    except ValueError as error:
        return None, str(error)


def outcomes(model, X):
    """All kinds of predictions of a model."""
    if isinstance(model, FMClassifier):
        return [model.predict_proba(X), model.decision_function(X)]
    if model.solver not in ("vb", "mcmc"):
        return [model.predict(X)]
    return [*model.predict(X, return_std=True), model.predict(X, quantiles=[0.1, 0.9])]


@parametrize(
    ("solver", "dtype", "as_sparse"),
    [(s, d, a) for s in SOLVERS for d in (np.float64, np.float32) for a in (False, True)],
    fast=lambda solver, dtype, as_sparse: (dtype is np.float64) != as_sparse,
)
@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
@given(exponent=st.floats(-307, 308), spread=st.floats(0, 300), y_exponent=st.integers(-300, 300))
@settings(max_examples=3)
def test_no_outcome_is_not_finite(kind, solver, dtype, as_sparse, exponent, spread, y_exponent):
    X, y = planted(as_sparse, dtype)
    power = np.clip(exponent + spread * np.random.default_rng(1).uniform(-1, 1, len(y)), -307, 308)
    weight = 10.0**power
    y = y > 0 if kind is FMClassifier else y * 10.0**y_exponent
    model, message = fitted(make(kind, solver), X, y, weight)
    if model is None:
        assert any(word in message for word in ("weight", "target", "fit into", "infinity", "classes")), (
            message
        )
        return
    for found in outcomes(model, X):
        assert np.isfinite(found).all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [1e-300, 1e-100, 1e100])
def test_the_scale_of_the_target_does_not_matter(solver, scale):
    X, y = planted(False, np.float64)
    expected = r2_score(y, make(FMRegressor, solver).fit(X, y).predict(X))
    found = make(FMRegressor, solver).fit(X, y * scale).predict(X) / scale
    assert r2_score(y, found) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("scale", [1e-100, 1e-300])
@pytest.mark.parametrize("solver", ["als", "adagrad"])
def test_penalties_of_tiny_targets(solver, scale):
    """The linear penalty does not depend on the scale of the target, also where its square is not a number."""
    X, y = planted(False, np.float64)
    model = make(FMRegressor, solver).set_params(l2_linear=5.0, n_factors=0)
    expected = model.fit(X, y).predict(X)
    np.testing.assert_allclose(model.fit(X, y * scale).predict(X) / scale, expected, rtol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_large_weights_are_right_or_an_error(solver):
    X, y = planted(False, np.float64)
    expected = r2_score(y, make(FMRegressor, solver).fit(X, y).predict(X))
    for scale in (1e20, 1e140, 1e300):
        model, message = fitted(make(FMRegressor, solver), X, y, np.full(len(y), scale))
        if model is None:
            assert scale > 1e140, solver
            assert "sample_weight" in message
            continue
        assert r2_score(y, model.predict(X)) > expected - 0.01
    with pytest.raises(ValueError, match="sum of sample_weight exceeds the range of float64"):
        make(FMRegressor, solver).fit(X, y, sample_weight=np.full(len(y), 1e307))
