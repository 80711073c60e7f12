"""Helpers shared by the text formats: rows of X and y as lines of text, and numbers parsed from such lines."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_X_y

#: Tokens of a line: its parts without white space.
TOKEN_PATTERN = re.compile(rb"\S+")


def check_table(X: Any, y: Any) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return X as CSR with sorted column indices and without duplicates, and y as float64.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    """
    X, y = check_X_y(X, y, accept_sparse="csr", dtype=[np.float64, np.float32])
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"y must hold numbers, got {y.dtype}. Convert class labels to numbers with "
            "np.unique(y, return_inverse=True)[1]."
        )
    table = sp.csr_matrix(X)
    if not table.has_canonical_format:
        table = table.copy()
        table.sum_duplicates()
    return table, y.astype(np.float64)


def data_lines(X: sp.csr_matrix, y: np.ndarray, keys: Callable[[np.ndarray], list[str]]) -> Iterator[str]:
    """Yield one line per row: the label, followed by a key and a value for each entry.

    Parameters
    ----------
    X : csr matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    keys : callable
        Function that returns, for an array of column numbers, the text that precedes each of their values.
    """
    for row, label in enumerate(y.tolist()):
        here = slice(*X.indptr[row : row + 2])
        values = map(shortest_repr, X.data[here].tolist())
        entries = (key + value for key, value in zip(keys(X.indices[here]), values, strict=True))
        yield " ".join([shortest_repr(label), *entries]) + "\n"


def shortest_repr(number: float) -> str:
    """Return the shortest text that is parsed as the same number."""
    return repr(number).removesuffix(".0")


def to_ndarray(numbers: array[Any]) -> np.ndarray:
    """Return a numpy view of an array, or an empty array: numpy.frombuffer does not accept empty buffers."""
    return np.frombuffer(numbers, numbers.typecode) if numbers else np.empty(0, numbers.typecode)
