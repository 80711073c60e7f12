"""The warning for factors without an effect: on data without interactions, and never on data with them."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes

from skfm import FMClassifier, FMRegressor
from skfm.streaming import Chunks
from tests.helpers.slow import parametrize

WARNING = "interactions of the fitted model have practically no effect"
pytestmark = [
    pytest.mark.filterwarnings("error:The interactions of the fitted model"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def fields(n=600, strength=1.0, noise=0.3, seed=0):
    """Two fields of categories, with main effects and interactions of a given standard deviation."""
    rng = np.random.default_rng(seed)
    u, v = rng.integers(0, 8, n), rng.integers(0, 6, n)
    table = rng.normal(size=(8, 1)) * rng.normal(size=(1, 6))
    table -= table.mean(0) + table.mean(1, keepdims=True) - table.mean()
    y = rng.normal(size=8)[u] + rng.normal(size=6)[v] + strength * (table / table.std())[u, v]
    return pd.DataFrame({"u": u.astype(str), "v": v.astype(str)}), y + noise * rng.normal(size=n)


def numbers(n=600, strength=1.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    return X, X @ np.arange(5.0) + strength * X[:, 0] * X[:, 1]


def test_one_warning_with_the_share_and_the_remedy():
    X, y = numbers(strength=0.0)
    with pytest.warns(UserWarning, match=WARNING) as caught:
        model = FMRegressor(2, solver="adagrad", l2_factors=1e6, random_state=0).fit(X, y)
    (warning,) = [w for w in caught if WARNING in str(w.message)]
    assert "n_factors=0 gives the same model in less time" in str(warning.message)
    linear = FMRegressor(0, solver="adagrad", random_state=0).fit(X, y)
    assert np.std(model.predict(X) - linear.predict(X)) < 0.02 * y.std()


@pytest.mark.parametrize(
    ("solver", "options", "remedy"),
    [
        ("als", {"l2_factors": 1e6}, "for example l2_factors=1"),
        ("adagrad", {"l2_factors": 1e6}, "l2_factors=1"),
    ],
)
def test_penalties_that_leave_nothing_of_the_factors(solver, options, remedy):
    X, y = fields()
    model = FMRegressor(2, solver=solver, random_state=0, max_iter=30, **options)
    with pytest.warns(UserWarning, match=f"{WARNING}.*{remedy}"):
        model.fit(X, y)
    model.set_params(l2_factors="auto").fit(X, y)


def test_classes_are_judged_together():
    X, y = numbers(strength=0.0, n=400)
    with pytest.warns(UserWarning, match=WARNING):
        FMClassifier(2, solver="als", l2_factors=1e6, random_state=0).fit(X, np.digitize(y, [-2, 2]))


SOLVERS = ("vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl")


@parametrize(
    ("solver", "strength"),
    [(solver, strength) for solver in SOLVERS for strength in (0.3, 1.0)],
    fast=lambda solver, strength: strength == 1 and solver in ("vb", "als", "adagrad"),
)
def test_no_warning_where_the_data_have_interactions(solver, strength):
    options = {"max_iter": 20} if solver == "mcmc" else {}
    for make in (fields, numbers):
        X, y = make(strength=strength)
        FMRegressor(2, solver=solver, random_state=0, **options).fit(X, y)


def test_no_warning_without_factors_or_without_anything_learned():
    X, y = numbers(strength=0.0)
    FMRegressor(0, random_state=0).fit(X, y)
    FMRegressor(2, random_state=0).fit(X, np.ones(len(y)))
    FMRegressor(2, random_state=0).fit(X[:1], y[:1])


def test_no_warning_for_streams_whose_rows_are_gone():
    X, y = numbers(strength=0.0)
    model = FMRegressor(2, solver="adagrad", l2_factors=1e6, max_iter=3, random_state=0)
    model.fit(Chunks([(X[:300], y[:300]), (X[300:], y[300:])]))


def test_many_rows_are_sampled_and_sparse_rows_are_used():
    rng = np.random.default_rng(0)
    X = sparse.random(10_000, 40, 0.1, random_state=0).tocsr()
    y = X @ rng.normal(size=40)
    with pytest.warns(UserWarning, match=WARNING):
        FMRegressor(2, solver="als", l2_factors=1e6, random_state=0, max_iter=5).fit(X, y)


def test_data_that_are_known():
    """The diabetes data have interactions; the breast cancer data are separated by a linear model."""
    FMRegressor(random_state=0).fit(*load_diabetes(return_X_y=True))
    breast_cancer = load_breast_cancer(return_X_y=True)
    with pytest.warns(UserWarning, match=WARNING):
        FMClassifier(solver="als", l2_factors=1e4, random_state=0).fit(*breast_cancer)
    # The evidence has decided here.
    FMClassifier(random_state=0).fit(*breast_cancer)
