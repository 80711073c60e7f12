"""Validation of the parts of a DataFrame's encoder that earlier versions did not write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.columns import CATEGORY, NUMERIC
from ..data.dates import CALENDAR, DAYS, SECONDS
from ._checks import check_count, check_keys, check_number


def check_gaps(name: str, frame: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the means and the indicators of missing numbers match the columns."""
    means: Any = frame.get("means")
    indicators: Any = frame.get("indicators")
    kinds = frame["kinds"]
    if means is None and indicators is None:
        return
    if not all(type(part) is list and len(part) == len(kinds) for part in (means, indicators)):
        raise ValueError(f"{name} must hold the means and the indicators of all {len(kinds)} columns")
    for kind, mean, indicate in zip(kinds, means, indicators, strict=True):
        if mean is not None:
            check_number(f"{name}/means", mean)
        if type(indicate) is not bool or (indicate and mean is None):
            raise ValueError(f"{name}/indicators must be booleans, and False for columns without a mean")
        if mean is not None and kind != NUMERIC:
            raise ValueError(f"{name}/means must be None for columns of kind {kind!r}")


def check_parts(name: str, frame: Mapping[str, Any], n_features: int) -> None:
    """Raise a ValueError unless the columns that are derived from dates match the columns of the DataFrame."""
    parts, kinds = frame.get("parts"), frame["kinds"]
    if parts is None:
        return
    if type(parts) is not list or len(parts) != len(kinds):
        raise ValueError(f"{name}/parts must describe all {len(kinds)} columns")
    origins = []
    for entry, kind in zip(parts, kinds, strict=True):
        check_keys(f"{name}/parts", entry, {"column", "part", "zone", "first"})
        origins.append(check_count(f"{name}/parts/column", entry["column"], below=n_features))
        part, zone, first = entry["part"], entry["zone"], entry["first"]
        if part not in (None, *CALENDAR, DAYS, SECONDS):
            raise ValueError(f"{name} has an unknown part {part!r} of a date")
        if part is not None and kind != (CATEGORY if part in CALENDAR else NUMERIC):
            raise ValueError(f"{name} has a part {part!r} of the kind {kind!r}")
        if zone is not None and type(zone) is not str:
            raise ValueError(f"{name}/parts/zone must be a string, got {zone!r}")
        if (part == DAYS) != (type(first) is int) or abs(first or 0) >= 1 << 62:
            raise ValueError(f"{name}/parts/first must be the first date of the days, got {first!r}")
    if origins != sorted(origins) or set(origins) != set(range(n_features)):
        raise ValueError(
            f"{name}/parts must contain each of the {n_features} columns of the DataFrame in order"
        )
