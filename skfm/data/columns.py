"""The columns of DataFrames and arrays, one by one: what they hold, as numbers or as categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from scipy import sparse

#: Types of values that are several categories at once.
LISTS = (list, tuple, set, frozenset, np.ndarray)

NUMERIC, CATEGORY, LIST = "numeric", "category", "list"


class SourceColumn(NamedTuple):
    """A column as the user gave it.

    Attributes
    ----------
    name : str
    values : narwhals Series or ndarray of shape (n_samples,)
    """

    name: str
    values: Any

    @property
    def dtype(self) -> Any:
        """Its type, for messages."""
        return self.values.dtype

    def kind(self) -> str:
        """Return what the type, or with objects the values, say the column is: `NUMERIC`, `CATEGORY` or `LIST`."""
        if isinstance(self.values, np.ndarray):
            return NUMERIC
        dtype = self.values.dtype
        if dtype in (nw.Categorical, nw.Enum, nw.String, nw.Boolean):
            return CATEGORY
        if dtype in (nw.List, nw.Array):
            return LIST
        if dtype == nw.Object:
            present = [value for value in self.objects() if value is not None]
            if any(isinstance(value, LISTS) for value in present):
                return LIST
            return CATEGORY if any(isinstance(value, str | bytes | bool) for value in present) else NUMERIC
        if dtype.is_numeric() or dtype == nw.Unknown:  # the latter are the sparse columns of pandas
            return NUMERIC
        shown = getattr(self.values.to_native(), "dtype", dtype)
        raise TypeError(
            f"Column {self.name!r} has dtype {shown}, which is neither a number nor a category. Derive columns of "
            "numbers or categories from it (of dates, for example, the hour or the weekday), name it among the "
            "categorical_features, or drop it."
        )

    def objects(self) -> np.ndarray:
        """Return the values as Python objects, with None for missing ones."""
        if isinstance(self.values, np.ndarray):
            values, missing = self.values.tolist(), None
        else:
            values, missing = self.values.to_list(), self.values.is_null().to_numpy()
        objects = np.empty(len(values), object)
        objects[:] = values
        if missing is not None:
            objects[missing.astype(bool)] = None
        # Of arrays, and of columns of objects.
        objects[[isinstance(value, float) and value != value for value in objects]] = None
        return objects

    def numbers(self, dtype: Any) -> np.ndarray:
        """Return the values as finite numbers, or say what is wrong with them."""
        values = self.values.to_native() if self._is_plain() else self.objects()
        try:
            if np.iscomplexobj(values):
                raise TypeError("complex numbers")
            numbers = np.asarray(values, dtype)
        except (TypeError, ValueError):
            shown = next((value for value in self.objects() if not _is_number(value)), None)
            raise ValueError(
                f"Column {self.name!r} has to hold numbers, but holds {shown!r}. {_advice(shown)}"
            ) from None
        bad = ~np.isfinite(numbers)
        if bad.any():
            first = int(np.argmax(bad))
            what = "NaN" if np.isnan(numbers[first]) else "infinity"
            raise ValueError(
                f"Input X contains {what}: column {self.name!r} in row {first} (of {np.count_nonzero(bad)} such rows). "
                "Fill missing numbers of this column, with a SimpleImputer in a ColumnTransformer (see DataFrames in "
                "the user guide); missing categories need no care."
            )
        return numbers

    def _is_plain(self) -> bool:
        """Tell whether the column is one that numpy understands by itself."""
        return not isinstance(self.values, np.ndarray) and not self.values.is_null().any()


def _advice(value: Any) -> str:
    if isinstance(value, LISTS):
        return "Name the column among the multi_value_features, or leave categorical_features='from_dtype'."
    return (
        "If these are categories, name the column among the categorical_features, or give it a dtype that says so "
        "(string or category) and leave categorical_features='from_dtype'."
    )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def as_frame(X: Any) -> nw.DataFrame | None:
    """Return a DataFrame of pandas, polars or another library that narwhals knows in its terms, else None."""
    try:
        frame = nw.from_native(X, pass_through=True)
    except DuplicateError as error:
        raise ValueError(f"X has several columns of one name: {error} Rename all but one of each.") from error
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(f"X is a {type(X).__name__}, which has not been worked out yet. Pass X.collect().")
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
            "Categorical features are columns of a DataFrame or a dense array, but X is a sparse matrix. Leave "
            "categorical_features='from_dtype' for data that are encoded already."
        )
    array = np.asarray(X)
    if array.ndim != 2:
        raise ValueError(f"Expected 2D array, got {array.ndim}D array instead. Reshape your data.")
    for number, values in enumerate(array.T):
        yield SourceColumn(f"x{number}", values)


def selected(chosen: Any, names: list[str], parameter: str) -> np.ndarray:
    """Return a mask of the columns that a user chose by a mask, by number or by name.

    Parameters
    ----------
    chosen : array-like of bool, int or str
    names : list of str
        Of all columns.
    parameter : str
        Name of the parameter, for messages.
    """
    keys = np.asarray(list(chosen) if isinstance(chosen, Iterable) else chosen)
    mask = np.zeros(len(names), bool)
    if keys.ndim != 1 or (keys.dtype.kind not in "biuU" and keys.size):
        raise ValueError(
            f"{parameter} must be a list of names, a list of column numbers or a mask, got {chosen!r}."
        )
    if keys.dtype.kind == "b":
        if len(keys) != len(names):
            raise ValueError(
                f"{parameter} is a mask of {len(keys)} values, but X has {len(names)} columns. Give one value for "
                "each, or name the columns."
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
                f"{parameter} names the column {key!r}, which X does not have. It has {len(names)} columns: {known}."
            )
    return mask
