"""SvmlightChunks: every row exactly once wherever files are cut, as scikit-learn reads them; errors with lines."""

import bz2
import gzip
import io
import lzma
import os
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.datasets import dump_svmlight_file, load_svmlight_file, load_svmlight_files

from skfm.streaming import SvmlightChunks

TEXT = b"""# a comment
1 qid:1 1:0.5 3:1.5 # about the row

-1 2:2
# another comment, which is quite long

2.5 1:1 2:1 3:1\r
3
0 3:-1e-3"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="data.svm"):
        path = tmp_path / name
        path.write_bytes(text)
        return path

    return write


def whole(chunks):
    X, y, _ = zip(*chunks, strict=True)
    return sp.vstack(X), np.concatenate(y)


def assert_same(chunks, X, y):
    found_X, found_y = whole(chunks)
    assert found_X.shape == X.shape
    assert_array_equal(found_X.toarray(), X.toarray())
    assert_array_equal(found_y, y)


def as_line(row):
    label, features, ending, before = row
    text = " ".join([f"{label:g}", *(f"{index}:{value:g}" for index, value in sorted(features.items()))])
    return before + text.encode() + ending


ROWS = st.lists(
    st.tuples(
        st.integers(-9, 9),
        st.dictionaries(st.integers(1, 12), st.integers(-99, 99), max_size=4),
        st.sampled_from([b"\n", b"\r\n", b" # comment: 1\n", b"\n\n", b"\n#\n", b"\n  \n# a 1:1\n"]),
        st.sampled_from([b"", b"", b"  ", b"# before\n"]),
    ).map(as_line),
    min_size=1,
    max_size=12,
)


@given(rows=ROWS, chunk_bytes=st.integers(1, 120), ended=st.booleans(), qid=st.booleans(), data=st.data())
def test_every_row_exactly_once_for_any_chunk_size(tmp_path_factory, rows, chunk_bytes, ended, qid, data):
    if qid:
        rows = [line.replace(b" 1:", b" qid:7 1:", 1) if b"#" not in line else line for line in rows]
    text = b"".join(rows)
    text = text if ended else text.rstrip(b"\r\n")
    path = tmp_path_factory.getbasetemp() / "hypothesis.svm"
    path.write_bytes(text)
    X, y = load_svmlight_file(io.BytesIO(text))
    chunks = SvmlightChunks(path, chunk_bytes=chunk_bytes, dtype=np.float64)
    assert_same(chunks, X, y)
    assert chunks.n_features == X.shape[1]

    found = list(chunks)
    assert len(found) == chunks.n_chunks
    assert all(len(chunk.y) > 0 for chunk in found)
    start = data.draw(st.integers(0, len(found) + 1))
    from_start = list(chunks.chunks(start=start))
    assert [chunk.y.tolist() for chunk in from_start] == [chunk.y.tolist() for chunk in found[start:]]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 30, 1000])
def test_comments_blank_lines_qid_and_crlf(write, chunk_bytes):
    path = write(TEXT)
    X, y = load_svmlight_file(str(path))
    assert len(y) == 5
    assert_same(SvmlightChunks(path, chunk_bytes=chunk_bytes, dtype=np.float64), X, y)


@pytest.mark.parametrize("zero_based", [True, False])
def test_round_trip(tmp_path, zero_based):
    rng = np.random.default_rng(0)
    X = sp.random(200, 30, 0.1, format="csr", random_state=0, dtype=np.float64)
    X.data = X.data.round(6)
    y = rng.normal(size=200).round(6)
    path = tmp_path / "data.svm"
    dump_svmlight_file(X, y, str(path), zero_based=zero_based)
    data = SvmlightChunks(str(path), n_features=30, zero_based=zero_based, chunk_bytes=500, dtype=np.float64)
    assert data.n_chunks > 10
    assert_same(data, X, y)


@pytest.mark.parametrize(
    "texts",
    [
        (b"1 1:1 5:2\n", b"0 2:1\n"),  # all files count from 1
        (b"1 1:1 5:2\n", b"0 0:1\n"),  # one counts from 0
        (b"1 1:1 5:2\n", b"0\n"),  # one has no values
        (b"1\n", b"0\n"),
        (b"1 0:1\n",),
    ],
)
@pytest.mark.parametrize("zero_based", ["auto", True])
def test_several_files_count_columns_as_scikit_learn_does(write, texts, zero_based):
    paths = [write(text, f"{k}.svm") for k, text in enumerate(texts)]
    loaded = load_svmlight_files([str(path) for path in paths], zero_based=zero_based)
    data = SvmlightChunks(paths, zero_based=zero_based, dtype=np.float64)
    assert_same(data, sp.vstack(loaded[::2]), np.concatenate(loaded[1::2]))
    assert data.n_chunks == len(texts)


@pytest.mark.parametrize(("text", "expected"), [(b"1 1:1\n1 3:1\n", False), (b"1 1:1\n1 0:1\n", True)])
def test_zero_based_is_found_where_n_features_is_given(write, text, expected):
    data = SvmlightChunks(write(text), n_features=9, chunk_bytes=1)
    assert data.zero_based is expected
    assert_same(data, *load_svmlight_file(io.BytesIO(text), n_features=9))


def test_one_based_files_whose_columns_are_counted(write):
    data = SvmlightChunks(write(b"1 2:1 4:1\n1 3:1\n"), zero_based=False, chunk_bytes=1)
    assert data.n_features == 4
    assert whole(data)[0].toarray().tolist() == [[0, 1, 0, 1], [0, 0, 1, 0]]


def test_the_counting_pass_happens_once_and_only_if_needed(write, monkeypatch):
    from skfm.streaming._byte_ranges import RangeReader

    reads = []
    original = RangeReader.read
    monkeypatch.setattr(RangeReader, "read", lambda self, piece: reads.append(piece) or original(self, piece))
    path = write(b"1 1:1\n" * 4)
    data = SvmlightChunks(path, chunk_bytes=12)
    assert not reads
    assert data.n_features == 1
    assert len(reads) == 2
    list(data)
    assert len(reads) == 4
    list(SvmlightChunks(path, chunk_bytes=12, n_features=3, zero_based=False))
    assert len(reads) == 6
    # The first chunk has index 1, the last of one column: that can only be counted from 1.
    assert SvmlightChunks(path, chunk_bytes=12, n_features=1).zero_based is False
    assert len(reads) == 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64, "float32"])
def test_types(write, dtype):
    data = SvmlightChunks(write(b"0.1 1:0.1\n"), dtype=dtype, classes=[1, 0])
    ((X, y, weight),) = data
    assert X.dtype == dtype
    assert X.indices.dtype == X.indptr.dtype == np.int32
    assert y.dtype == np.float64
    assert (y[0], X[0, 0], weight) == (0.1, np.dtype(dtype).type(0.1), None)
    assert_array_equal(data.classes, [0, 1])


def test_pickle(write):
    data = SvmlightChunks(write(TEXT), chunk_bytes=20)
    n_chunks = data.n_chunks
    assert len(list(pickle.loads(pickle.dumps(data)))) == n_chunks


# -------------------------------------------------------------------------------------------- errors

BAD_LINES = {
    b"x 1:1": r"the label 'x' is not a number",
    b"1,2 1:1": r"the label '1,2' is not a number",
    b"nan 1:1": r"the label nan is not finite",
    b"1 3": r"'3' is not of the form index:value",
    b"1 1:1 2:": r"the value of '2:' '' is not a number",
    b"1 1:1 2:1x": r"the value of '2:1x' '1x' is not a number",
    b"1 1:nan": r"the value of '1:nan' nan is not finite",
    b"1 1:-inf": r"the value of '1:-inf' -inf is not finite",
    b"1 1:1e300": r"the value of '1:1e300' 1e\+300 is too large for float32",
    b"1 a:1": r"the index of 'a:1' is not an integer",
    b"1 0:1": r"index 0 is invalid, since columns are numbered from 1 \(zero_based=False\)",
    b"1 -3:1": r"index -3 is invalid",
    b"1 2:1 1:1": r"index 1 follows 2, but indices must be increasing",
    b"1 2:1 2:1": r"index 2 follows 2, but indices must be increasing",
    b"1 10:1": r"index 10 exceeds the index of the last column, 9 \(n_features=9, zero_based=False\)\. Pass a larger",
    b"1 99999999999:1": r"index 99999999999 is greater than 2147483647",
    b"\xff\xfe1 1:1": r"the label '\\xff\\xfe1' is not a number",
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.items(), ids=map(repr, BAD_LINES))
@pytest.mark.parametrize("chunk_bytes", [1, 64, 10000])
@pytest.mark.parametrize("at", [0, 17, 39])
def test_bad_lines_are_named(write, line, message, chunk_bytes, at):
    lines = [b"1 1:1 9:1", b"# comment", b"", b"0 2:0.5"] * 10
    lines[at] = line
    path = write(b"\r\n".join(lines), "bad.svm")
    data = SvmlightChunks(path, n_features=9, zero_based=False, chunk_bytes=chunk_bytes)
    with pytest.raises(
        ValueError, match=rf"bad.svm, line {at + 1}: {message}.* The line begins with '"
    ) as info:
        list(data)
    assert len(str(info.value)) < 400


def test_bad_lines_are_named_in_the_counting_pass_too(write):
    path = write(b"1 1:1\n1 1:1\n1 2\n")
    with pytest.raises(ValueError, match=r"data.svm, line 3: '2' is not of the form"):
        _ = SvmlightChunks(path, chunk_bytes=1).n_features


def test_of_several_bad_lines_the_first_is_named(write):
    path = write(b"1 1:1\n1 x:1\n1 1:1\ny\n" * 50)
    with pytest.raises(ValueError, match="line 2: the index of 'x:1'"):
        list(SvmlightChunks(path))


def test_long_lines_are_shortened(write):
    path = write(b"1 " + b" ".join(b"%d:1" % k for k in range(1, 200)) + b" x\n")
    with pytest.raises(ValueError, match=r"begins with '1 1:1 2:1 .*\.\.\.'") as info:
        list(SvmlightChunks(path))
    assert len(str(info.value)) < 300


def test_files_that_cannot_be_read(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"missing.svm"):
        SvmlightChunks(tmp_path / "missing.svm")
    with pytest.raises(IsADirectoryError, match=r"is a directory\. Pass a list of its files"):
        SvmlightChunks([write(TEXT), tmp_path])
    with pytest.raises(ValueError, match=r"empty.svm is empty"):
        SvmlightChunks(write(b"", "empty.svm"))
    with pytest.raises(ValueError, match=r"comments.svm has no rows"):
        list(SvmlightChunks(write(b"# one\n\n  \n", "comments.svm")))
    with pytest.raises(ValueError, match="path is an empty list"):
        SvmlightChunks([])
    with pytest.raises(
        ValueError, match=r"compressed \(xz\). Decompress it first: .* supports gzip and bzip2"
    ):
        SvmlightChunks(write(lzma.compress(TEXT), "data.xz"))


COMPRESS = {"gzip": gzip.compress, "bzip2": bz2.compress}


@pytest.mark.parametrize("kind", COMPRESS)
@given(text=st.lists(ROWS, min_size=1, max_size=3), chunk_bytes=st.integers(1, 60))
@settings(max_examples=30)
def test_compressed_files_have_the_same_chunks(kind, tmp_path_factory, text, chunk_bytes):
    folder = tmp_path_factory.mktemp("files")
    paths, compressed = [], []
    for number, rows in enumerate(text):
        content = b"".join(rows) + b"1 2:1\n"
        paths.append(folder / f"{number}.svm")
        # The format is recognized by the content, not by the name.
        compressed.append(folder / f"{number}.packed")
        paths[-1].write_bytes(content)
        compressed[-1].write_bytes(COMPRESS[kind](content))
    plain, packed = (SvmlightChunks(each, chunk_bytes=chunk_bytes) for each in (paths, compressed))
    assert packed.n_chunks == plain.n_chunks
    assert (packed.n_features, packed.zero_based) == (plain.n_features, plain.zero_based)
    for start in range(plain.n_chunks):
        for a, b in zip(packed.chunks(start), plain.chunks(start), strict=True):
            assert_array_equal(a.X.toarray(), b.X.toarray())
            assert_array_equal(a.y, b.y)


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_file_is_read_once_in_a_pass(kind, write, monkeypatch):
    from skfm.streaming import _byte_ranges

    opened = []
    original = _byte_ranges._DECOMPRESSORS[kind]
    monkeypatch.setitem(_byte_ranges._DECOMPRESSORS, kind, lambda path: opened.append(path) or original(path))
    data = SvmlightChunks(
        write(COMPRESS[kind](b"1 1:1\n" * 200)), chunk_bytes=20, n_features=1, zero_based=False
    )
    assert data.n_chunks == 50
    assert len(opened) == 1
    for n_passes in (1, 2):
        assert sum(len(chunk.y) for chunk in data) == 200
        assert len(opened) == 1 + n_passes


@pytest.mark.parametrize("kind", COMPRESS)
def test_damaged_compressed_files(kind, write):
    rng = np.random.default_rng(0)
    lines = b"".join(b"%d 1:%f\n" % (k % 2, value) for k, value in enumerate(rng.normal(size=500)))
    content = bytearray(COMPRESS[kind](lines))
    with pytest.raises(OSError, match=r"data.svm cannot be decompressed: "):
        list(SvmlightChunks(write(content[: len(content) // 2])))
    content[len(content) // 2] ^= 255
    with pytest.raises(OSError, match=r"data.svm cannot be decompressed: "):
        list(SvmlightChunks(write(content)))
    text = b"1 1:1\n" * 10 + b"1 1:x\n"
    with pytest.raises(ValueError, match=r"data.svm, line 11: .*not a number"):
        list(SvmlightChunks(write(COMPRESS[kind](text)), n_features=1, zero_based=False, chunk_bytes=12))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        SvmlightChunks(tmp_path / "pipe")


@pytest.mark.parametrize("change", ["shorter", "longer", "other time"])
def test_a_file_that_changes_is_noticed(write, change):
    path = write(b"1 1:1\n" * 10)
    chunks = SvmlightChunks(path, chunk_bytes=6).chunks()
    next(chunks)
    if change == "other time":
        os.utime(path, ns=(0, 0))
    else:
        write(b"1 1:1\n" * (3 if change == "shorter" else 30))
    with pytest.raises(OSError, match=r"data.svm has changed since it was split into chunks"):
        list(chunks)


def test_a_file_that_is_written_again_with_the_same_size_and_time(write):
    path = write(b"1 1:1\n" * 10)
    data = SvmlightChunks(path, chunk_bytes=30, n_features=1, zero_based=False)
    assert len(list(data)) == 2
    before = path.stat()
    write(b"1 1:1\n" * 9 + b"2 1:1\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(
        OSError, match=r"data.svm has changed since it was split into chunks\. Create a new object"
    ):
        list(data)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk_bytes": 0}, ValueError, "chunk_bytes must be at least 1"),
        ({"chunk_bytes": 1e6}, TypeError, "chunk_bytes must be an integer"),
        ({"dtype": np.int32}, ValueError, "dtype must be float32 or float64, got int32"),
        ({"zero_based": "yes"}, ValueError, "zero_based must be True, False or 'auto', got 'yes'"),
        ({"n_features": 0}, ValueError, "n_features must be at least 1"),
    ],
)
def test_bad_arguments(write, options, error, message):
    with pytest.raises(error, match=message):
        SvmlightChunks(write(TEXT), **options)
