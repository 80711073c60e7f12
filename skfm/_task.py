"""A fit in the solver's terms: which solver, which problem, from where, with which settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from ._input import Rows
from ._training import Validation
from ._units import Units, as_tensor
from .core.design import DesignMatrix
from .core.device import compute_dtype
from .core.fields import as_field_labels
from .core.likelihoods import LIKELIHOODS
from .core.parameters import FMParameters
from .core.plan import describe_fields
from .core.solvers import SOLVERS
from .core.solvers.base import Problem, Settings, Solver


class Coding(NamedTuple):
    """The target as solvers see it, measured on the training rows.

    Attributes
    ----------
    shift, scale : ndarray of shape (n_outputs,)
        What standardizes the target: zero and one where it is not standardized.
    mean : ndarray of shape (n_outputs,)
        Expected value of the solver's target before any column is looked at.
    target : callable
        Turns encoded y of shape (n_samples,) into the solver's, of shape (n_outputs, n_samples).
    weight : callable
        Turns encoded y and sample weights into the weights that count.
    """

    shift: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    target: Callable[[np.ndarray], np.ndarray]
    weight: Callable[[np.ndarray, np.ndarray], np.ndarray]


class Task(NamedTuple):
    """A problem with what it takes to go there and back.

    Attributes
    ----------
    problem : Problem
    units : Units
    coding : Coding
    dtype : numpy dtype
        Of the training data.
    """

    problem: Problem
    units: Units
    coding: Coding
    dtype: np.dtype


def supported_solver(estimator: Any) -> Solver:
    """Return the solver of an estimator, or say what is wrong with its parameters.

    What fits together is what the solvers declare.
    """
    name, loss = estimator.solver, estimator.loss
    solver = SOLVERS[name]
    if loss not in solver.losses:
        others = _quoted(key for key, other in SOLVERS.items() if loss in other.losses)
        raise ValueError(
            f"loss={loss!r} is not supported by solver={name!r}, which supports {_quoted(solver.losses)}. "
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
                f"{option}={value!r} does not go with solver={name!r}, which learns it or has no use for "
                f"it. Leave {option}={default!r}, or use a solver that takes it: {takers}."
            )
    return solver


def describe(estimator: Any, rows: Rows, coding: Coding, device: torch.device) -> Task:
    """Turn training rows into a problem."""
    dtype = compute_dtype(rows.X.dtype, device)
    design = DesignMatrix.from_array(rows.X, dtype=dtype, device=device)
    weight = as_tensor(coding.weight(rows.y, rows.sample_weight), dtype, device)
    has_both = estimator.fit_intercept and estimator.fit_linear
    units = Units.measure(design, weight, coding.shift, coding.scale, center=has_both)
    automatic = isinstance(estimator.fields, str)
    fields = describe_fields(design) if automatic else _given_fields(estimator.fields, design.shape[1])
    problem = Problem(
        design=units.conditioning.apply(design),
        target=as_tensor(coding.target(rows.y), dtype, device),
        sample_weight=weight,
        loss=estimator.loss,
        fields=fields.to(device),
        fit_intercept=estimator.fit_intercept,
        fit_linear=estimator.fit_linear,
    )
    return Task(problem, units, coding, rows.X.dtype)


def describe_validation(rows: Rows, task: Task) -> Validation:
    """Turn validation rows into the units of a task."""
    dtype, device = task.problem.design.dtype, task.problem.design.device
    return Validation(
        design=task.units.design(rows.X, dtype, device),
        target=as_tensor(task.coding.target(rows.y), dtype, device),
        sample_weight=as_tensor(task.coding.weight(rows.y, rows.sample_weight), dtype, device),
        likelihood=LIKELIHOODS[task.problem.loss],
        # Only squared errors have a target with a scale.
        unit=float(task.coding.scale[0]) ** 2,
    )


def starting_point(
    estimator: Any, task: Task, rng: np.random.RandomState, fitted: FMParameters | None
) -> FMParameters:
    """Return the parameters to start from, in the solver's units.

    Parameters
    ----------
    estimator : estimator
    task : Task
    rng : RandomState
        Nothing that depends on the number of samples may have been drawn from it.
    fitted : FMParameters or None
        Parameters to continue from, in the user's units.
    """
    design, coding = task.problem.design, task.coding
    shape = (len(coding.shift), design.shape[1], estimator.n_factors)
    if fitted is not None:
        if fitted.factors.shape != shape:
            raise ValueError(
                f"warm_start=True continues a fit with n_factors={fitted.factors.shape[2]}, but now "
                f"n_factors={shape[2]}. Keep it, or fit anew with warm_start=False."
            )
        start = task.units.to_solver(fitted)
    else:
        # In float64 on the CPU, so that every device and dtype starts from the same numbers.
        start = FMParameters(
            LIKELIHOODS[task.problem.loss].link(torch.as_tensor(coding.mean, dtype=torch.float64)),
            torch.zeros(shape[:2], dtype=torch.float64),
            torch.from_numpy(estimator.init_scale * rng.standard_normal(shape)),
        )
    intercept, linear, factors = (t.to(design.dtype).to(design.device) for t in start)
    return FMParameters(intercept * task.problem.fit_intercept, linear * task.problem.fit_linear, factors)


def settings(estimator: Any, solver: Solver, task: Task) -> Settings:
    """Return the hyperparameters that a solver reads, in its units."""
    options = {name: getattr(estimator, name) for name in solver.options}
    l2_factors = options.get("l2_factors", "auto")
    if not isinstance(l2_factors, str):
        # With y = sigma z, w = sigma w' and v = sqrt(sigma) v' the objective J of the user is
        # sigma^2 times that in z, if the penalty on v' is l2_factors / sigma and that on w' l2_linear.
        options["l2_factors"] = l2_factors / float(task.coding.scale[0])
    return Settings(**options)


def _given_fields(fields: Any, n_features: int) -> torch.Tensor:
    """Return the fields of the user, numbered."""
    labels = np.asarray(fields)
    if labels.shape != (n_features,):
        raise ValueError(
            f"fields must be 'auto' or hold one label for each of the {n_features} columns of X, "
            f"got an array of shape {labels.shape}."
        )
    return as_field_labels(torch.from_numpy(np.unique(labels, return_inverse=True)[1]))


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
