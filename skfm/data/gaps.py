"""Missing numbers in the columns of DataFrames, which are replaced by the mean of the column."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from scipy import sparse

from .columns import SourceColumn, as_frame, source_columns

#: Suffix of the name of the column that indicates missing numbers.
MISSING_SUFFIX = "(missing)"


def has_gaps(X: Any) -> bool:
    """Return whether X is a DataFrame in which numbers may be missing, given the dtypes of the columns with gaps."""
    return as_frame(X) is not None and any(map(_may_miss_numbers, source_columns(X)))


def _may_miss_numbers(column: SourceColumn) -> bool:
    """Return whether a column of a DataFrame has missing values, and may be numeric."""
    dtype, missing = column.dtype, column.values.is_null()
    if missing.all():
        # A column without values may have any dtype.
        return True
    if not (dtype.is_numeric() or dtype in (nw.Object, nw.Unknown)):
        return False
    if missing.any():
        return True
    # polars and pyarrow distinguish between NaN and null.
    return bool(dtype.is_float() and column.values.is_nan().any())


def mean_of(numbers: np.ndarray, weight: np.ndarray, name: str) -> float:
    """Return the weighted mean of the numbers of a column that are not missing.

    Parameters
    ----------
    numbers : ndarray of shape (n_samples,)
        NaN where a number is missing.
    weight : ndarray of shape (n_samples,)
        Positive.
    name : str
        Name of the column, for the error message.
    """
    present = ~np.isnan(numbers)
    if not present.any():
        raise ValueError(
            f"Column {name!r} has no values in the training data: all of them are missing. Drop this column."
        )
    numbers, weight = numbers[present].astype(np.float64), weight[present].astype(np.float64)
    with np.errstate(over="ignore"):
        mean = np.average(numbers, weights=weight)
    if np.isfinite(mean):
        return float(mean)
    # The sum exceeds the largest float.
    largest = np.abs(numbers).max()
    return float(largest * np.average(numbers / largest, weights=weight / weight.max()))


def means_of_table(X: Any, table: Any, weight: np.ndarray) -> list[float | None]:
    """Return the weighted mean of each column of a DataFrame of numbers, and None for booleans.

    Parameters
    ----------
    X : DataFrame
    table : ndarray or sparse matrix of shape (n_samples, n_columns)
        The rows of X with a positive weight, as finite numbers.
    weight : ndarray of shape (n_samples,)
        Positive.
    """
    columns = list(source_columns(X))
    if sparse.issparse(table):
        sums = np.asarray(weight.astype(np.float64) @ table).ravel()
        means = (sums / weight.sum(dtype=np.float64)).tolist()
    else:
        means = [
            mean_of(numbers, weight, column.name) for numbers, column in zip(table.T, columns, strict=True)
        ]
    return [None if column.is_boolean() else mean for column, mean in zip(columns, means, strict=True)]


def fill_gaps(numbers: np.ndarray, mean: float | None, *, indicate: bool) -> np.ndarray:
    """Return a column with the mean in the place of missing numbers, and with an indicator of these on request.

    Returns
    -------
    ndarray of shape (n_samples, 1 or 2)
        The numbers and, if ``indicate`` is True, ones where they were missing and zeros elsewhere.
    """
    if mean is None:
        return numbers[:, None]
    missing = np.isnan(numbers)
    filled = np.where(missing, numbers.dtype.type(mean), numbers) if missing.any() else numbers
    return np.column_stack([filled, missing.astype(numbers.dtype)]) if indicate else filled[:, None]
