"""Data files in the svmlight / libsvm format, which libFM reads too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._files import write_text
from ..streaming._byte_ranges import check_file, cut
from ..streaming._checks import check_float_type, check_integer
from ..streaming._svmlight import is_row, load_range
from ._rows import check_table, lines_of

#: Bytes that are parsed at a time.
PIECE = 1 << 24


def read_libsvm(
    path: str | os.PathLike[str],
    *,
    n_features: int | None = None,
    zero_based: bool = True,
    dtype: Any = np.float64,
) -> tuple[sp.csr_matrix, np.ndarray]:
    r"""Read a data file of libFM, which is one in the svmlight / libsvm format.

    A row is a line ``label index:value index:value ...``. Comments (from ``#`` on), blank lines and a
    ``qid:number`` behind the label are skipped.

    Parameters
    ----------
    path : path-like
        A file of plain text.
    n_features : int or None, default=None
        Number of columns. None takes as many as the largest index asks for: pass it for test data, which
        may lack the last columns of the training data.
    zero_based : bool, default=True
        Whether the first column is number 0, as in files for libFM, or number 1, as in those of LIBSVM.
    dtype : dtype, default=numpy.float64
        Type of the values of `X`, float32 or float64.

    Returns
    -------
    X : csr matrix of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The labels, as float64.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If the file is empty or compressed, or at a line that cannot be read, is not finite, or has an index beyond
        `n_features`; the message has the file, the number of the line and how it begins.

    See Also
    --------
    write_libsvm : Write such a file.
    skfm.streaming.SvmlightChunks : The same in chunks, for files larger than memory.

    Notes
    -----
    The parser is that of :func:`sklearn.datasets.load_svmlight_file`, which does not say where a file is at fault.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm.io import read_libsvm
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "train.libfm"
    >>> _ = path.write_text("4 0:1 2:1\n2.5 1:1 3:0.5\n")
    >>> X, y = read_libsvm(path)
    >>> X.toarray(), y
    (array([[1. , 0. , 1. , 0. ],
           [0. , 1. , 0. , 0.5]]), array([4. , 2.5]))
    >>> folder.cleanup()
    """
    if n_features is not None:
        check_integer("n_features", n_features, at_least=1)
    if not isinstance(zero_based, bool | np.bool_):
        raise ValueError(f"zero_based must be True or False, got {zero_based!r}.")
    options = {"n_features": n_features, "zero_based": bool(zero_based), "dtype": check_float_type(dtype)}
    file = Path(path)
    check_file(file)
    parts = [load_range(piece, **options) for piece in cut(file, PIECE, is_row)]
    if len(parts) == 1:
        return parts[0]
    width = max(X.shape[1] for X, _ in parts)
    for X, _ in parts:
        X.resize(X.shape[0], width)
    return sp.vstack([X for X, _ in parts], format="csr"), np.concatenate([y for _, y in parts])


def write_libsvm(X: Any, y: Any, path: str | os.PathLike[str], *, zero_based: bool = True) -> None:
    """Write a data file of libFM, which is one in the svmlight / libsvm format.

    Numbers have as many digits as it takes to read the same ones back.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The features.
    y : array-like of shape (n_samples,)
        The targets, or classes as numbers: -1 and 1 for libFM.
    path : path-like
        Where to write. A file there is replaced in one step, when the new one is complete.
    zero_based : bool, default=True
        Whether the first column is number 0, as libFM has it, or number 1, as LIBSVM has it.

    Raises
    ------
    ValueError
        If X and y are not finite numbers, or do not have the same number of rows.
    OSError
        If the file cannot be written.

    See Also
    --------
    read_libsvm : Read such a file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfm.io import write_libsvm
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "train.libfm"
    >>> write_libsvm([[1, 0, 0.5], [0, 1, 0]], [4, 2.5], path)
    >>> print(path.read_text(), end="")
    4 0:1 2:0.5
    2.5 1:1
    >>> folder.cleanup()
    """
    table, y = check_table(X, y)
    first = 0 if zero_based else 1
    write_text(
        path, lines_of(table, y, lambda columns: [f"{column}:" for column in (columns + first).tolist()])
    )
