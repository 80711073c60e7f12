"""Data files of libFM and libffm: every number comes back, chunks are the whole, errors have a line number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_svmlight_file

from skfm import FMClassifier, FMRegressor
from skfm.datasets import make_factorization
from skfm.io import LibffmChunks, read_libffm, read_libsvm, write_libffm, write_libsvm
from skfm.streaming import SvmlightChunks
from tests.helpers.saved import assert_same

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw):
    """X, y and fields, with zeros among the values."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    X = draw(arrays(np.float64, shape, elements=st.just(0.0) | FINITE))
    y = draw(arrays(np.float64, shape[0], elements=FINITE))
    return X, y, draw(arrays(np.int64, shape[1], elements=st.integers(0, 2**31 - 1)))


def same_bits(found, expected):
    assert found.dtype == expected.dtype
    # Zeros are not stored, so they have no sign.
    assert_array_equal(found.toarray(), expected)


@given(tables(), st.booleans())
def test_libsvm_round_trip(tmp_path_factory, table, zero_based):
    X, y, _ = table
    path = tmp_path_factory.getbasetemp() / "data.libfm"
    write_libsvm(sparse.csr_matrix(X), y, path, zero_based=zero_based)
    found_X, found_y = read_libsvm(path, n_features=X.shape[1], zero_based=zero_based)
    same_bits(found_X, X)
    assert_same(found_y, y)
    theirs = load_svmlight_file(str(path), n_features=X.shape[1], zero_based=zero_based)
    assert_array_equal(theirs[0].toarray(), X)


@given(tables(), st.integers(1, 60))
def test_libffm_round_trip(tmp_path_factory, table, chunk_bytes):
    X, y, fields = table
    path = tmp_path_factory.getbasetemp() / "data.ffm"
    write_libffm(X, y, fields, path)
    found_X, found_y, found_fields = read_libffm(path, n_features=X.shape[1])
    same_bits(found_X, X)
    assert_same(found_y, y)
    used = X.any(0)
    assert_array_equal(found_fields, np.where(used, fields, -1))

    chunks = LibffmChunks(path, n_features=X.shape[1], chunk_bytes=chunk_bytes, dtype=np.float64)
    parts = list(chunks)
    assert len(parts) == chunks.n_chunks
    same_bits(sparse.vstack([part.X for part in parts], format="csr"), X)
    assert_same(np.concatenate([part.y for part in parts]), y)
    assert_array_equal(chunks.fields, found_fields)
    assert [p.y.tolist() for p in chunks.chunks(start=1)] == [p.y.tolist() for p in parts[1:]]


@pytest.mark.parametrize("read", [read_libsvm, read_libffm])
def test_float32_comes_back(read, tmp_path):
    X = np.random.default_rng(0).random((9, 4), np.float32)
    path = tmp_path / "data"
    write_libsvm(X, np.arange(9), path) if read is read_libsvm else write_libffm(
        X, np.arange(9), [0, 0, 1, 1], path
    )
    same_bits(read(path, dtype=np.float32)[0], X)


def test_duplicates_and_unsorted_columns_are_written_as_one_sorted_row(tmp_path):
    X = sparse.csr_matrix((np.array([1.0, 2, 4]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    write_libsvm(X, [1], tmp_path / "a")
    write_libffm(X, [1], [5, 6, 7], tmp_path / "b")
    assert (tmp_path / "a").read_text() == "1 0:2 2:5\n"
    assert (tmp_path / "b").read_text() == "1 5:0:2 7:2:5\n"
    assert X.nnz == 3


def test_labels_of_two_classes(tmp_path):
    write_libsvm([[1], [0], [2]], [True, False, True], tmp_path / "data")
    assert (tmp_path / "data").read_text() == "1 0:1\n0\n1 0:2\n"


def test_pieces_of_a_libsvm_file(tmp_path, monkeypatch):
    path = tmp_path / "data.libfm"
    path.write_text("1 0:1\n" * 40 + "2 7:1\n" + "3 1:1\n" * 40)
    whole = read_libsvm(path)
    monkeypatch.setattr("skfm.io._libsvm.BYTES_PER_RANGE", 50)
    parts = read_libsvm(path)
    assert whole[0].shape == parts[0].shape == (81, 8)
    assert (whole[0] != parts[0]).nnz == 0
    assert_same(parts[1], whole[1])


def test_columns_of_libsvm(tmp_path):
    path = tmp_path / "data.libfm"
    path.write_text("# a comment\n1 1:5 3:7 # more\n\n-1 qid:3 2:1\n")
    assert read_libsvm(path)[0].toarray().tolist() == [[0, 5, 0, 7], [0, 0, 1, 0]]
    assert read_libsvm(path, zero_based=False)[0].toarray().tolist() == [[5, 0, 7], [0, 1, 0]]
    assert read_libsvm(path, n_features=9)[0].shape == (2, 9)
    with pytest.raises(ValueError, match=r"line 2: index 3 exceeds the index of the last column"):
        read_libsvm(path, n_features=2)


def test_libffm_rows(tmp_path):
    path = tmp_path / "data.ffm"
    path.write_bytes(b"\n1.5  4:3:1\t0:0:-2.5e1 \r\n\n0\n2 4:3:1 4:3:2")
    X, y, fields = read_libffm(path)
    assert X.toarray().tolist() == [[-25, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 3]]
    assert y.tolist() == [1.5, 0, 2]
    assert fields.tolist() == [0, -1, -1, 4]


@pytest.mark.parametrize("make", [lambda p: list(LibffmChunks(p, chunk_bytes=8, n_features=9)), read_libffm])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"x 0:1:1", "the label 'x' is not a number"),
        (b"nan 0:1:1", "the label nan is not finite"),
        (b"1_0 0:1:1", "the label '1_0' is not a number"),
        (b"1 0:1", "'0:1' is not of the form field:index:value"),
        (b"1 0:1:2:3", "'0:1:2:3' is not of the form field:index:value"),
        (b"1 -1:1:1", "'-1:1:1' is not of the form field:index:value"),
        (b"1 a:1:1", "'a:1:1' is not of the form field:index:value"),
        (b"1 0:1:x", "the value 'x' is not a number"),
        (b"1 0:1:inf", "the value inf is not finite"),
        (b"1 0:99999999999:1", "the index '99999999999' is greater than 2147483647"),
        (b"1 9999999999:1:1", "the field '9999999999' is greater than 2147483647"),
        (b"1 0:2147483647:1", "index 2147483647"),
        (b"1 1:0:1", "column 0 has field 1 here, but field 0 on an earlier line"),
        (b"1 0:1:1 2:1:1", "column 1 has field 2 here, but field 0 on an earlier line"),
        (b"\xff\xfe", r"the label '\\xff\\xfe' is not a number"),
        (b"1 # 0:1:1", "'#' is not of the form"),
    ],
)
def test_malformed_libffm_lines(make, line, message, tmp_path):
    path = tmp_path / "data.ffm"
    path.write_bytes(b"1 0:0:1\n\n" * 3 + line + b"\n1 0:0:1\n")
    with pytest.raises(ValueError, match=message) as caught:
        make(path)
    assert f"{path}, line 7: " in str(caught.value)
    assert "The line begins with" in str(caught.value)


def test_sums_that_overflow(tmp_path):
    path = tmp_path / "data.ffm"
    path.write_text("1 0:0:1e308 0:0:1e308\n")
    with pytest.raises(ValueError, match=r"data\.ffm: the sum of the repeated entries of a column overflows"):
        read_libffm(path)


def test_an_index_far_beyond_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "data.ffm"
    path.write_text("1 0:5000:1\n" * 100)
    with pytest.raises(
        ValueError, match=r"more columns than are expected for a file of this size.*pass n_features"
    ):
        read_libffm(path)
    X, _, fields = read_libffm(path, n_features=6000)
    assert X.shape == (100, 6000)
    assert fields.shape == (6000,)
    assert read_libffm(path, n_features=6000)[2][5000] == 0


@pytest.mark.parametrize("read", [read_libsvm, read_libffm, LibffmChunks])
def test_files_that_hold_nothing(read, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    path = tmp_path / "data"
    for content, message in ((b"", "is empty"), (b"\x1f\x8b123456789", "compressed"), (b"\n \n", "no rows")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            list(made) if isinstance(made := read(path), LibffmChunks) else made
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("X", "y", "fields", "message"),
    [
        ([[1, np.nan]], [1], [0, 0], "NaN"),
        ([[1, 2]], [np.inf], [0, 0], "inf"),
        ([[1, 2]], [1, 2], [0, 0], "inconsistent"),
        ([[1, 2]], ["a"], [0, 0], "y must hold numbers, got <U1"),
        ([[1, 2]], [1], [0], "fields must hold an integer for each of the 2 columns"),
        ([[1, 2]], [1], [0.5, 1], "fields must hold an integer"),
        ([[1, 2]], [1], ["a", "b"], r"Convert labels to integers with np\.unique"),
        ([[1, 2]], [1], [0, -1], "must not be negative"),
    ],
)
def test_what_cannot_be_written(X, y, fields, message, tmp_path):
    path = tmp_path / "data"
    with pytest.raises(ValueError, match=message):
        write_libffm(X, y, fields, path)
    if fields == [0, 0]:
        with pytest.raises(ValueError, match=message):
            write_libsvm(X, y, path)
    assert not path.exists()


def test_wrong_parameters(tmp_path):
    path = tmp_path / "data"
    write_libffm([[1.0]], [1], [0], path)
    for read in (read_libffm, read_libsvm, LibffmChunks):
        with pytest.raises(ValueError, match="n_features must be at least 1"):
            read(path, n_features=0)
        with pytest.raises(ValueError, match="dtype must be float32 or float64"):
            read(path, dtype=int)
    with pytest.raises(ValueError, match="zero_based must be True or False"):
        read_libsvm(path, zero_based="auto")
    with pytest.raises(ValueError, match="empty list"):
        LibffmChunks([])
    with pytest.raises(ValueError, match="chunk_bytes must be at least 1"):
        LibffmChunks(path, chunk_bytes=0)


def test_learning_from_files(tmp_path):
    X, y = make_factorization(600, (12, 10), n_factors=2, random_state=0)
    fields = np.repeat([0, 1], [12, 10])
    write_libffm(X, y, fields, tmp_path / "data.ffm")
    write_libsvm(X, y, tmp_path / "data.libfm")
    again, target, found = read_libffm(tmp_path / "data.ffm", n_features=22)
    assert_array_equal(found, fields)
    model = FMRegressor(2, max_iter=5, random_state=0)
    expected = model.fit(X, y).predict(X)
    assert_array_equal(model.fit(again, target).predict(X), expected)
    assert_array_equal(model.fit(*read_libsvm(tmp_path / "data.libfm")).predict(X), expected)

    chunks = LibffmChunks([tmp_path / "data.ffm"] * 2, chunk_bytes=2000, dtype=np.float64)
    others = SvmlightChunks(
        [tmp_path / "data.libfm"] * 2, chunk_bytes=2000, zero_based=True, dtype=np.float64
    )
    assert chunks.n_chunks > 4
    assert chunks.n_features == others.n_features == 22
    assert_array_equal(chunks.fields, fields)
    whole = [sparse.vstack([chunk.X for chunk in source]) for source in (chunks, others)]
    assert (whole[0] != whole[1]).nnz == 0
    stream = FMRegressor(2, solver="adagrad", fields=chunks.fields, max_iter=20, random_state=0).fit(chunks)
    assert stream.score(X, y) > 0.5


def test_chunks_of_a_classifier(tmp_path):
    path = tmp_path / "data.ffm"
    path.write_text("1 0:0:1 1:2:1\n0 0:1:1 1:2:1\n" * 100)
    data = LibffmChunks(path, chunk_bytes=300, classes=[0, 1])
    model = FMClassifier(2, solver="ftrl", max_iter=20, random_state=0).fit(data)
    assert model.predict(np.eye(3)[:2]).tolist() == [1, 0]


def test_a_file_that_changes_between_passes(tmp_path):
    path = tmp_path / "data.ffm"
    path.write_text("1 0:0:1\n" * 10)
    data = LibffmChunks(path, chunk_bytes=20)
    list(data)
    path.write_text("1 0:0:1\n" * 11)
    with pytest.raises(OSError, match="has changed since it was split"):
        list(data)
