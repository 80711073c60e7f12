"""Fitted estimators as modules of torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.bayes.variance import prediction_variance
from ..core.matrix.parameters import FMParameters, Posterior
from ..core.observation.classes import class_probabilities
from ..data.scaling import Scaling
from ..nn import FactorizationMachine
from ..nn._entries import Entries
from ..nn._inputs import parse
from .cache import predictor
from .draw_predictors import Draws
from .layers import SolverRows, StandardizedFM
from .located import EXACT, standardized
from .predictors import Gaussian
from .state import FittedModel


class ExportedFM(torch.nn.Module):
    """Machines over the same columns, and a head that converts their raw predictions.

    Parameters
    ----------
    machines : list of FactorizationMachine
        One machine per output, without activations.
    head : Raw, Mean or Probabilities
    variance : Variance or None
        Computes the variance of the raw predictions if the head takes it.
    """

    def __init__(
        self, machines: list[FactorizationMachine], head: torch.nn.Module, variance: Variance | None
    ) -> None:
        super().__init__()
        self.machines = torch.nn.ModuleList(machines)
        self.head = head
        self.variance = variance

    def forward(
        self,
        input: Tensor | tuple[Tensor, ...],
        offsets: Tensor | None = None,
        values: Tensor | None = None,
    ) -> Tensor:
        """Return predictions for rows as `skfm.nn.FactorizationMachine` takes them."""
        raw = torch.cat([machine(input, offsets, values) for machine in self.machines], 1)
        variance = None
        if self.variance is not None:
            variance = self.variance(parse(input, offsets, values, self.variance.factors.shape[1]))
        prediction: Tensor = self.head(raw, variance)
        return prediction


class Raw(torch.nn.Module):
    """Raw predictions, those of a single output without its axis."""

    def forward(self, raw: Tensor, variance: Tensor | None) -> Tensor:
        """Return (n_samples,) or (n_samples, n_outputs)."""
        return raw[:, 0] if raw.shape[1] == 1 else raw


class Mean(torch.nn.Module):
    """Expected targets of a regression.

    Parameters
    ----------
    link : InverseLink
    """

    def __init__(self, link: Any) -> None:
        super().__init__()
        self.link = link

    def forward(self, raw: Tensor, variance: Tensor | None) -> Tensor:
        """Return (n_samples,)."""
        mean: Tensor = self.link.expectation(raw[:, 0])
        return mean


class Probabilities(Mean):
    """Probabilities of classes."""

    def forward(self, raw: Tensor, variance: Tensor | None) -> Tensor:
        """Return (n_samples, n_classes)."""
        return class_probabilities(self.link, raw.T, variance).T.contiguous()


class Variance(torch.nn.Module):
    """The variance of the raw predictions under the posterior, worked out in the units of the solver.

    Parameters
    ----------
    means : FMParameters
    posterior : Posterior
        Both in these units.
    units : Scaling
    """

    intercept: Tensor
    linear: Tensor
    factors: Tensor
    covariances: Tensor
    intercept_variance: Tensor
    noise_precision: Tensor
    center: Tensor
    spread: Tensor
    scale: Tensor
    centered: Tensor

    def __init__(self, means: FMParameters, posterior: Posterior, units: Scaling) -> None:
        super().__init__()
        dtype = means.factors.dtype
        tensors = {
            **means._asdict(),
            "covariances": posterior.covariances,
            "intercept_variance": posterior.intercept_variance,
            "noise_precision": posterior.noise_precision,
            "center": units.conditioning.center,
            "spread": units.conditioning.scale,
            "scale": units.scale,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.to(dtype, copy=True))
        self.register_buffer("centered", units.conditioning.center.nonzero()[:, 0])

    def forward(self, rows: Entries | Tensor) -> Tensor:
        """Return (n_outputs, n_samples)."""
        posterior = Posterior(self.covariances, self.intercept_variance, self.noise_precision)
        design = SolverRows(rows, self.center, self.spread, self.centered)
        return prediction_variance(design, self.factors, posterior) * self.scale[:, None].square()


def to_module(estimator: Any, output: str, *, sparse_grad: bool) -> ExportedFM:
    """Return a module that predicts as a fitted estimator does.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    output : {"raw", "prediction", "probability"}
    sparse_grad : bool
        Whether gradients of the machines are sparse tensors.
    """
    predicts = predictor(estimator)
    model = predicts.model
    if output != "raw" and isinstance(predicts, Draws) and model.link.kind != "identity":
        raise ValueError(
            f"output={output!r} of a model fitted by solver='mcmc' with loss={estimator._model['loss']!r} is an "
            "average over its draws, which one module cannot hold. Use output='raw', or fit with solver='vb'."
        )
    dtype = torch.from_numpy(estimator.factors_[:0]).dtype
    variance = None
    if output == "probability" and isinstance(predicts, Gaussian):
        variance = _variance(model, dtype)
    heads: dict[str, Any] = {
        "raw": Raw,
        "prediction": lambda: Mean(model.link),
        "probability": lambda: Probabilities(model.link),
    }
    return ExportedFM(_machines(model, dtype, sparse_grad=sparse_grad), heads[output](), variance)


def _machines(model: FittedModel, dtype: torch.dtype, *, sparse_grad: bool) -> list[FactorizationMachine]:
    """Return a machine for each output. Its raw predictions are in the user's units."""
    options: dict[str, Any] = {
        "linear": True,
        "bias": True,
        "sparse_grad": sparse_grad,
        # Fitted parameters may be exactly zero.
        "factor_init": torch.nn.init.ones_,
        "dtype": dtype,
        "device": "cpu",
    }
    columns = model.units.conditioning
    parameters = model.units.to_columns(model.mean.at(EXACT))
    machines: list[FactorizationMachine] = []
    for intercept, linear, factors in zip(*parameters, strict=True):
        if model.standardizes:
            machine: FactorizationMachine = StandardizedFM(columns, factors.shape[1], **options)
        else:
            machine = FactorizationMachine(*factors.shape, **options)
        machine.factor_init = None
        assert machine.linear is not None  # for the type checker
        assert machine.bias is not None
        with torch.no_grad():
            machine.factors.weight.copy_(factors)
            machine.linear.weight.copy_(linear[:, None])
            machine.bias.fill_(float(intercept))
        machines.append(machine)
    return machines


def _variance(model: FittedModel, dtype: torch.dtype) -> Variance:
    means = FMParameters(*(t.to(dtype) for t in standardized(model.fitted)))
    return Variance(means, model.posterior(EXACT._replace(dtype=dtype)), model.scaling)
