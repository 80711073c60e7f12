"""Dates and durations in DataFrames: the columns that are derived from them."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skfm import FMRegressor
from skfm.inspection import explain
from skfm.streaming import Chunks
from tests.helpers.saved import reloaded

N = 150
#: Two years, every few hours, with changes to and from summer time in Oslo.
START = np.datetime64("2023-06-05T10:30", "us")


def instants(seed=0):
    hours = np.random.default_rng(seed).integers(0, 2 * 365 * 24, N)
    return START + hours * np.timedelta64(3_600_000_000, "us")


def dated(*, gaps=False):
    rng = np.random.default_rng(1)
    when = pd.Series(instants())
    took = pd.Series(rng.integers(0, 10**6, N) * np.timedelta64(1, "ms"))
    if gaps:
        when[rng.random(N) < 0.2] = pd.NaT
        took[rng.random(N) < 0.2] = pd.NaT
    frame = pd.DataFrame({"city": rng.choice(["Oslo", "Rome"], N), "when": when, "took": took})
    return frame, rng.standard_normal(N) + (when.dt.day_of_week == 2)


def by_hand(frame, first=None):
    """The columns that are derived from the frame, made with pandas."""
    when = frame["when"]
    first = when.min() if first is None else first
    columns = {"city": frame["city"]}
    for part in ("year", "month", "weekday", "hour"):
        numbers = getattr(when.dt, "day_of_week" if part == "weekday" else part)
        columns[f"when ({part})"] = numbers.astype("Int64").astype(object).where(when.notna(), None)
    columns["when (days)"] = (when - first) / pd.Timedelta(days=1)
    columns["took"] = frame["took"].dt.total_seconds()
    return pd.DataFrame(columns)


CATEGORIES = ["city", "when (year)", "when (month)", "when (weekday)", "when (hour)"]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("solver", ["vb", "mcmc", "adagrad"])
def test_a_frame_with_dates_is_the_frame_of_the_derived_columns(solver, gaps):
    frame, y = dated(gaps=gaps)
    options = {"solver": solver, "max_iter": 4, "random_state": 0}
    model = FMRegressor(2, **options).fit(frame, y)
    derived = by_hand(frame)
    other = FMRegressor(2, categorical_features=CATEGORIES, **options).fit(derived, y)
    names = [name.replace("when (days) (missing)", "when (missing)") for name in other.encoded_feature_names_]
    assert_array_equal(model.encoded_feature_names_, names)
    assert ("when (missing)" in names, "took (missing)" in names) == (gaps, gaps)
    assert_array_equal(model.fields_, other.fields_)
    assert_array_equal(model.factors_, other.factors_)
    assert_array_equal(model.predict(frame), other.predict(derived))
    assert model.n_features_in_ == 3
    # Later dates have a new year, and may be missing.
    new = frame.assign(when=frame["when"] + pd.Timedelta(days=900)).head(20)
    new.loc[3, ["when", "took"]] = pd.NaT
    assert_array_equal(model.predict(new), other.predict(by_hand(new, frame["when"].min())))
    # An array of objects is the same to the model.
    with pytest.warns(match="feature names"):
        assert_array_equal(model.predict(frame.to_numpy(object)), model.predict(frame))
    # All of them may be missing.
    only = new.assign(when=pd.NaT, took=None)
    assert_allclose(model.predict(only)[3], model.predict(new)[3])


def frames_of(frame):
    """The same frame in several libraries and types."""
    columns = {
        name: [None if v is pd.NaT else v.to_pydatetime() if "when" in name else v for v in frame[name]]
        for name in frame
    }
    columns["took"] = [None if v is None else v.to_pytimedelta() for v in columns["took"]]
    plain = {"city": columns["city"]}
    zone = getattr(frame["when"].dt, "tz", None)
    zone = None if zone is None else str(zone)
    arrow = {
        "when": pa.array(columns["when"], pa.timestamp("us", tz=zone)),
        "took": pa.array(columns["took"], pa.duration("us")),
    }
    yield frame.astype({"when": f"datetime64[ns, {zone}]" if zone else "datetime64[ns]", "took": "m8[ns]"})
    yield pd.DataFrame(
        plain | {name: pd.array(values, pd.ArrowDtype(values.type)) for name, values in arrow.items()}
    )
    if zone is None:
        yield pd.DataFrame({name: np.array(values, object) for name, values in columns.items()})
    for unit in ("ms", "us", "ns"):
        yield pl.DataFrame(
            plain
            | {
                "when": pl.Series(columns["when"], dtype=pl.Datetime(unit, zone)),
                "took": pl.Series(columns["took"], dtype=pl.Duration(unit)),
            }
        )
    yield pa.table(plain | arrow)


@pytest.mark.parametrize("zone", [None, "Europe/Oslo", "America/New_York"])
def test_all_libraries_give_the_same_model(zone):
    frame, y = dated(gaps=True)
    if zone:
        frame["when"] = frame["when"].dt.tz_localize("UTC").dt.tz_convert(zone)
    first = FMRegressor(2, max_iter=4, random_state=0).fit(frame, y)
    hours = first.encoded_feature_names_[first.fields_ == "when (hour)"]
    assert {"when (hour)_None", "when (hour)_(unseen)"} < set(hours)
    for other in frames_of(frame):
        model = FMRegressor(2, max_iter=4, random_state=0).fit(other, y)
        assert_array_equal(model.factors_, first.factors_)
        assert_array_equal(model.encoded_feature_names_, first.encoded_feature_names_)
        assert_array_equal(first.predict(other), model.predict(frame))


def test_parts_are_those_of_the_local_time_and_days_are_elapsed_time():
    frame, y = dated()
    aware = frame.assign(when=frame["when"].dt.tz_localize("UTC").dt.tz_convert("Asia/Kolkata"))
    model = FMRegressor(2, max_iter=3, random_state=0).fit(aware, y)
    encoded = pd.DataFrame(model.encode(aware).toarray(), columns=model.encoded_feature_names_)
    for hour in (0, 5, 23):
        assert_array_equal(encoded[f"when (hour)_{hour}"], aware["when"].dt.hour == hour)
    for weekday in range(7):
        assert_array_equal(encoded[f"when (weekday)_{weekday}"], aware["when"].dt.day_of_week == weekday)
    assert_allclose(encoded["when (days)"], (frame["when"] - frame["when"].min()) / pd.Timedelta(days=1))
    # The same instants in another time zone are the same dates.
    moved = aware.assign(when=aware["when"].dt.tz_convert("America/New_York"))
    assert_array_equal(model.predict(moved), model.predict(aware))
    with pytest.raises(
        ValueError, match="'when' holds dates without a time zone, but the model was fitted to"
    ):
        model.predict(frame)
    with pytest.raises(
        ValueError, match="with the time zone 'Asia/Kolkata', but the model was fitted to dates wi"
    ):
        FMRegressor(2, max_iter=3).fit(frame, y).predict(aware)


@pytest.mark.parametrize("make", ["objects", "pandas", "polars", "pyarrow", "midnights"])
def test_dates_without_a_time_have_no_hours(make):
    days = [START.astype("M8[D]").item() + datetime.timedelta(days=3 * i) for i in range(N)]
    days[4] = None
    X = {
        "objects": lambda: pd.DataFrame({"day": days}),
        "pandas": lambda: pd.DataFrame({"day": pd.array(days, pd.ArrowDtype(pa.date32()))}),
        "polars": lambda: pl.DataFrame({"day": days}),
        "pyarrow": lambda: pa.table({"day": pa.array(days, pa.date32())}),
        "midnights": lambda: pd.DataFrame({"day": pd.to_datetime(days)}),
    }[make]()
    y = np.arange(float(N))
    model = FMRegressor(2, max_iter=3, random_state=0).fit(X, y)
    fields, counts = np.unique(model.fields_, return_counts=True)
    assert dict(zip(fields, counts, strict=True)) == {
        "day (year)": 4,
        "day (month)": 14,
        "day (weekday)": 9,
        "day (days)": 2,
    }
    expected = FMRegressor(2, max_iter=3, random_state=0).fit(pd.DataFrame({"day": pd.to_datetime(days)}), y)
    assert_array_equal(model.predict(X), expected.predict(pd.DataFrame({"day": pd.to_datetime(days)})))


def test_only_parts_that_vary_are_used():
    y = np.random.default_rng(0).standard_normal(20)
    hourly = pd.DataFrame({"t": pd.date_range("2024-05-06", periods=20, freq="h")})
    assert_array_equal(np.unique(FMRegressor(2).fit(hourly, y).fields_), ["t (days)", "t (hour)"])
    # Rows of weight zero do not count.
    weight = np.where(np.arange(20) < 19, 1.0, 0.0)
    hourly.loc[19, "t"] = pd.Timestamp("2030-01-01")
    model = FMRegressor(2).fit(hourly, y, sample_weight=weight)
    assert_array_equal(np.unique(model.fields_), ["t (days)", "t (hour)"])


def test_a_weekday_that_matters_is_learned():
    rng = np.random.default_rng(0)
    when = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 500 * 24, 600), unit="h"))
    X = pd.DataFrame({"when": when, "size": rng.standard_normal(600)})
    y = np.where(when.dt.day_of_week >= 5, 3.0, 0.0) + 0.1 * rng.standard_normal(600)
    model = FMRegressor(random_state=0).fit(X[:400], y[:400])
    assert model.score(X[400:], y[400:]) > 0.97
    explanation = explain(model, X[400:])
    assert set(explanation.names) >= {"when (weekday)", "when (hour)", "when (days)", "size"}
    weekdays = model.coef_[model.fields_ == "when (weekday)"][:7]
    assert weekdays[5:].min() > weekdays[:5].max() + 2
    assert list(model.embedding("when (weekday)").index) == list(range(7))


def test_the_order_of_the_rows_does_not_matter():
    frame, y = dated(gaps=True)
    order = np.random.default_rng(2).permutation(N)
    model = FMRegressor(2, random_state=0).fit(frame, y)
    other = FMRegressor(2, random_state=0).fit(frame.iloc[order], y.iloc[order])
    assert_allclose(model.predict(frame), other.predict(frame), rtol=1e-5)


@pytest.mark.parametrize("solver", ["vb", "adagrad"])
@pytest.mark.parametrize("zone", [None, "Europe/Oslo"])
def test_saved_and_loaded_models_predict_the_same(tmp_path, solver, zone):
    frame, y = dated(gaps=True)
    frame["when"] = frame["when"].dt.tz_localize("UTC").dt.tz_convert(zone)
    model = FMRegressor(2, solver=solver, max_iter=3, random_state=0).fit(frame, y)
    for loaded in reloaded(model, tmp_path):
        assert_array_equal(loaded.predict(frame), model.predict(frame))
        assert_array_equal(loaded.encoded_feature_names_, model.encoded_feature_names_)


def test_the_first_data_decide_what_is_derived():
    frame, y = dated(gaps=True)
    later = frame.assign(when=frame["when"] + pd.Timedelta(days=900))
    options = {"solver": "adagrad", "max_iter": 3, "random_state": 0, "categorical_features": CATEGORIES}
    own = options | {"categorical_features": "from_dtype"}
    parts = [by_hand(frame), by_hand(later, frame["when"].min())]
    model, other = (
        FMRegressor(2, **own).partial_fit(frame, y),
        FMRegressor(2, **options).partial_fit(parts[0], y),
    )
    stream, other_stream = FMRegressor(2, **own), FMRegressor(2, **options)
    message = r"'when \(year\)' has 2"
    with pytest.warns(match=message):
        model.partial_fit(later, y)
    with pytest.warns(match=message):
        other.partial_fit(parts[1], y)
    with pytest.warns(match=message):
        stream.fit(Chunks([(frame, y), (later, y)]))
    with pytest.warns(match=message):
        other_stream.fit(Chunks([(X, y) for X in parts]))
    assert_allclose(model.factors_, other.factors_)
    assert_allclose(stream.factors_, other_stream.factors_)


def test_fields_and_categories_are_given_by_the_columns_of_the_frame():
    frame, y = dated()
    model = FMRegressor(2, max_iter=2, fields=["a", "b", "b"]).fit(frame, y)
    assert_array_equal(model.fields_, ["a"] * 3 + ["b"] * (len(model.fields_) - 3))
    with pytest.raises(ValueError, match="each of the 3 columns"):
        FMRegressor(fields=[0] * 7).fit(frame, y)
    chosen = FMRegressor(2, max_iter=2, categorical_features=["when", "city"]).fit(frame, y)
    assert_array_equal(np.unique(chosen.fields_), ["city", "took", "when"])
    for choice in (["city"], None):
        X = frame if choice else frame.drop(columns="city")
        listed = FMRegressor(2, max_iter=2, categorical_features=choice, random_state=0).fit(X, y)
        assert_array_equal(listed.factors_, FMRegressor(2, max_iter=2, random_state=0).fit(X, y).factors_)


def test_durations_alone_are_numbers():
    took = dated()[0][["took"]]
    y = took["took"].dt.total_seconds().to_numpy()
    model = FMRegressor(2, random_state=0).fit(took, y)
    assert_array_equal(model.encoded_feature_names_, ["took"])
    assert_allclose(model.predict(took), y, atol=1)
    assert_array_equal(model.predict(pl.from_pandas(took)), model.predict(took))


def test_other_values_are_refused():
    frame, y = dated()
    model = FMRegressor(2, max_iter=2).fit(frame, y)
    with pytest.raises(
        ValueError, match="'when' must hold dates, to which the model was fitted, but holds '2024'"
    ):
        model.predict(frame.assign(when="2024"))
    with pytest.raises(
        ValueError, match="'took' must hold durations, to which the model was fitted, but holds 3"
    ):
        model.predict(frame.assign(took=3))
    with pytest.raises(ValueError, match="'when' must hold dates"):
        model.predict(frame.assign(when=frame["took"]))
    numbers = FMRegressor(2, max_iter=2).fit(frame.assign(when=1.0, took=2.0), y)
    with pytest.raises(ValueError, match="'when' must hold numbers"):
        numbers.predict(frame.assign(took=2.0))
