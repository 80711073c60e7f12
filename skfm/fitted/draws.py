"""The kept draws of a sampler in the user's units, on a fitted estimator."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from ..core.matrix.parameters import FMParameters
from ..data.scaling import as_tensor


class UserDraws(NamedTuple):
    """Draws in the user's units, as numpy arrays: the one place where their layout is known.

    All but the factors are kept on the estimator; these are the estimator's own ``factors_``, draw beside draw.

    Attributes
    ----------
    n_chains : int
    n_sweeps : int
        That the chains have made, with those of fits before.
    intercept : ndarray of shape (n_chains * n_draws, n_outputs)
    coef : ndarray of shape (n_chains * n_draws, n_outputs, n_features)
    noise_std : ndarray of shape (n_chains * n_draws,) or None
    cut_points : ndarray of shape (n_chains * n_draws, n_levels - 1) or None
    log_likelihood : ndarray of shape (n_chains * n_draws,)
    """

    n_chains: int
    n_sweeps: int
    intercept: np.ndarray
    coef: np.ndarray
    noise_std: np.ndarray | None
    cut_points: np.ndarray | None
    log_likelihood: np.ndarray


def draws_of(estimator: Any) -> UserDraws | None:
    """Return the draws that a fitted estimator holds, None if its solver makes none."""
    return UserDraws(**estimator._draws) if estimator._draws is not None else None


def drawn_factors(estimator: Any, columns: np.ndarray | None = None) -> np.ndarray:
    """Return the factors of some columns in every draw, (n_chains * n_draws, n_outputs, n_columns, n_factors)."""
    n_draws, n_outputs, _ = estimator._draws["coef"].shape
    chosen = estimator.factors_ if columns is None else estimator.factors_[..., columns, :]
    stacked = chosen.reshape(n_outputs, chosen.shape[-2], n_draws, chosen.shape[-1] // n_draws)
    return stacked.transpose(2, 0, 1, 3) * np.sqrt(n_draws).astype(stacked.dtype)


def last_state(estimator: Any, n_chains: int) -> FMParameters:
    """Return the last draw of so many chains in the user's units, chain after chain.

    Where there are fewer chains they are taken again: from one state they go different ways.
    """
    kept = draws_of(estimator)
    assert kept is not None  # for the type checker
    length = len(kept.intercept) // kept.n_chains
    last = (np.arange(n_chains) % kept.n_chains + 1) * length - 1
    parts = (kept.intercept, kept.coef, drawn_factors(estimator))
    return FMParameters(*(as_tensor(part[last], torch.float64).flatten(0, 1) for part in parts))
