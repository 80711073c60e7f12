"""The training problem in the terms of a solver."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ..core.matrix.design import DesignMatrix
from ..core.matrix.device import compute_dtype, fits
from ..core.matrix.standardize import Standardization
from ..core.observation.registry import MODELS, loss_parameters
from ..core.solvers import SOLVERS, Problem, Solver
from ..data.fields import fields_of
from ..data.frames import FrameEncoder, frame_encoder
from ..data.running_scales import RunningScales
from ..data.samples import Samples
from ..data.scaling import Scaling, as_tensor
from ..data.target_transform import TargetTransform
from ..data.targets import Target
from .holdout import HeldOutLoss, SampledValidation, Validation


@dataclass(frozen=True)
class ModelOptions:
    """The parameters of an estimator that define the model to fit.

    Attributes
    ----------
    loss : str
    quantile : float
    n_factors : int
    fit_intercept, fit_linear : bool
    init_scale : float or "auto"
    fields : array-like or "auto"
    encoder : FrameEncoder or None
        Encoder of the training data, which have already been checked.
    """

    loss: str
    quantile: float
    n_factors: int
    fit_intercept: bool
    fit_linear: bool
    init_scale: float | str
    fields: Any
    encoder: FrameEncoder | None

    @classmethod
    def of(cls, estimator: Any) -> ModelOptions:
        """Return the options of an estimator."""
        return cls(
            estimator.loss,
            getattr(estimator, "quantile", 0.5),
            estimator.n_factors,
            estimator.fit_intercept,
            estimator.fit_linear,
            estimator.init_scale,
            estimator.fields,
            frame_encoder(estimator),
        )


class TrainingProblem(NamedTuple):
    """The problem of a solver, with all that is needed to turn its solution into a fitted estimator.

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
    scales : RunningScales or None
        What is known of the columns and the target, for solvers that learn online.
    """

    problem: Problem
    units: Scaling
    coding: TargetTransform
    dtype: np.dtype
    solver: Solver
    field_labels: np.ndarray
    quantile: float = 0.5
    scales: RunningScales | None = None

    @property
    def model(self) -> Any:
        """The loss or likelihood."""
        return self.solver.model(self.problem.loss, len(self.coding.start), self.quantile)

    def raw_design(self, X: Any) -> DesignMatrix:
        """Return other rows in the user's units and the layout of the problem's design."""
        design = self.problem.design
        return DesignMatrix.from_array(
            X,
            dtype=design.dtype,
            device=design.device,
            dense_columns=design.dense_columns.numpy(force=True),
        )

    def weight(self, samples: Samples) -> torch.Tensor:
        """Return the weights of other samples, which include those of their classes."""
        design = self.problem.design
        return as_tensor(self.coding.weight(samples.y, samples.sample_weight), design.dtype, design.device)

    def in_units(self, columns: Standardization, coding: TargetTransform) -> TrainingProblem:
        """Return the problem without rows in other units, in which all columns that are centered are dense."""
        design = self.problem.design
        dense = (columns.center != 0).to(design.device).index_fill(0, design.dense_columns, True)
        places = dense.nonzero()[:, 0]
        none = design.take(torch.arange(0, device=design.device))
        rows = none.dense.new_empty(len(places), 0)
        layout = DesignMatrix(none.shape, none.indptr, none.indices, none.values, rows, places)
        problem = dataclasses.replace(self.problem, design=layout)
        units = self.units._replace(conditioning=columns).with_target(coding)
        return self._replace(problem=problem, units=units, coding=coding)

    def with_scales(self, target: Target, samples: Samples) -> TrainingProblem:
        """Return the problem with the scales of its rows, which are these samples."""
        core, units = self.problem, self.units.conditioning
        empty = RunningScales.empty(core.design.shape[1], target)
        return self._replace(scales=empty.joined(core.design, core.sample_weight, samples, units))

    def without_rows(self) -> TrainingProblem:
        """Return the problem without the rows that it was measured on."""
        problem = self.problem
        none = torch.arange(0, device=problem.design.device)
        empty = dataclasses.replace(
            problem,
            design=problem.design.take(none),
            target=problem.target[:, none],
            sample_weight=problem.sample_weight[none],
        )
        return self._replace(problem=empty)

    def with_rows(self, samples: Samples, raw_design: DesignMatrix) -> TrainingProblem:
        """Return the problem with other rows, which are also given as a design in the user's units.

        The design has the layout of the problem's, or of the problem in other units.
        """
        design, dense_columns = self.problem.design, self.problem.design.dense_columns
        if not torch.equal(raw_design.dense_columns, dense_columns):
            raw_design = self.raw_design(samples.X)
        problem = dataclasses.replace(
            self.problem,
            design=self.units.conditioning.apply(raw_design),
            target=as_tensor(self.coding.target(samples.y), design.dtype, design.device),
            sample_weight=self.weight(samples),
        )
        return self._replace(problem=problem)


def supported_solver(estimator: Any) -> Solver:
    """Return the solver of an estimator, or raise an error if its parameters do not fit together.

    The valid combinations are derived from the declarations of the solvers.
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
                f"{option}={value!r} is not used by solver={name!r}. Leave {option}={default!r}, or use a solver that "
                f"supports it: {takers}."
            )
    for name, default in loss_parameters().items():
        value = getattr(estimator, name, default)
        if value != default and name not in MODELS[loss].parameters:
            takers = " or ".join(f"loss={key!r}" for key, model in MODELS.items() if name in model.parameters)
            raise ValueError(
                f"{name}={value!r} is not used by loss={loss!r}. Leave {name}={default!r}, or use {takers}."
            )
    return solver


def describe(
    options: ModelOptions, samples: Samples, coding: TargetTransform, solver: Solver, device: torch.device
) -> TrainingProblem:
    """Turn training samples into a problem."""
    dtype = compute_dtype(samples.X.dtype, device)
    # A solver that works batch by batch can leave data in host memory that do not fit on the GPU.
    on_device = not solver.learns_online or fits(samples.X, device)
    data_device = device if on_device else torch.device("cpu")
    design = DesignMatrix.from_array(samples.X, dtype=dtype, device=data_device)
    weight = as_tensor(coding.weight(samples.y, samples.sample_weight), dtype, data_device)
    has_both = options.fit_intercept and options.fit_linear
    units = Scaling.measure(design, weight, coding, center=has_both)
    fields = fields_of(options.fields, design, options.encoder, exact=not solver.learns_online)
    problem = Problem(
        design=units.conditioning.apply(design),
        target=as_tensor(coding.target(samples.y), dtype, data_device),
        sample_weight=weight,
        loss=options.loss,
        fields=fields.numbers.to(device),
        fit_intercept=options.fit_intercept,
        fit_linear=options.fit_linear,
        compute_device=device,
    )
    return TrainingProblem(problem, units, coding, samples.X.dtype, solver, fields.labels, options.quantile)


def describe_validation(samples: Samples, problem: TrainingProblem) -> HeldOutLoss:
    """Turn validation samples into the loss on them."""
    held_out = describe_held_out(samples, problem)
    return SampledValidation(held_out) if problem.solver.samples else held_out


def describe_held_out(samples: Samples, problem: TrainingProblem) -> Validation:
    """Turn held-out samples into the units of a problem."""
    dtype, device = problem.problem.design.dtype, problem.problem.device
    return Validation(
        design=problem.units.design(samples.X, dtype, device),
        target=as_tensor(problem.coding.target(samples.y), dtype, device),
        sample_weight=as_tensor(problem.coding.weight(samples.y, samples.sample_weight), dtype, device),
        likelihood=MODELS[problem.problem.loss].latent if problem.solver.samples else problem.model,
        unit=problem.coding.unit,
        reduction=problem.problem.reduction,
        interaction=problem.problem.interaction,
    )


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
