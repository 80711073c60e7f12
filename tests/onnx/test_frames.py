"""Models that were fitted to DataFrames, in ONNX: one input per column, for all kinds of columns."""

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skfm import FMClassifier, FMRegressor
from skfm.onnx import to_onnx

N = 200
COLUMNS = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": bool,
    "tensor(string)": object,
}

#: The type of the input for each column that is one-hot encoded in the frame of `table`.
CATEGORIES = {
    "object": "tensor(string)",
    "object with None": "tensor(string)",
    "string": "tensor(string)",
    "string with NaN": "tensor(string)",
    "category": "tensor(string)",
    "category with NaN": "tensor(string)",
    "category of ints": "tensor(int64)",
    "bool": "tensor(bool)",
    "bool as object": "tensor(string)",
    "boolean with NA": "tensor(double)",
    "int": "tensor(int64)",
    "int32": "tensor(int32)",
    "Int64 with NA": "tensor(double)",
    "float with NaN": "tensor(double)",
    "float32": "tensor(float)",
    "fractions": "tensor(double)",
}


def table():
    """One column of each kind."""
    rng = np.random.default_rng(0)

    def pick(*values, dtype=object):
        return pd.Series(np.array(values, object)[rng.integers(0, len(values), N)], dtype=dtype)

    columns = {
        "object": pick("red", "green", "blue"),
        "object with None": pick("red", "green", None),
        "string": pick("red", "green", "blue", dtype="string"),
        "string with NaN": pick("red", "green", np.nan, dtype="str"),
        "category": pick("red", "green", "blue", dtype="category"),
        "category with NaN": pick("red", "green", None, dtype="category"),
        "category of ints": pick(3, 5, 7, dtype="category"),
        "bool": pick(True, False, dtype=bool),
        "bool as object": pick(True, False, None),
        "boolean with NA": pick(True, False, None, dtype="boolean"),
        "int": pick(-3, 5, 2**60 + 1, dtype=np.int64),
        "int32": pick(-3, 5, 7, dtype=np.int32),
        "Int64 with NA": pick(-3, 5, None, dtype="Int64"),
        "float with NaN": pick(1.0, 2.0, np.nan, dtype=float),
        "float32": pick(1.0, 0.5, 0.1, dtype=np.float32),
        "fractions": pick(0.1, 0.25, 3.0, np.nan, dtype=float),
    }
    numbers = {
        "number": rng.standard_normal(N),
        "number32": rng.standard_normal(N).astype(np.float32),
        "count": rng.integers(10**12, 10**12 + 9, N),
        "flag": rng.random(N) < 0.4,
    }
    return pd.DataFrame(columns | numbers)


def with_unknown(X):
    """The table with a category that the fit did not see in every column that can hold one."""
    X = X.copy()
    for name in CATEGORIES:
        values = X[name].astype(object)
        if "bool" in name:
            continue
        values[:3] = "mauve" if isinstance(values.dropna().iloc[0], str) else values.dropna().iloc[0] + 4
        X[name] = values.astype("category" if X[name].dtype == "category" else X[name].dtype)
    return X


def fed(session, X):
    """The columns as inputs of a session, which have to be of the declared types."""
    inputs = {}
    # Names in ONNX have no spaces.
    names = {name.replace(" ", "_"): name for name in X}
    for given in session.get_inputs():
        values = X[[names[given.name]]].to_numpy()
        if given.type == "tensor(double)" and values.dtype == object:
            # Missing integers and booleans are NaN.
            values = np.array([[np.nan if v is None or v is pd.NA else v] for v in values[:, 0]], float)
        assert values.dtype == COLUMNS[given.type]
        inputs[given.name] = values
    return inputs


def expected_of(model, X):
    return model.predict(X)[:, None] if isinstance(model, FMRegressor) else model.predict_proba(X)


def target(X, estimator):
    y = X["number"] * (X["object"] == "red") + X["int32"] * X["flag"] + (X["fractions"] == 0.25)
    return y if estimator is FMRegressor else np.array(["low", "middle", "high"])[np.digitize(y, [0, 1])]


@pytest.mark.parametrize("estimator", [FMRegressor, FMClassifier])
@pytest.mark.parametrize("solver", ["vb", "mcmc", "adagrad"])
@pytest.mark.parametrize("options", [{}, {"min_frequency": 60}], ids=["all", "rare"])
def test_every_kind_of_column(estimator, solver, options):
    X = table()
    model = estimator(
        2, solver=solver, max_iter=6, random_state=0, categorical_features=list(CATEGORIES), **options
    ).fit(X, target(X, estimator))
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    types = {given.name: given.type for given in session.get_inputs()}
    assert list(types) == [name.replace(" ", "_") for name in X]
    assert list(types.values())[: len(CATEGORIES)] == list(CATEGORIES.values())
    for rows in (X, with_unknown(X)):
        found = session.run(None, fed(session, rows))
        assert_allclose(found[-1], expected_of(model, rows), atol=1e-9)
        if estimator is FMClassifier:
            assert_array_equal(found[0], model.predict(rows))


@pytest.mark.parametrize("name", CATEGORIES)
def test_a_single_column(name):
    """Each kind of column by itself, with unknown and missing values."""
    X = table()[[name]]
    y = np.random.default_rng(0).standard_normal(N) + 2.0 * pd.factorize(X[name])[0]
    model = FMRegressor(2, max_iter=5, random_state=0, categorical_features=[name]).fit(X, y)
    # Any row describes the type of its column.
    for row in (0, int(np.argmax(X[name].isna()))):
        session = onnxruntime.InferenceSession(to_onnx(model, X[row : row + 1]).SerializeToString())
        assert session.get_inputs()[0].type == CATEGORIES[name]
    rows = X if "bool" in name else with_unknown(table())[[name]]
    assert_allclose(session.run(None, fed(session, rows))[0][:, 0], model.predict(rows), atol=1e-5, rtol=1e-6)


def test_missing_categories_that_the_fit_did_not_see():
    X = pd.DataFrame({"shop": ["a", "b"] * 20, "size": [1.0, 2.0, 2.0, 1.0] * 10})
    y = np.arange(40) % 4
    model = FMRegressor(2, max_iter=5, random_state=0, categorical_features=["shop", "size"]).fit(X, y)
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    new = pd.DataFrame({"shop": ["a", None, np.nan], "size": [np.nan, 1.0, 2.0]}).astype({"shop": object})
    assert_allclose(session.run(None, fed(session, new))[0][:, 0], model.predict(new), atol=1e-9)


def test_columns_of_polars():
    rng = np.random.default_rng(0)
    words = rng.choice(["u", "v"], (3, N)).tolist()
    X = pl.DataFrame(
        {
            "string": words[0],
            "categorical": pl.Series(words[1], dtype=pl.Categorical),
            "enum": pl.Series(words[2], dtype=pl.Enum(["v", "u"])),
            "bool": rng.choice([True, False, None], N).tolist(),
            "int": rng.choice([1, 2, None], N).tolist(),
            "number": rng.standard_normal(N),
        }
    )
    y = X["number"].to_numpy() * (np.array(words[0]) == "u") > 0
    model = FMClassifier(2, max_iter=5, random_state=0, categorical_features=list(X.columns[:5])).fit(X, y)
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    inputs = {name: X[name].to_numpy()[:, None] for name in X.columns}
    inputs["bool"] = X["bool"].cast(pl.Float64).to_numpy()[:, None]
    assert_allclose(session.run(None, inputs)[1], model.predict_proba(X), atol=1e-9)


def test_a_frame_of_numbers():
    """Without categories, the inputs of a DataFrame are its columns as well."""
    X = table()[["number", "number32", "count"]]
    model = FMClassifier(2, max_iter=5, random_state=0).fit(X, X["number"] * X["number32"] > 0)
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    assert [given.name for given in session.get_inputs()] == list(X)
    assert_allclose(session.run(None, fed(session, X))[1], model.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, object])
def test_columns_of_arrays(dtype):
    """An array whose columns are partly categories has one input, unless it holds objects."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 3, N), rng.integers(0, 9, N), rng.integers(5, 8, N)]).astype(dtype)
    model = FMRegressor(2, max_iter=5, random_state=0, categorical_features=[0, 2])
    model.fit(X, X[:, 0].astype(float) * X[:, 1].astype(float))
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    inputs = {
        given.name: X if len(given.name) == 1 else X[:, [number]].astype(COLUMNS[given.type])
        for number, given in enumerate(session.get_inputs())
    }
    assert len(inputs) == (3 if dtype is object else 1)
    assert_allclose(session.run(None, inputs)[0][:, 0], model.predict(X), atol=1e-4)


def test_inputs_by_name():
    """Declared inputs belong to the columns of their names."""
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    X = table()[["number", "object"]]
    model = FMRegressor(2, max_iter=5, random_state=0).fit(X, target(table(), FMRegressor))
    types = [("object", StringTensorType([None, 1])), ("number", DoubleTensorType([None, 1]))]
    session = onnxruntime.InferenceSession(to_onnx(model, initial_types=types).SerializeToString())
    assert_allclose(session.run(None, fed(session, X))[0][:, 0], model.predict(X), atol=1e-9)
    with pytest.raises(ValueError, match="Column 'object' holds strings, but its ONNX input"):
        to_onnx(model, initial_types=[("X", DoubleTensorType([None, 2]))])
    with pytest.raises(ValueError, match="Column 'number' holds numbers, but its ONNX input"):
        to_onnx(model, initial_types=[("X", StringTensorType([None, 2]))])
    with pytest.raises(ValueError, match="fitted to 2 columns, but its ONNX inputs have 3"):
        to_onnx(model, initial_types=[("X", StringTensorType([None, 3]))])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([["a"], ["a", "b"]], {}, "Column 'made of' is of kind 'list'"),
        (["a", "a|b"], {"multi_value_features": {"made of": "|"}}, "Column 'made of' is of kind 'list'"),
        (
            [pd.Timestamp("2020-01-01"), pd.Timestamp("2021-01-01")],
            {"categorical_features": ["made of"]},
            "Column 'made of' holds categories of type Timestamp",
        ),
        ([1, 2**63 + 1], {"categorical_features": ["made of"]}, "Column 'made of' holds the category 922337"),
    ],
    ids=["lists", "delimited", "dates", "large numbers"],
)
def test_columns_that_onnx_cannot_encode(values, options, message):
    X = pd.DataFrame({"made of": values * 10})
    model = FMRegressor(2, max_iter=2, **options).fit(X, np.arange(20.0))
    with pytest.raises(NotImplementedError, match=message):
        to_onnx(model, X[:1])


def test_other_columns_than_those_of_the_fit():
    X = table()[["object", "number"]]
    model = FMRegressor(2, max_iter=2).fit(X, np.arange(len(X)))
    with pytest.raises(ValueError, match="feature names"):
        to_onnx(model, X.rename(columns={"number": "digit"})[:1])


@pytest.mark.parametrize("order", [["shop", "price"], ["price", "shop"], ["age", "shop", "price"]])
@pytest.mark.parametrize("zipmap", [False, True, "columns"])
def test_pipelines_of_mixed_types(order, zipmap):
    """The outputs have the types of all columns together, whichever is the first."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "shop": rng.choice(["a", "b"], N).astype(object),
            "price": rng.uniform(1, 9, N),
            "age": rng.integers(1, 80, N),
        }
    )[order]
    parts = {"shop": OneHotEncoder(), "price": StandardScaler(), "age": "passthrough"}
    encoder = make_column_transformer(*((parts[name], [name]) for name in order))
    model = make_pipeline(encoder, FMClassifier(2, max_iter=5, random_state=0))
    model.fit(X, X["price"] * np.where(X["shop"] == "a", 1, -1) > 0)
    options = {} if zipmap is False else {"options": {id(model[-1]): {"zipmap": zipmap}}}
    session = onnxruntime.InferenceSession(to_onnx(model, X[:1], **options).SerializeToString())
    label, *p = session.run(None, fed(session, X))
    if zipmap is True:
        p = [[[of_row[0], of_row[1]] for of_row in p[0]]]
    elif zipmap == "columns":
        p = [np.column_stack(p)]
    assert_allclose(p[0], model.predict_proba(X), atol=1e-6 if zipmap else 1e-9)
    assert_array_equal(label, model.predict(X))
