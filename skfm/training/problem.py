"""A fit in the solver's terms: which solver, which problem, from where, with which settings."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.matrix.batches import TensorSamples
from ..core.matrix.design import DesignMatrix
from ..core.matrix.device import compute_dtype, fits
from ..core.matrix.parameters import FMParameters
from ..core.observation.registry import MODELS, loss_parameters
from ..core.solvers import SOLVERS
from ..core.solvers.base import Problem, Settings, Solver
from ..data.fields import fields_of
from ..data.frames import frame_encoder
from ..data.scaling import LocatedParameters, Scaling, as_tensor
from ..data.target_transform import TargetTransform
from ..data.validation import Samples
from .holdout import SampledValidation, Validation

#: Standard deviation of the initial factors where nothing speaks for more.
SMALL_START = 0.1


class Task(NamedTuple):
    """A problem with what it takes to go there and back.

    Attributes
    ----------
    problem : Problem
    units : Scaling
    coding : TargetTransform
    dtype : numpy dtype
        Of the training data.
    solver : Solver
    field_labels : ndarray of shape (n_features,)
        The fields as users see them.
    quantile : float
    """

    problem: Problem
    units: Scaling
    coding: TargetTransform
    dtype: np.dtype
    solver: Solver
    field_labels: np.ndarray
    quantile: float = 0.5

    @property
    def model(self) -> Any:
        """The loss or likelihood."""
        return self.solver.model(self.problem.loss, len(self.coding.start), self.quantile)

    def design(self, X: Any) -> DesignMatrix:
        """Return other rows as the problem's design has them."""
        design = self.problem.design
        return self.units.design(X, design.dtype, design.device, design.dense_columns.numpy(force=True))

    def without_rows(self) -> Task:
        """Return the task without the rows that it was measured on."""
        problem = self.problem
        none = torch.arange(0, device=problem.design.device)
        empty = dataclasses.replace(
            problem,
            design=problem.design.take(none),
            target=problem.target[:, none],
            sample_weight=problem.sample_weight[none],
        )
        return self._replace(problem=empty)

    def rows(self, rows: Samples) -> TensorSamples:
        """Return other rows in the units of the problem."""
        dtype, device = self.problem.design.dtype, self.problem.design.device
        return TensorSamples(
            self.design(rows.X),
            as_tensor(self.coding.target(rows.y), dtype, device)[0],
            as_tensor(self.coding.weight(rows.y, rows.sample_weight), dtype, device),
        )


class Start(NamedTuple):
    """Where a fit starts from.

    Attributes
    ----------
    kind : {"random", "fit", "chain"}
        Random, the result of a fit, or the last state of a sampler's chains.
    parameters : LocatedParameters or None
        None if random.
    n_sweeps : int
        Sweeps that the chains have made.
    """

    kind: str = "random"
    parameters: LocatedParameters | None = None
    n_sweeps: int = 0


def supported_solver(estimator: Any) -> Solver:
    """Return the solver of an estimator, or say what is wrong with its parameters.

    What fits together is what the solvers declare.
    """
    name, loss = estimator.solver, estimator.loss
    solver = SOLVERS[name]
    if loss not in solver.losses:
        others = _quoted(key for key, other in SOLVERS.items() if loss in other.losses)
        losses = estimator._parameter_constraints["loss"][0].options & solver.losses
        raise ValueError(
            f"loss={loss!r} is not supported by solver={name!r}, which supports {_quoted(losses)}. "
            f"Solvers that support it: {others}."
        )
    defaults = inspect.signature(type(estimator)).parameters
    for option in sorted({option for other in SOLVERS.values() for option in other.options}):
        if option in solver.options or option not in defaults:
            continue
        value, default = getattr(estimator, option), defaults[option].default
        if value != default:
            takers = _quoted(key for key, other in SOLVERS.items() if option in other.options)
            raise ValueError(
                f"{option}={value!r} does not go with solver={name!r}, which has no use for a value of yours. "
                f"Leave {option}={default!r}, or use a solver that takes it: {takers}."
            )
    for name, default in loss_parameters().items():
        value = getattr(estimator, name, default)
        if value != default and name not in MODELS[loss].parameters:
            takers = " or ".join(f"loss={key!r}" for key, model in MODELS.items() if name in model.parameters)
            raise ValueError(
                f"{name}={value!r} does not go with loss={loss!r}. Leave {name}={default!r}, or use {takers}."
            )
    return solver


def describe(
    estimator: Any, rows: Samples, coding: TargetTransform, solver: Solver, device: torch.device
) -> Task:
    """Turn training rows into a problem."""
    dtype = compute_dtype(rows.X.dtype, device)
    # A solver that goes batch by batch can leave in the memory of the host what a GPU has no room for.
    home = device if not solver.learns_online or fits(rows.X, device) else torch.device("cpu")
    design = DesignMatrix.from_array(rows.X, dtype=dtype, device=home)
    weight = as_tensor(coding.weight(rows.y, rows.sample_weight), dtype, home)
    has_both = estimator.fit_intercept and estimator.fit_linear
    units = Scaling.measure(design, weight, coding, center=has_both)
    fields = fields_of(estimator, design, exact=not solver.learns_online)
    problem = Problem(
        design=units.conditioning.apply(design),
        target=as_tensor(coding.target(rows.y), dtype, home),
        sample_weight=weight,
        loss=estimator.loss,
        fields=fields.numbers.to(device),
        fit_intercept=estimator.fit_intercept,
        fit_linear=estimator.fit_linear,
        compute_device=device,
    )
    quantile = getattr(estimator, "quantile", 0.5)
    return Task(problem, units, coding, rows.X.dtype, solver, fields.labels, quantile)


def describe_validation(rows: Samples, task: Task) -> Validation:
    """Turn validation rows into the units of a task."""
    dtype, device = task.problem.design.dtype, task.problem.device
    kind = SampledValidation if task.solver.samples else Validation
    return kind(
        design=task.units.design(rows.X, dtype, device),
        target=as_tensor(task.coding.target(rows.y), dtype, device),
        sample_weight=as_tensor(task.coding.weight(rows.y, rows.sample_weight), dtype, device),
        likelihood=MODELS[task.problem.loss].latent if task.solver.samples else task.model,
        unit=task.coding.unit,
    )


def starting_point(
    estimator: Any, task: Task, rng: np.random.RandomState, fitted: LocatedParameters | None
) -> FMParameters:
    """Return the parameters to start from, in the solver's units.

    Parameters
    ----------
    estimator : estimator
    task : Task
    rng : RandomState
        Nothing that depends on the number of samples may have been drawn from it.
    fitted : LocatedParameters or None
        Parameters to continue from; those of several chains one after the other.
    """
    problem, coding = task.problem, task.coding
    shape = (len(coding.start), problem.design.shape[1], estimator.n_factors)
    if fitted is not None:
        found = fitted.parameters.factors.shape
        if found[1:] != shape[1:]:
            raise ValueError(
                f"The fitted model has n_factors={found[2]}, from which warm_start=True and "
                f"partial_fit go on, but now n_factors={shape[2]}. Keep it, or fit anew with warm_start=False."
            )
        start = fitted.within(task.units)
    else:
        factors = _random_factors(task.solver, shape, rng).mul_(_init_scale(estimator, task))
        encoder = frame_encoder(estimator)
        if encoder is not None:
            # Nothing would ever correct these.
            factors[:, torch.from_numpy(encoder.unseen)] = 0
        start = FMParameters(
            torch.as_tensor(coding.start, dtype=torch.float64),
            torch.zeros(shape[:2], dtype=torch.float64),
            factors,
        )
    intercept, linear, factors = (t.to(problem.design.dtype).to(problem.device) for t in start)
    return FMParameters(intercept * problem.fit_intercept, linear * problem.fit_linear, factors)


def _random_factors(solver: Solver, shape: tuple[int, int, int], rng: np.random.RandomState) -> Tensor:
    """Draw from the standard normal distribution, on the CPU: all devices and dtypes start from the same numbers."""
    if not solver.learns_online:
        return torch.from_numpy(rng.standard_normal(shape))
    # One epoch over a million columns is so fast that numpy would take a tenth of its time to draw their start.
    generator = torch.Generator().manual_seed(int(rng.randint(np.iinfo(np.int32).max)))
    return torch.randn(shape, generator=generator)


def _init_scale(estimator: Any, task: Task) -> float:
    """Return the standard deviation of the factors to start from."""
    if not isinstance(estimator.init_scale, str):
        return float(estimator.init_scale)
    if not task.solver.starts_wide or task.model.is_gaussian or not estimator.n_factors:
        return SMALL_START
    # The bounds of a classifier pull small factors to zero where a category has few rows. Measured on planted data of
    # two fields: with ten rows a category, a start of this size finds interactions that a smaller one misses.
    entries = task.problem.entries_per_row()
    pairs = entries * (entries - 1) / 2
    return max(SMALL_START, (estimator.n_factors * pairs) ** -0.25) if pairs > 0 else SMALL_START


def settings(estimator: Any, task: Task, *, max_iter: int, seed: int, start: Start | None = None) -> Settings:
    """Return the hyperparameters that a solver reads, in its units."""
    known = {f.name for f in dataclasses.fields(Settings)}
    options = {name: getattr(estimator, name) for name in sorted(task.solver.options & known)}
    task.coding.penalties(options)
    start = start or Start()
    return Settings(
        **options,
        max_iter=max_iter,
        seed=seed,
        unit=task.coding.unit,
        quantile=task.quantile,
        start=start.kind,
        n_before=start.n_sweeps,
    )


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
