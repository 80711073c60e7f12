"""`categorical_features="all"`: every column is one-hot encoded, whatever its type."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skfm import FMClassifier, FMRegressor
from skfm.io import load_model, save_model


def table(n=120):
    rng = np.random.default_rng(0)
    columns = {
        "user": rng.integers(0, 9, n),
        "share": rng.choice([0.25, 0.5, 1e-3], n),
        "narrow": rng.choice([0.25, 0.1], n).astype(np.float32),
        "flag": rng.random(n) < 0.5,
        "city": rng.choice(["Oslo", "Rome"], n),
    }
    return columns, 3.0 * (columns["user"] == 4) * (columns["share"] == 0.5) + 0.1 * rng.standard_normal(n)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("solver", ["vb", "als", "adagrad"])
def test_all_is_the_list_of_all_columns(make, solver, tmp_path):
    columns, y = table()
    X, options = make(columns), {"solver": solver, "max_iter": 4, "random_state": 0}
    model = FMRegressor(2, categorical_features="all", **options).fit(X, y)
    other = FMRegressor(2, categorical_features=list(columns), **options).fit(X, y)
    pandas = FMRegressor(2, categorical_features="all", **options).fit(pd.DataFrame(columns), y)
    for expected in (other, pandas):
        assert_array_equal(model.factors_, expected.factors_)
        assert_array_equal(model.encoded_feature_names_, expected.encoded_feature_names_)
    assert_array_equal(np.unique(model.fields_), sorted(columns))
    assert set(model.encode(X).data) == {1.0}
    save_model(model, tmp_path / "model.safetensors")
    assert_array_equal(load_model(tmp_path / "model.safetensors").predict(X), model.predict(X))


def test_arrays():
    codes = np.random.default_rng(0).integers(0, 5, (100, 3))
    for X in (codes, codes * 0.1, codes.astype("U1").astype(object)):
        model = FMRegressor(2, categorical_features="all", max_iter=3).fit(X, codes[:, 0] == 2)
        assert_array_equal(model.encode(X).toarray().sum(axis=1), 3)
        assert model.encode(X).shape == (100, 18)
    with pytest.raises(TypeError, match="but X is a sparse matrix"):
        FMRegressor(categorical_features="all").fit(sparse.eye(5).tocsr(), np.arange(5.0))


def test_columns_that_are_no_numbers_otherwise():
    columns, y = table()
    X = pd.DataFrame(columns).assign(
        day=pd.date_range("2024-01-01", periods=120).where(np.arange(120) % 2 == 0),
        gaps=np.where(np.arange(120) % 3, 1.5, np.nan),
        tags=[["a", "b"][: i % 3] for i in range(120)],
        date=[d.date() for d in pd.date_range("2024-01-01", periods=120)],
    )
    model = FMClassifier(2, categorical_features="all", max_iter=3).fit(X, y > y.mean())
    widths = {name: int((model.fields_ == name).sum()) for name in ("day", "gaps", "tags", "date")}
    assert widths == {"day": 62, "gaps": 3, "tags": 3, "date": 121}
    assert np.isfinite(model.decision_function(X)).all()


def test_numbers_like_identifiers_give_no_warning(recwarn):
    X = pd.DataFrame({"user_id": np.arange(200) % 30})
    FMRegressor(2, categorical_features="all", max_iter=2).fit(X, np.arange(200.0))
    assert not [w for w in recwarn.list if "identifiers" in str(w.message)]
    with pytest.raises(ValueError, match="categorical_features"):
        FMRegressor(categorical_features="some").fit(X, np.arange(200.0))


def test_a_column_of_the_name_all():
    columns, y = table()
    X = pd.DataFrame({"all": columns["user"], "share": columns["share"]})
    model = FMRegressor(2, categorical_features=["all"], max_iter=2).fit(X, y)
    assert_array_equal(np.unique(model.fields_, return_counts=True)[1], [10, 1])
