"""The parameters of a fitted estimator in the units in which they are exact.

All functions take an estimator, or any object that has its fitted attributes. ``_standardized`` holds parameters in
the units of the solver where those in the user's units have lost digits; without it these are exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from ..core.matrix.parameters import FMParameters
from ..data.scaling import LocatedParameters, Scaling, as_tensor
from .draws import draws_of
from .tables import ColumnTable, DrawnFactors, Place

#: The data type and the device with which parameters are converted.
EXACT = Place(torch.float64, torch.device("cpu"))


class FactorArrays(NamedTuple):
    """Factors as they are stored, and the multipliers that convert their units.

    Attributes
    ----------
    array : ndarray of shape (n_outputs, n_columns, n_factors)
        The factors of all draws are stored side by side.
    factor : ndarray of shape (n_outputs, n_columns) or None
        Multipliers of the factors.
    """

    array: np.ndarray
    factor: np.ndarray | None = None

    def table(self, n_draws: int | None = None) -> ColumnTable:
        """Return the factors of the mean, or those of all draws."""
        return ColumnTable(*self) if n_draws is None else DrawnFactors(*self, n_draws)


def user_factors(fitted: Any) -> FactorArrays:
    """Return the factors in the user's units."""
    factors = np.asarray(fitted.factors_)
    return FactorArrays(factors.reshape(np.size(fitted.intercept_), *factors.shape[-2:]))


def standard_factors(fitted: Any, scaling: Scaling) -> FactorArrays:
    """Return the factors in the units of the solver."""
    stored = stored_parameters(fitted)
    if stored is not None and stored["factors"] is not None:
        return FactorArrays(stored["factors"])
    factor = scaling.conditioning.scale / scaling.scale.sqrt()[:, None]
    array = user_factors(fitted).array
    return FactorArrays(array, None if bool((factor == 1).all()) else factor.numpy())


def stored_parameters(fitted: Any) -> dict[str, Any] | None:
    """Return ``_standardized``, which models of earlier versions do not have."""
    return getattr(fitted, "_standardized", None)


def user_arrays(fitted: Any, *, of_draws: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return intercepts and linear terms in the user's units, of all draws one after the other."""
    if of_draws:
        return fitted._draws["intercept"].reshape(-1), _rows(fitted._draws["coef"])
    n_outputs = np.size(fitted.intercept_)
    return np.reshape(fitted.intercept_, n_outputs), np.reshape(fitted.coef_, (n_outputs, -1))


def located(fitted: Any, *, of_draws: bool = False, with_factors: bool = True) -> LocatedParameters:
    """Return the parameters in the units in which they are exact.

    Parameters
    ----------
    fitted : estimator
    of_draws : bool
        Whether to return those of all draws, n_draws * n_outputs, or those that predict the mean.
    with_factors : bool
        Whether to include the factors.

    Returns
    -------
    LocatedParameters
        In float64 on the CPU.
    """
    stored, scaling = stored_parameters(fitted), None
    if stored is None:
        intercept, linear = user_arrays(fitted, of_draws=of_draws)
        factors = user_factors(fitted)
    else:
        scaling = Scaling.of(fitted)
        intercept, linear = (np.asarray(stored[name], np.float64) for name in ("intercept", "linear"))
        if of_draws:
            intercept, linear = intercept.reshape(-1), _rows(linear)
        elif fitted._draws is not None:
            intercept, linear = intercept.mean(0), linear.mean(0)
        factors = standard_factors(fitted, scaling)
    if not with_factors:
        factors = FactorArrays(factors.array[:, :, :0])
    table = factors.table(len(fitted._draws["intercept"]) if of_draws else None)
    w0, w = (as_tensor(part, torch.float64) for part in (intercept, linear))
    return LocatedParameters(FMParameters(w0, w, table.tensor(EXACT)), scaling)


def user_parameters(fitted: Any) -> FMParameters:
    """Return the parameters in the user's units, in float64 on the CPU."""
    parts = (as_tensor(part, torch.float64) for part in (*user_arrays(fitted), user_factors(fitted).array))
    return FMParameters(*parts)


def standardized(fitted: Any, *, of_draws: bool = False) -> FMParameters:
    """Return the parameters in the units of the solver, in float64 on the CPU: see `located`."""
    return located(fitted, of_draws=of_draws).within(Scaling.of(fitted))


def last_state(fitted: Any, n_chains: int) -> LocatedParameters:
    """Return the last draws of the given number of chains, one chain after another.

    If fewer chains are available, they are reused: chains that start from the same state diverge.
    """
    kept = draws_of(fitted)
    assert kept is not None  # for the type checker
    n_draws = len(kept.intercept)
    length = n_draws // kept.n_chains
    last = (torch.arange(n_chains, device="cpu") % kept.n_chains + 1) * length - 1
    found = located(fitted, of_draws=True)
    parts = (t.unflatten(0, (n_draws, -1))[last].flatten(0, 1) for t in found.parameters)
    return LocatedParameters(FMParameters(*parts), found.scaling)


def _rows(linear: np.ndarray) -> np.ndarray:
    return linear.reshape(-1, linear.shape[-1])
