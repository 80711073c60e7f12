"""Columns of booleans: the numbers 0 and 1 in every container, and categories if some are missing."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from skfm import FMClassifier, FMRegressor

SOLVERS = ("vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl")

#: The same zeros and ones in other containers.
FRAMES = {
    "bool frame": lambda frame: frame,
    "float frame": lambda frame: frame.astype(float),
    "sparse bool frame": lambda frame: frame.astype(pd.SparseDtype(bool)),
    "sparse float frame": lambda frame: frame.astype(pd.SparseDtype(float, 0.0)),
    "nullable": lambda frame: frame.astype("boolean"),
    "Arrow dtype": lambda frame: frame.astype(pd.ArrowDtype(pa.bool_())),
    "object": lambda frame: frame.astype(object),
    "one object column": lambda frame: frame.astype({frame.columns[0]: object}),
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}


def dummies(n=120, seed=0):
    """A frame of one-hot encoded booleans, two fields, and a target in which they interact."""
    rng = np.random.default_rng(seed)
    users, films = rng.integers(0, 6, n), rng.integers(0, 4, n)
    strength = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 4))
    frame = pd.get_dummies(pd.DataFrame({"user": users.astype(str), "film": films.astype(str)}))
    return frame, strength[users, films] + 0.1 * rng.normal(size=n)


def mixed(n=120, seed=0):
    """A frame with booleans between numbers and categories."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "new": rng.random(n) < 0.3,
            "price": rng.normal(size=n),
            "open": rng.random(n) < 0.5,
            "city": rng.choice(["Oslo", "Rome"], n),
            "card": rng.random(n) < 0.6,
        }
    )
    return frame, (frame["price"] * frame["open"] - frame["card"]).to_numpy()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("estimator", [FMRegressor, FMClassifier])
def test_all_containers_of_booleans_give_the_same_model(solver, estimator):
    frame, y = dummies()
    y = y if estimator is FMRegressor else y > 0
    model = estimator(2, solver=solver, max_iter=3, random_state=0, tol=0)
    array = frame.to_numpy()
    expected = model.fit(array, y).predict(array)
    assert len(np.unique(model.fields_)) == 2
    coef = model.coef_
    for name, container in FRAMES.items():
        X = container(frame)
        assert_array_equal(model.fit(X, y).predict(X), expected, err_msg=name)
        assert_array_equal(model.coef_, coef, err_msg=name)


BOOLEANS = {
    "nullable": "boolean",
    "Arrow dtype": pd.ArrowDtype(pa.bool_()),
    "object": object,
    "sparse": pd.SparseDtype(bool),
}


@pytest.mark.parametrize("kind", [*BOOLEANS, "polars", "pyarrow"])
def test_booleans_among_other_columns_are_numbers(kind):
    frame, y = mixed()
    model = FMRegressor(2, max_iter=3, random_state=0, tol=0)
    flags = ["new", "open", "card"]
    numbers = frame.astype(dict.fromkeys(flags, float))
    expected = model.fit(numbers, y).predict(numbers)
    if kind in BOOLEANS:
        X = frame.astype(dict.fromkeys(flags, BOOLEANS[kind]))
    else:
        X = pl.DataFrame(frame) if kind == "polars" else pa.table(frame)
    assert_array_equal(model.fit(X, y).predict(X), expected)
    assert_array_equal(model.predict(numbers), expected)


def test_booleans_do_not_widen_float32():
    frame, y = mixed()
    frame["price"] = frame["price"].astype(np.float32)
    assert FMRegressor(2, max_iter=2, random_state=0, tol=0).fit(frame, y).predict(frame).dtype == np.float32


@pytest.mark.parametrize("dtype", ["boolean", object, pd.ArrowDtype(pa.bool_())], ids=str)
def test_booleans_with_missing_values_are_categories(dtype):
    frame, y = mixed()
    gaps = frame.assign(open=frame["open"].astype(dtype).where(np.arange(len(frame)) % 5 > 0, None))
    model = FMRegressor(2, max_iter=3, random_state=0, tol=0).fit(gaps, y)
    shown = model.encoded_feature_names_[model.fields_ == "open"]
    assert_array_equal(shown, ["open_False", "open_True", "open_None", "open_(unseen)"])
    # With numbers, a later missing value has no meaning.
    model.fit(frame, y)
    with pytest.raises(ValueError, match=r"column 'open' in row 0 .*booleans without missing values"):
        model.predict(gaps)
