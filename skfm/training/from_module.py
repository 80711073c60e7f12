"""Estimators that take their parameters from layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.matrix.parameters import FMParameters
from ..core.matrix.standardize import Standardization
from ..core.observation.registry import MODELS
from ..fitted.layers import StandardizedFM
from ..fitted.modules import ExportedFM
from ..nn import FactorizationMachine
from ..nn._layer import ACTIVATIONS
from .from_parameters import fitted_with
from .problem import supported_solver


def adopt(estimator: Any, module: Any, classes: np.ndarray | None) -> Any:
    """Turn an estimator into a fitted one with the parameters of layers.

    Parameters
    ----------
    estimator : estimator
        An estimator that is not fitted.
    module : FactorizationMachine, module from ``to_module``, or list of FactorizationMachine
        One layer per output.
    classes : ndarray or None
        The labels of a classifier.
    """
    estimator._validate_params()
    supported_solver(estimator)
    model = MODELS[estimator.loss]
    if model.has_cut_points:
        raise ValueError(f"loss={estimator.loss!r} has cut-points between its levels, which no layer has.")
    layers = _layers(module)
    n_layers = 1 if classes is None or len(classes) == 2 else len(classes)
    if len(layers) != n_layers:
        raise ValueError(
            f"Expected {n_layers} layer(s), one per raw prediction of this {type(estimator).__name__}, but module has "
            f"{len(layers)}. A classifier of more than two classes has one raw prediction per class."
        )
    # Kinds of inverse links and activations have the same names.
    kind = model.inverse_link.kind
    activation = kind if kind in ACTIVATIONS else None
    for layer in layers:
        if layer.activation not in (None, activation):
            raise ValueError(
                f"The layer has activation={layer.activation!r}, which is not the inverse link of "
                f"loss={estimator.loss!r}. Take a layer without activation, or choose another loss."
            )
    parameters = FMParameters(*(torch.stack(part) for part in zip(*map(_parameters, layers), strict=True)))
    n_factors = parameters.factors.shape[2]
    if estimator.n_factors != n_factors:
        raise ValueError(
            f"n_factors={estimator.n_factors} was asked for, but the layer has {n_factors}. Leave it out."
        )
    return fitted_with(estimator, parameters, classes, _columns(layers))


def n_factors_of(module: Any) -> int:
    """Return the length of the vectors of the interactions."""
    return _layers(module)[0].n_factors


def _layers(module: Any) -> list[FactorizationMachine]:
    if isinstance(module, ExportedFM):
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


def _columns(layers: list[FactorizationMachine]) -> Standardization | None:
    """Return the map from the columns of the input to those of the parameters, None where they are the same."""
    maps = [layer.columns if isinstance(layer, StandardizedFM) else None for layer in layers]
    first = maps[0]
    if first is None and all(other is None for other in maps):
        return None
    for other in maps:
        if (
            first is None
            or other is None
            or not (torch.equal(first.center, other.center) and torch.equal(first.scale, other.scale))
        ):
            raise ValueError(
                "All layers must standardize the columns of their input in the same way. Pass those of one module "
                "from to_module."
            )
    return first


@torch.no_grad()
def _parameters(layer: FactorizationMachine) -> FMParameters:
    """Return the parameters with which an estimator makes the same predictions as a layer."""
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
