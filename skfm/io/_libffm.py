"""Reading and writing of data files in the libffm format, which stores the field of every entry."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._files import write_text
from ..streaming._byte_ranges import ByteRange, check_file, count_lines
from ..streaming._checks import check_float_type, check_integer
from ..streaming._chunks import yields_new_arrays
from ..streaming._text_chunks import TextChunks
from ._libffm_rows import FieldTable, LibffmRows
from ._rows import check_table, data_lines


def read_libffm(
    path: str | os.PathLike[str], *, n_features: int | None = None, dtype: Any = np.float64
) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    r"""Read a data file in the libffm format.

    Each row is a line of the form ``label field:index:value field:index:value ...``, where fields and indices start
    at 0. Blank lines are skipped.

    Parameters
    ----------
    path : path-like
        Path to a plain text file.
    n_features : int or None, default=None
        Number of columns. If None, it is inferred from the largest index, which must be less than the larger of 1024
        and half the size of the file in bytes. Pass it if the indices are hashed, and for test data, in which the last
        columns of the training data may not occur.
    dtype : dtype, default=numpy.float64
        Data type of `X`, float32 or float64.

    Returns
    -------
    X : csr matrix of shape (n_samples, n_features)
        The features. Repeated entries of a column in the same row are summed.
    y : ndarray of shape (n_samples,)
        The labels, as float64.
    fields : ndarray of shape (n_features,)
        The field of each column, or -1 for columns without entries. Can be passed to an estimator as its parameter
        `fields`.

    Raises
    ------
    OSError
        If the file does not exist or cannot be read.
    ValueError
        If the file is empty or compressed; or if a line cannot be parsed, has a value that is not finite, has an
        index that is not less than `n_features`, or assigns a column to a different field than an earlier line did.
        The message names the file and the line, and quotes the beginning of the line.

    See Also
    --------
    LibffmChunks : Read files larger than memory in chunks.
    write_libffm : Write a file in this format.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm.io import read_libffm
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "train.ffm"
    >>> _ = path.write_text("1 0:0:1 1:2:1\n0 0:1:1 1:3:0.5\n")
    >>> X, y, fields = read_libffm(path)
    >>> X.toarray(), y
    (array([[1. , 0. , 1. , 0. ],
           [0. , 1. , 0. , 0.5]]), array([1., 0.]))
    >>> fields.tolist()
    [0, 0, 1, 1]
    >>> folder.cleanup()
    """
    if n_features is not None:
        check_integer("n_features", n_features, at_least=1)
    source = Path(path)
    check_file(source)
    with source.open("rb") as file:
        table = FieldTable(n_features, os.fstat(file.fileno()).st_size)
        rows = LibffmRows(source, table, check_float_type(dtype))
        rows.read(file, 1)
    if not rows.labels:
        raise ValueError(f"{source} has no rows, only blank lines. Pass a file with at least one row.")
    X, y = rows.matrix(max(1, len(table.fields)))
    return X, y, _fields_of(table)


def write_libffm(X: Any, y: Any, fields: Any, path: str | os.PathLike[str]) -> None:
    """Write a data file in the libffm format.

    Numbers are written with enough digits to be read back exactly.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The features.
    y : array-like of shape (n_samples,)
        The targets, or the classes as numbers. The program libffm expects the classes 0 and 1.
    fields : array-like of shape (n_features,)
        The field of each column: a non-negative integer, or any integer for columns without entries. The attribute
        `fields_` of a fitted estimator can be passed if it holds integers.
    path : path-like
        Path of the file to write. An existing file is replaced atomically once the new one is complete.

    Raises
    ------
    ValueError
        If X or y contains values that are not finite numbers, if their numbers of rows differ, or if `fields` does
        not have the form described above.
    OSError
        If the file cannot be written.

    See Also
    --------
    read_libffm : Read a file in this format.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm.io import write_libffm
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "train.ffm"
    >>> write_libffm([[1, 0, 0.5], [0, 1, 0]], [1, 0], [0, 0, 1], path)
    >>> print(path.read_text(), end="")
    1 0:0:1 1:2:0.5
    0 0:1:1
    >>> folder.cleanup()
    """
    table, y = check_table(X, y)
    numbers = np.asarray(fields)
    if numbers.shape != (table.shape[1],) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"fields must hold an integer for each of the {table.shape[1]} columns of X, got an array of "
            f"{numbers.dtype} of shape {numbers.shape}. Convert labels to integers with "
            "np.unique(fields, return_inverse=True)[1]."
        )
    used = numbers[np.unique(table.indices)]
    if len(used) and used.min() < 0:
        raise ValueError(
            f"fields must not be negative for columns with entries, got {used.min()}. Number the fields from 0."
        )

    def keys(columns: np.ndarray) -> list[str]:
        pairs = zip(numbers[columns].tolist(), columns.tolist(), strict=True)
        return [f"{field}:{column}:" for field, column in pairs]

    write_text(path, data_lines(table, y, keys))


def _is_row(line: bytes) -> bool:
    """Return whether a line is a row of data, not a blank line."""
    return bool(line.strip())


class LibffmChunks(TextChunks):
    r"""Chunks of text files in the libffm format.

    Each row is a line of the form ``label field:index:value field:index:value ...``, where fields and indices start
    at 0. Blank lines are skipped.

    Parameters
    ----------
    path : str, path-like or list of these
        Paths of plain text files, in the order in which they are read. No chunk spans two files.

    n_features : int, default=None
        Number of columns. If None, it is inferred from the largest index, which must be less than the larger of 1024
        and half the size of the files in bytes. This reads the files once, chunk by chunk, when the number is first
        needed. Pass it if the indices are hashed.

    chunk_bytes : int, default=16777216
        Minimum size of a chunk, in bytes of the file. Each chunk ends at the first end of a row that reaches this
        size; the last chunk of a file may be smaller.

    dtype : dtype, default=numpy.float32
        Data type of `X`, float32 or float64. The labels are float64.

    classes : array-like of shape (n_classes,), default=None
        All class labels. Required by classifiers.

    Attributes
    ----------
    source : list of Path
        The files.

    n_features : int
        Number of columns.

    fields : ndarray of shape (n_features,)
        The field of each column. Can be passed to an estimator as its parameter `fields`.

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
        On construction, if a file is empty or compressed; while reading, if a line is invalid, as in
        :func:`read_libffm`.

    See Also
    --------
    read_libffm : Read a whole file at once.
    skfm.streaming.SvmlightChunks : Chunks of files without fields, which are read many times faster.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm import FMClassifier
    >>> from skfm.io import LibffmChunks
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "train.ffm"
    >>> _ = path.write_text("1 0:0:1 1:2:1\n0 0:1:1 1:2:1\n" * 50)
    >>> data = LibffmChunks(path, chunk_bytes=500, classes=[0, 1])
    >>> data.n_features, data.n_chunks
    (3, 3)
    >>> model = FMClassifier(solver="adagrad", fields=data.fields, random_state=0).fit(data)
    >>> model.predict([[1, 0, 1], [0, 1, 1]])
    array([1, 0])
    >>> folder.cleanup()
    """

    is_row = staticmethod(_is_row)

    def __init__(
        self,
        path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        n_features: int | None = None,
        chunk_bytes: int = 1 << 24,
        dtype: Any = np.float32,
        classes: Any = None,
    ) -> None:
        super().__init__(path, n_features=n_features, chunk_bytes=chunk_bytes, dtype=dtype, classes=classes)
        self._table = FieldTable(self._n_features, sum(each.stat().st_size for each in self.source))
        self._is_scanned = False

    @property
    def fields(self) -> np.ndarray:
        """The field of each column.

        Returns
        -------
        fields : ndarray of shape (n_features,)
            The field, or -1 for columns without entries. The first access reads all files.
        """
        if not self._is_scanned:
            self._scan_files()
        return _fields_of(self._table)

    @yields_new_arrays
    def _read(self, start: int) -> Iterator[tuple[Any, np.ndarray]]:
        n_features = self.n_features
        for piece, text in self._texts(start):
            rows = self._rows(piece, text).matrix(n_features)
            # Only the rows stay in memory while they are in use.
            del text
            yield rows
            del rows

    def _rows(self, piece: ByteRange, text: bytes) -> LibffmRows:
        rows = LibffmRows(piece.path, self._table, self.dtype)
        rows.read(BytesIO(text), count_lines(piece.path, piece.start) + 1)
        return rows

    def _scan_files(self) -> None:
        """Read all files once to find the number of columns and their fields."""
        for piece, text in self._texts():
            self._rows(piece, text)
        self._is_scanned = True
        self._n_features = max(1, len(self._table.fields))


def _fields_of(table: FieldTable) -> np.ndarray:
    return np.array(table.fields, np.int32) if table.fields else np.array([-1], np.int32)
