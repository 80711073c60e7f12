"""Validation of the parts of a DataFrame's encoder that earlier versions did not write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.columns import NUMERIC
from ._checks import check_number


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
