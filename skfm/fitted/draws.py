"""The kept draws of a sampler, on a fitted estimator."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .tables import drawn


class UserDraws(NamedTuple):
    """Draws in the user's units, as numpy arrays. Only this class knows their layout.

    All but the factors are kept on the estimator; these are the estimator's own ``factors_``, draw by draw.

    Attributes
    ----------
    n_chains : int
    n_sweeps : int
        Number of sweeps that the chains have made, including those of earlier fits.
    intercept : ndarray of shape (n_chains * n_draws, n_outputs)
    coef : ndarray of shape (n_chains * n_draws, n_outputs, n_features)
    noise_std : ndarray of shape (n_chains * n_draws,) or None
    cut_points : ndarray of shape (n_chains * n_draws, n_levels - 1) or None
    log_likelihood : ndarray of shape (n_chains * n_draws,)
    noise_ratio : ndarray of shape (n_chains * n_draws, n_features) or None
        The noise precision of rows with a category, divided by that of rows without one. None if the noise is common.
    """

    n_chains: int
    n_sweeps: int
    intercept: np.ndarray
    coef: np.ndarray
    noise_std: np.ndarray | None
    cut_points: np.ndarray | None
    log_likelihood: np.ndarray
    # Models saved by earlier versions do not have it.
    noise_ratio: np.ndarray | None = None


def draws_of(estimator: Any) -> UserDraws | None:
    """Return the draws that a fitted estimator holds, None if its solver makes none."""
    return UserDraws(**estimator._draws) if estimator._draws is not None else None


def drawn_factors(estimator: Any) -> np.ndarray:
    """Return the factors in every draw, (n_chains * n_draws, n_outputs, n_columns, n_factors)."""
    n_draws, n_outputs, n_columns = estimator._draws["coef"].shape
    width = estimator.factors_.shape[-1]
    factors = drawn(estimator.factors_.reshape(n_outputs, n_columns, width), n_draws)
    return factors.reshape(n_draws, *estimator._draws["coef"].shape[1:], width // n_draws)
