"""The kept draws of a sampler in the user's units, on a fitted estimator."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from ._task import Task
from ._units import as_tensor, finite
from .core.augmentation import AUGMENTATIONS
from .core.draws import Draws
from .core.parameters import FMParameters

#: From here on chains count as different.
LARGEST_R_HAT = 1.1


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


def fold_draws(task: Task, draws: Draws) -> tuple[FMParameters, UserDraws]:
    """Return the FM that predicts the mean over the draws, and the draws, both in the user's units.

    Interactions add up over the factors, so that the mean of S machines of K factors is one of S K factors::

        w = mean w^(s)        V = [V^(1), ..., V^(S)] / sqrt(S)
    """
    sample = draws.stacked()
    n_outputs = len(task.coding.start)
    flat = FMParameters(*(t.flatten(0, 2) for t in sample.parameters))
    n_draws = len(flat.intercept) // n_outputs
    user = task.units.repeated(n_draws).to_user(flat)
    intercept, coef, factors = (t.unflatten(0, (n_draws, n_outputs)) for t in user)
    factors = factors.permute(1, 2, 0, 3).flatten(2) / n_draws**0.5
    noise = None
    if AUGMENTATIONS[task.problem.loss].has_noise:
        precision = sample.noise_precision.to("cpu", torch.float64).flatten()
        # Its square need not fit into the type of the other numbers.
        noise = (task.coding.scale / precision.sqrt()).numpy()
    cuts = sample.cut_points
    kept = UserDraws(
        draws.n_chains,
        draws.n_before + draws.n_seen,
        intercept.numpy(),
        coef.numpy(),
        noise,
        None if cuts is None else cuts.flatten(0, 1).numpy(force=True),
        sample.log_likelihood.sum(2).flatten().numpy(force=True),
    )
    return FMParameters(intercept.mean(0), coef.mean(0), factors), kept


def draw_attributes(kept: UserDraws, dtype: Any) -> dict[str, Any]:
    """Return what an estimator holds of the draws, arrays in the given type."""
    values = kept._asdict()
    return {name: finite(v, dtype) if isinstance(v, np.ndarray) else v for name, v in values.items()}


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


def warn_if_chains_disagree(history: dict[str, list[float]], n_chains: int) -> None:
    """Warn if several chains have not come to the same distribution."""
    found = {name.removeprefix("r_hat_"): v[-1] for name, v in history.items() if name.startswith("r_hat_")}
    name = max(found, key=lambda key: found[key] if found[key] > 0 else 0.0)
    if n_chains > 1 and found[name] > LARGEST_R_HAT:
        warnings.warn(
            f"The chains disagree: R-hat of the {name.replace('_', ' ')} is {found[name]:.2f} after "
            f"{len(history[f'r_hat_{name}'])} sweeps, which should be below {LARGEST_R_HAT}. Raise max_iter, or "
            "burn_in.",
            ConvergenceWarning,
            stacklevel=2,
        )
