"""Checks of single values that a file has brought."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

#: No count or seed is larger.
LARGEST = 2**62


def check_number(name: str, value: Any, *, above: float = -math.inf) -> None:
    if not isinstance(value, Real) or not math.isfinite(value) or value <= above:
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")


def check_count(name: str, value: Any, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value < LARGEST:
        raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")
    return value


def check_array(
    name: str, value: Any, shape: tuple[int, ...], kinds: str = "f", *, finite: bool = True
) -> None:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
        raise ValueError(f"{name} is not an array of the right type")
    if value.shape != shape:
        raise ValueError(f"{name} has the shape {value.shape} where the rest of the model says {shape}")
    if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{name} holds numbers that are not finite")


def check_keys(name: str, value: Any, keys: set[str] | frozenset[str]) -> None:
    if type(value) is not dict or value.keys() != keys:
        raise ValueError(f"{name} must hold {sorted(keys)}")
