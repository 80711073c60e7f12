"""Estimators that take their parameters from layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_random_state
from torch import Tensor

from ._coding import Coding
from ._fields import Fields, given_fields
from ._modules import Machines
from ._online import lasting
from ._state import fitted_attributes
from ._task import Task, supported_solver
from ._training import Record
from ._units import Units
from .core.conditioning import Conditioning
from .core.design import DesignMatrix
from .core.device import resolve_device
from .core.losses import Loss
from .core.parameters import FMParameters
from .core.solvers.base import Iterate, Problem
from .nn import FactorizationMachine

#: The activation of a layer that goes without saying, by loss of the estimator.
ACTIVATIONS = {"log_loss": "sigmoid", "poisson": "exp", "gamma": "exp"}


def adopt(estimator: Any, module: Any, classes: np.ndarray | None) -> Any:
    """Make an estimator a fitted one with the parameters of layers.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    module : FactorizationMachine, module from ``to_module``, or list of FactorizationMachine
        One layer an output.
    classes : ndarray or None
        The labels of a classifier.
    """
    estimator._validate_params()
    solver = supported_solver(estimator)
    if estimator.loss == "ordered_probit":
        raise ValueError("loss='ordered_probit' has cut-points between its levels, which no layer has.")
    layers = _layers(module)
    n_layers = 1 if classes is None or len(classes) == 2 else len(classes)
    if len(layers) != n_layers:
        raise ValueError(
            f"This {type(estimator).__name__} has {n_layers} raw prediction(s), so it takes so many layers, but module "
            f"has {len(layers)}. More than two classes have one each."
        )
    for layer in layers:
        if layer.activation not in (None, ACTIVATIONS.get(estimator.loss)):
            raise ValueError(
                f"The layer has activation={layer.activation!r}, which is not the inverse link of "
                f"loss={estimator.loss!r}. Take a layer without activation, or choose another loss."
            )
    parameters = FMParameters(*(torch.stack(part) for part in zip(*map(_parameters, layers), strict=True)))
    n_outputs, n_features, n_factors = parameters.factors.shape
    if estimator.n_factors != n_factors:
        raise ValueError(
            f"n_factors={estimator.n_factors} was asked for, but the layer has {n_factors}. Leave it out."
        )
    dtype = np.dtype(np.float64 if parameters.factors.dtype == torch.float64 else np.float32)
    fields = Fields(np.zeros(n_features, np.int64), torch.zeros(n_features, dtype=torch.long))
    if not isinstance(estimator.fields, str):
        fields = given_fields(estimator.fields, n_features)
    task = Task(
        _problem(estimator, fields, parameters.factors.dtype),
        Units(
            Conditioning(*(f(n_features, dtype=torch.float64) for f in (torch.zeros, torch.ones))),
            torch.zeros(n_outputs, dtype=torch.float64),
            torch.ones(n_outputs, dtype=torch.float64),
        ),
        _coding(estimator, solver, n_outputs, classes),
        dtype,
        solver,
        fields.labels,
        getattr(estimator, "quantile", 0.5),
    )
    # No sweep was made.
    record = Record(solver.objective_name, validated=False)
    if classes is not None:
        estimator.classes_ = classes
    estimator.n_features_in_ = n_features
    estimator._frame = None
    estimator._draw_seed(check_random_state(estimator.random_state))
    estimator.__dict__.update(
        fitted_attributes(task, Iterate(parameters, 0.0), record), _lasting=lasting(estimator)
    )
    return estimator


def n_factors_of(module: Any) -> int:
    """Return the length of the vectors of the interactions."""
    return _layers(module)[0].n_factors


def _layers(module: Any) -> list[FactorizationMachine]:
    if isinstance(module, Machines):
        module = module.machines
    layers = [module] if isinstance(module, FactorizationMachine) else module
    sequences = (list, tuple, torch.nn.ModuleList)
    if not isinstance(layers, sequences) or not all(
        isinstance(layer, FactorizationMachine) for layer in layers
    ):
        raise TypeError(
            "module must be a skfm.nn.FactorizationMachine, a list of them with one a class, or what to_module "
            f"returns, got a {type(module).__name__} object."
        )
    found: list[Any] = list(layers)
    shapes = {tuple(layer.factors.weight.shape) for layer in found}
    if len(shapes) != 1:
        raise ValueError(
            f"All layers must have the same shape (n_features, n_factors), got {sorted(shapes)}."
        )
    return found


@torch.no_grad()
def _parameters(layer: FactorizationMachine) -> FMParameters:
    """Return what makes the machine of an estimator predict as a layer does."""
    factors = layer.factors.weight.detach().cpu()
    factors = factors.clone() if factors.dtype == torch.float64 else factors.to(torch.float32, copy=True)
    # Each pair counts once with the factor 1/2.
    factors *= (2 * layer.scale) ** 0.5
    linear = factors.new_zeros(len(factors))
    if layer.linear is not None:
        linear += layer.linear.weight[:, 0].cpu()
    if not layer.subtract_self_interactions:
        if not layer.binary_values:
            raise ValueError(
                "The layer has subtract_self_interactions=False, and squares of values are not part of the machine of "
                "an estimator. With binary_values=True they are the values themselves."
            )
        linear += factors.square().sum(1) / 2
    bias = factors.new_zeros(()) if layer.bias is None else layer.bias.detach().cpu()[0].to(factors)
    return FMParameters(bias, linear, factors)


def _problem(estimator: Any, fields: Fields, dtype: torch.dtype) -> Problem:
    numpy_dtype = np.float64 if dtype == torch.float64 else np.float32
    none: Tensor = torch.zeros(0, dtype=dtype)
    return Problem(
        DesignMatrix.from_array(sparse.csr_matrix((0, len(fields.numbers)), dtype=numpy_dtype), dtype=dtype),
        none[None],
        none,
        estimator.loss,
        fields.numbers,
        compute_device=resolve_device(estimator.device),
    )


def _coding(estimator: Any, solver: Any, n_outputs: int, classes: np.ndarray | None) -> Coding:
    """Return the coding of a target that comes as it is."""
    model = solver.model(estimator.loss, n_outputs, getattr(estimator, "quantile", 0.5))
    start = np.zeros(n_outputs)
    if classes is None:
        return Coding(0.0, 1.0, start, identity_link=getattr(model, "identity_link", True))
    weight = np.ones(len(classes))
    if isinstance(estimator.class_weight, dict):
        weight = np.array([estimator.class_weight.get(label, 1.0) for label in classes.tolist()])
    outputs = None
    if not isinstance(model, Loss):
        outputs = np.arange(n_outputs) if n_outputs > 1 else np.array([1])
    return Coding(0.0, 1.0, start, outputs=outputs, class_weight=weight)
