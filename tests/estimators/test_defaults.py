"""What raw data give with nothing tuned and nothing scaled, and that nothing makes a model infinite."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_linnerud,
    load_wine,
)
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score, train_test_split
from sklearn.preprocessing import OneHotEncoder

from skfm import FMClassifier, FMRegressor
from tests.helpers.slow import parametrize


def test_diabetes():
    """Ridge regression has 0.482."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    assert cross_val_score(FMRegressor(random_state=0), X, y, cv=5).mean() >= 0.49


def test_breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probability = cross_val_predict(FMClassifier(random_state=0), X, y, cv=folds, method="predict_proba")
    assert accuracy_score(y, probability.argmax(1)) >= 0.965
    assert log_loss(y, probability) <= 0.10


def test_digits():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    assert FMClassifier(random_state=0).fit(X, y).score(X_test, y_test) >= 0.95


REGRESSION = {
    "diabetes": load_diabetes(return_X_y=True, scaled=False),
    "diabetes_scaled": load_diabetes(return_X_y=True),
    "linnerud": (load_linnerud().data, load_linnerud().target[:, 0]),
}
CLASSIFICATION = {
    "breast_cancer": load_breast_cancer(return_X_y=True),
    "digits": load_digits(n_class=3, return_X_y=True),
    "iris": load_iris(return_X_y=True),
    "wine": load_wine(return_X_y=True),
}


def assert_finite(model, X, *more):
    """Check the parameters and all that the model says of X."""
    for name in ("intercept_", "coef_", "factors_", *more):
        assert np.isfinite(getattr(model, name)).all(), name
    for method in ("predict_proba", "decision_function", "predict"):
        if hasattr(model, method):
            assert np.isfinite(getattr(model, method)(X)).all(), method
    for values in model.history_.values():
        assert np.isfinite(values).all()


#: Extreme scales in single precision in every run, all of them in the slow one.
SCALES = parametrize(
    ("dtype", "scale"),
    [(dtype, scale) for dtype in (np.float32, np.float64) for scale in (1e-6, 1.0, 1e6)],
    fast=lambda dtype, scale: dtype is np.float32 and scale != 1,
)


@SCALES
@pytest.mark.parametrize("solver", ["vb", "als"])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression_stays_finite(name, solver, scale, dtype):
    X, y = REGRESSION[name]
    X, y = (X[::3] * scale).astype(dtype), y[::3]
    model = FMRegressor(4, solver=solver, random_state=0, max_iter=15)
    scores = []
    for shift in (0.0, 1e6):
        assert_finite(clone(model).fit(X, y + shift), X)
        scores.append(clone(model).fit(X, y + shift).score(X, y + shift))
    # A shift of the target must not cost accuracy; float32 targets near 1e6 are rounded to 1/16.
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3 if dtype is np.float32 else 1e-6)


@SCALES
@pytest.mark.parametrize(
    ("solver", "loss"), [("vb", "log_loss"), ("vb", "probit"), ("als", "log_loss"), ("als", "probit")]
)
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_stays_finite(name, solver, loss, scale, dtype):
    X, y = CLASSIFICATION[name]
    X, y = (X[::4] * scale).astype(dtype), y[::4]
    model = FMClassifier(4, solver=solver, loss=loss, random_state=0, max_iter=10).fit(X, y)
    assert_finite(model, X)
    assert model.score(X, y) > 0.85


#: One data set in every run, and all of them in the slow one.
SEEDS = parametrize("seed", range(3), fast=lambda seed: seed == 0)


@SEEDS
def test_a_classifier_finds_interactions_of_categories_with_few_rows(seed):
    # Thirteen rows a user. From small factors the bound leads to none at all: a loss of 0.64 to 0.70.
    rng = np.random.default_rng(seed)
    users, films = rng.normal(size=(300, 2)), rng.normal(size=(60, 2))
    user, film = rng.integers(0, 300, 8000), rng.integers(0, 60, 8000)
    chance = 1 / (1 + np.exp(-(2**0.5) * (users[user] * films[film]).sum(1)))
    y = rng.random(8000) < chance
    X = pd.DataFrame({"user": user, "film": film}).astype("category")
    model = FMClassifier(random_state=0).fit(X[:4000], y[:4000])
    assert log_loss(y[4000:], model.predict_proba(X[4000:])) < 0.62


def few_rows(n_rows, seed):
    """Nine fields, of which two interact, the larger one of 300 categories; predictions without noise."""
    rng = np.random.default_rng(seed)
    users, films = rng.normal(size=(300, 2)), rng.normal(size=(60, 2))
    sizes = [300, 60, 5, 7, 12, 4, 9, 6, 3]
    codes = np.column_stack([rng.integers(0, size, n_rows) for size in sizes])
    raw = 2**0.5 * (users[codes[:, 0]] * films[codes[:, 1]]).sum(1)
    raw += sum(rng.normal(0, 0.3, size)[c] for size, c in zip(sizes[2:], codes.T[2:], strict=True))
    return OneHotEncoder().fit_transform(codes), raw, rng


@SEEDS
def test_a_classifier_finds_them_beside_other_columns(seed):
    # With priors that are learned from the first sweep on, the loss is 0.61 to 0.69; sampling reaches 0.55 to 0.58.
    X, raw, rng = few_rows(8000, seed)
    y = rng.random(8000) < 1 / (1 + np.exp(-raw))
    model = FMClassifier(8, random_state=0).fit(X[:4000], y[:4000])
    assert log_loss(y[4000:], model.predict_proba(X[4000:])) < 0.6


@SEEDS
def test_a_regressor_finds_them_with_eight_rows_a_category(seed):
    # Standard deviation of what is to be found: 2. The noise has 1.5.
    X, raw, rng = few_rows(6500, seed)
    y = raw + 1.5 * rng.normal(size=6500)
    model = FMRegressor(8, random_state=0).fit(X[:2500], y[:2500])
    assert root_mean_squared_error(raw[2500:], model.predict(X[2500:])) < 1.3


@pytest.mark.parametrize("n_entries", [1, 2, 3, 30])
def test_the_scale_that_factors_start_from(n_entries):
    rng = np.random.default_rng(0)
    X = (rng.random((60, 40)).argsort(1) < n_entries).astype(float)
    y = rng.random(60) < 0.5
    pairs = n_entries * (n_entries - 1) / 2
    expected = max(0.1, (3 * pairs) ** -0.25) if pairs else 0.1
    auto, given = (
        FMClassifier(3, max_iter=1, init_scale=s, random_state=0).fit(X, y) for s in ("auto", expected)
    )
    assert_allclose(auto.factors_, given.factors_, rtol=1e-9)
    for other in (FMRegressor(3, max_iter=1), FMClassifier(3, max_iter=1, solver="als")):
        small, default = (
            other.set_params(init_scale=s, random_state=0).fit(X, y).factors_ for s in (0.1, "auto")
        )
        assert_array_equal(small, default)
