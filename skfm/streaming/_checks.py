"""Validation of arguments that are common to all sources of chunks."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np


def check_integer(name: str, value: Any, *, at_least: int) -> None:
    """Raise a TypeError if `value` is not an integer, or a ValueError if it is less than `at_least`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}.")


def check_float_type(dtype: Any) -> np.dtype:
    """Return the dtype, or raise a ValueError if it is neither float32 nor float64."""
    found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {found}.")
    return found
