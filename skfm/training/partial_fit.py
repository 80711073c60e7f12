"""Learning from one batch of rows after the other, and what has to be kept between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.batches import TensorSamples
from ..core.matrix.device import compute_dtype
from ..core.matrix.parameters import FMParameters
from ..core.solvers import Solver
from ..core.solvers.base import DivergenceError, Iterate, Problem, Settings
from ..core.solvers.minibatch.batch_source import cut
from ..data.scaling import Scaling, as_tensor
from ..data.target_transform import TargetTransform
from ..data.validation import Samples
from .problem import Task


def lasting(estimator: Any) -> dict[str, Any]:
    """Return the parameters that a model keeps to once it has learned something."""
    names = ("solver", "loss", "quantile", "fit_intercept", "fit_linear")
    values = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
    # Another number is fine, but what is learned has a state of its own.
    for name in ("l2_linear", "l2_factors"):
        values[name] = "auto" if isinstance(getattr(estimator, name), str) else "a number"
    return values


def describe_again(estimator: Any, rows: Samples, solver: Solver, device: torch.device) -> Task:
    """Turn more rows into a problem in the units of a fitted estimator."""
    fitted = np.dtype(estimator._dtype)
    if rows.X.dtype != fitted:
        raise ValueError(
            f"X is {rows.X.dtype}, but the model was fitted to {fitted}. Convert X, as in X.astype({str(fitted)!r})."
        )
    for name, value in lasting(estimator).items():
        if value != estimator._lasting[name]:
            raise ValueError(
                f"partial_fit goes on with {name}={estimator._lasting[name]!r}, which the model was fitted with, but "
                f"now {name}={value!r}. Set it back, or fit anew."
            )
    dtype = compute_dtype(rows.X.dtype, device)
    units, coding = Scaling.of(estimator), TargetTransform(**estimator._coding)
    problem = Problem(
        design=units.design(rows.X, dtype, device, estimator._dense_columns),
        target=as_tensor(coding.target(rows.y), dtype, device),
        sample_weight=as_tensor(coding.weight(rows.y, rows.sample_weight), dtype, device),
        loss=estimator.loss,
        fields=torch.from_numpy(np.asarray(estimator._field_numbers)).to(device),
        fit_intercept=estimator.fit_intercept,
        fit_linear=estimator.fit_linear,
    )
    return Task(problem, units, coding, rows.X.dtype, solver, estimator.fields_, estimator._model["quantile"])


def learn_online(
    state: dict[str, Any] | None, task: Task, settings: Settings, start: FMParameters
) -> tuple[Iterate, dict[str, Any]]:
    """Learn from the rows of a task.

    Parameters
    ----------
    state : dict or None
        From the rows before. None begins with ``start``.
    task : Task
    settings : Settings
    start : FMParameters

    Returns
    -------
    Iterate
    dict
        The state to go on from: numpy arrays and plain numbers.
    """
    problem = task.problem
    rows = TensorSamples(problem.design, problem.target[0], problem.sample_weight)
    number = 0 if state is None else state["n_chunks"]
    batches = cut(rows, settings.batch_size, settings.seed, 0, number, shuffle=settings.shuffle)
    run: Any = task.solver.sweeps(problem, start, settings)
    if state is not None:
        run.resume(as_tensors(state["tensors"]), state["numbers"])
    try:
        with torch.no_grad():
            iterate = run.learn_chunk(batches)
    except DivergenceError as trouble:
        raise ValueError(
            f"partial_fit failed, and the model is as it was before: {trouble}. Look for extreme values in X, y "
            "and sample_weight."
        ) from trouble
    return iterate, online_state(run, n_chunks=number + 1)


def online_state(run: Any, *, n_chunks: int) -> dict[str, Any]:
    """Return what a run has to leave behind for another to go on."""
    tensors, numbers = run.state()
    arrays = {name: tensor.numpy(force=True) for name, tensor in tensors.items()}
    return {"tensors": arrays, "numbers": numbers, "n_chunks": n_chunks}


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return arrays as tensors that share their memory where that can be written to."""
    return {
        name: torch.from_numpy(np.require(array, requirements=["C", "W"])) for name, array in arrays.items()
    }
