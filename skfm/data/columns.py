"""Access to the columns of DataFrames and arrays: their kinds, and their values as numbers or categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from scipy import sparse

#: Types of values that hold several categories.
LIST_TYPES = (list, tuple, set, frozenset, np.ndarray)

#: The kinds of columns.
NUMERIC, CATEGORY, LIST = "numeric", "category", "list"


class SourceColumn(NamedTuple):
    """A column of the input.

    Attributes
    ----------
    name : str
        Name of the column.
    values : narwhals Series or ndarray of shape (n_samples,)
        Values of the column.
    """

    name: str
    values: Any

    @property
    def dtype(self) -> Any:
        """Data type of the values."""
        return self.values.dtype

    def kind(self) -> str:
        """Return the kind of the column, inferred from its dtype or, for dtype object, from its values."""
        if isinstance(self.values, np.ndarray):
            return NUMERIC
        dtype = self.values.dtype
        if dtype in (nw.Categorical, nw.Enum, nw.String, nw.Boolean):
            return CATEGORY
        if dtype in (nw.List, nw.Array):
            return LIST
        if dtype == nw.Object:
            present = [value for value in self.objects() if value is not None]
            if any(isinstance(value, LIST_TYPES) for value in present):
                return LIST
            return CATEGORY if any(isinstance(value, str | bytes | bool) for value in present) else NUMERIC
        if dtype.is_numeric() or dtype == nw.Unknown:  # sparse columns of pandas have the dtype Unknown
            return NUMERIC
        shown = getattr(self.values.to_native(), "dtype", dtype)
        raise TypeError(
            f"Column {self.name!r} has dtype {shown}, which is neither a number nor a category. Derive numeric or "
            "categorical columns from it (from dates, for example, the hour or the weekday), include it in "
            "categorical_features, or drop it."
        )

    def objects(self) -> np.ndarray:
        """Return the values as Python objects, with None for missing values."""
        if isinstance(self.values, np.ndarray):
            values, missing = self.values.tolist(), None
        else:
            values, missing = self.values.to_list(), self.values.is_null().to_numpy()
        objects = np.empty(len(values), object)
        objects[:] = values
        if missing is not None:
            objects[missing.astype(bool)] = None
        # Arrays and columns of dtype object may contain NaN as missing value.
        objects[[isinstance(value, float) and value != value for value in objects]] = None
        return objects

    def numbers(self, dtype: Any) -> np.ndarray:
        """Return the values as finite numbers, or raise a ValueError."""
        values = self.values.to_native() if self._is_native() else self.objects()
        try:
            if np.iscomplexobj(values):
                raise TypeError("complex numbers")
            numbers = np.asarray(values, dtype)
        except (TypeError, ValueError):
            shown = next((value for value in self.objects() if not _is_number(value)), None)
            raise ValueError(
                f"Column {self.name!r} must hold numbers, but holds {shown!r}. {_remedy(shown)}"
            ) from None
        bad = ~np.isfinite(numbers)
        if bad.any():
            first = int(np.argmax(bad))
            what = "NaN" if np.isnan(numbers[first]) else "infinity"
            raise ValueError(
                f"Input X contains {what}: column {self.name!r} in row {first} ({np.count_nonzero(bad)} such rows in "
                "total). Impute missing numbers, for example with a SimpleImputer in a ColumnTransformer (see "
                "DataFrames in the user guide). Missing categories do not have to be imputed."
            )
        return numbers

    def _is_native(self) -> bool:
        """Return whether numpy can convert the native column, which is the case if it has no missing values."""
        return not isinstance(self.values, np.ndarray) and not self.values.is_null().any()


def _remedy(value: Any) -> str:
    """Return the advice for a value that is not a number."""
    if isinstance(value, LIST_TYPES):
        return "Include the column in multi_value_features, or use categorical_features='from_dtype'."
    return (
        "If these are categories, include the column in categorical_features, or convert it to a string or "
        "categorical dtype and use categorical_features='from_dtype'."
    )


def _is_number(value: Any) -> bool:
    """Return whether a value can be converted to float."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def check_is_evaluated(X: Any) -> None:
    """Raise a TypeError if X is a DataFrame whose values have not been computed yet."""
    if isinstance(X, np.ndarray) or sparse.issparse(X):
        return
    with suppress(DuplicateError):  # which is an error elsewhere, if at all
        if isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
            raise _not_evaluated(X)


def _not_evaluated(X: Any) -> TypeError:
    return TypeError(f"X is a {type(X).__name__}, which has not been evaluated yet. Pass X.collect().")


def as_frame(X: Any) -> nw.DataFrame | None:
    """Return X as a narwhals DataFrame if it is a DataFrame of a library that narwhals supports, else None."""
    try:
        frame = nw.from_native(X, pass_through=True)
    except DuplicateError as error:
        raise ValueError(f"X has several columns with the same name: {error} Rename them.") from error
    if isinstance(frame, nw.LazyFrame):
        raise _not_evaluated(X)
    return frame if isinstance(frame, nw.DataFrame) else None


def source_columns(X: Any) -> Iterator[SourceColumn]:
    """Yield the columns of a DataFrame or a dense array."""
    frame = as_frame(X)
    if frame is not None:
        for series in frame.iter_columns():
            yield SourceColumn(str(series.name), series)
        return
    if sparse.issparse(X):
        raise TypeError(
            "Categorical features must be columns of a DataFrame or a dense array, but X is a sparse matrix. For "
            "encoded data, use categorical_features='from_dtype' and multi_value_features=None."
        )
    array = np.asarray(X)
    if array.ndim != 2:
        raise ValueError(f"Expected 2D array, got {array.ndim}D array instead. Reshape your data.")
    for number, values in enumerate(array.T):
        yield SourceColumn(f"x{number}", values)


def column_mask(chosen: Any, names: list[str], parameter: str) -> np.ndarray:
    """Return a boolean mask of the columns that are given by a mask, by numbers or by names.

    Parameters
    ----------
    chosen : array-like of bool, int or str
        Mask, numbers or names of the columns.
    names : list of str
        Names of all columns.
    parameter : str
        Name of the parameter, for error messages.
    """
    keys = np.asarray(list(chosen) if isinstance(chosen, Iterable) else chosen)
    mask = np.zeros(len(names), bool)
    if keys.ndim != 1 or (keys.dtype.kind not in "biuU" and keys.size):
        raise ValueError(
            f"{parameter} must be a list of column names, a list of column numbers or a mask, got {chosen!r}."
        )
    if keys.dtype.kind == "b":
        if len(keys) != len(names):
            raise ValueError(
                f"{parameter} is a mask of length {len(keys)}, but X has {len(names)} columns. Pass one value per "
                "column, or the names of the columns."
            )
        return keys
    places = (
        {name: number for number, name in enumerate(names)} if keys.dtype.kind == "U" else range(len(names))
    )
    for key in keys.tolist():
        if keys.dtype.kind != "U" and -len(names) <= key < len(names):
            mask[key] = True
        elif keys.dtype.kind == "U" and key in places:
            mask[places[key]] = True
        else:
            known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
            raise ValueError(
                f"{parameter} contains the column {key!r}, which X does not have. X has {len(names)} columns: {known}."
            )
    return mask
