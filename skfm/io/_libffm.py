"""Data files in the libffm format, which names the field of every entry."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._files import write_text
from ..streaming._byte_ranges import ByteRange, check_file, count_lines, read
from ..streaming._checks import check_float_type, check_integer
from ..streaming._text_chunks import TextChunks
from ._libffm_rows import FieldTable, LibffmRows
from ._rows import check_table, lines_of


def read_libffm(
    path: str | os.PathLike[str], *, n_features: int | None = None, dtype: Any = np.float64
) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    r"""Read a data file in the libffm format.

    A row is a line ``label field:index:value field:index:value ...``, with fields and indices counted from 0. Blank
    lines are skipped.

    Parameters
    ----------
    path : path-like
        A file of plain text.
    n_features : int or None, default=None
        Number of columns. None takes as many as the largest index asks for, up to half the size of the file in
        bytes. Pass it for hashed indices, and for test data, which may lack the last columns of the training data.
    dtype : dtype, default=numpy.float64
        Type of the values of `X`, float32 or float64.

    Returns
    -------
    X : csr matrix of shape (n_samples, n_features)
        The features. Entries of one column in a row are added up.
    y : ndarray of shape (n_samples,)
        The labels, as float64.
    fields : ndarray of shape (n_features,)
        The field of each column, -1 for columns that no row has an entry of. For the parameter `fields` of the
        estimators.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If the file is empty or compressed, or at a line that cannot be read, is not finite, has an index beyond
        `n_features` or a column in another field than before; the message has the file, the number of the line and
        how it begins.

    See Also
    --------
    LibffmChunks : The same in chunks, for files larger than memory.
    write_libffm : Write such a file.

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
        raise ValueError(f"{source} has no rows, only blank lines.")
    X, y = rows.matrix(max(1, len(table.fields)))
    return X, y, _fields_of(table)


def write_libffm(X: Any, y: Any, fields: Any, path: str | os.PathLike[str]) -> None:
    """Write a data file in the libffm format.

    Numbers have as many digits as it takes to read the same ones back.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The features.
    y : array-like of shape (n_samples,)
        The targets, or classes as numbers: 0 and 1 for libffm.
    fields : array-like of shape (n_features,)
        The field of each column, as integers of 0 or more; any number for columns without entries. `fields_` of a
        fitted estimator is of this form.
    path : path-like
        Where to write. A file there is replaced in one step, when the new one is complete.

    Raises
    ------
    ValueError
        If X and y are not finite numbers or do not have the same number of rows, or `fields` is not of the
        form above.
    OSError
        If the file cannot be written.

    See Also
    --------
    read_libffm : Read such a file.

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
            f"{numbers.dtype} of shape {numbers.shape}. Number labels by np.unique(fields, return_inverse=True)[1]."
        )
    used = numbers[np.unique(table.indices)]
    if len(used) and used.min() < 0:
        raise ValueError(f"fields must not be negative for columns with entries, got {used.min()}.")

    def keys(columns: np.ndarray) -> list[str]:
        pairs = zip(numbers[columns].tolist(), columns.tolist(), strict=True)
        return [f"{field}:{column}:" for field, column in pairs]

    write_text(path, lines_of(table, y, keys))


def _is_row(line: bytes) -> bool:
    return bool(line.strip())


class LibffmChunks(TextChunks):
    r"""Chunks of text files in the libffm format.

    A row is a line ``label field:index:value field:index:value ...``, with fields and indices counted from 0. Blank
    lines are skipped.

    Parameters
    ----------
    path : str, path-like or list of these
        Files of plain text, read in this order. No chunk spans two files.

    n_features : int, default=None
        Number of columns. By default it is found by reading the files once, chunk by chunk, when it is first
        needed: up to half their size in bytes. Pass it for hashed indices.

    chunk_bytes : int, default=16777216
        Size of a chunk in bytes of the file. A chunk ends with the first row that makes it as large as that.

    dtype : dtype, default=numpy.float32
        Type of the values of `X`, float32 or float64. The labels are float64.

    classes : array-like of shape (n_classes,), default=None
        For classifiers: all labels.

    Attributes
    ----------
    source : list of Path
        The files.

    n_features : int
        Number of columns.

    fields : ndarray of shape (n_features,)
        The field of each column, for the parameter `fields` of the estimators.

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
        If a file is empty or compressed, or later at a line that cannot be read, as in :func:`read_libffm`.

    See Also
    --------
    read_libffm : The same at once.
    skfm.streaming.SvmlightChunks : Files without fields, which are many times as fast to read.

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
        self._is_surveyed = False

    @property
    def fields(self) -> np.ndarray:
        """The field of each column.

        Returns
        -------
        fields : ndarray of shape (n_features,)
            -1 for columns that no row has an entry of. The files are read when it is first asked for.
        """
        if not self._is_surveyed:
            self._survey()
        return _fields_of(self._table)

    def _read(self, start: int) -> Iterator[tuple[Any, np.ndarray]]:
        n_features = self.n_features
        for piece in self._byte_ranges()[start:]:
            yield self._rows(piece).matrix(n_features)

    def _rows(self, piece: ByteRange) -> LibffmRows:
        rows = LibffmRows(piece.path, self._table, self.dtype)
        rows.read(BytesIO(read(piece)), count_lines(piece.path, piece.start) + 1)
        return rows

    def _survey(self) -> None:
        """Read all files once, for their columns and fields."""
        for piece in self._byte_ranges():
            self._rows(piece)
        self._is_surveyed = True
        self._n_features = max(1, len(self._table.fields))


def _fields_of(table: FieldTable) -> np.ndarray:
    return np.array(table.fields, np.int32) if table.fields else np.array([-1], np.int32)
