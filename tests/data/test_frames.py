"""DataFrames with categories: what is encoded, and that the rest of the estimator does not notice."""

import datetime
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.preprocessing import OneHotEncoder

from skfm import FMClassifier, FMRegressor
from skfm.streaming import Chunks

SOLVERS = ("vb", "als", "mcmc", "adagrad", "adam", "sgd", "ftrl")


def shop(n=200, seed=0):
    """A frame with a category, numbers and a flag, and a target in which they interact."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.uniform(1, 9, n),
            "city": rng.choice(["Oslo", "Rome", "Wien"], n, p=[0.6, 0.3, 0.1]),
            "member": rng.random(n) < 0.5,
            "age": rng.integers(20, 60, n),
        }
    )
    y = frame["size"] * frame["city"].map({"Oslo": 1.0, "Rome": -1.0, "Wien": 0.0}) + 2 * frame["member"]
    return frame, (y + 0.1 * rng.standard_normal(n)).to_numpy()


def by_hand(frame, reference=None):
    """The same matrix by hand: columns in order, each category with an empty column at its end."""
    reference = frame if reference is None else reference
    blocks = []
    for name in frame:
        values = frame[[name]].to_numpy()
        if not pd.api.types.is_numeric_dtype(frame[name]):
            encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(
                reference[[name]].to_numpy()
            )
            encoded = encoder.transform(values)
            blocks += [encoded, 1 - encoded.sum(1, keepdims=True)]
        else:
            blocks.append(values.astype(float))
    return np.hstack(blocks)


FIELDS = ["numeric", "city", "city", "city", "city", "member", "numeric"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_frame_is_its_encoding_by_hand(solver):
    frame, y = shop()
    model = FMRegressor(2, solver=solver, max_iter=5, random_state=0).fit(frame, y)
    other = FMRegressor(2, solver=solver, max_iter=5, fields=FIELDS, random_state=0).fit(by_hand(frame), y)
    assert_allclose(model.factors_, other.factors_, rtol=1e-9, atol=1e-12)
    assert_allclose(model.predict(frame), other.predict(by_hand(frame)), rtol=1e-9)
    new = frame.head(5).assign(city="Bern")
    assert_allclose(model.predict(new), other.predict(by_hand(new, frame)), rtol=1e-9)
    assert_array_equal(model.encode(new).toarray(), by_hand(new, frame))
    assert_array_equal(other.encode(by_hand(new, frame)), by_hand(new, frame))
    assert model.n_features_in_ == 4
    assert_array_equal(model.feature_names_in_, ["size", "city", "member", "age"])
    assert_array_equal(model.fields_, ["size", *["city"] * 4, "member", "age"])
    assert_array_equal(
        model.encoded_feature_names_,
        [
            "size",
            *("city_Oslo", "city_Rome", "city_Wien", "city_(unseen)"),
            "member",
            "age",
        ],
    )


def every_type(n=60):
    """A pandas and a polars frame of the same columns of all types that can be categories or numbers."""
    rng = np.random.default_rng(1)
    letters = rng.choice(list("abc"), n).tolist()
    holes = [None if i % 7 == 0 else letter for i, letter in enumerate(letters)]
    flags = [None if i % 5 == 0 else bool(i % 2) for i in range(n)]
    lists = [letters[i : i + i % 3] for i in range(n)]
    whole, real = rng.integers(0, 9, n), rng.standard_normal(n)
    pandas = pd.DataFrame(
        {
            "string": letters,
            "holes": holes,
            "category": pd.Categorical(holes),
            "ordered": pd.Categorical(letters, categories=["c", "a", "b"], ordered=True),
            "flag": [letter == "a" for letter in letters],
            "nullable flag": pd.array(flags, dtype="boolean"),
            "arrow": pd.array(holes, dtype=pd.ArrowDtype(pa.string())),
            "lists": lists,
            "whole": pd.array(whole, dtype="Int64"),
            "real": real,
        }
    )
    polars = pl.DataFrame(
        {
            "string": letters,
            "holes": holes,
            "category": pl.Series(holes, dtype=pl.Categorical),
            "ordered": pl.Series(letters, dtype=pl.Enum(["c", "a", "b"])),
            "flag": [letter == "a" for letter in letters],
            "nullable flag": flags,
            "arrow": holes,
            "lists": pl.Series(lists, dtype=pl.List(pl.String)),
            "whole": whole,
            "real": real,
        }
    )
    return pandas, polars, real * (np.array(letters) == "a")


def test_pandas_and_polars_are_the_same():
    pandas, polars, y = every_type()
    models = [FMRegressor(2, max_iter=4, random_state=0).fit(frame, y) for frame in (pandas, polars)]
    assert_array_equal(models[0].factors_, models[1].factors_)
    assert_array_equal(models[0].encoded_feature_names_, models[1].encoded_feature_names_)
    assert_array_equal(models[0].predict(pandas), models[1].predict(polars))
    # A frame of the other library will do too: names and values are the same.
    assert_array_equal(models[0].predict(polars), models[1].predict(pandas))
    # Three letters, with a column for what is missing where there is any, and one for what is new.
    assert {name: int((models[0].fields_ == name).sum()) for name in pandas} == {
        "string": 4,
        "holes": 5,
        "category": 5,
        "ordered": 4,
        "flag": 1,
        "nullable flag": 4,
        "arrow": 5,
        "lists": 4,
        "whole": 1,
        "real": 1,
    }


def test_numbers_alone_are_left_as_they_are():
    frame, y = shop()
    numeric = frame[["size", "age"]]
    with_names = FMRegressor(2, max_iter=3, random_state=0).fit(numeric, y)
    without = FMRegressor(2, max_iter=3, random_state=0).fit(numeric.to_numpy(float), y)
    assert_array_equal(with_names.factors_, without.factors_)
    assert_array_equal(with_names.fields_, [0, 0])
    assert_array_equal(with_names.encoded_feature_names_, ["size", "age"])
    assert_array_equal(without.encoded_feature_names_, ["x0", "x1"])


@pytest.mark.parametrize("chosen", [["city", "member"], [1, 2], [-3, -2], [False, True, True, False]])
def test_categories_by_name_number_and_mask(chosen):
    frame, y = shop()
    frame["member"] = frame["member"].astype("category")
    expected = FMRegressor(2, max_iter=3, random_state=0).fit(frame, y)
    model = FMRegressor(2, max_iter=3, categorical_features=chosen, random_state=0).fit(frame, y)
    assert_array_equal(model.factors_, expected.factors_)


def test_dense_arrays_have_categories_too():
    frame, y = shop()
    frame["member"] = frame["member"].astype("category")
    expected = FMRegressor(2, max_iter=3, random_state=0).fit(frame, y)
    array = frame.to_numpy(object)
    model = FMRegressor(2, max_iter=3, categorical_features=[1, 2], random_state=0).fit(array, y)
    assert_array_equal(model.predict(array), expected.predict(frame))
    codes = np.column_stack([frame["city"].astype("category").cat.codes, frame["size"]])
    numbers = FMRegressor(2, max_iter=3, categorical_features=[0], random_state=0).fit(codes, y)
    assert_array_equal(numbers.encoded_feature_names_, ["x0_0.0", "x0_1.0", "x0_2.0", "x0_(unseen)", "x1"])


@pytest.mark.parametrize("solver", ["vb", "als", "adagrad", "ftrl"])
def test_categories_without_data_are_at_the_prior(solver):
    frame, y = shop()
    model = FMRegressor(2, solver=solver, random_state=0).fit(frame, y)
    unseen = model.encoded_feature_names_ == "city_(unseen)"
    cities = (model.fields_ == "city") & ~unseen
    if solver != "vb":
        assert_array_equal(model.coef_[unseen], 0)
        assert_array_equal(model.factors_[unseen], 0)
        return
    # The mean of the prior is tested below; how far a new city is from it is not known.
    variances = np.diagonal(model.covariances_, axis1=1, axis2=2)
    assert (variances[unseen] > variances[cities]).all()
    std = model.predict(frame.head(3), return_std=True)[1]
    std_new = model.predict(frame.head(3).assign(city="Bern"), return_std=True)[1]
    assert (std_new > 2 * std).all()


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("fit_linear", [True, False])
def test_empty_columns_have_the_prior_as_posterior(covariance_type, fit_linear):
    frame, y = shop(400)
    model = FMRegressor(
        2, covariance_type=covariance_type, fit_linear=fit_linear, max_iter=10, tol=0, random_state=0
    ).fit(frame, y)
    city = np.flatnonzero(model.fields_ == "city")
    # The mean of a prior is sum m / (n + 1), in units in which w counts the spread of y and v its root.
    for mean in (model.coef_, *model.factors_.T):
        assert_allclose(mean[city[-1]], mean[city[:-1]].sum() / len(city), rtol=1e-6, atol=1e-9)


def test_missing_categories_are_a_category():
    frame, y = shop()
    frame.loc[::4, "city"] = None
    y = y + 100 * (np.arange(200) % 4 == 0)
    model = FMRegressor(2, random_state=0).fit(frame, y)
    assert "city_None" in model.encoded_feature_names_
    assert_allclose(model.predict(frame.iloc[[0]].assign(city=np.nan)), model.predict(frame.iloc[[0]]))
    assert model.predict(frame.iloc[[0]])[0] > 80


def test_rare_categories_share_a_column():
    frame, y = shop()
    for parameters in ({"min_frequency": 80}, {"min_frequency": 0.4}, {"max_categories": 2}):
        model = FMRegressor(2, max_iter=3, random_state=0, **parameters).fit(frame, y)
        names = model.encoded_feature_names_[model.fields_ == "city"]
        assert_array_equal(names, ["city_Oslo", "city_infrequent_sklearn", "city_(unseen)"])
        rome, new = (model.predict(frame.head(4).assign(city=city)) for city in ("Rome", "Bern"))
        assert_array_equal(rome, new)
        assert list(model.embedding("city").index) == ["Oslo", "infrequent_sklearn"]


GENRES = ["drama|comedy", "comedy", "", None, "drama | comedy|drama", "war"] * 10


def as_lists(text):
    return None if text is None else [part.strip() for part in text.split("|") if part.strip()]


@pytest.mark.parametrize(("weights", "pair"), [("sqrt", 0.5**0.5), ("mean", 0.5), ("one", 1.0)])
def test_several_values_a_row(weights, pair):
    text = pd.DataFrame({"genres": GENRES})
    lists = pd.DataFrame({"genres": [as_lists(value) for value in GENRES]})
    frames = {
        "delimited": (text, {"genres": "|"}),
        "by number": (text, {0: "|"}),
        "lists, by type": (lists, None),
        "lists": (lists, {"genres": None}),
        "lists, named": (lists, ["genres"]),
        "polars": (
            pl.DataFrame({"genres": pl.Series([as_lists(v) for v in GENRES], dtype=pl.List(pl.String))}),
            None,
        ),
    }
    y = np.arange(len(GENRES)) % 6.0
    encodings = {}
    for name, (frame, features) in frames.items():
        model = FMRegressor(2, max_iter=2, multi_value_features=features, multi_value_weights=weights).fit(
            frame, y
        )
        assert_array_equal(
            model.encoded_feature_names_,
            ["genres_comedy", "genres_drama", "genres_war", "genres_None", "genres_(unseen)"],
        )
        encodings[name] = model.encode(frame).toarray()
    expected = [
        [pair, pair, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0] * 5,
        [0, 0, 0, 1, 0],
        [pair, pair, 0, 0, 0],
        [0, 0, 1, 0, 0],
    ]
    for encoding in encodings.values():
        assert_allclose(encoding, expected * 10)
    new = model.encode(pl.DataFrame({"genres": [["opera", "ballet"], ["opera", "war"]]})).toarray()
    assert_allclose(new, [[0, 0, 0, 0, 2 * pair], [0, 0, pair, 0, pair]])


def test_lists_that_are_all_empty():
    frame = pd.DataFrame({"tags": [[], [], []], "size": [1.0, 2.0, 4.0]})
    model = FMRegressor(2, max_iter=2, random_state=0).fit(frame, [1.0, 2.0, 4.0])
    assert np.isfinite(model.predict(frame.assign(tags=[["a"], [], ["b", "c"]]))).all()


def test_given_fields_are_those_of_the_frame():
    frame, y = shop()
    model = FMRegressor(2, max_iter=3, fields=["a", "b", "b", "a"], random_state=0).fit(frame, y)
    assert_array_equal(model.fields_, ["a", *"bbbbb", "a"])
    with pytest.raises(ValueError, match="each of the 4 columns"):
        FMRegressor(fields=[0] * 9).fit(frame, y)


def test_float32_numbers_stay_so():
    frame, y = shop()
    narrow = frame.astype({"size": "float32", "age": "float32"})
    assert FMRegressor(2, max_iter=2).fit(narrow, y).predict(narrow).dtype == np.float32
    assert FMRegressor(2, max_iter=2).fit(frame, y).predict(frame).dtype == np.float64


@pytest.mark.parametrize("solver", ["vb", "adagrad"])
def test_weights_of_zero_leave_categories_out(solver):
    frame, y = shop()
    weight = np.where(frame["city"] == "Wien", 0.0, 1.0)
    kept = weight > 0
    model = FMRegressor(2, solver=solver, max_iter=4, random_state=0).fit(frame, y, sample_weight=weight)
    other = FMRegressor(2, solver=solver, max_iter=4, random_state=0).fit(frame[kept], y[kept])
    assert_array_equal(model.encoded_feature_names_, other.encoded_feature_names_)
    assert_array_equal(model.factors_, other.factors_)
    polars = FMRegressor(2, solver=solver, max_iter=4, random_state=0)
    assert_array_equal(polars.fit(pl.from_pandas(frame), y, sample_weight=weight).factors_, model.factors_)


def test_weights_are_repeats():
    frame, y = shop(60)
    times = np.random.default_rng(0).integers(1, 4, 60)
    rows = np.repeat(np.arange(60), times)
    model = FMRegressor(2, max_iter=10, random_state=0).fit(frame, y, sample_weight=times)
    other = FMRegressor(2, max_iter=10, random_state=0).fit(frame.iloc[rows], y[rows])
    assert_allclose(model.predict(frame), other.predict(frame), rtol=1e-6)


def test_labels_of_classes():
    frame, y = shop()
    labels = np.where(y > 1, "high", np.where(y < -1, "low", "mid"))
    model = FMClassifier(2, random_state=0).fit(frame, labels)
    assert model.score(frame, labels) > 0.9
    vectors = model.embedding("city")
    assert vectors.index.names == ["class", "city"]
    assert_array_equal(vectors.loc[("low", "Rome")], model.factors_[1, 2])


def test_embedding_holds_the_factors_of_the_categories():
    frame, y = shop()
    model = FMRegressor(3, max_iter=5, random_state=0).fit(frame, y)
    vectors = model.embedding("city")
    assert list(vectors.index) == ["Oslo", "Rome", "Wien"]
    assert vectors.index.name == "city"
    assert_array_equal(vectors, model.factors_[1:4])
    with pytest.raises(ValueError, match="no column of categories 'size'"):
        model.embedding("size")
    with pytest.raises(ValueError, match="fitted to numbers alone"):
        FMRegressor(2, max_iter=2).fit(frame[["size"]], y).embedding("size")


# ------------------------------------------------------------------------- the rest of the estimator


def test_validation_data_and_early_stopping():
    frame, y = shop(300)
    train, held_out = frame[:200], frame[200:].assign(city="Bern")
    model = FMRegressor(2, random_state=0).fit(train, y[:200], X_val=held_out, y_val=y[200:])
    assert len(model.history_["validation_loss"]) == model.n_iter_
    model = FMRegressor(2, early_stopping=True, random_state=0).fit(pl.from_pandas(frame), y)
    assert len(model.history_["validation_loss"]) == model.n_iter_


def test_partial_fit_keeps_to_the_first_categories():
    frame, y = shop(300)
    model = FMRegressor(2, solver="adagrad", batch_size=20, random_state=0).partial_fit(frame[:200], y[:200])
    names = model.encoded_feature_names_
    before = model.coef_.copy()
    new = frame[200:].assign(city="Bern")
    with pytest.warns(UserWarning, match="'city' has 1"):
        model.partial_fit(new, y[200:] + 50)
    assert_array_equal(model.encoded_feature_names_, names)
    # New categories are learned together.
    assert model.coef_[names == "city_(unseen)"] > before[names == "city_(unseen)"]


def test_warm_start_keeps_the_categories():
    frame, y = shop(300)
    model = FMRegressor(2, max_iter=3, warm_start=True, random_state=0).fit(frame[:200], y[:200])
    names = model.encoded_feature_names_
    with pytest.warns(UserWarning, match="'city' has 1"):
        model.fit(frame[200:].assign(city="Bern"), y[200:])
    assert_array_equal(model.encoded_feature_names_, names)


@pytest.mark.parametrize("convert", [lambda frame: frame, pl.from_pandas], ids=["pandas", "polars"])
def test_frames_in_chunks(convert):
    frame, y = shop(300)
    chunks = Chunks([(convert(frame[i : i + 100]), y[i : i + 100]) for i in (0, 100, 200)])
    model = FMRegressor(2, solver="adagrad", max_iter=30, random_state=0).fit(chunks)
    assert model.score(frame, y) > 0.8


def test_callbacks_see_the_frame():
    callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    frame, y = shop()
    weight = np.where(np.arange(len(y)) % 3, 1.0, 0.0)
    monitor = callback.ScoringMonitor(scoring="r2")
    FMRegressor(2, max_iter=4, random_state=0).set_callbacks(monitor).fit(frame, y, sample_weight=weight)
    scores = [entry["r2"] for entry in monitor.get_logs().data if entry["task_name"] == "sweep"]
    assert len(scores) == 4
    assert scores[-1] > 0.9


def test_models_travel():
    frame, y = shop()
    model = FMRegressor(2, max_iter=3, random_state=0).fit(frame, y)
    data = skops.io.dumps(model)
    for again in (
        pickle.loads(pickle.dumps(model)),
        skops.io.loads(data, trusted=["skfm._regressor.FMRegressor"]),
    ):
        assert_array_equal(again.predict(frame), model.predict(frame))
    assert not hasattr(clone(model), "factors_")


def test_fitted_to_numbers_after_a_frame():
    frame, y = shop()
    model = FMRegressor(2, max_iter=3, random_state=0).fit(frame, y)
    model.fit(by_hand(frame), y)
    assert model.n_features_in_ == 7
    with pytest.raises(ValueError, match="fitted to numbers alone"):
        model.embedding("city")


# -------------------------------------------------------------------------------------------- errors


def broken(**columns):
    return shop()[0].assign(**columns)


#: name: (frame, parameters, error, message with * for any text)
BAD_FRAMES = {
    "dates": (
        lambda: broken(age=pd.NaT),
        {},
        ValueError,
        "Column 'age' has no values in the training data: all dates are missing",
    ),
    "times of the day": (
        lambda: broken(age=datetime.time(12)),
        {},
        TypeError,
        "'age' holds datetime.time(12, 0) of type time,*days since the first date",
    ),
    "periods": (
        lambda: broken(age=pd.period_range("2024", periods=200)),
        {},
        TypeError,
        "'age' has dtype period[*days since the first date",
    ),
    "objects": (lambda: broken(age=object()), {}, TypeError, "of type object, which is neither a number nor"),
    "only missing numbers": (
        lambda: broken(age=np.nan),
        {},
        ValueError,
        "Column 'age' has no values in the training data",
    ),
    "only missing numbers without categories": (
        lambda: broken(age=np.nan).drop(columns="city"),
        {},
        ValueError,
        "Column 'age' has no values in the training data",
    ),
    "missing flag as a number": (
        lambda: broken(member=pd.array([True, None] * 100, "boolean")),
        {"categorical_features": ["city"]},
        ValueError,
        "contains NaN: column 'member' in row 1*Impute the missing",
    ),
    "infinite": (
        lambda: broken(age=np.inf),
        {},
        ValueError,
        "contains infinity: column 'age' in row 0*Replace infinite numbers",
    ),
    "infinite and missing": (
        lambda: broken(age=[np.nan, np.inf] * 100).drop(columns="city"),
        {},
        ValueError,
        "contains infinity: column 'age' in row 1 (100 such rows in total). Replace",
    ),
    "two types": (
        lambda: broken(city=[1, "a"] * 100),
        {},
        TypeError,
        "'city' holds categories of several types: int, str",
    ),
    "text as numbers": (
        shop,
        {"categorical_features": ["member"]},
        ValueError,
        "'city' must hold numbers, but holds '",
    ),
    "lists as numbers": (
        lambda: broken(city=[["a"]] * 200),
        {"categorical_features": ["member"]},
        ValueError,
        "Include the column in multi_value_features",
    ),
    "unknown name": (shop, {"categorical_features": ["town"]}, ValueError, "'town', which X does not have"),
    "unknown number": (shop, {"categorical_features": [4]}, ValueError, "4, which X does not have"),
    "short mask": (
        shop,
        {"categorical_features": [True]},
        ValueError,
        "mask of length 1, but X has 4 columns",
    ),
    "numbers as lists": (
        shop,
        {"multi_value_features": {"city": None}},
        ValueError,
        "'city' must hold lists of values, but holds '",
    ),
    "lists as text": (
        lambda: broken(city=[["a"]] * 200),
        {"multi_value_features": {"city": "|"}},
        ValueError,
        "strings with values separated by '|'",
    ),
    "no delimiter": (shop, {"multi_value_features": {"city": ""}}, ValueError, "must be a delimiter"),
    "lazy": (lambda: pl.from_pandas(shop()[0]).lazy(), {}, TypeError, "Pass X.collect()"),
    "one name twice": (
        lambda: shop()[0].set_axis(["size", "city", "city", "age"], axis=1),
        {},
        ValueError,
        "several columns with the same name: * times. Rename them.",
    ),
    "complex": (lambda: broken(age=1j), {}, ValueError, "'age' must hold numbers"),
    "strings in an array": (
        lambda: shop()[0].to_numpy(object),
        {},
        ValueError,
        "pass it as a DataFrame, or name them in categorical_features",
    ),
    "sparse": (
        lambda: sparse.eye(200).tocsr(),
        {"categorical_features": [0]},
        TypeError,
        "but X is a sparse matrix",
    ),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_are_named_and_nothing_is_lost(name):
    make, parameters, error, message = BAD_FRAMES[name]
    frame, y = shop()
    model = FMRegressor(2, max_iter=2, random_state=0).fit(frame, y)
    before = model.predict(frame)
    X = make()
    with pytest.raises(error, match="(?s)" + re.escape(message).replace(r"\*", ".*")):
        model.set_params(**parameters).fit(X[0] if isinstance(X, tuple) else X, y)
    assert_array_equal(model.predict(frame), before)


@pytest.mark.parametrize("columns", [["size", "age"], ["size", "city"]])
def test_frames_that_are_not_evaluated_are_refused_everywhere(columns):
    frame, y = shop()
    frame = pl.from_pandas(frame[columns])
    model = FMRegressor(2, solver="adagrad", max_iter=2, random_state=0).fit(frame, y)
    lazy = frame.lazy()
    for call in (
        model.predict,
        model.encode,
        lambda X: model.fit(X, y),
        lambda X: model.partial_fit(X, y),
        lambda X: model.fit(frame, y, X_val=X, y_val=y),
    ):
        with pytest.raises(TypeError, match=r"has not been evaluated yet\. Pass X\.collect"):
            call(lazy)


@pytest.mark.parametrize("dtype", [str, object])
def test_strings_in_y(dtype):
    frame, y = shop()
    labels = np.where(y > 0, "yes", "no").astype(dtype)
    with pytest.raises(ValueError, match="if y holds classes, use FMClassifier"):
        FMRegressor().fit(frame[["size", "age"]], labels)


def test_no_rows():
    frame, y = shop()
    with pytest.raises(ValueError, match="Found 0 samples, while FMRegressor needs at least 1"):
        FMRegressor().fit(frame[:0], y[:0])


def test_bad_frames_at_predict():
    frame, y = shop()
    model = FMRegressor(2, max_iter=2, random_state=0).fit(frame, y)
    before = model.predict(frame)
    with pytest.raises(ValueError, match="'age' must hold numbers, but holds 'old'"):
        model.predict(frame.assign(age="old"))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"age": "years"}))
    array = frame.to_numpy(object)
    with pytest.raises(ValueError, match="X has 3 features"), pytest.warns(match="feature names"):
        model.predict(array[:, :3])
    with pytest.warns(match="feature names"):
        assert_array_equal(model.predict(array), before)
    with pytest.raises(ValueError, match=r"pass X.iloc\[\[0\]\]"):
        model.predict(frame.iloc[0])
    # Another type of value is another category, and hardly what was meant.
    with pytest.warns(match="Column 'city' holds values of type number, but the model was fitted to str"):
        predicted = model.predict(frame.assign(city=3))
    assert_array_equal(predicted, model.predict(frame.assign(city="Bern")))


CELLS = st.one_of(
    st.lists(st.sampled_from(["a", "b", "", "ü", None]), min_size=8, max_size=8),
    st.lists(st.sampled_from([True, False, None]), min_size=8, max_size=8),
    st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8),
    st.lists(st.integers(-5, 5), min_size=8, max_size=8),
    st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=8, max_size=8),
)


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_any_frame_gives_finite_predictions_whatever_its_library(columns):
    data = {f"column {i}": values for i, values in enumerate(columns)}
    pandas = pd.DataFrame(data)
    polars = pl.DataFrame(data, strict=False)
    if any(series.isna().all() for _, series in pandas.items()):
        return  # a column of nothing has no type
    y = np.arange(8.0)
    models = [FMRegressor(2, max_iter=2, random_state=0).fit(frame, y) for frame in (pandas, polars)]
    assert np.isfinite(models[0].predict(pandas)).all()
    assert_array_equal(models[0].predict(pandas), models[1].predict(polars))
