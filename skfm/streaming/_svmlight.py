"""Chunks of text files in the svmlight / libsvm format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file

from ._byte_ranges import ByteRange, count_lines, read_range
from ._svmlight_line import describe_fault, first_bad_line
from ._text_chunks import TextChunks

#: What scikit-learn's parser raises at a bad line: no number, no colon, an index beyond the range of int.
_PARSE_ERRORS = (ValueError, OverflowError)


def is_row(line: bytes) -> bool:
    """Tell rows from comments and blank lines.

    Parameters
    ----------
    line : bytes
        A line of a file.

    Returns
    -------
    is_row : bool
        Whether it is a row.
    """
    return bool(line.split(b"#", 1)[0].strip())


class SvmlightChunks(TextChunks):
    r"""Chunks of text files in the svmlight / libsvm format.

    A row is a line ``label index:value index:value ...``. Comments (from ``#`` on), blank lines and a
    ``qid:number`` behind the label are skipped. The rows are those that
    :func:`~sklearn.datasets.load_svmlight_files` reads, which parses them here too, a chunk at a time.

    Parameters
    ----------
    path : str, path-like or list of these
        Files of plain text, read in this order. No chunk spans two files.

    n_features : int, default=None
        Number of columns. By default it is found by reading the files once, chunk by chunk, when it is first
        needed. Passing both `n_features` and `zero_based` saves that pass.

    chunk_bytes : int, default=16777216
        Size of a chunk in bytes of the file. A chunk ends with the first row that makes it as large as that.
        With float32 it takes 8 bytes a value in memory, often about as much as in the file, and about three
        times as much while it is read.

    dtype : dtype, default=numpy.float32
        Type of the values of `X`, float32 or float64. The labels are float64.

    zero_based : bool or "auto", default="auto"
        Whether the first column is number 0 in the files (True) or number 1 (False). "auto" reads the files,
        as for `n_features`, and decides as scikit-learn does: they count from 1 if every file has values but
        none for column 0. Where `n_features` is given, reading stops when the answer is certain.

    classes : array-like of shape (n_classes,), default=None
        For classifiers: all labels.

    Attributes
    ----------
    source : list of Path
        The files.

    n_features : int
        Number of columns.

    zero_based : bool
        Whether the first column is number 0 in the files.

    classes : ndarray of shape (n_classes,) or None
        The distinct labels in ascending order, None if they were not given.

    n_chunks : int
        Number of chunks, from a glance at the files every `chunk_bytes`.

    chunk_bytes : int
        Size of a chunk in bytes.

    dtype : dtype
        Type of the values of `X`.

    Raises
    ------
    OSError
        If a file is missing or a directory, when the object is made, or if a file was changed since its chunks
        were numbered.
    ValueError
        If a file is empty or compressed, or later at a line that cannot be read, is not finite, or has an
        index beyond `n_features`; the message has the file, the number of the line and how it begins.

    See Also
    --------
    ParquetChunks : Chunks of Parquet files, which are smaller and several times as fast to read.

    Notes
    -----
    Every chunk has rows. Chunk 0 begins at the first row of the first file. The next one begins at the first
    row that starts `chunk_bytes` or more behind that, and so on, so any pass can jump to any chunk.

    Scikit-learn's own byte ranges (`offset` and `length`) are not used: they give a row twice where a comment
    or a blank line crosses the border of two ranges.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm.streaming import SvmlightChunks
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "train.svm"
    >>> _ = path.write_text("1 1:0.5 3:1\n-1 2:1\n1 1:2\n")
    >>> data = SvmlightChunks(path, chunk_bytes=15)
    >>> data.n_features, data.n_chunks
    (3, 2)
    >>> for X, y, _ in data:
    ...     print(y, X.toarray().tolist())
    [ 1. -1.] [[0.5, 0.0, 1.0], [0.0, 1.0, 0.0]]
    [1.] [[2.0, 0.0, 0.0]]
    >>> folder.cleanup()
    """

    is_row = staticmethod(is_row)

    def __init__(
        self,
        path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        n_features: int | None = None,
        chunk_bytes: int = 1 << 24,
        dtype: Any = np.float32,
        zero_based: bool | str = "auto",
        classes: Any = None,
    ) -> None:
        if not (isinstance(zero_based, bool | np.bool_) or zero_based == "auto"):
            raise ValueError(f"zero_based must be True, False or 'auto', got {zero_based!r}.")
        super().__init__(path, n_features=n_features, chunk_bytes=chunk_bytes, dtype=dtype, classes=classes)
        self._zero_based = None if zero_based == "auto" else bool(zero_based)

    @property
    def zero_based(self) -> bool:
        """Whether the first column is number 0 in the files.

        Returns
        -------
        zero_based : bool
            If it was not given, the files are read when it is first asked for.
        """
        if self._zero_based is None:
            self._scan_files()
        return self._zero_based  # type: ignore[return-value]

    def _read(self, start: int) -> Iterator[tuple[Any, np.ndarray]]:
        options = {"n_features": self.n_features, "zero_based": self.zero_based, "dtype": self.dtype}
        for piece in self._byte_ranges()[start:]:
            yield load_range(piece, **options)

    def _scan_files(self) -> None:
        """Read the files to find what is unknown of the number of columns and of where they begin."""
        lowest: dict[Path, float] = {}
        highest = -1
        for piece in self._byte_ranges():
            # Counting from 0 takes indices as they are.
            X, _ = load_range(
                piece, n_features=None, zero_based=self._zero_based is not False, dtype=self.dtype
            )
            shift = 1 if self._zero_based is False else 0
            low, high = (X.indices.min() + shift, X.indices.max() + shift) if X.nnz else (np.inf, -1)
            lowest[piece.path] = min(low, lowest.get(piece.path, np.inf))
            highest = max(high, highest)
            # Certain: a column 0, or one so high that there must not be a column 0.
            if self._n_features is not None and (low == 0 or highest >= self._n_features):
                break
        if self._zero_based is None:
            self._zero_based = not all(0 < low < np.inf for low in lowest.values())
        if self._n_features is None:
            self._n_features = max(1, int(highest) + (1 if self._zero_based else 0))


def load_range(piece: ByteRange, **options: Any) -> tuple[Any, np.ndarray]:
    """Read the rows of a range, or say which line is at fault.

    Parameters
    ----------
    piece : ByteRange
        Some whole lines of a file.
    **options : dict
        Options `n_features`, `zero_based` and `dtype` of scikit-learn's parser.

    Returns
    -------
    X : csr matrix of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The labels.
    """
    text = read_range(piece)
    try:
        return _parse(text, **options)
    except _PARSE_ERRORS as error:
        lines = BytesIO(text).readlines()
        at = first_bad_line(lines, _parse_fails(options))
        raise ValueError(
            f"{piece.path}, line {count_lines(piece.path, piece.start) + at + 1}: "
            f"{describe_fault(lines[at], **options) or error}"
        ) from None


def _parse(text: bytes, **options: Any) -> tuple[Any, np.ndarray]:
    X, y = load_svmlight_file(BytesIO(text), **options)
    if not (np.isfinite(X.data).all() and np.isfinite(y).all()):
        raise ValueError("There are values that are not finite.")
    if X.shape[1] <= np.iinfo(np.int32).max and X.nnz <= np.iinfo(np.int32).max:
        # The parser has 64 bits for each index, half of which a chunk does not need.
        X = sp.csr_matrix((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), shape=X.shape)
    return X, y


def _parse_fails(options: dict[str, Any]) -> Callable[[list[bytes]], bool]:
    def fails(lines: list[bytes]) -> bool:
        try:
            _parse(b"".join(lines), **options)
        except _PARSE_ERRORS:
            return True
        return False

    return fails
