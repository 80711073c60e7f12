"""Chunks: any number of passes, beginning anywhere, over whatever can be iterated; what is wrong is named."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from skfm.io import LibffmChunks
from skfm.streaming import ArrowChunks, Chunk, Chunks, ParquetChunks, SvmlightChunks


def items(n=4):
    return [(np.full((2, 3), float(k)), np.array([k, -k])) for k in range(n)]


class Again:
    """Not a sequence, but can be iterated over again and again."""

    def __iter__(self):
        return iter(items())


SOURCES = {
    "list": items(),
    "tuple": tuple(items()),
    "object": Again(),
    "function that makes a generator": lambda: (item for item in items()),
    "function that returns a list": items,
    "chunks": Chunks(items()),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
@pytest.mark.parametrize("start", range(6))
def test_every_pass_gives_the_same_chunks_from_any_start(source, start):
    data = Chunks(source)
    for _ in range(2):
        chunks = list(data.chunks(start=start))
        assert [chunk.y[0] for chunk in chunks] == list(range(start, 4))
        assert all(isinstance(chunk, Chunk) and chunk.sample_weight is None for chunk in chunks)
    assert [chunk.y[0] for chunk in data] == [0, 1, 2, 3]


def test_passes_do_not_disturb_each_other():
    data = Chunks(items())
    for chunk, other in zip(data, data, strict=True):
        assert_array_equal(chunk.X, other.X)


@pytest.mark.parametrize(
    "make", [iter, lambda source: (item for item in source)], ids=["iterator", "generator"]
)
def test_an_iterator_is_good_for_one_pass(make):
    data = Chunks(make(items()))
    data.chunks()  # not begun: nothing is read
    assert [chunk.y[0] for chunk in data.chunks(start=1)] == [1, 2, 3]
    with pytest.raises(
        ValueError, match=r"read only once.*function that returns a new generator.*max_iter=1"
    ):
        next(data.chunks())


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix, sp.coo_array, sp.csc_matrix, np.ndarray.tolist])
def test_matrices_of_all_kinds(make):
    X = np.array([[0.0, 1.0], [2.0, 0.0]])
    ((found, y, weight),) = Chunks([[make(X), ["a", "b"], [1, 2]]])
    assert_array_equal(found.toarray() if sp.issparse(found) else found, X)
    assert not sp.issparse(found) or found.format == "csr"
    assert_array_equal(y, ["a", "b"])
    assert_array_equal(weight, [1, 2])


def test_arrays_are_not_copied():
    X, y = items()[1]
    ((found, found_y, _),) = Chunks([(X, y)])
    assert found is X
    assert found_y is y


def test_what_is_known_beforehand():
    data = Chunks(items(), n_features=np.int64(3), classes=["no", "yes", "no"])
    assert (data.n_features, data.n_chunks) == (3, 4)
    assert_array_equal(data.classes, ["no", "yes"])
    unknown = Chunks(items)
    assert (unknown.n_features, unknown.n_chunks, unknown.classes) == (None, None, None)


X2, Y2 = items()[0]


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        ((X2,), TypeError, r"Chunk 1 must be a tuple \(X, y\).*got tuple of 1"),
        ((X2, Y2, Y2, Y2), TypeError, "Chunk 1 .*got tuple of 4"),
        (X2, TypeError, "Chunk 1 .*got ndarray of shape"),
        (sp.csr_matrix(X2), TypeError, r"Chunk 1 .*got csr_matrix of shape \(2, 3\)"),
        (None, TypeError, "Chunk 1 .*got NoneType"),
        ((X2[0], Y2), ValueError, r"X of chunk 1 must be two-dimensional, got shape \(3,\)"),
        ((X2.astype(str), Y2), TypeError, "X of chunk 1 must hold numbers, got dtype <U"),
        ((X2, Y2[:1]), ValueError, r"y of chunk 1 must have shape \(2,\).*got \(1,\)"),
        ((X2, Y2[:, None]), ValueError, r"y of chunk 1 must have shape \(2,\).*got \(2, 1\)"),
        ((X2, Y2, [1]), ValueError, r"sample_weight of chunk 1 must have shape \(2,\)"),
        ((X2[:, :2], Y2), ValueError, "X of chunk 1 has 2 columns, but the previous chunks have 3"),
    ],
)
def test_bad_items_are_named(item, error, message):
    chunks = Chunks([items()[0], item]).chunks()
    next(chunks)
    with pytest.raises(error, match=message):
        next(chunks)


def test_the_number_of_a_bad_chunk_counts_from_the_beginning_of_the_data():
    with pytest.raises(TypeError, match="Chunk 3"):
        next(Chunks([*items(3), None]).chunks(start=3))


def test_n_features_that_does_not_match():
    with pytest.raises(ValueError, match="X of chunk 0 has 3 columns, but n_features is 5"):
        next(iter(Chunks(items(), n_features=5)))


@pytest.mark.parametrize("source", [[], lambda: iter([])])
def test_no_chunks(source):
    with pytest.raises(ValueError, match="has no chunks"):
        list(Chunks(source))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": 5}, TypeError, "source must be an iterable .*got int"),
        ({"n_features": 0}, ValueError, "n_features must be at least 1, got 0"),
        ({"n_features": 2.0}, TypeError, "n_features must be an integer, got 2.0"),
        ({"classes": []}, ValueError, r"classes must be a one-dimensional list .*got shape \(0,\)"),
        ({"classes": "ab"}, ValueError, r"classes must be a one-dimensional list .*got shape \(\)"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        Chunks(**{"source": items(), **options})


@pytest.mark.parametrize(("start", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_bad_start_is_told_at_once(start, error):
    with pytest.raises(error, match="start must be"):
        Chunks(items()).chunks(start=start)


class Numbered(Chunks):
    """The smallest subclass: it jumps to where it shall start."""

    n_chunks = 3

    def _read(self, start):
        for number in range(start, self.source):
            yield np.full((1, 2), number), [number]


def test_a_subclass_reads_for_itself():
    data = Numbered(3, n_features=2)
    assert [chunk.y.tolist() for chunk in data.chunks(start=1)] == [[1], [2]]
    assert data.n_chunks == 3
    with pytest.raises(ValueError, match="Numbered has no chunks"):
        list(Numbered(0))


#: Containers of X whose numbers are those of the array, in the same memory where that is possible.
CONTAINERS = {
    "C order": lambda a: a,
    "F order": lambda a: a.T.copy().T,
    "csr": lambda a: sp.csr_matrix((a.ravel(), np.tile(np.arange(3), 2), [0, 3, 6]), shape=a.shape),
    "csr array": lambda a: sp.csr_array((a.ravel(), np.tile(np.arange(3), 2), [0, 3, 6]), shape=a.shape),
    "csc": lambda a: sp.csc_matrix((a.ravel(), np.tile(np.arange(2), 3), [0, 2, 4, 6]), shape=a.shape),
    "coo": lambda a: sp.coo_matrix(
        (a.ravel(), (np.repeat([0, 1], 3), np.tile(np.arange(3), 2))), shape=a.shape
    ),
    "pandas": lambda a: pd.DataFrame(dict(zip("abc", a.reshape(3, 2), strict=True)), copy=False),
    "polars": lambda a: pl.DataFrame(dict(zip("abc", a.reshape(3, 2), strict=True))),
    "pyarrow": lambda a: pa.table(
        {name: pa.array(column) for name, column in zip("abc", a.reshape(3, 2), strict=True)}
    ),
}


def as_matrix(X):
    if sp.issparse(X):
        return X.toarray()
    return np.array(X.to_pandas() if isinstance(X, pa.Table) else X, dtype=float)


@pytest.mark.parametrize("reused", ["X", "y", "sample_weight", "all"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("is_subclass", [False, True])
def test_arrays_that_a_source_fills_again_are_copied(container, reused, is_subclass):
    def source():
        buffers = [np.zeros((2, 3)), np.zeros(2), np.zeros(2)]
        names = ["X", "y", "sample_weight"]
        X = CONTAINERS[container](buffers[0])
        for number in range(4):
            for name, buffer in zip(names, buffers, strict=True):
                buffer[...] = -1  # what is left of the chunk before would be noticed
                if reused in (name, "all"):
                    buffer[...] = number
            arrays = [
                buffer if reused in (name, "all") else np.full_like(buffer, number)
                for name, buffer in zip(names, buffers, strict=True)
            ]
            shares = reused in ("X", "all") and np.shares_memory(buffers[0], _memory(X))
            yield X if shares else CONTAINERS[container](arrays[0]), *arrays[1:]

    class Own(Chunks):
        def _read(self, start):
            yield from self.source()

    chunks = list(Own(source) if is_subclass else Chunks(source))
    for number, chunk in enumerate(chunks):
        assert_array_equal(as_matrix(chunk.X), np.full((2, 3), number))
        assert_array_equal(chunk.y, [number] * 2)
        assert_array_equal(chunk.sample_weight, [number] * 2)


def _memory(X):
    """The memory of a container's numbers."""
    if isinstance(X, pa.Table):
        return X.column(0).chunk(0).to_numpy()
    if isinstance(X, pl.DataFrame):
        return X["a"].to_numpy()
    return np.asarray(X["a"]) if isinstance(X, pd.DataFrame) else getattr(X, "data", X)


def test_the_layout_of_an_array_is_kept():
    for order in "CF":
        X = np.zeros((3, 2), order=order)
        (chunk,) = Chunks(lambda X=X: iter([(X, np.zeros(3))]))
        assert not np.shares_memory(chunk.X, X)
        assert chunk.X.flags[f"{order}_CONTIGUOUS"]


def test_arrays_that_cannot_be_overwritten_are_not_copied(tmp_path):
    given = items()
    assert all(chunk.X is X for chunk, (X, _) in zip(Chunks(given), given, strict=True))
    text, ffm, table = tmp_path / "a.svm", tmp_path / "a.ffm", tmp_path / "a.parquet"
    text.write_text("1 1:1\n")
    ffm.write_text("1 0:1:1\n")
    rows = pa.table({"y": [1.0], "x": [2.0]})
    pq.write_table(rows, table)
    readers = [
        SvmlightChunks(text),
        LibffmChunks(ffm),
        ArrowChunks(rows, target="y"),
        ParquetChunks(table, target="y"),
    ]
    for reader in readers:
        (made,) = reader._read(0)
        reader._read = lambda start, made=made: iter([made])
        (chunk,) = reader
        assert chunk.X is made[0]
        assert chunk.y is made[1]


def test_pickle():
    data = pickle.loads(pickle.dumps(Chunks(items(), classes=[0, 1])))
    assert [chunk.y[0] for chunk in data] == [0, 1, 2, 3]
