"""Checks of single values that were read from a file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

#: Upper limit of all counts and seeds.
MAX_COUNT = 2**62
#: Maximum number of keys with the same hash. More are a sign of an attack: a dict takes quadratic time for them.
MAX_SAME_HASH = 64


def check_number(name: str, value: Any, *, above: float = -math.inf) -> None:
    """Raise a ValueError unless the value is a finite number greater than `above`."""
    if not isinstance(value, Real) or not math.isfinite(value) or value <= above:
        bound = "" if above == -math.inf else f" greater than {above:g}"
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")


def check_count(name: str, value: Any, *, least: int = 0, below: int = MAX_COUNT) -> int:
    """Return the value if it is an integer of at least `least` and below a limit, else raise a ValueError."""
    if type(value) is not int or not least <= value < below:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return value


def check_array(
    name: str, value: Any, shape: tuple[int, ...], kinds: str = "f", *, finite: bool = True
) -> None:
    """Raise a ValueError unless the value is an array of the given shape and of one of the dtype kinds.

    Parameters
    ----------
    name : str
        Name for the error message.
    value : object
    shape : tuple of int
    kinds : str, default="f"
        Accepted values of ``dtype.kind``.
    finite : bool, default=True
        Whether floating-point arrays must be finite.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
        found = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ValueError(
            f"{name} must be an array with a dtype of kind {' or '.join(map(repr, kinds))}, got {found}"
        )
    if value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}, but the rest of the model requires {shape}")
    if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"{name} contains values that are not finite")


def check_not_negative(name: str, value: np.ndarray) -> None:
    """Raise a ValueError if an array has negative numbers."""
    if (value < 0).any():
        raise ValueError(f"{name} contains negative values")


def check_keys(name: str, value: Any, keys: set[str] | frozenset[str]) -> None:
    """Raise a ValueError unless the value is a dict with exactly the given keys."""
    if type(value) is not dict or value.keys() != keys:
        raise ValueError(f"{name} must be a dict with the keys {sorted(keys)}")


def check_hashes(items: Iterable[Any]) -> None:
    """Raise a ValueError if many items have the same hash, because a set or a dict of them would be slow.

    The hash of an integer is its remainder modulo ``2**61 - 1``, so a file can hold many integers of equal hash.
    """
    if max(Counter(map(hash, items)).values(), default=0) > MAX_SAME_HASH:
        raise ValueError("too many of the keys or categories have the same hash")
