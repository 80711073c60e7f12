"""The predictor of an estimator, made once and kept as long as its fitted attributes stay the same."""

from __future__ import annotations

import weakref
from typing import Any

from .draw_predictors import Draws, OrderedDraws
from .predictors import Gaussian, Point, Predictor
from .state import FittedModel

#: The cache is not stored on the estimators, because predictions must not change them, and their copies and pickles
#: must not contain tensors. Each access is a single operation on a dict, so that threads need no lock: at worst two
#: of them build the same predictor.
_PREDICTORS: weakref.WeakKeyDictionary[Any, Predictor] = weakref.WeakKeyDictionary()


def predictor(estimator: Any) -> Predictor:
    """Return the predictor of a fitted estimator."""
    found = _PREDICTORS.get(estimator)
    if found is None or not found.model.is_built_from(estimator):
        found = _make(FittedModel(estimator))
        _PREDICTORS[estimator] = found
    return found


def forget(estimator: Any) -> None:
    """Release the memory of arrays that an estimator does not hold any more."""
    _PREDICTORS.pop(estimator, None)


def _make(model: FittedModel) -> Predictor:
    if model.draws is not None:
        return Draws(model) if model.draws.cut_points is None else OrderedDraws(model)
    return Gaussian(model) if model.has_posterior else Point(model)
