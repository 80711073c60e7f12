"""The validation loss is the loss of what the model predicts for the validation data."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.metrics import log_loss

from skfm import FMClassifier, FMRegressor

# Chains that are so short disagree, and sweeps that are so few do not converge.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SOLVERS = {
    "vb": {"covariance_type": "full"},
    "vb with variances": {"solver": "vb", "covariance_type": "diag"},
    "als": {},
    "mcmc": {"max_iter": 12},
    "adagrad": {"max_iter": 5},
}


def data(n_classes, dense, n=120):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2 * n, 6)) + 3
    if not dense:
        X = sparse.csr_matrix(np.where(rng.random(X.shape) < 0.5, X, 0))
    scores = np.asarray(X @ rng.standard_normal((6, n_classes))) + 2 * rng.standard_normal((2 * n, n_classes))
    y = np.argmax(scores - scores.mean(0), 1)
    return X[:n], y[:n], X[n:], y[n:], rng.integers(1, 4, n)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", ["log_loss", "probit"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_of_a_classifier_it_is_the_log_loss(solver, loss, n_classes, dense, weighted):
    """Of `predict_proba`, posterior and normalization included, weighted as the samples are."""
    options = {"solver": solver, **SOLVERS[solver]}
    if solver == "adagrad" and loss == "probit":
        return
    X, y, X_val, y_val, weight = data(n_classes, dense)
    model = FMClassifier(2, loss=loss, random_state=0, **options)
    weights = {"sample_weight_val": weight} if weighted else {}
    model.fit(X, y, X_val=X_val, y_val=y_val, **weights)
    losses = model.history_["validation_loss"]
    # A sampler predicts with the average of all draws, the others with their best sweep.
    found = losses[-1] if solver == "mcmc" else min(losses)
    expected = log_loss(y_val, model.predict_proba(X_val), sample_weight=weight if weighted else None)
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_of_a_regressor_it_is_half_the_squared_error(solver, dense):
    """In the units of y."""
    X, y, X_val, y_val, _ = data(4, dense)
    model = FMRegressor(2, random_state=0, **{"solver": solver, **SOLVERS[solver]})
    model.fit(X, 1000.0 * y, X_val=X_val, y_val=1000.0 * y_val)
    losses = model.history_["validation_loss"]
    found = losses[-1] if solver == "mcmc" else min(losses)
    assert_allclose(found, np.mean((1000.0 * y_val - model.predict(X_val)) ** 2) / 2, rtol=1e-9)
