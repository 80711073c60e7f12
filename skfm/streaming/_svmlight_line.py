"""Error messages for invalid lines in the svmlight format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

REMEDY = "Correct the line or remove it."


def first_bad_line(lines: list[bytes], fails: Callable[[list[bytes]], bool]) -> int:
    """Return the index of the first invalid line, given that there is one.

    The search is by bisection, which takes at most the time of parsing all lines twice.
    """
    start, stop = 0, len(lines)
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (start, middle) if fails(lines[start:middle]) else (middle, stop)
    return start


def describe_fault(line: bytes, *, n_features: int | None, zero_based: bool, dtype: Any) -> str:
    """Return the reason why a line is invalid and a remedy, or '' if the reason is unknown."""
    reason = _reason(line, 0 if zero_based else 1, n_features, dtype)
    if not reason:
        return ""
    return f"{reason} The line begins with {quote(line.rstrip(), 60)}."


def _reason(line: bytes, first: int, n_features: int | None, dtype: Any) -> str:
    label, *features = line.split(b"#", 1)[0].split()
    reason = number_error(label, np.float64)
    if reason:
        return f"the label {reason}. {REMEDY}"
    if features and features[0].startswith(b"qid"):
        del features[0]
    previous = first - 1
    for feature in features:
        shown = quote(feature)
        digits, colon, value = feature.partition(b":")
        if not colon:
            return f"{shown} is not of the form index:value. {REMEDY}"
        try:
            index = int(digits)
        except ValueError:
            return f"the index of {shown} is not an integer. {REMEDY}"
        if index < first:
            counting = "from 0 (zero_based=True)" if first == 0 else "from 1 (zero_based=False)"
            return f"index {index} is invalid, since columns are numbered {counting}. {REMEDY}"
        if index <= previous:
            return f"index {index} follows {previous}, but indices must be increasing. {REMEDY}"
        if index > np.iinfo(np.int32).max:
            return f"index {index} is greater than {np.iinfo(np.int32).max}. Use smaller column numbers."
        if n_features is not None and index - first >= n_features:
            return (
                f"index {index} exceeds the index of the last column, {n_features - 1 + first} "
                f"(n_features={n_features}, zero_based={first == 0}). Pass a larger n_features."
            )
        reason = number_error(value, dtype)
        if reason:
            return f"the value of {shown} {reason}. {REMEDY}"
        previous = index
    return ""


def number_error(text: bytes, dtype: Any) -> str:
    """Return the reason why a number is invalid in the given dtype, or '' if it is valid."""
    try:
        number = float(text)
    except ValueError:
        return f"{quote(text)} is not a number"
    if not np.isfinite(number):
        return f"{number} is not finite"
    if abs(number) > float(np.finfo(dtype).max):
        return f"{number} is too large for {np.dtype(dtype)}"
    return ""


def quote(text: bytes, length: int = 40) -> str:
    """Return the beginning of a text in quotes, with non-ASCII characters escaped."""
    return repr(text if len(text) <= length else text[:length] + b"...")[1:]
