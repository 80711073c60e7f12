"""Missing numbers in DataFrames: the mean in their place, and a column that indicates them."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skfm import FMClassifier, FMRegressor
from skfm.inspection import explain
from skfm.streaming import Chunks
from tests.helpers.saved import reloaded

SOLVERS = ("vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl")


def gappy(n=120, *, with_category=True, seed=0):
    """A frame with missing numbers, the target, and weights."""
    rng = np.random.default_rng(seed)
    age, size = rng.integers(20, 60, n).astype(float), rng.standard_normal(n)
    y = 0.1 * age + size + (rng.random(n) < 0.5)
    age[rng.random(n) < 0.3] = np.nan
    frame = pd.DataFrame({"age": age, "size": size, "flag": rng.random(n) < 0.5})
    if with_category:
        frame.insert(1, "city", rng.choice(["Oslo", "Rome"], n))
    return frame, y, rng.integers(1, 4, n).astype(float)


def by_hand(frame, mean):
    """The same frame, with the mean in place of missing ages and with an indicator."""
    filled = frame.assign(age=frame["age"].fillna(mean))
    filled.insert(1, "age (missing)", frame["age"].isna().astype(float))
    return filled


def weighted_mean(values, weight):
    present = values.notna().to_numpy()
    return np.average(values[present], weights=weight[present])


@pytest.mark.parametrize("with_category", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_frame_with_gaps_is_the_frame_imputed_by_hand_with_an_indicator(solver, with_category):
    frame, y, weight = gappy(with_category=with_category)
    options = {"solver": solver, "max_iter": 4, "random_state": 0}
    model = FMRegressor(2, **options).fit(frame, y, sample_weight=weight)
    mean = weighted_mean(frame["age"], weight)
    filled = by_hand(frame, mean)
    other = FMRegressor(2, **options).fit(filled, y, sample_weight=weight)
    assert_array_equal(model.encoded_feature_names_, other.encoded_feature_names_)
    assert_array_equal(model.factors_, other.factors_)
    assert_array_equal(model.predict(frame), other.predict(filled))
    assert model.encode(frame).shape == other.encode(filled).shape
    assert model.n_features_in_ == len(frame.columns)
    assert_array_equal(model.fields_[:2], ["age", "age"])
    # A number that is missing for the first time has the mean of its column, without an indicator.
    new = frame.assign(size=np.nan)
    expected = filled.assign(size=np.average(frame["size"], weights=weight))
    assert_allclose(model.predict(new), other.predict(expected), rtol=1e-9)


def test_gaps_only_in_new_rows_of_a_frame_of_numbers():
    frame, y, weight = gappy(with_category=False)
    frame["age"] = frame["age"].fillna(30)
    model = FMRegressor(2, random_state=0).fit(frame, y, sample_weight=weight)
    array = FMRegressor(2, random_state=0).fit(frame.to_numpy(float), y, sample_weight=weight)
    assert_array_equal(model.factors_, array.factors_)
    assert_array_equal(model.encoded_feature_names_, frame.columns)
    filled = frame.assign(age=np.average(frame["age"], weights=weight))
    for missing in (np.nan, None, pd.NA):
        assert_allclose(model.predict(frame.assign(age=missing)), model.predict(filled), rtol=1e-12)
    with pytest.raises(ValueError, match="Input X contains NaN: column 'flag'"):
        model.predict(frame.assign(flag=[None, *frame["flag"][1:]]))
    with pytest.raises(ValueError, match="infinity: column 'size'"):
        model.predict(frame.assign(age=np.nan, size=np.inf))
    with pytest.raises(ValueError, match="fitted to numbers alone"):
        model.fit(frame.assign(age=frame["age"].where(frame["size"] > 0)), y).embedding("age")


def containers():
    """The same columns as frames of several libraries and types."""
    frame, y, _ = gappy()
    ages = [None if np.isnan(age) else int(age) for age in frame["age"]]
    plain = {name: frame[name].tolist() for name in ("city", "size", "flag")}
    columns = {"age": ages, **plain}
    return y, {
        "pandas": frame[list(columns)],
        "pandas, nullable": pd.DataFrame({"age": pd.array(ages, "Int64"), **plain}),
        "pandas, object": pd.DataFrame({"age": np.array(ages, object), **plain}),
        "pandas, arrow": pd.DataFrame({"age": pd.array(ages, pd.ArrowDtype(pa.int64())), **plain}),
        "polars": pl.DataFrame(columns),
        "polars, nan": pl.DataFrame({"age": frame["age"].to_numpy(), **plain}),
        "arrow": pa.table(columns),
        "arrow, nan": pa.table({"age": pa.array(frame["age"].to_numpy()), **plain}),
    }


@pytest.mark.parametrize("names", [["age", "city", "size", "flag"], ["age", "size"]])
def test_all_libraries_give_the_same_model(names):
    y, frames = containers()
    models = {}
    for name, frame in frames.items():
        part = frame.select(names) if hasattr(frame, "select") else frame[names]
        model = models[name] = FMRegressor(2, max_iter=4, random_state=0).fit(part, y)
        assert_array_equal(model.factors_, models["pandas"].factors_)
        assert_array_equal(model.encoded_feature_names_, models["pandas"].encoded_feature_names_)
        assert_array_equal(models["pandas"].predict(part), model.predict(frames["pandas"][names]))


def test_the_order_of_the_rows_does_not_matter():
    frame, y, weight = gappy()
    order = np.random.default_rng(1).permutation(len(y))
    model = FMRegressor(2, random_state=0).fit(frame, y, sample_weight=weight)
    other = FMRegressor(2, random_state=0).fit(frame.iloc[order], y[order], sample_weight=weight[order])
    assert_allclose(model.predict(frame), other.predict(frame), rtol=1e-6)


def test_weights_are_repeats():
    frame, y, weight = gappy(60)
    rows = np.repeat(np.arange(60), weight.astype(int))
    model = FMRegressor(2, max_iter=10, random_state=0).fit(frame, y, sample_weight=weight)
    other = FMRegressor(2, max_iter=10, random_state=0).fit(frame.iloc[rows], y[rows])
    assert_allclose(model.predict(frame), other.predict(frame), rtol=1e-6)


@pytest.mark.parametrize("with_category", [True, False])
def test_weights_of_zero_leave_gaps_out(with_category):
    frame, y, weight = gappy(with_category=with_category)
    weight[frame["age"].isna()] = 0
    model = FMRegressor(2, max_iter=4, random_state=0).fit(frame, y, sample_weight=weight)
    kept = frame[weight > 0]
    other = FMRegressor(2, max_iter=4, random_state=0).fit(
        kept, y[weight > 0], sample_weight=weight[weight > 0]
    )
    assert_array_equal(model.factors_, other.factors_)
    assert "age (missing)" not in model.encoded_feature_names_
    assert_array_equal(model.predict(frame), other.predict(frame))


def test_a_signal_that_is_only_in_the_gaps_is_found():
    frame, _, _ = gappy(400)
    y = np.where(frame["age"].isna(), frame["city"].map({"Oslo": 2.0, "Rome": -1.0}), 0.0)
    y = y + 0.1 * np.random.default_rng(1).standard_normal(len(y))
    model = FMRegressor(random_state=0).fit(frame[:300], y[:300])
    assert model.score(frame[300:], y[300:]) > 0.95


@pytest.mark.parametrize("with_category", [True, False])
@pytest.mark.parametrize("solver", ["vb", "adagrad"])
def test_saved_and_loaded_models_predict_the_same(tmp_path, solver, with_category):
    frame, y, _ = gappy(with_category=with_category)
    for X in (frame, frame.assign(age=frame["age"].fillna(0))):
        model = FMRegressor(2, solver=solver, max_iter=3, random_state=0).fit(X, y)
        for loaded in reloaded(model, tmp_path):
            assert_array_equal(loaded.predict(frame), model.predict(frame))
            assert_array_equal(loaded.encoded_feature_names_, model.encoded_feature_names_)


@pytest.mark.parametrize("with_category", [True, False])
def test_the_first_data_decide_whether_there_is_an_indicator(with_category):
    frame, y, _ = gappy(with_category=with_category)
    full = frame.assign(age=np.arange(120.0))
    options = {"solver": "adagrad", "max_iter": 3, "random_state": 0}
    for first, later, names in (
        (frame, full, ["age", "age (missing)"]),
        (full, frame, ["age", "city_Oslo" if with_category else "size"]),
    ):
        mean = first["age"].mean()
        filled = [by_hand(part, mean) for part in (first, later)]
        if first is full:
            filled = [part.drop(columns="age (missing)") for part in filled]
        model = FMRegressor(2, **options).partial_fit(first, y).partial_fit(later, y)
        other = FMRegressor(2, **options).partial_fit(filled[0], y).partial_fit(filled[1], y)
        assert_array_equal(model.encoded_feature_names_[:2], names)
        assert_allclose(model.factors_, other.factors_, rtol=1e-9, atol=1e-12)
        stream = FMRegressor(2, **options).fit(Chunks([(X, y) for X in (first, later)]))
        by_hand_stream = FMRegressor(2, **options).fit(Chunks([(X, y) for X in filled]))
        assert_allclose(stream.factors_, by_hand_stream.factors_, rtol=1e-9, atol=1e-12)
        warm = FMRegressor(2, warm_start=True, **options).fit(first, y).fit(later, y)
        assert_array_equal(warm.encoded_feature_names_[:2], names)


@pytest.mark.parametrize("choice", ["from_dtype", ["city"], None])
def test_gaps_do_not_depend_on_how_categories_are_chosen(choice):
    frame, y, _ = gappy(with_category=choice is not None)
    model = FMRegressor(2, max_iter=3, random_state=0, categorical_features=choice).fit(frame, y)
    expected = FMRegressor(2, max_iter=3, random_state=0).fit(frame, y)
    assert_array_equal(model.factors_, expected.factors_)


def test_validation_data_may_have_gaps():
    frame, y, _ = gappy()
    full = frame.assign(age=np.arange(120.0))
    options = {"solver": "adagrad", "max_iter": 5, "early_stopping": True, "random_state": 0}
    model = FMRegressor(2, **options).fit(full, y, X_val=frame, y_val=y)
    filled = frame.assign(age=frame["age"].fillna(np.arange(120.0).mean()))
    other = FMRegressor(2, **options).fit(full, y, X_val=filled, y_val=y)
    assert_array_equal(model.factors_, other.factors_)
    assert np.isfinite(FMRegressor(2, **options).fit(frame, y).predict(frame)).all()


def test_gaps_are_explained_as_part_of_their_column():
    frame, y, _ = gappy()
    model = FMClassifier(2, max_iter=5, random_state=0).fit(frame, y > y.mean())
    assert_array_equal(explain(model, frame.head(3)).names, frame.columns)
    assert_array_equal(explain(model, frame, by="column").names[:2], ["age", "age (missing)"])


@pytest.mark.parametrize("missing", [np.nan, pd.array([pd.NA] * 120, "Int64")])
def test_columns_without_any_number_are_named(missing):
    frame, y, weight = gappy()
    message = "Column 'age' has no values in the training data"
    with pytest.raises(ValueError, match=message):
        FMRegressor(2).fit(frame.assign(age=missing), y)
    # The values of rows of weight zero do not count.
    with pytest.raises(ValueError, match=message):
        FMRegressor(2).fit(frame, y, sample_weight=np.where(frame["age"].isna(), weight, 0))


def test_arrays_and_sparse_matrices_still_refuse_missing_numbers():
    frame, y, _ = gappy(with_category=False)
    array = frame.to_numpy(float)
    for model in (FMRegressor(2), FMRegressor(2, categorical_features=[2])):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            model.fit(array, y)
    model = FMRegressor(2, max_iter=2).fit(frame, y)
    with pytest.warns(match="feature names"), pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(array)


def test_means_of_numbers_whose_sum_overflows():
    frame, y, _ = gappy()
    model = FMRegressor(2, max_iter=2).fit(frame.assign(size=np.where(y > 1, 1.5e308, np.nan)), y)
    encoded = model.encode(frame.assign(size=np.nan)).toarray()
    assert_allclose(encoded[:, model.encoded_feature_names_ == "size"], 1.5e308)


def test_float32_numbers_stay_so():
    frame, y, _ = gappy()
    X = frame.astype({"age": "float32", "size": "float32"})
    model = FMRegressor(2, max_iter=2).fit(X, y)
    assert model.predict(X).dtype == np.float32
    assert model.encode(X).dtype == np.float32
