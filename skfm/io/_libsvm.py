"""Reading and writing of data files in the svmlight / libsvm format, which libFM also uses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._files import write_text
from ..streaming._byte_ranges import check_file, split_file
from ..streaming._checks import check_float_type, check_integer
from ..streaming._svmlight import is_row, load_range
from ._rows import check_table, data_lines

#: Number of bytes that are parsed at a time.
BYTES_PER_RANGE = 1 << 24


def read_libsvm(
    path: str | os.PathLike[str],
    *,
    n_features: int | None = None,
    zero_based: bool = True,
    dtype: Any = np.float64,
) -> tuple[sp.csr_matrix, np.ndarray]:
    r"""Read a data file of libFM, which uses the svmlight / libsvm format.

    Each row is a line of the form ``label index:value index:value ...``. Comments, which start with ``#``, blank lines
    and a ``qid:number`` after the label are ignored.

    Parameters
    ----------
    path : path-like
        Path to a plain text file.
    n_features : int or None, default=None
        Number of columns. If None, it is inferred from the largest index. Pass it for test data, in which the last
        columns of the training data may not occur.
    zero_based : bool, default=True
        Whether the column indices start at 0, as in files for libFM, or at 1, as in files for LIBSVM.
    dtype : dtype, default=numpy.float64
        Data type of `X`, float32 or float64.

    Returns
    -------
    X : csr matrix of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The labels, as float64.

    Raises
    ------
    OSError
        If the file does not exist or cannot be read.
    ValueError
        If the file is empty or compressed; or if a line cannot be parsed, has a value that is not finite, or has an
        index beyond `n_features`. The message names the file and the line, and quotes the beginning of the line.

    See Also
    --------
    write_libsvm : Write a file in this format.
    skfm.streaming.SvmlightChunks : Read files larger than memory in chunks.

    Notes
    -----
    The parser is that of :func:`sklearn.datasets.load_svmlight_file`, whose error messages do not name the line.

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
    parts = [load_range(piece, **options) for piece in split_file(file, BYTES_PER_RANGE, is_row)]
    if len(parts) == 1:
        return parts[0]
    width = max(X.shape[1] for X, _ in parts)
    for X, _ in parts:
        X.resize(X.shape[0], width)
    return sp.vstack([X for X, _ in parts], format="csr"), np.concatenate([y for _, y in parts])


def write_libsvm(X: Any, y: Any, path: str | os.PathLike[str], *, zero_based: bool = True) -> None:
    """Write a data file of libFM, which uses the svmlight / libsvm format.

    Numbers are written with enough digits to be read back exactly.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The features.
    y : array-like of shape (n_samples,)
        The targets, or the classes as numbers. The program libFM expects the classes -1 and 1.
    path : path-like
        Path of the file to write. An existing file is replaced atomically once the new one is complete.
    zero_based : bool, default=True
        Whether the column indices start at 0, as libFM expects, or at 1, as LIBSVM expects.

    Raises
    ------
    ValueError
        If X or y contains values that are not finite numbers, or if their numbers of rows differ.
    OSError
        If the file cannot be written.

    See Also
    --------
    read_libsvm : Read a file in this format.

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
        path, data_lines(table, y, lambda columns: [f"{column}:" for column in (columns + first).tolist()])
    )
