"""The parameters that a fit leaves in the units of the solver, where those in the user's units are not exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ..core.matrix.parameters import FMParameters
from ..data.scaling import Scaling


def side_by_side(factors: Tensor) -> Tensor:
    """Return the factors of a machine that predicts the mean over draws.

    Interactions add up over the factors, so that the mean of S machines of K factors is one of S K factors::

        V = [V^(1), ..., V^(S)] / sqrt(S)

    Parameters
    ----------
    factors : Tensor of shape (n_draws, n_outputs, n_features, n_factors)

    Returns
    -------
    Tensor of shape (n_outputs, n_features, n_draws * n_factors)
    """
    return factors.permute(1, 2, 0, 3).flatten(2) / len(factors) ** 0.5


def standardized_attribute(
    units: Scaling, solved: FMParameters, coef: np.ndarray, factors: np.ndarray
) -> dict[str, Any] | None:
    """Return the private fitted attribute that holds parameters in the units of the solver.

    Centered columns move the intercept and the linear term, which can be small differences of large numbers in the
    units of the solver. Scales cost no digits unless a number leaves the range of its type.

    Parameters
    ----------
    units : Scaling
    solved : FMParameters
        In the units of the solver. Those of draws have a leading axis for these.
    coef, factors : ndarray
        The same linear term and factors in the user's units, as they are kept: see `side_by_side`.

    Returns
    -------
    dict of ndarray or None
        "intercept", "linear" and "factors", copies. None if all follow from what is kept in the user's units;
        "factors" alone is None if these do.
    """
    intercept, linear, standard_factors = solved
    has_lost = False
    if not units.is_within(coef.dtype):
        standard_factors = side_by_side(standard_factors) if standard_factors.ndim == 4 else standard_factors
        has_lost = _has_lost(coef, linear) or _has_lost(factors, standard_factors)
    if not (has_lost or units.conditioning.centers):
        return None
    return {
        "intercept": intercept.numpy(force=True).copy(),
        "linear": linear.numpy(force=True).copy(),
        "factors": standard_factors.numpy(force=True).copy() if has_lost else None,
    }


def _has_lost(kept: np.ndarray, solved: Tensor) -> bool:
    """Return whether numbers have become so small that their type has fewer digits for them."""
    tiny = np.finfo(kept.dtype).tiny
    return bool(((np.abs(kept) < tiny) & (solved.abs() >= tiny).numpy(force=True)).any())
