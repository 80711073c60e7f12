"""Weights that sum to little, and weights that are all zero."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skfm import FMClassifier, FMRegressor
from skfm.core.solvers import SOLVERS
from skfm.streaming import Chunks

from ..helpers.problems import one_hot, plant

ONLINE = sorted(name for name, solver in SOLVERS.items() if solver.learns_online)
X = one_hot()
Y = plant(X)
N = len(Y)


def small_weights(fit, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*args, **kwargs)
    return [str(w.message) for w in caught if "sample weights sum" in str(w.message)]


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("make", [FMRegressor, FMClassifier])
def test_weights_that_sum_to_one(make, solver):
    model = make(2, solver=solver, max_iter=2, random_state=0)
    y = Y if make is FMRegressor else Y.mean() < Y
    weight = np.random.default_rng(0).random(N)
    (message,) = small_weights(model.fit, X, y, weight / weight.sum())
    assert re.match(rf"The sample weights sum to 1 for {N} samples\.", message)
    assert "sample_weight / sample_weight.mean()" in message
    for fine in (None, weight / weight.mean(), weight, 1000 * weight, (weight > 0.8).astype(float)):
        assert not small_weights(model.fit, X, y, fine)


def test_the_rescaled_weights_give_the_right_model():
    weight = np.full(N, 1 / N)
    model = FMRegressor(2, random_state=0)
    with pytest.warns(UserWarning, match="sum to 1 "):
        poor = model.fit(X, Y, weight).score(X, Y)
    assert poor < 0.5 < 0.9 < model.fit(X, Y, weight / weight.mean()).score(X, Y)


def test_small_weights_of_many_samples_per_column_are_fine():
    dense = np.random.default_rng(0).normal(size=(5000, 2))
    assert not small_weights(FMRegressor(2, max_iter=2).fit, dense, dense.prod(1), np.full(5000, 0.01))


def test_weights_of_chunks_and_of_validation_data():
    model = FMRegressor(2, solver="adagrad", max_iter=2, random_state=0)
    assert len(small_weights(model.fit, Chunks([(X, Y, np.full(N, 1 / N))] * 2))) == 1
    assert not small_weights(model.fit, X, Y, X_val=X, y_val=Y, sample_weight_val=np.full(N, 1 / N))


@pytest.mark.parametrize("solver", ONLINE)
@pytest.mark.parametrize("make", [FMRegressor, FMClassifier])
@pytest.mark.parametrize("is_frame", [False, True])
def test_partial_fit_with_weights_of_zero_does_nothing(make, solver, is_frame):
    data = pd.DataFrame(X.toarray()).assign(c="a") if is_frame else X
    data = data.rename(columns=str) if is_frame else data
    y = Y if make is FMRegressor else Y.mean() < Y
    options = {} if make is FMRegressor else {"classes": [False, True]}
    model = make(2, solver=solver, random_state=0)
    before = dict(vars(model))
    assert model.partial_fit(data, y, sample_weight=np.zeros(N), **options) is model
    assert vars(model).keys() == before.keys()
    with pytest.raises(NotFittedError):
        model.predict(data)
    model.partial_fit(data, y, **options)
    fitted = pickle.dumps(vars(model))
    model.partial_fit(data, y, sample_weight=np.zeros(N))
    assert pickle.dumps(vars(model)) == fitted
    # The samples are checked all the same.
    with pytest.raises(ValueError, match="inconsistent"):
        model.partial_fit(data, y[:-1], sample_weight=np.zeros(N))
