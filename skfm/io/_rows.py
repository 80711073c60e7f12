"""Rows of X and y as lines of text, and numbers from such lines."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_X_y


def check_table(X: Any, y: Any) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return X as CSR with one entry a column, in their order, and y as numbers.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    """
    X, y = check_X_y(X, y, accept_sparse="csr", dtype=[np.float64, np.float32])
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"y must hold numbers, got {y.dtype}. Number classes by np.unique(y, return_inverse=True)[1]."
        )
    table = sp.csr_matrix(X)
    if not table.has_canonical_format:
        table = table.copy()
        table.sum_duplicates()
    return table, y.astype(np.float64)


def lines_of(X: sp.csr_matrix, y: np.ndarray, keys: Callable[[np.ndarray], list[str]]) -> Iterator[str]:
    """Yield a line a row: the label, and a key and a value for each of its entries.

    Parameters
    ----------
    X : csr matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    keys : callable
        Returns what stands before the values in these columns.
    """
    for row, label in enumerate(y.tolist()):
        here = slice(*X.indptr[row : row + 2])
        values = map(shortest, X.data[here].tolist())
        entries = (key + value for key, value in zip(keys(X.indices[here]), values, strict=True))
        yield " ".join([shortest(label), *entries]) + "\n"


def shortest(number: float) -> str:
    """Return the shortest text that is read back as the same number."""
    return repr(number).removesuffix(".0")


def as_array(numbers: array[Any]) -> np.ndarray:
    """Return the same memory as an array of numpy, which cannot take none at all."""
    return np.frombuffer(numbers, numbers.typecode) if numbers else np.empty(0, numbers.typecode)
