"""Access to the columns of DataFrames and arrays: their kinds, and their values as numbers or categories."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from scipy import sparse

#: Types of values that hold several categories.
LIST_TYPES = (list, tuple, set, frozenset, np.ndarray)

#: Types of values that are dates, times or durations. Those of pandas and polars are derived from these.
DATES, DURATIONS = datetime.date, datetime.timedelta
TIMES = (DATES, DURATIONS, datetime.time)

#: How the names of types of Arrow begin.
ARROW_NUMBERS, ARROW_TIMES = (
    ("int", "uint", "float", "double", "halffloat"),
    ("date", "timestamp", "duration"),
)

#: The kinds of columns.
NUMERIC, CATEGORY, LIST = "numeric", "category", "list"
#: The kinds of columns from which columns of these kinds are derived.
DATE, DURATION = "date", "duration"


#: Advice for columns that are neither numbers nor categories.
_FROM_TIMES = (
    "Convert it to dates of the type datetime64, for example with pandas.to_datetime, or replace it by columns of "
    "numbers or categories, for example by the days since the first date (a number) and by the weekday, the month or "
    "the hour (categories, as strings). If each distinct value is a category, convert the column to a categorical "
    "dtype."
)
_FROM_OTHERS = (
    "Derive columns of numbers or categories from it, convert it to a categorical dtype if each distinct value is a "
    "category, or drop it."
)
#: Advice for columns of numbers with values that are not finite.
MISSING = (
    "Impute missing numbers, for example with SimpleImputer(add_indicator=True), for some columns of a DataFrame in a "
    "ColumnTransformer (see DataFrames in the user guide), or drop these rows. Missing categories do not have to be "
    "imputed."
)
_MISSING_BOOLEANS = (
    "The model was fitted to booleans without missing values, which are the numbers 0 and 1. Impute the missing "
    "values, or convert the column to a categorical dtype before fit, so that missing values are a category."
)
_INFINITE = (
    "Replace infinite numbers by finite ones, or remove these rows. They often result from a division by zero or the "
    "logarithm of zero."
)


class SourceColumn(NamedTuple):
    """A column of the input.

    Attributes
    ----------
    name : str
        Name of the column.
    values : narwhals Series or ndarray of shape (n_samples,)
        Values of the column.
    is_derived : bool
        Whether the values, an array, are derived from a column of a DataFrame.
    """

    name: str
    values: Any
    is_derived: bool = False

    @property
    def dtype(self) -> Any:
        """Data type of the values."""
        return self.values.dtype

    def kind(self) -> str:
        """Return the kind of the column, inferred from its dtype or, for dtype object, from its values.

        Booleans are the numbers 0 and 1, as they are in an array, unless some are missing.
        """
        if isinstance(self.values, np.ndarray):
            return NUMERIC
        dtype = self.values.dtype
        if dtype in (nw.Categorical, nw.Enum, nw.String):
            return CATEGORY
        if self.is_boolean():
            return CATEGORY if self.values.is_null().any() else NUMERIC
        if self.holds_lists():
            return LIST
        if (kind := self.kind_of_times()) is not None:
            return kind
        if dtype == nw.Object:
            present = [value for value in self.objects() if value is not None]
            if any(isinstance(value, str | bytes | bool) for value in present):
                return CATEGORY
            other = next((value for value in present if not _is_number(value)), None)
            if other is None:
                return NUMERIC
            raise self._not_supported(
                f"holds {other!r} of type {type(other).__name__}", isinstance(other, TIMES)
            )
        shown = str(getattr(self.values.to_native(), "dtype", dtype))
        # The dtype Unknown is that of sparse columns of pandas, but also that of periods and intervals.
        is_other = dtype == nw.Unknown and shown.startswith(("period", "interval"))
        if dtype.is_numeric() or (dtype == nw.Unknown and not is_other):
            return NUMERIC
        raise self._not_supported(f"has dtype {shown}", dtype.is_temporal() or shown.startswith("period"))

    def kind_of_times(self) -> str | None:
        """Return `DATE` or `DURATION` if the column belongs to a DataFrame and holds these, else None."""
        if isinstance(self.values, np.ndarray):
            return None
        if self.values.dtype == nw.Object:
            return _kind_of_times([value for value in self.objects() if value is not None])
        if self.holds_dates():
            return DATE
        return DURATION if self.values.dtype == nw.Duration else None

    def holds_dates(self) -> bool:
        """Return whether the column belongs to a DataFrame and has a dtype of dates."""
        if isinstance(self.values, np.ndarray):
            return False
        return self.values.dtype in (nw.Date, nw.Datetime) or self.time_zone() is not None

    def time_zone(self) -> str | None:
        """Return the time zone of a column with a dtype of dates."""
        if self.values.dtype != nw.Unknown:
            return getattr(self.values.dtype, "time_zone", None)
        # narwhals does not know all time zones of pandas, such as America/New_York.
        zone = getattr(getattr(self.values.to_native(), "dtype", None), "tz", None)
        return None if zone is None else str(zone)

    def holds_lists(self) -> bool:
        """Return whether the column belongs to a DataFrame and has several values per row."""
        if isinstance(self.values, np.ndarray):
            return False
        if self.values.dtype != nw.Object:
            return self.values.dtype in (nw.List, nw.Array)
        return any(isinstance(value, LIST_TYPES) for value in self.objects())

    def _not_supported(self, what: str, is_time: bool) -> TypeError:
        """Return the error for a column that is of no kind."""
        advice = _FROM_TIMES if is_time else _FROM_OTHERS
        return TypeError(f"Column {self.name!r} {what}, which is neither a number nor a category. {advice}")

    def is_boolean(self) -> bool:
        """Return whether the column belongs to a DataFrame and all its values are booleans or missing."""
        if isinstance(self.values, np.ndarray):
            return False
        if self.values.dtype != nw.Object:
            return bool(self.values.dtype == nw.Boolean)
        found = {type(value) for value in self.objects()} - {type(None)}
        return bool(found) and found <= {bool, np.bool_}

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

    def can_have_gaps(self) -> bool:
        """Return whether missing numbers are allowed, which is the case in DataFrames, but not among booleans."""
        return self.is_derived or (not isinstance(self.values, np.ndarray) and not self.is_boolean())

    def numbers(self, dtype: Any, *, allow_missing: bool = False) -> np.ndarray:
        """Return the values as finite numbers, or raise a ValueError. Missing ones are NaN if they are allowed."""
        values = self._convertible()
        try:
            if np.iscomplexobj(values):
                raise TypeError("complex numbers")
            if self._is_temporal():
                raise TypeError("times, which numpy would convert to numbers")
            numbers = np.asarray(values, dtype)
        except (TypeError, ValueError):
            shown = next((value for value in self.objects() if not _is_number(value)), None)
            raise ValueError(
                f"Column {self.name!r} must hold numbers, but holds {shown!r}. {_remedy(shown)}"
            ) from None
        bad = np.isinf(numbers) if allow_missing else ~np.isfinite(numbers)
        if bad.any():
            # A column with both is best imputed last.
            is_infinite = np.isinf(numbers)
            bad, what = (is_infinite, "infinity") if is_infinite.any() else (bad, "NaN")
            advice = _INFINITE if is_infinite.any() else _MISSING_BOOLEANS if self.is_boolean() else MISSING
            raise ValueError(
                f"Input X contains {what}: column {self.name!r} in row {int(np.argmax(bad))} "
                f"({np.count_nonzero(bad)} such rows in total). {advice}"
            )
        return numbers

    def _is_temporal(self) -> bool:
        return not isinstance(self.values, np.ndarray) and (
            self.values.dtype.is_temporal() or self.holds_dates()
        )

    def _convertible(self) -> Any:
        """Return the values as an object that numpy can convert to numbers, if they are numbers."""
        if isinstance(self.values, np.ndarray):
            return self.values if self.is_derived else self.objects()
        if not self.values.is_null().any():
            return self.values.to_native()
        dtype = self.values.dtype
        if dtype.is_integer() or dtype.is_float():
            return self.values.cast(nw.Float64).to_numpy()
        return self.objects()


def _kind_of_times(values: list[Any]) -> str | None:
    """Return `DATE` or `DURATION` if all values are Python objects of these types, without a time zone; else None."""
    if not values:
        return None
    if all(isinstance(value, DURATIONS) for value in values):
        return DURATION
    is_date = all(isinstance(value, DATES) and getattr(value, "tzinfo", None) is None for value in values)
    return DATE if is_date else None


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


def as_frame(X: Any) -> nw.DataFrame | None:
    """Return X as a narwhals DataFrame if it is a DataFrame of a library that narwhals supports, else None."""
    try:
        frame = nw.from_native(X, pass_through=True)
    except DuplicateError as error:
        raise ValueError(
            f"X has several columns with the same name: {str(error).rstrip('.')}. Rename them."
        ) from error
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(f"X is a {type(X).__name__}, which has not been evaluated yet. Pass X.collect().")
    return frame if isinstance(frame, nw.DataFrame) else None


def source_columns(X: Any) -> Iterator[SourceColumn]:
    """Yield the columns of a DataFrame or a dense array."""
    frame = as_frame(X)
    if frame is not None:
        for series in frame.iter_columns():
            yield SourceColumn(str(series.name), _without_pandas(series))
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


def _without_pandas(series: Any) -> Any:
    """Return the numbers and times that pandas keeps in Arrow as a series of Arrow, all else as it is.

    Older versions of pandas hand out Python objects for missing numbers, and convert time zones incorrectly.
    """
    native = series.to_native()
    arrow = getattr(getattr(native, "dtype", None), "pyarrow_dtype", None)
    if not str(arrow).startswith(ARROW_NUMBERS + ARROW_TIMES):
        return series
    return nw.from_native(native.array.__arrow_array__(), series_only=True)


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
