"""The warning for categories that the first training data did not contain."""

import warnings

import numpy as np
import pandas as pd
import pytest

from skfm import FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.streaming import Chunks

ONLINE = sorted(name for name, solver in SOLVERS.items() if solver.learns_online)


def ratings(users, films, n=60):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"user": rng.choice(users, n), "film": rng.choice(films, n), "age": rng.normal(size=n)})
    X["tags"] = X.film + "|" + X.user
    return X, rng.normal(size=n)


FIRST = ratings(["Ann", "Bo"], ["Up", "Her"])
LATER = ratings(["Ann", "Bo", "Cy", "Di", None], ["Up", "Her"])


def new_categories(fit, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*args, **kwargs)
    return [str(w.message) for w in caught if "the first training data did not contain" in str(w.message)]


@pytest.fixture(params=[{}, {"min_frequency": 45}], ids=["all columns", "infrequent"])
def options(request):
    return {
        "n_factors": 2,
        "max_iter": 2,
        "multi_value_features": {"tags": "|"},
        "random_state": 0,
        **request.param,
    }


@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_warm_start(solver, options):
    model = FMRegressor(solver=solver, warm_start=True, **options)
    X, y = LATER[0].dropna(), LATER[1][LATER[0].user.notna()]
    assert not new_categories(model.fit, *FIRST)
    assert not new_categories(model.fit, *FIRST)
    (message,) = new_categories(model.fit, X, y)
    assert "'user' has 2, 'tags' has 2." in message
    assert "Fit a new model to all data" in message
    assert not new_categories(model.predict, X)
    # Samples of weight zero are not there.
    weight = X.user.isin(["Ann", "Bo"]).to_numpy(float)
    assert not new_categories(model.fit, X, y, weight)
    assert not new_categories(model.set_params(warm_start=False).fit, X, y)


@pytest.mark.parametrize("solver", ONLINE)
def test_partial_fit_warns_once_per_column(solver, options):
    options.pop("min_frequency", None)
    options.pop("multi_value_features")
    model = FMRegressor(solver=solver, **options)
    X, y = LATER
    assert not new_categories(model.partial_fit, *FIRST)
    assert not new_categories(model.partial_fit, *FIRST)
    X = X.drop(columns="tags").assign(tags=FIRST[0].tags)
    (message,) = new_categories(model.partial_fit, X, y)
    assert "'user' has 3." in message  # a missing category is one, too
    assert not new_categories(model.partial_fit, X, y)
    (message,) = new_categories(model.partial_fit, X.assign(film="It"), y)
    assert "'film' has 1." in message


@pytest.mark.parametrize("solver", ONLINE)
def test_chunks_after_the_first(solver, options):
    X, y = LATER[0].dropna(), LATER[1][LATER[0].user.notna()]
    model = FMRegressor(solver=solver, **options)
    (message,) = new_categories(model.fit, Chunks([FIRST, (X, y), (X, y)]))
    assert "'user' has 2" in message
    assert not new_categories(model.fit, Chunks([(X, y), FIRST]))


@pytest.mark.parametrize("solver", ["vb", "adagrad"])
def test_validation_data_give_no_warning(solver, options):
    X, y = LATER[0].dropna(), LATER[1][LATER[0].user.notna()]
    model = FMRegressor(solver=solver, **options)
    assert not new_categories(model.fit, *FIRST, X_val=X, y_val=y)
