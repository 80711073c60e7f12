"""ParquetChunks: the rows of the files in order, jumping over row groups; clear errors about files."""

import os
import pickle
import sys
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skfm.streaming import ArrowChunks, ParquetChunks


def make_table(first, n_rows):
    numbers = np.arange(first, first + n_rows)
    users = pa.array([f"user {k % 7}" if k % 5 else None for k in numbers], pa.string())
    shops = pa.array([f"shop {k % 3}" for k in numbers], pa.string()).dictionary_encode()
    return pa.table(
        {
            "y": numbers,
            "user": users,
            "unused": pa.array([[1]] * n_rows, pa.list_(pa.int64())),
            "shop": shops,
            "x": numbers * 0.5,
        }
    )


OPTIONS = {"target": "y", "columns": ["user", "x", "shop"]}
HASHED = {**OPTIONS, "hasher": 100}


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    group_rows=st.integers(1, 12),
    batch_rows=st.integers(1, 20),
    data=st.data(),
)
def test_chunks_are_those_of_the_table_from_any_start(tmp_path_factory, sizes, group_rows, batch_rows, data):
    folder = tmp_path_factory.mktemp("files")
    tables = []
    for k, size in enumerate(sizes):
        tables.append(make_table(sum(sizes[:k]), size))
        pq.write_table(tables[-1], folder / f"{k}.parquet", row_group_size=group_rows)
    chunks = ParquetChunks(folder, **HASHED, batch_rows=batch_rows)
    assert chunks.n_chunks == -(-sum(sizes) // batch_rows)
    if not sum(sizes):
        return
    expected = list(ArrowChunks(pa.concat_tables(tables), **HASHED, batch_rows=batch_rows))
    start = data.draw(st.integers(0, chunks.n_chunks + 1))
    for at in {0, start}:
        found = list(chunks.chunks(start=at))
        assert len(found) == len(expected[at:])
        for one, other in zip(found, expected[at:], strict=True):
            assert_array_equal(one.X.toarray(), other.X.toarray())
            assert_array_equal(one.y, other.y)


def test_row_groups_and_columns_that_are_not_needed_are_not_read(tmp_path, monkeypatch):
    pq.write_table(make_table(0, 100), tmp_path / "a.parquet", row_group_size=10)
    pq.write_table(make_table(100, 100), tmp_path / "b.parquet", row_group_size=10)
    data = ParquetChunks(tmp_path, **HASHED, batch_rows=25)
    reads = []
    original = pq.ParquetFile.iter_batches

    def iter_batches(self, batch_size, *, row_groups, columns):
        reads.append((row_groups, columns))
        return original(self, batch_size, row_groups=row_groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    assert next(data.chunks(start=5)).y.tolist() == list(range(125, 150))
    assert reads == [([2, 3, 4, 5, 6, 7, 8, 9], ["user", "x", "shop", "y"])]


def test_a_file_a_list_and_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "not me.txt").write_text("no")
    (tmp_path / "_metadata.parquet").write_text("no")
    paths = [tmp_path / "a.parquet", tmp_path / "sub" / "b.parquet", tmp_path / "z.parquet"]
    for k, path in enumerate(paths):
        pq.write_table(make_table(10 * k, 10), path)

    def targets(path):
        return [y for chunk in ParquetChunks(path, **HASHED, batch_rows=7) for y in chunk.y]

    assert targets(str(paths[1])) == list(range(10, 20))
    assert targets([paths[2], str(paths[0])]) == [*range(20, 30), *range(10)]
    assert targets(tmp_path) == list(range(30))
    assert ParquetChunks(tmp_path, **HASHED).source == paths


def test_given_categories_weights_and_classes(tmp_path):
    path = tmp_path / "data.parquet"
    table = make_table(0, 12)
    pq.write_table(table.append_column("w", pa.array(np.arange(12.0))), path)
    categories = {"user": ["user 1", None], "shop": ["shop 0", "shop 2"]}
    data = ParquetChunks(
        path, **OPTIONS, weight="w", categories=categories, classes=range(12), dtype="float64"
    )
    ((X, y, weight),) = pickle.loads(pickle.dumps(data))
    assert_array_equal(X.toarray()[:3], [[0, 1, 0, 1, 0], [1, 0, 0.5, 0, 0], [0, 0, 1, 0, 1]])
    assert_array_equal(y, data.classes)
    assert_array_equal(weight, y)
    assert data.feature_names.tolist() == ["user_user 1", "user_None", "x", "shop_shop 0", "shop_shop 2"]
    assert data.fields.tolist() == [0, 0, 1, 2, 2]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing.parquet"):
        ParquetChunks(tmp_path / "missing.parquet", **HASHED)
    with pytest.raises(FileNotFoundError, match=r"has no files \*.parquet"):
        ParquetChunks(tmp_path, **HASHED)
    with pytest.raises(ValueError, match="path is an empty list"):
        ParquetChunks([], **HASHED)
    path = tmp_path / "text.parquet"
    path.write_text("user,y\nAnn,1\n")
    with pytest.raises(ValueError, match=r"text.parquet cannot be read as a Parquet file"):
        ParquetChunks(path, **HASHED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.drop_columns(["x"]),
            r"b.parquet has nothing for column 'x', but .*a.parquet has",
        ),
        (
            lambda table: table.set_column(4, "x", table["x"].cast(pa.string())),
            r"b.parquet has type string for column 'x', but .*a.parquet has type double",
        ),
        (
            lambda table: table.set_column(4, "x", pa.array([True] * 10)),
            r"b.parquet has type bool for column 'x', but .*a.parquet has type double",
        ),
        (
            lambda table: table.set_column(1, "user", pa.array(np.arange(10))),
            r"b.parquet has type int64 for column 'user', but .*a.parquet has type string",
        ),
    ],
)
def test_files_with_other_columns(tmp_path, change, message):
    pq.write_table(make_table(0, 10), tmp_path / "a.parquet")
    pq.write_table(change(make_table(0, 10)), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=message):
        ParquetChunks(tmp_path, **HASHED)


TEXT = pa.array(["a", "b", None, "a"], pa.string())
#: Columns of two files with types that have a common one, the features that are used, and the type.
HARMLESS = {
    "integers and floats": ([1, 2, 3, 4], "int64", [1.5, 2, 3, 4], "double"),
    "floats and integers": ([1.5, 2, 3, 4], "double", [1, 2, 3, 4], "int64"),
    "widths of integers": ([1, 2, 3, 4], "int8", [1, 2, 3, 300], "int64"),
    "widths of floats": ([0.1, 2, 3, 4], "float", [0.1, 2, 3, 4], "double"),
    "unsigned integers": ([1, 2, 3, 4], "uint8", [1, 2, 3, -4], "int32"),
}


@pytest.mark.parametrize("case", HARMLESS)
@pytest.mark.parametrize("column", ["x", "y", "w"])
def test_numbers_of_different_types(case, column, tmp_path):
    first, first_type, second, second_type = HARMLESS[case]
    if column == "w":
        first, second = np.abs(first).tolist(), np.abs(second).tolist()
    ones = {name: pa.array([1.0] * 4) for name in "xyw"}
    for name, values, kind in (("a", first, first_type), ("b", second, second_type)):
        table = pa.table({**ones, column: pa.array(values, pa.type_for_alias(kind))})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (chunk,) = ParquetChunks(tmp_path, target="y", weight="w", dtype=np.float64)
    found = {"x": chunk.X[:, 0], "y": chunk.y, "w": chunk.sample_weight}[column]
    expected = np.array([*np.array(first, np.float32 if first_type == "float" else float), *second])
    assert_array_equal(found, expected)


TEXTS = {
    "string": TEXT,
    "large_string": TEXT.cast(pa.large_string()),
    "dictionary": TEXT.dictionary_encode(),
    "small dictionary": TEXT.cast(pa.dictionary(pa.int8(), pa.string())),
    "null": pa.nulls(4),
}


@pytest.mark.parametrize("encoding", [{"hasher": 50}, {"categories": {"x": ["a", "b", None]}}])
@pytest.mark.parametrize(
    ("first", "second"), [pair for pair in product(TEXTS, TEXTS) if pair != ("null", "null")]
)
def test_strings_of_different_types(first, second, encoding, tmp_path):
    for name, column in (("a", TEXTS[first]), ("b", TEXTS[second])):
        pq.write_table(pa.table({"x": column, "y": [1.0] * 4}), tmp_path / f"{name}.parquet")
    (chunk,) = ParquetChunks(tmp_path, target="y", **encoding)
    values = [*TEXTS[first].cast(pa.string()).to_pylist(), *TEXTS[second].cast(pa.string()).to_pylist()]
    expected = ArrowChunks(
        pa.table({"x": pa.array(values, pa.string()), "y": [1.0] * 8}), target="y", **encoding
    )
    assert_array_equal(chunk.X.toarray(), next(iter(expected)).X.toarray())


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_a_column_without_values_in_one_file(names, tmp_path):
    for name, column in zip(names, (pa.nulls(3), pa.array([1.0, 2, 3])), strict=True):
        pq.write_table(pa.table({"x": column, "y": [1.0] * 3}), tmp_path / f"{name}.parquet")
    # As for any null in a column of numbers.
    with pytest.raises(ValueError, match="Column 'x' has a null in row"):
        list(ParquetChunks(tmp_path, target="y"))


def test_a_column_that_only_later_files_have(tmp_path):
    pq.write_table(pa.table({"x": [1.0], "y": [1.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"new": [2.0], "y": [2.0], "x": [2.0]}), tmp_path / "b.parquet")
    with pytest.warns(UserWarning, match=r"b.parquet has the columns 'new', which .*a.parquet does not have"):
        data = ParquetChunks(tmp_path, target="y")
    assert data.columns == ["x"]
    assert next(iter(data)).X.tolist() == [[1.0], [2.0]]
    # Names that the user has chosen are no surprise.
    ParquetChunks(tmp_path, target="y", columns=["x"])


def test_a_file_whose_pages_are_damaged(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"y": np.arange(9000.0), "x": np.arange(9000.0)}), path)
    content = bytearray(path.read_bytes())
    content[100:5000] = bytes(4900)
    path.write_bytes(content)
    chunks = ParquetChunks(path, target="y", columns=["x"])
    with pytest.raises(OSError, match=r"a.parquet cannot be read: ."):
        list(chunks)


def test_files_that_change(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(make_table(0, 10), path)
    data = ParquetChunks(path, **HASHED)
    pq.write_table(make_table(0, 5), path)
    with pytest.raises(
        OSError, match=r"a.parquet has changed since its rows were counted: it had 10 .* now has 5"
    ):
        list(data)


def test_a_file_that_is_written_again_with_the_same_size_and_time(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [0, 1]}), path)
    data = ParquetChunks(path, target="y")
    list(data)
    before = path.stat()
    pq.write_table(pa.table({"x": [1.0, 3.0], "y": [0, 1]}), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    # The metadata hold the range of each column.
    with pytest.raises(OSError, match=r"a.parquet has changed since its rows were counted\. Create"):
        list(data)


def test_bad_values_are_named_by_the_row_over_all_files(tmp_path):
    pq.write_table(pa.table({"x": [1.0] * 5, "y": [0] * 5}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1.0, None], "y": [0] * 2}), tmp_path / "b.parquet")
    data = ParquetChunks(tmp_path, target="y", batch_rows=2)
    with pytest.raises(ValueError, match="Column 'x' has a null in row 6"):
        list(data)
    with pytest.raises(ValueError, match="Column 'x' has a null in row 6"):
        list(data.chunks(start=3))


def test_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"ParquetChunks requires pyarrow. Install it with: pip install 'skfm\[arrow\]'"
    ):
        ParquetChunks("data.parquet", **HASHED)
