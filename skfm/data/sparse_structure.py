"""The structure of scipy matrices, which scipy and torch do not check: wrong indices lead to invalid memory access."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


def check_structure(X: Any) -> Any:
    """Return X without spare memory, or raise a ValueError if it is a sparse matrix whose arrays contradict each other.

    Parameters
    ----------
    X : object
        Anything that a user may pass. Sparse matrices are checked, and converted to CSR if they consist of Python
        lists, dictionaries or diagonals, which are only checked then.
    """
    if not sparse.issparse(X) or X.ndim != 2:
        return X
    if X.format == "coo":
        if not len(X.row) == len(X.col) == len(X.data):
            raise _corrupt(
                f"it has {len(X.row)} rows, {len(X.col)} columns and {len(X.data)} values of entries"
            )
        _check_range(X.row, X.shape[0], "row")
        _check_range(X.col, X.shape[1], "column")
        return X
    if X.format not in ("csr", "csc", "bsr"):
        X = X.tocsr()
    _check_compressed(X)
    n = X.indptr[-1]
    if n < max(len(X.indices), len(X.data)):
        # Spare memory behind the last entry is not part of the matrix.
        X = type(X)((X.data[:n], X.indices[:n], X.indptr), shape=X.shape)
    return X


def _check_compressed(X: Any) -> None:
    """Check a matrix in the format CSR, CSC or BSR."""
    shape = [n // size for n, size in zip(X.shape, getattr(X, "blocksize", (1, 1)), strict=True)]
    n_major, n_minor = shape[::-1] if X.format == "csc" else shape
    for name in ("indptr", "indices"):
        array = getattr(X, name)
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "iu":
            raise _corrupt(f"{name} must be a one-dimensional array of integers")
    indptr, indices, n_values = X.indptr, X.indices, len(X.data)
    if len(indptr) != n_major + 1:
        raise _corrupt(
            f"indptr must have {n_major + 1} numbers for the shape {X.shape}, but it has {len(indptr)}"
        )
    if indptr[0] != 0:
        raise _corrupt(f"indptr must start with 0, but it starts with {indptr[0]}")
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        place = int(np.argmax(falls))
        raise _corrupt(
            f"indptr must not decrease, but indptr[{place}] = {indptr[place]} and "
            f"indptr[{place + 1}] = {indptr[place + 1]}"
        )
    if indptr[-1] > min(len(indices), n_values):
        raise _corrupt(
            f"indptr ends with {indptr[-1]}, but there are {len(indices)} indices and {n_values} values"
        )
    _check_range(indices[: indptr[-1]], n_minor, "row" if X.format == "csc" else "column")


def _check_range(indices: np.ndarray, n: int, what: str) -> None:
    """Check that indices are between 0 and n - 1."""
    if len(indices) and (indices.min() < 0 or indices.max() >= n):
        raise _corrupt(
            f"{what} indices must be between 0 and {n - 1}, but they are between {indices.min()} and {indices.max()}"
        )


def _corrupt(what: str) -> ValueError:
    return ValueError(
        f"X is a corrupt sparse matrix: {what}. Build it anew, for example from rows, columns and values with "
        "scipy.sparse.csr_array((values, (rows, columns)), shape=shape)."
    )
