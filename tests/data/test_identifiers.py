"""The warning for whole numbers that look like identifiers, and the quantities that do not give it."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from skfm import FMClassifier, FMRegressor
from skfm.data.identifiers import named_like_identifiers, warn_of_identifiers

N = 6000


def warnings_of(frame):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_identifiers(frame)
    return [str(w.message) for w in caught]


def popular(n_values, seed, first=1):
    """Identifiers of different popularity, in no particular order."""
    rng = np.random.default_rng(seed)
    share = rng.permutation(rng.exponential(size=n_values) + 0.1)
    return rng.choice(n_values, N, p=share / share.sum()) + first


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_identifiers_are_reported_once_with_the_remedy(make):
    columns = {"user": popular(200, 0), "itemId": popular(300, 1) * 7 + 10**6, "b": popular(150, 2, first=0)}
    (message,) = warnings_of(make({**columns, "age": np.arange(N) % 60 + 20}))
    for name, values in columns.items():
        assert f"{name!r} ({len(np.unique(values))} distinct values)" in message
        assert f"{name!r}: 'category'" in message
    assert "categorical_features" in message
    assert "'age'" not in message


@pytest.mark.parametrize(
    "name", ["user", "item_id", "MovieID", "movieId", "ID", "product", "store id", "zip", "u.uid"]
)
def test_names_of_identifiers(name):
    assert named_like_identifiers(name)


@pytest.mark.parametrize(
    "name",
    [
        "age",
        "year",
        "n_user",
        "num_items",
        "paid",
        "users",
        "idle",
        "user_age",
        "price",
        "",
        "0",
        "grid",
        "days_id",
    ],
)
def test_names_of_quantities(name):
    assert not named_like_identifiers(name)


def quantities():
    rng = np.random.default_rng(0)
    return {
        "age": rng.normal(40, 12, N).clip(17, 90).astype(int),
        "year": rng.integers(1900, 2024, N),
        "day of the year": rng.integers(1, 367, N),
        "minute": rng.integers(0, 1440, N),
        "rush hours": (rng.normal(480, 90, N) + 500 * (rng.random(N) < 0.5)).clip(0, 1439).astype(int),
        "percent": rng.integers(0, 101, N),
        "count": rng.poisson(300, N),
        "plays": rng.geometric(0.005, N),
        "income": np.where(rng.random(N) < 0.8, 0, rng.integers(1, 200, N)),
        "price": np.round(np.exp(rng.normal(8, 1, N))).astype(int) * 10 + 9,
        "pixel": np.where(rng.random(N) < 0.3, 0, rng.integers(0, 256, N)),
        "rounded": np.round(rng.gamma(2, 60, N) / 5).astype(int) * 5,
        "timestamp": rng.integers(8 * 10**8, 9 * 10**8, N),
        "negative": rng.integers(-200, 200, N),
        "stars": rng.integers(1, 6, N),
    }


@pytest.mark.parametrize("name", sorted(quantities()))
def test_quantities_give_no_warning(name):
    assert not warnings_of(pd.DataFrame({name: quantities()[name]}))


def test_numbers_of_rows_and_few_values_give_no_warning():
    frame = pd.DataFrame(
        {"id": np.arange(N), "user_id": np.arange(N) % 15, "item_id": np.arange(N) // 1.5 + 0.0}
    )
    assert not warnings_of(frame)
    assert not warnings_of(frame.iloc[:0])


@pytest.mark.parametrize("make", [FMRegressor, FMClassifier])
@pytest.mark.parametrize("solver", ["vb", "adagrad"])
def test_the_remedies_of_the_message_work(make, solver):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": rng.integers(0, 30, 300), "item": rng.integers(0, 25, 300)})
    y = rng.integers(0, 2, 300)
    model = make(2, solver=solver, max_iter=2, random_state=0)
    with pytest.warns(UserWarning, match=r"'user' \(30 distinct values\), 'item' \(25 distinct values\)"):
        model.fit(frame, y)
    # pytest turns warnings into errors.
    model.predict(frame)
    model.fit(frame.astype("category"), y)
    model.fit(frame.astype(float), y)
    model.set_params(categorical_features=["user", "item"]).fit(frame, y)
    model.set_params(categorical_features=None).fit(frame, y)
    if solver == "adagrad":
        online = make(2, solver=solver, random_state=0)
        options = {"classes": [0, 1]} if make is FMClassifier else {}
        with pytest.warns(UserWarning, match="look like identifiers"):
            online.partial_fit(frame, y, **options)
        online.partial_fit(frame, y)


def test_missing_values_do_not_hide_identifiers():
    frame = pd.DataFrame({"user": pd.array(np.arange(200) % 30, "Int64"), "age": np.arange(200.0)})
    frame.loc[::9, "user"] = pd.NA
    (message,) = warnings_of(frame)
    assert "'user' (30 distinct values)" in message
