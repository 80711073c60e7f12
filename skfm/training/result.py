"""What a fit leaves on the estimator: numpy arrays in the user's units."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from ..core.bayes.draws import Draws, Sample
from ..core.matrix.parameters import FMParameters
from ..core.observation.registry import MODELS
from ..core.solvers import Iterate
from ..data.scaling import finite
from ..data.target_transform import TargetTransform
from ..fitted.draws import UserDraws
from .exact import side_by_side, standardized_attribute
from .history import History, n_sweeps
from .problem import TrainingProblem

#: Fitted attributes that not every solver leaves behind.
OPTIONAL = ("covariances_",)

#: The largest predictions that are expected, in standard deviations of the target.
LARGEST_PREDICTION = 8.0

#: Distances between neighboring numbers next to zero that a standard deviation of the target must have.
FEWEST_STEPS = 10

#: Value of R-hat from which chains count as different.
LARGEST_R_HAT = 1.1
#: Number of sweeps after the burn-in below which the halves of a single chain are not compared.
FEWEST_SWEEPS = 100


def fitted_attributes(task: TrainingProblem, iterate: Iterate, record: History) -> dict[str, Any]:
    """Return what a fitted estimator holds: numpy arrays and plain Python objects."""
    dtype = np.float32 if task.dtype == np.float32 else np.float64
    # With centered columns, predictions in the user's units are small differences of large numbers.
    exact = np.float64 if task.units.conditioning.centers else dtype
    check_predictions(task.coding, dtype)
    kept: dict[str, Any] | None = None
    if iterate.draws is None:
        solved = iterate.parameters
        parameters = task.units.to_user(solved)
    else:
        sample = iterate.draws.stacked()
        solved = FMParameters(*(t.flatten(0, 1) for t in sample.parameters))
        parameters, draws = fold_draws(task, iterate.draws, sample, solved)
        kept = draw_attributes(draws, exact, _extreme_scales(task))
    reason = _extreme_scales(task)
    intercept, coef, factors = (finite(t.numpy(), exact, reason) for t in parameters)
    # Several classes add a leading axis; a single output has none.
    single = len(intercept) == 1
    shown = 0 if single else slice(None)
    attributes = {
        "intercept_": np.float64(intercept[0]) if single else intercept,
        "coef_": coef[shown],
        "factors_": factors[shown],
        "fields_": task.field_labels,
        "n_iter_": record.n_iter,
        "history_": {name: list(values) for name, values in record.history.items()},
        "device_": str(task.problem.device),
        "_model": {
            "solver": task.solver.name,
            "loss": task.problem.loss,
            "n_outputs": len(task.coding.start),
            "quantile": task.quantile,
        },
        "_coding": task.coding._asdict(),
        "_dtype": str(np.dtype(dtype)),
        "_field_numbers": task.problem.fields.numpy(force=True),
        "_dense_columns": task.problem.design.dense_columns.numpy(force=True),
        "_posterior": None,
        "_draws": kept,
        "_standardized": standardized_attribute(
            task.units, solved, coef if kept is None else kept["coef"], factors
        ),
        **task.units.attributes(),
    }
    if iterate.posterior is not None:
        arrays = {
            name: tensor.numpy(force=True).astype(dtype)
            for name, tensor in iterate.posterior._asdict().items()
            if tensor is not None
        }
        attributes["covariances_"] = arrays.pop("covariances")[shown]
        attributes["_posterior"] = arrays
    return attributes


def check_predictions(coding: TargetTransform, dtype: Any) -> None:
    """Raise an error if predictions of the target leave the range of their type, which is that of the data."""
    limits, scale = np.finfo(dtype), float(coding.scale)
    advice = ", or pass X in float64" if limits.dtype == np.float32 else ""
    start = f"Predictions have the type of X, {limits.dtype}, "
    if abs(float(coding.shift)) + LARGEST_PREDICTION * scale > float(limits.max):
        raise ValueError(
            f"{start}and the target is too large for it: its mean is {coding.shift:.3g}, and it spreads over "
            f"{scale:.3g}. Divide y by a constant{advice}."
        )
    if scale < FEWEST_STEPS * float(limits.smallest_subnormal):
        raise ValueError(
            f"{start}and the target is too small for it: it spreads over {scale:.3g}. Multiply y by a constant{advice}."
        )


def _extreme_scales(task: TrainingProblem) -> str:
    """Return the part of an error message that names the column of the most extreme scale."""
    scales = task.units.conditioning.scale.cpu()
    if not len(scales):
        return ""
    place = int(scales.log().abs().argmax())
    y = f", and y over {task.coding.scale:.3g}" if task.coding.scale != 1 else ""
    return f" (column {place} of the encoded X spreads over {float(scales[place]):.3g}{y})"


def fold_draws(
    task: TrainingProblem, draws: Draws, sample: Sample, solved: FMParameters
) -> tuple[FMParameters, UserDraws]:
    """Return the FM that predicts the mean over the draws, and the draws, both in the user's units.

    Parameters
    ----------
    task : TrainingProblem
    draws : Draws
    sample : Sample
        The draws, stacked.
    solved : FMParameters
        Their parameters, with one leading axis for the draws of all chains and one for the outputs.
    """
    shape = solved.intercept.shape
    user = task.units.repeated(shape[0]).to_user(FMParameters(*(t.flatten(0, 1) for t in solved)))
    intercept, coef, factors = (t.unflatten(0, shape) for t in user)
    noise = None
    if MODELS[task.problem.loss].has_noise:
        precision = sample.noise_precision.to("cpu", torch.float64).flatten()
        # Its square may exceed the range of the type of the other numbers.
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
        None if sample.noise_ratio is None else sample.noise_ratio[:, :, 0].flatten(0, 1).numpy(force=True),
    )
    return FMParameters(intercept.mean(0), coef.mean(0), side_by_side(factors)), kept


def draw_attributes(kept: UserDraws, dtype: Any, reason: str = "") -> dict[str, Any]:
    """Return what an estimator holds of the draws, arrays in the given type; the reason is that of an error."""
    values = kept._asdict()
    return {name: finite(v, dtype, reason) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def warn_if_not_converged(record: History, solver: str, tol: float) -> None:
    """Warn that a fit ended by the number of its sweeps before its objective settled."""
    name, change = next(iter(record.history)).replace("_", " "), record.relative_change
    found = (
        "" if math.isnan(change) else f", and the {name} still changed by a share of {change:.2g} in a sweep"
    )
    warnings.warn(
        f"solver={solver!r} reached the maximum number of sweeps, {record.n_iter}, before it converged{found} "
        f"(tol={tol:g}). Increase max_iter, or increase tol if the model is accurate enough.",
        ConvergenceWarning,
        stacklevel=2,
    )


def warn_if_chains_disagree(history: dict[str, list[float]], n_chains: int, n_sweeps_after: int) -> None:
    """Warn if the chains, or the halves of a single one, have not come to the same distribution.

    Parameters
    ----------
    history : dict of list of float
    n_chains : int
    n_sweeps_after : int
        Number of sweeps after the burn-in. In a single chain of few, the halves differ by chance.
    """
    found = {name.removeprefix("r_hat_"): v[-1] for name, v in history.items() if name.startswith("r_hat_")}
    name = max(found, key=lambda key: found[key] if found[key] > 0 else 0.0)
    if not found[name] > LARGEST_R_HAT or (n_chains == 1 and n_sweeps_after < FEWEST_SWEEPS):
        return
    who = "The chains disagree" if n_chains > 1 else "The halves of the chain disagree"
    warnings.warn(
        f"{who}: R-hat of the {name.replace('_', ' ')} is {found[name]:.2f} after "
        f"{n_sweeps(len(history[f'r_hat_{name}']))}, which should be below {LARGEST_R_HAT}. Raise max_iter, or "
        "burn_in.",
        ConvergenceWarning,
        stacklevel=2,
    )
