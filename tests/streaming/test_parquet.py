"""ParquetChunks: the rows of the files in order, jumping over row groups; clear errors about files."""

import pickle
import sys

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
            lambda table: table.set_column(4, "x", table["x"].cast(pa.float32())),
            r"b.parquet has type float for column 'x', but .*a.parquet has type double",
        ),
    ],
)
def test_files_with_other_columns(tmp_path, change, message):
    pq.write_table(make_table(0, 10), tmp_path / "a.parquet")
    pq.write_table(change(make_table(0, 10)), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=message):
        ParquetChunks(tmp_path, **HASHED)


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
