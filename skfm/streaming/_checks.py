"""Checks of arguments that all sources of chunks share."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np


def check_integer(name: str, value: Any, *, at_least: int) -> None:
    """Raise an error if `value` is not an integer or too small."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < at_least:
        raise ValueError(f"{name} must be {at_least} or more, got {value}.")


def check_float_type(dtype: Any) -> np.dtype:
    """Return float32 or float64 as a dtype."""
    found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {found}.")
    return found
