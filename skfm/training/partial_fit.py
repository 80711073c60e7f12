"""Learning from one batch of samples after another, and the state that is kept between them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.device import compute_dtype, resolve_device
from ..core.matrix.parameters import FMParameters
from ..core.solvers import DivergenceError, Iterate, OnlineRun, Problem, Settings, Solver, StateDict
from ..core.solvers.minibatch.batch_source import cut
from ..data.frames import frame_encoder
from ..data.running_scales import RunningScales
from ..data.samples import Samples
from ..data.scaling import Scaling
from ..data.target_transform import TargetTransform
from ..data.targets import Target
from ..data.validation import NoWeightError, check_rows
from ..fitted.located import located
from .history import History
from .problem import ModelOptions, TrainingProblem, describe, supported_solver
from .result import fitted_attributes
from .rollback import NothingToLearn
from .running_units import NewUnits, follow
from .start import draw_seed, solver_settings, starting_point


def learn_more(estimator: Any, target: Target, X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Learn from samples in addition to those that the estimator has seen, if any.

    Parameters
    ----------
    estimator : estimator
        What is learned of the columns in the first call is set on it, as scikit-learn does it.
    target : Target
        Knows the values that y can have.
    X, y, sample_weight
        As the user passes them.

    Returns
    -------
    dict
        The fitted attributes.
    """
    solver = supported_solver(estimator)
    _check_unused_parameters(estimator)
    is_first = not hasattr(estimator, "factors_")
    device = resolve_device(estimator.device)
    rng = check_random_state(estimator.random_state)
    try:
        samples = check_rows(
            estimator,
            X,
            y,
            sample_weight,
            reset=is_first,
            y_numeric=not target.are_labels,
            known_new=set() if is_first else columns_with_new(estimator),
        )
    except NoWeightError as error:
        raise NothingToLearn from error
    samples = samples._replace(y=target.encode(samples.y))
    options = ModelOptions.of(estimator)
    fitted, online, new_units = None, None, None
    if is_first:
        seed = draw_seed(rng)
        transform = target.measure(samples, solver, more_follow=True)
        problem = describe(options, samples, transform, solver, device).with_scales(target, samples)
    else:
        seed, fitted, online = estimator._seed, located(estimator), OnlineState.of(estimator)
        problem = describe_again(estimator, samples, solver, device)
        if online is not None:
            problem = problem._replace(scales=online.scales)
        raw_design = problem.raw_design(samples.X)
        problem, new_units = follow(problem, target, samples, raw_design)
        problem = problem.with_rows(samples, raw_design)
    settings = solver_settings(estimator, problem, max_iter=1, seed=seed)
    settings = dataclasses.replace(settings, learning_rate_schedule="constant")
    if new_units is not None and new_units.restarts:
        # As in the first call.
        draw_seed(rng)
        fitted = None
    start = starting_point(options, problem, rng, fitted)
    iterate, online = learn_chunk(online, problem, settings, start, new_units)
    history = History(solver.objective_name, validated=False)
    if not is_first:
        history.objective.extend(estimator.history_.get(solver.objective_name, ()))
    history.add(iterate, None)
    return {
        **fitted_attributes(problem, history.kept, history),
        "_lasting": frozen_params(estimator),
        "_online": online.attribute(),
        "_seed": seed,
    }


def _check_unused_parameters(estimator: Any) -> None:
    """Raise an error if a parameter asks for something that only `fit` does."""
    if estimator.early_stopping:
        raise ValueError(
            "early_stopping=True is not supported by partial_fit, which makes one pass over the rows of a call and "
            "sets none aside. Set early_stopping=False, or use fit."
        )
    if estimator.checkpoint is not None:
        raise ValueError(
            f"checkpoint={estimator.checkpoint!r} is not supported by partial_fit, which writes no checkpoints. Set "
            "checkpoint=None and save the model between two calls, or use fit."
        )


def columns_with_new(estimator: Any) -> set[str]:
    """Return the columns whose row for unknown categories has been trained: the user has been warned of these."""
    encoder = frame_encoder(estimator)
    if encoder is None:
        return set()
    # The parameters of a row without data stay zero in the solvers that learn online.
    parameters = (
        np.atleast_2d(estimator.coef_),
        np.abs(estimator.factors_).sum(-1).reshape(-1, len(encoder.unseen)),
    )
    used = encoder.unseen & np.any([np.any(part != 0, axis=0) for part in parameters], axis=0)
    return {encoder.names[number] for number in encoder.sources[used]}


def frozen_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters that cannot change once a model has learned something."""
    names = ("solver", "loss", "quantile", "fit_intercept", "fit_linear")
    values = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
    # A given penalty can be replaced by another one, but a learned penalty has a state of its own.
    for name in ("l2_linear", "l2_factors"):
        values[name] = "auto" if isinstance(getattr(estimator, name), str) else "a number"
    return values


def describe_again(estimator: Any, samples: Samples, solver: Solver, device: torch.device) -> TrainingProblem:
    """Return a problem in the units of a fitted estimator, without rows, or raise an error if samples do not fit it."""
    fitted = np.dtype(estimator._dtype)
    if samples.X.dtype != fitted:
        raise ValueError(
            f"X is {samples.X.dtype}, but the model was fitted to {fitted}. Convert X, as in "
            f"X.astype({str(fitted)!r})."
        )
    for name, value in frozen_params(estimator).items():
        if value != estimator._lasting[name]:
            raise ValueError(
                f"The model was fitted with {name}={estimator._lasting[name]!r}, which partial_fit cannot change, but "
                f"now {name}={value!r}. Restore it, or fit a new model."
            )
    dtype = compute_dtype(samples.X.dtype, device)
    units, coding = Scaling.of(estimator), TargetTransform(**estimator._coding)
    nothing = torch.empty(0, dtype=dtype, device=device)
    problem = Problem(
        design=DesignMatrix.from_array(
            samples.X[:0], dtype=dtype, device=device, dense_columns=estimator._dense_columns
        ),
        target=nothing[None],
        sample_weight=nothing,
        loss=estimator.loss,
        fields=torch.from_numpy(np.asarray(estimator._field_numbers)).to(device),
        fit_intercept=estimator.fit_intercept,
        fit_linear=estimator.fit_linear,
    )
    return TrainingProblem(
        problem, units, coding, samples.X.dtype, solver, estimator.fields_, estimator._model["quantile"]
    )


class OnlineState(NamedTuple):
    """The state that a run leaves for the next call.

    Attributes
    ----------
    run : StateDict
    n_chunks : int
        Number of calls so far, with which the order of the samples changes.
    scales : RunningScales or None
        Models of earlier versions do not have them, and keep their units.
    """

    run: StateDict
    n_chunks: int
    scales: RunningScales | None = None

    @classmethod
    def of(cls, estimator: Any) -> OnlineState | None:
        """Return the state of a fitted estimator, or None if it has none."""
        found = getattr(estimator, "_online", None)
        if found is None:
            return None
        scales = RunningScales.from_arrays(found["scales"]) if "scales" in found else None
        return cls(StateDict(as_tensors(found["tensors"]), found["numbers"]), found["n_chunks"], scales)

    def attribute(self) -> dict[str, Any]:
        """Return what the estimator holds: numpy arrays and plain numbers."""
        arrays = {name: tensor.numpy(force=True) for name, tensor in self.run.tensors.items()}
        found = {"tensors": arrays, "numbers": self.run.numbers, "n_chunks": self.n_chunks}
        return found if self.scales is None else {**found, "scales": self.scales.arrays()}


def learn_chunk(
    state: OnlineState | None,
    problem: TrainingProblem,
    settings: Settings,
    start: FMParameters,
    new_units: NewUnits | None = None,
) -> tuple[Iterate, OnlineState]:
    """Learn from the samples of a problem.

    Parameters
    ----------
    state : OnlineState or None
        State of the previous call. With None, the run begins at ``start``.
    problem : TrainingProblem
    settings : Settings
    start : FMParameters
    new_units : NewUnits or None
        The units of the problem if they differ from those of the state.

    Returns
    -------
    Iterate
    OnlineState
        State to continue from.
    """
    number = 0 if state is None else state.n_chunks
    samples = problem.problem.samples
    batches = cut(samples, settings.batch_size, settings.seed, 0, number, shuffle=settings.shuffle)
    run = problem.solver.start(problem.problem, start, settings)
    if not isinstance(run, OnlineRun):
        raise TypeError(
            f"solver={problem.solver.name!r} declares learns_online, but its runs are no OnlineRun."
        )
    if state is not None:
        run.load_state_dict(state.run)
    try:
        with torch.no_grad():
            if new_units is not None:
                begin = start if new_units.restarts else None
                run.change_units(new_units.change(settings, begin, is_random=True))
            iterate = run.learn_chunk(batches)
    except DivergenceError as error:
        raise ValueError(
            f"partial_fit failed, and the model is as it was before: {error}. Look for extreme values in X, y "
            "and sample_weight."
        ) from error
    return iterate, OnlineState(run.state_dict(), number + 1, problem.scales)


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return arrays as tensors that share their memory where that can be written to."""
    return {
        name: torch.from_numpy(np.require(array, requirements=["C", "W"])) for name, array in arrays.items()
    }
