"""ArrowChunks: what FeatureHasher and OneHotEncoder make of the same rows, in chunks of equal size."""

import datetime
import decimal
import itertools
import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as dataset
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.feature_extraction import FeatureHasher
from sklearn.preprocessing import OneHotEncoder

from skfm.streaming import ArrowChunks

NAMES = st.sampled_from(["Ann", "Bo", "", "é", "a=b", None])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": NAMES,
            "shop": NAMES,
            "code": st.sampled_from([3, 1, 700, None]),
            "age": st.sampled_from([0.0, 1.5, -3.0]),
            "count": st.integers(-5, 5),
            "flag": st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)


def make_table(rows):
    """A table of all kinds of columns, in pieces of unequal size whose dictionaries differ."""
    schema = pa.schema(
        {
            "user": pa.string(),
            "shop": pa.dictionary(pa.int8(), pa.string()),
            "code": pa.dictionary(pa.int32(), pa.int64()),
            "age": pa.float64(),
            "count": pa.int16(),
            "flag": pa.bool_(),
            "y": pa.int64(),
        }
    )
    rows = [{**row, "y": k} for k, row in enumerate(rows)]
    cuts = [0, len(rows) // 5, len(rows) // 5, len(rows) // 2, len(rows)]
    pieces = [pa.Table.from_pylist(rows[a:b], schema=schema) for a, b in itertools.pairwise(cuts)]
    return pa.concat_tables(pieces)


def as_source(table, kind):
    if kind == "table":
        return table
    if kind == "dataset":
        return dataset.dataset(table)
    return lambda: table.to_reader()


def whole(chunks):
    X, y, weight = zip(*chunks, strict=True)
    X = sp.vstack(X) if sp.issparse(X[0]) else np.concatenate(X)
    return X, np.concatenate(y), None if weight[0] is None else np.concatenate(weight)


KINDS = pytest.mark.parametrize("kind", ["table", "dataset", "reader"])


@KINDS
@given(
    rows=ROWS, batch_rows=st.integers(1, 14), signs=st.booleans(), n_features=st.sampled_from([1, 7, 4096])
)
def test_hashing_equals_feature_hasher_on_dicts(kind, rows, batch_rows, signs, n_features):
    hasher = FeatureHasher(n_features, alternate_sign=signs)
    data = ArrowChunks(
        as_source(make_table(rows), kind),
        target="y",
        hasher=hasher if signs else n_features,
        batch_rows=batch_rows,
        dtype=np.float64,
    )
    dicts = [
        {
            name: ("<missing>" if value is None else str(value))
            if name in ("user", "shop", "code")
            else value
            for name, value in row.items()
        }
        for row in rows
    ]
    X, y, weight = whole(data)
    expected = hasher.transform(dicts)
    assert X.shape == expected.shape
    assert data.n_features == n_features
    assert_allclose(X.toarray(), expected.toarray(), atol=1e-12)
    if n_features == 4096:  # no collisions: the same entries in the same order
        assert_array_equal(X.indices, expected.indices)
        assert_array_equal(X.indptr, expected.indptr)
    assert_array_equal(y, range(len(rows)))
    assert weight is None
    assert data.fields is None
    assert data.feature_names is None


CATEGORIES = {"user": ["Bo", "Ann", "é"], "shop": ["Ann", "", None], "code": [1, 700], "count": [-1, 0, 2, 5]}


@KINDS
@given(rows=ROWS, batch_rows=st.integers(1, 14))
def test_given_categories_equal_one_hot_encoder(kind, rows, batch_rows):
    data = ArrowChunks(
        as_source(make_table(rows), kind),
        target="y",
        columns=["age", "user", "count", "shop", "flag", "code"],
        categories=CATEGORIES,
        batch_rows=batch_rows,
        dtype=np.float64,
    )
    expected = []
    for name in data.columns:
        values = np.array([row[name] for row in rows], dtype=object).reshape(-1, 1)
        if name in CATEGORIES:
            categories = [np.array(CATEGORIES[name], dtype=object)]
            encoder = OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False)
            expected.append(encoder.fit(categories[0][:1, None]).transform(values))
        else:
            expected.append(values.astype(float))
    X, y, _ = whole(data)
    assert_array_equal(X.toarray(), np.hstack(expected))
    assert_array_equal(y, range(len(rows)))
    assert data.feature_names.tolist() == [
        *("age", "user_Bo", "user_Ann", "user_é", "count_-1", "count_0", "count_2", "count_5"),
        *("shop_Ann", "shop_", "shop_None", "flag", "code_1", "code_700"),
    ]
    assert data.fields.tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5, 5]
    assert data.n_features == len(data.fields)


@KINDS
@given(rows=ROWS, batch_rows=st.integers(1, 14), start=st.integers(0, 13))
def test_chunks_have_equal_sizes_and_begin_anywhere(kind, rows, batch_rows, start):
    data = ArrowChunks(as_source(make_table(rows), kind), target="y", hasher=50, batch_rows=batch_rows)
    numbers = list(range(len(rows)))
    expected = [numbers[at : at + batch_rows] for at in range(0, len(rows), batch_rows)]
    assert [chunk.y.tolist() for chunk in data] == expected
    assert [chunk.y.tolist() for chunk in data.chunks(start=start)] == expected[start:]
    assert data.n_chunks == (len(expected) if kind == "table" else None)


def test_numbers_only_are_dense():
    table = pa.table({"a": [1, 2], "b": [True, False], "c": [0.5, 0.0], "y": [0.0, 1.0], "w": [1, 2]})
    data = ArrowChunks(table, target="y", weight="w", columns=["c", "a", "b"])
    ((X, y, weight),) = data
    assert isinstance(X, np.ndarray)
    assert X.dtype == np.float32
    assert X.tolist() == [[0.5, 1, 1], [0, 2, 0]]
    assert y.tolist() == [0, 1]
    assert weight.tolist() == [1, 2]
    assert weight.dtype == np.float64
    assert data.feature_names.tolist() == ["c", "a", "b"]
    assert data.fields.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{"hasher": 20}, {"categories": {"user": ["Ann"]}}])
def test_types(dtype, options):
    table = pa.table({"user": ["Ann", "Bo"], "x": [1, 2], "y": [0, 1]})
    ((X, _, _),) = ArrowChunks(table, target="y", dtype=dtype, **options)
    assert X.format == "csr"
    assert X.dtype == dtype
    assert X.indices.dtype == X.indptr.dtype == np.int32


def test_hashing_into_a_number_of_columns_has_no_signs():
    table = pa.table({"user": [f"user {k}" for k in range(50)], "y": range(50)})
    ((X, _, _),) = ArrowChunks(table, target="y", hasher=1000)
    assert (X.data == 1).all()
    ((X, _, _),) = ArrowChunks(table, target="y", hasher=FeatureHasher(1000, input_type="string"))
    assert set(X.data) == {-1, 1}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (pa.array([1, 2]), [1, 2]),
        (pa.array([1.5, 2.5], pa.float32()), [1.5, 2.5]),
        (pa.array([True, False]), [True, False]),
        (pa.array(["no", "yes"]), ["no", "yes"]),
        (pa.array(["no", "yes"]).dictionary_encode(), ["no", "yes"]),
        (pa.array([decimal.Decimal("1.5"), decimal.Decimal("2")]), [1.5, 2.0]),
    ],
)
def test_targets(target, expected):
    ((_, y, _),) = ArrowChunks(pa.table({"x": [1, 2], "y": target}), target="y")
    assert y.tolist() == expected
    assert np.unique(y).tolist() == sorted(expected)


@pytest.mark.parametrize("text", ["string", "large_string", "string_view", "dictionary"])
def test_strings_of_all_types(text):
    column = pa.array(["Ann", None, "Bo"], pa.large_string())
    if text == "dictionary":
        column = column.dictionary_encode().cast(pa.dictionary(pa.int16(), pa.large_string()))
    elif not hasattr(pa, text):
        pytest.skip(f"this pyarrow has no {text}")
    else:
        column = pa.array(column.to_pylist(), getattr(pa, text)())
    table = pa.table({"user": column, "y": range(3)})
    ((X, _, _),) = ArrowChunks(table, target="y", categories={"user": ["Ann", "Bo"]})
    assert X.toarray().tolist() == [[1, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("values", "categories", "expected"),
    [
        ([1, None, 3, 2**60 + 1], [1, 2**60 + 1], [[1, 0], [0, 0], [0, 0], [0, 1]]),
        ([True, False, None], [False, True], [[0, 1], [1, 0], [0, 0]]),
        ([0.5, None, 2.0], [0.5, 1, None], [[1, 0, 0], [0, 0, 1], [0, 0, 0]]),
        ([1, 2, 2], pa.array([1, 2]), [[1, 0], [0, 1], [0, 1]]),
        ([1, 2, 2], np.array([1.0, 2.0]), [[1, 0], [0, 1], [0, 1]]),
    ],
)
def test_numbers_as_categories(values, categories, expected):
    table = pa.table({"user": values, "y": range(len(values))})
    ((X, _, _),) = ArrowChunks(table, target="y", categories={"user": categories})
    assert X.toarray().tolist() == expected


def test_pandas_output_of_other_transformers_does_not_matter():
    table = pa.table({"user": ["Ann"], "y": [0]})
    with config_context(transform_output="pandas"):
        for options in ({"hasher": 5}, {"categories": {"user": ["Ann"]}}):
            ((X, _, _),) = ArrowChunks(table, target="y", **options)
            assert X.sum() == 1


def test_large_dictionaries_of_which_few_values_occur():
    names = [f"user {k}" for k in range(1000)]
    column = pa.DictionaryArray.from_arrays(pa.array([999, 5, None, 5], pa.int16()), names)
    table = pa.table({"user": column, "y": range(4)})
    data = ArrowChunks(table, target="y", hasher=10**6, batch_rows=2)
    X, _, _ = whole(data)
    expected = FeatureHasher(10**6, alternate_sign=False).transform(
        {"user": name} for name in ("user 999", "user 5", "<missing>", "user 5")
    )
    assert_array_equal(X.indices, expected.indices)


def test_dictionaries_with_nulls_among_their_values():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["Ann", None]))
    table = pa.table({"user": column, "y": range(3)})
    ((X, _, _),) = ArrowChunks(table, target="y", categories={"user": ["Ann", None]})
    assert X.toarray().tolist() == [[1, 0], [0, 1], [0, 1]]


def test_pickle_with_a_table():
    data = ArrowChunks(
        make_table([{"user": "Ann", "age": 1.0, "count": 2, "flag": True}]), target="y", hasher=9
    )
    copy = pickle.loads(pickle.dumps(data))
    assert_array_equal(whole(copy)[0].toarray(), whole(data)[0].toarray())


# -------------------------------------------------------------------------------------------- errors

TABLE = pa.table(
    {
        "user": ["Ann", "Bo"],
        "age": [1.0, 2.0],
        "day": [datetime.date(2020, 1, 1)] * 2,
        "y": [0, 1],
        "w": [1.0, 1.0],
        "name": ["a", "b"],
    }
)
GOOD = {"target": "y", "columns": ["user", "age"], "hasher": 10}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "z"}, ValueError, "target: there is no column 'z'. The columns are 'user', 'age'"),
        ({"weight": "z"}, ValueError, "weight: there is no column 'z'"),
        ({"columns": ["user", "z"]}, ValueError, "columns: there is no column 'z'"),
        ({"columns": ["user", "y"]}, ValueError, "'y' is the target, so it cannot also be in columns"),
        ({"columns": ["w"], "weight": "w"}, ValueError, "'w' is the weight, so"),
        ({"weight": "y"}, ValueError, "'y' cannot be both the target and the weight"),
        ({"columns": ["age", "user", "age"]}, ValueError, "Column 'age' is in columns more than once"),
        ({"columns": []}, ValueError, "There are no columns to use"),
        ({"columns": "user"}, TypeError, "columns must be a list of names, got the string 'user'"),
        ({"columns": None}, TypeError, r"Column 'day' has type date32\[day\], which is neither"),
        ({"hasher": None}, ValueError, "Column 'user' is categorical .*Pass the number of columns"),
        ({"hasher": None, "categories": {}}, ValueError, "Column 'user' is categorical"),
        ({"categories": {"user": ["Ann"]}}, ValueError, "categories and hasher are mutually exclusive"),
        (
            {"hasher": None, "categories": {"name": ["a"]}},
            ValueError,
            "categories has 'name', which is not one",
        ),
        (
            {"hasher": None, "categories": {"user": "a"}},
            TypeError,
            "categories of column 'user' must be a list",
        ),
        ({"hasher": None, "categories": {"user": []}}, ValueError, "Column 'user' has no categories"),
        (
            {"hasher": None, "categories": {"user": ["a", "a"]}},
            ValueError,
            "Category 'a' of column 'user' is given",
        ),
        (
            {"hasher": None, "categories": {"user": [1, 2]}},
            TypeError,
            "Category 1 of column 'user' must be a string",
        ),
        (
            {"hasher": None, "categories": {"user": [None, "a"]}},
            TypeError,
            "Category None .*must be the last category",
        ),
        (
            {"hasher": None, "columns": ["age"], "categories": {"age": ["1"]}},
            TypeError,
            "Category '1' of column 'age' must be a number",
        ),
        (
            {"hasher": None, "columns": ["age"], "categories": {"age": [2, 1]}},
            ValueError,
            "The categories of column 'age' cannot be used: Unsorted",
        ),
        ({"hasher": 0}, ValueError, "hasher must be at least 1"),
        ({"hasher": 2**40}, ValueError, "'n_features' parameter of FeatureHasher"),
        (
            {"hasher": "10"},
            TypeError,
            "hasher must be an integer number of columns or a FeatureHasher, got str",
        ),
        ({"weight": "name"}, TypeError, "The weight 'name' must be a number, got type string"),
        ({"target": "day"}, TypeError, "The target 'day' must be a number, a boolean or a string"),
        ({"batch_rows": 0}, ValueError, "batch_rows must be at least 1"),
        ({"dtype": np.float16}, ValueError, "dtype must be float32 or float64"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        ArrowChunks(TABLE, **{**GOOD, **options})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TABLE.to_reader(), "can be read only once. Pass a function"),
        (TABLE.to_pandas(), r"got DataFrame. For a DataFrame, pass pyarrow.Table.from_pandas"),
        (lambda: TABLE, r"data\(\) must return a RecordBatchReader, got Table"),
    ],
    ids=["reader", "frame", "function"],
)
def test_bad_data(data, message):
    with pytest.raises(TypeError, match=message):
        ArrowChunks(data, **GOOD)


def test_names_that_occur_twice():
    table = pa.Table.from_arrays([pa.array([1])] * 3, names=["x", "x", "y"])
    with pytest.raises(ValueError, match="columns: there are 2 columns 'x'"):
        ArrowChunks(table, target="y")


def test_a_reader_with_another_schema():
    tables = iter([TABLE, TABLE.drop_columns(["age"])])
    data = ArrowChunks(lambda: next(tables).to_reader(), **GOOD)
    with pytest.raises(ValueError, match=r"a different schema than the first one: user \(string\)"):
        list(data)


@pytest.mark.parametrize("hasher", [None, 10])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"x": pa.array([1.0, 2, 3, None])}, "Column 'x' has a null in row 3. Replace it with a number"),
        ({"x": pa.array([1, 2, 3, None])}, "Column 'x' has a null in row 3"),
        ({"x": pa.array([1.0, 2, 3, np.nan])}, "Column 'x' has the value nan in row 3, which is not finite"),
        ({"x": pa.array([1.0, 2, 3, 1e300])}, r"Column 'x' has the value 1e\+300 in row 3, .*float32"),
        ({"w": pa.array([1.0, 2, 3, None])}, "Column 'w' has a null in row 3"),
        ({"y": pa.array([1, 2, 3, None])}, "The target 'y' has a null in row 3"),
        ({"y": pa.array(["a", "b", "c", None])}, "The target 'y' has a null in row 3"),
        ({"y": pa.array([1.0, 2, 3, np.nan])}, "Column 'y' has the value nan in row 3"),
    ],
)
def test_bad_values_are_named(column, message, hasher):
    table = pa.table({"x": [1.0] * 4, "w": [1.0] * 4, "y": [0] * 4, **column})
    data = ArrowChunks(table, target="y", weight="w", batch_rows=3, hasher=hasher)
    with pytest.raises(ValueError, match=message):
        list(data)
    with pytest.raises(ValueError, match=message):
        next(data.chunks(start=1))


@KINDS
def test_no_rows(kind):
    with pytest.raises(ValueError, match="ArrowChunks has no chunks"):
        list(ArrowChunks(as_source(TABLE.slice(2), kind), **GOOD))


def test_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"ArrowChunks requires pyarrow. Install it with: pip install 'skfm\[arrow\]'"
    ):
        ArrowChunks(TABLE, **GOOD)
