"""The coefficient of determination of targets of any scale."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.metrics import r2_score

#: Numbers between this one and its inverse have squares that float32 holds.
MODERATE = 1e15


def r2(y: Any, predicted: np.ndarray, sample_weight: Any = None) -> float:
    """Return the score of scikit-learn, in another unit where squares of the numbers leave the range of their type.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    predicted : ndarray of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), optional

    Returns
    -------
    float
    """
    unit = _unit(y, predicted)
    if unit != 1:
        y, predicted = (np.asarray(values, np.float64) / unit for values in (y, predicted))
    if sample_weight is not None and (unit := _unit(sample_weight)) != 1:
        sample_weight = np.asarray(sample_weight, np.float64) / unit
    return r2_score(y, predicted, sample_weight=sample_weight)


def _unit(*arrays: Any) -> float:
    """Return a power of two of the size of the largest number, or 1 if that is moderate or no number."""
    largest = 0.0
    for array in map(np.asarray, arrays):
        if array.dtype.kind not in "fiub" or not array.size or not np.isfinite(array).all():
            # The score raises the error.
            return 1.0
        largest = max(largest, float(array.max()), -float(array.min()))
    if largest == 0 or 1 / MODERATE <= largest <= MODERATE:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)
