"""Chunks of text files in the svmlight / libsvm format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file

from ._byte_ranges import ByteRange, count_lines, read_range
from ._chunks import yields_new_arrays
from ._svmlight_line import describe_fault, first_bad_line
from ._text_chunks import TextChunks

#: Errors that scikit-learn's parser raises for an invalid line: a missing number or colon, or an index that overflows.
_PARSE_ERRORS = (ValueError, OverflowError)


def is_row(line: bytes) -> bool:
    """Return whether a line is a row of data, not a comment or a blank line.

    Parameters
    ----------
    line : bytes
        A line of a file.

    Returns
    -------
    is_row : bool
        True for rows of data.
    """
    return bool(line.split(b"#", 1)[0].strip())


class SvmlightChunks(TextChunks):
    r"""Chunks of text files in the svmlight / libsvm format.

    Each row is a line of the form ``label index:value index:value ...``. Comments, which start with ``#``, blank lines
    and a ``qid:number`` after the label are ignored. Each chunk is parsed by
    :func:`~sklearn.datasets.load_svmlight_file`, so the rows are the same as those that scikit-learn reads.

    Parameters
    ----------
    path : str, path-like or list of these
        Paths of text files, in the order in which they are read. They may be compressed with gzip or bzip2. No chunk
        spans two files.

    n_features : int, default=None
        Number of columns. If None, it is inferred from the largest index. This reads the files once, chunk by chunk,
        when the number is first needed. Pass both `n_features` and `zero_based` to avoid this pass.

    chunk_bytes : int, default=16777216
        Minimum size of a chunk, in bytes of the decompressed file. Each chunk ends at the first end of a row that
        reaches this size; the last chunk of a file may be smaller. With float32, a chunk takes 8 bytes per stored value
        in memory, which is often similar to its size in the file, and about three times as much while it is parsed.

    dtype : dtype, default=numpy.float32
        Data type of `X`, float32 or float64. The labels are float64.

    zero_based : bool or "auto", default="auto"
        Whether the column indices in the files start at 0 (True) or at 1 (False). "auto" reads the files, as for
        `n_features`, and uses the rule of scikit-learn: indices start at 1 if every file has values but none of them
        has an index 0. If `n_features` is given, reading stops as soon as the result is certain.

    classes : array-like of shape (n_classes,), default=None
        All class labels. Required by classifiers.

    Attributes
    ----------
    source : list of Path
        The files.

    n_features : int
        Number of columns.

    zero_based : bool
        Whether the column indices in the files start at 0.

    classes : ndarray of shape (n_classes,) or None
        The distinct class labels, sorted; None if they were not given.

    n_chunks : int
        Number of chunks. It is computed when first needed, by looking for the end of a row every `chunk_bytes` bytes.

    chunk_bytes : int
        Minimum size of a chunk in bytes.

    dtype : dtype
        Data type of `X`.

    Raises
    ------
    OSError
        On construction, if a file does not exist or is a directory; while reading, if a file has changed since it was
        split into chunks.
    ValueError
        On construction, if a file is empty or compressed in another format; while reading, if a line cannot be parsed,
        has a value that is not finite, or has an index beyond `n_features`. The message names the file and the line,
        and quotes the beginning of the line.

    See Also
    --------
    ParquetChunks : Chunks of Parquet files, which are smaller and can be read several times faster.

    Notes
    -----
    Every chunk has at least one row. Chunk 0 begins at the first row of the first file. The next chunk begins at the
    first row that starts `chunk_bytes` or more bytes later, and so on. A pass can therefore start at any chunk without
    parsing the preceding ones.

    A compressed file is decompressed an additional time to find the chunks. A pass that starts at a later chunk has to
    decompress, but not to parse, the preceding ones.

    A checksum of each chunk is kept, so that a file that has been written again between two passes is noticed, even if
    its size and its modification time are the same.

    The arguments `offset` and `length` of scikit-learn's parser are not used, because they yield a row twice if a
    comment or a blank line crosses the boundary between two ranges.

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
    reads_compressed = True

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
        """Whether the column indices in the files start at 0.

        Returns
        -------
        zero_based : bool
            The value that was given. If it is "auto", the first access reads the files.
        """
        if self._zero_based is None:
            self._scan_files()
        return self._zero_based  # type: ignore[return-value]

    @yields_new_arrays
    def _read(self, start: int) -> Iterator[tuple[Any, np.ndarray]]:
        options = {"n_features": self.n_features, "zero_based": self.zero_based, "dtype": self.dtype}
        with closing(self._texts(start)) as texts:
            for piece, text in texts:
                rows = parse_range(piece, text, **options)
                # Only the rows stay in memory while they are in use.
                del text
                yield rows
                del rows

    def _scan_files(self) -> None:
        """Read the files to infer the number of columns and the first index, as far as they were not given."""
        lowest: dict[Path, float] = {}
        highest = -1
        options = {"n_features": None, "zero_based": self._zero_based is not False, "dtype": self.dtype}
        with closing(self._texts()) as texts:
            for piece, text in texts:
                # With zero_based=True, the parser does not shift the indices.
                X, _ = parse_range(piece, text, **options)
                shift = 1 if self._zero_based is False else 0
                low, high = (X.indices.min() + shift, X.indices.max() + shift) if X.nnz else (np.inf, -1)
                lowest[piece.path] = min(low, lowest.get(piece.path, np.inf))
                highest = max(high, highest)
                # The result is certain if there is an index 0, or one that is only valid if indices start at 1.
                if self._n_features is not None and (low == 0 or highest >= self._n_features):
                    break
        if self._zero_based is None:
            self._zero_based = not all(0 < low < np.inf for low in lowest.values())
        if self._n_features is None:
            self._n_features = max(1, int(highest) + (1 if self._zero_based else 0))


def load_range(piece: ByteRange, **options: Any) -> tuple[Any, np.ndarray]:
    """Read and parse the rows of a range.

    Parameters
    ----------
    piece : ByteRange
        A range of complete lines of a file.
    **options : dict
        Arguments of `parse_range`.

    Returns
    -------
    X : csr_matrix
        Rows of the range.
    y : ndarray
        Targets of the rows.
    """
    return parse_range(piece, read_range(piece), **options)


def parse_range(piece: ByteRange, text: bytes, **options: Any) -> tuple[Any, np.ndarray]:
    """Parse the rows of a range.

    Parameters
    ----------
    piece : ByteRange
        A range of complete lines of a file.
    text : bytes
        These lines.
    **options : dict
        Arguments `n_features`, `zero_based` and `dtype` of scikit-learn's parser.

    Returns
    -------
    X : csr matrix of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The labels.

    Raises
    ------
    ValueError
        If a line is invalid. The message names the line and the reason.
    """
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
        # The parser returns 64-bit indices. Indices of 32 bits are enough for a chunk.
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
