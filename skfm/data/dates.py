"""Dates and durations in the columns of DataFrames, from which columns of categories and numbers are derived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from .columns import CATEGORY, DATE, DURATION, NUMERIC, TIMES, SourceColumn

#: The calendar parts of a date, which are categories, as functions of datetime64[us] in local time.
CALENDAR: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "year": lambda times: times.astype("M8[Y]").astype(np.int64) + 1970,
    "month": lambda times: times.astype("M8[M]").astype(np.int64) % 12 + 1,
    # Monday is 0, and 1970-01-01 was a Thursday.
    "weekday": lambda times: (times.astype("M8[D]").astype(np.int64) + 3) % 7,
    "hour": lambda times: times.astype("M8[h]").astype(np.int64) % 24,
}
#: The numbers that are derived from a date and from a duration.
DAYS, SECONDS = "days", "seconds"

#: Microseconds of a day and of a second.
DAY, SECOND = 86_400_000_000, 1_000_000


def derive_parts(columns: Sequence[SourceColumn], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is derived from the columns of the training data, one dict for each derived column.

    Parameters
    ----------
    columns : list of SourceColumn
    kinds : list of str
        Kind of each column.

    Returns
    -------
    list of dict
        With the keys "column", the number of the original column; "part", a key of `CALENDAR`, `DAYS`, `SECONDS` or
        None for a column that is not changed; "zone", the time zone or None; and "first", the first date in
        microseconds since 1970, or None.
    """
    parts: list[dict[str, Any]] = []
    for number, (column, kind) in enumerate(zip(columns, kinds, strict=True)):
        plain = {"column": number, "part": None, "zone": None, "first": None}
        if kind == DURATION:
            parts.append(plain | {"part": SECONDS})
        elif kind == DATE:
            zone = column.time_zone() if column.holds_dates() else None
            local, instants = _times(column, zone)
            present = ~np.isnat(local)
            if not present.any():
                raise ValueError(
                    f"Column {column.name!r} has no values in the training data: all dates are missing. Drop this "
                    "column."
                )
            for part, function in CALENDAR.items():
                found = function(local[present])
                if (found != found[0]).any():
                    parts.append(plain | {"part": part, "zone": zone})
            first = int(instants[present].min().astype(np.int64))
            parts.append(plain | {"part": DAYS, "zone": zone, "first": first})
        else:
            parts.append(plain)
    return parts


def derived_name(name: str, part: str | None) -> str:
    """Return the name of the column that is derived from a column."""
    return name if part in (None, SECONDS) else f"{name} ({part})"


def derived_kind(kind: str, part: str | None) -> str:
    """Return the kind of the column that is derived from a column of the given kind."""
    return kind if part is None else CATEGORY if part in CALENDAR else NUMERIC


def derived_columns(
    columns: Sequence[SourceColumn], parts: Sequence[dict[str, Any]]
) -> Iterator[SourceColumn]:
    """Yield the derived columns: see `derive_parts`.

    Calendar parts are objects, integers or None; numbers are float64 with NaN for missing ones.
    """
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for entry in parts:
        number, part, zone = entry["column"], entry["part"], entry["zone"]
        column = columns[number]
        if part is None:
            yield column
            continue
        if part == SECONDS:
            values = _in_units(_durations(column), SECOND)
        else:
            if number not in known:
                known[number] = _times(column, zone)
            local, instants = known[number]
            if part == DAYS:
                values = _in_units(instants - np.datetime64(entry["first"], "us"), DAY)
            else:
                values = CALENDAR[part](local).astype(object)
                values[np.isnat(local)] = None
        yield SourceColumn(derived_name(column.name, part), values, is_derived=True)


def _in_units(durations: np.ndarray, unit: int) -> np.ndarray:
    """Return timedelta64[us] in units of the given number of microseconds."""
    return durations / np.timedelta64(unit, "us")


def _times(column: SourceColumn, zone: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the dates of a column in local time and in UTC, which are the same without a time zone.

    Parameters
    ----------
    column : SourceColumn
    zone : str or None
        Time zone of the training data, to which dates are converted.

    Returns
    -------
    local, instants : ndarray of datetime64[us] of shape (n_samples,)
        NaT where a date is missing.
    """
    if column.holds_dates():
        series, own = column.values, column.time_zone()
        series = series.cast(nw.Datetime("us")) if column.dtype == nw.Date else series
        local = _as_times(series if own is None else series.dt.replace_time_zone(None))
    else:
        local, own = _from_objects(column, "M8[us]", "dates"), None
    if (own is None) != (zone is None) and not np.isnat(local).all():
        raise ValueError(
            f"Column {column.name!r} holds dates {_in_zone(own)}, but the model was fitted to dates {_in_zone(zone)}. "
            "Convert the column, for example with dt.tz_localize of pandas or dt.replace_time_zone of polars."
        )
    if own is None or zone is None:
        return local, local
    if column.dtype == nw.Unknown:
        # A time zone of pandas that narwhals does not know.
        series = nw.from_native(series.to_native().dt.tz_convert("UTC"), series_only=True)
    if own != zone:
        local = _as_times(series.dt.convert_time_zone(zone).dt.replace_time_zone(None))
    return local, _as_times(series.dt.convert_time_zone("UTC").dt.replace_time_zone(None))


def _as_times(series: Any) -> np.ndarray:
    """Return a series of dates without a time zone as datetime64[us]."""
    return series.to_numpy().astype("M8[us]")


def _in_zone(zone: str | None) -> str:
    return "without a time zone" if zone is None else f"with the time zone {zone!r}"


def _durations(column: SourceColumn) -> np.ndarray:
    """Return the durations of a column as timedelta64[us], NaT where they are missing."""
    if isinstance(column.values, np.ndarray) or column.dtype != nw.Duration:
        return _from_objects(column, "m8[us]", "durations")
    return column.values.to_numpy().astype("m8[us]")


def _from_objects(column: SourceColumn, dtype: str, what: str) -> np.ndarray:
    """Return Python objects, some of them None, as times of the given dtype."""
    objects = column.objects()
    # Arrays of objects can hold NaT, which differs from itself.
    objects[[isinstance(value, TIMES) and value != value for value in objects]] = None
    try:
        if any(isinstance(value, str | int | float) or getattr(value, "tzinfo", None) for value in objects):
            raise ValueError("other types, which numpy would convert")
        return objects.astype(dtype)
    except (TypeError, ValueError):
        shown = next(value for value in objects if value is not None)
        raise ValueError(
            f"Column {column.name!r} must hold {what}, to which the model was fitted, but holds {shown!r}. Convert the "
            "column, for example with pandas.to_datetime or pandas.to_timedelta."
        ) from None
