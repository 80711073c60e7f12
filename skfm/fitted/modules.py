"""Fitted estimators as modules of torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..core.bayes.variance import prediction_variance
from ..core.matrix.design import DesignMatrix
from ..core.matrix.parameters import FMParameters, Posterior
from ..core.observation.registry import MODELS
from ..data.scaling import Scaling, as_tensor
from ..nn import FactorizationMachine
from ..nn._entries import Entries
from ..nn._inputs import parse
from .predictors import class_probabilities
from .state import fitted_model, fitted_parameters


class ExportedFM(torch.nn.Module):
    """Machines over the same columns, and what their raw predictions come to.

    Parameters
    ----------
    machines : list of FactorizationMachine
        One an output, without activations.
    head : Raw, Mean or Probabilities
    variance : Variance or None
        If the head takes the variance of the raw predictions.
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
    model : Loss or Likelihood
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, raw: Tensor, variance: Tensor | None) -> Tensor:
        """Return (n_samples,)."""
        mean: Tensor = self.model.expectation(raw[:, 0])
        return mean


class Probabilities(Mean):
    """Probabilities of classes."""

    def forward(self, raw: Tensor, variance: Tensor | None) -> Tensor:
        """Return (n_samples, n_classes)."""
        return class_probabilities(self.model, raw.T, variance).T.contiguous()


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
            **posterior._asdict(),
            "center": units.conditioning.center,
            "spread": units.conditioning.scale,
            "scale": units.scale,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.to(dtype))
        self.register_buffer("centered", units.conditioning.center.nonzero()[:, 0])

    def forward(self, rows: Entries | Tensor) -> Tensor:
        """Return (n_outputs, n_samples)."""
        means = FMParameters(self.intercept, self.linear, self.factors)
        posterior = Posterior(self.covariances, self.intercept_variance, self.noise_precision)
        design = SolverRows(rows, self.center, self.spread, self.centered)
        return prediction_variance(design, means, posterior) * self.scale[:, None].square()


class SolverRows(DesignMatrix):
    """Rows in the units of the solver, in operations that can be traced.

    Parameters
    ----------
    rows : Entries or Tensor of shape (n_samples, n_features)
        In the user's units.
    center, spread : Tensor of shape (n_features,)
        Of the columns.
    centered : LongTensor of shape (n_centered,)
        The columns whose center is not zero.
    """

    def __init__(self, rows: Entries | Tensor, center: Tensor, spread: Tensor, centered: Tensor) -> None:
        self.shape = (rows.shape[0], rows.shape[1])
        self.entries: tuple[Tensor, Tensor, Tensor] | None = None
        if isinstance(rows, Tensor):
            self.dense_columns = torch.arange(rows.shape[1], device=center.device)
            block = rows.to(center.dtype)
        else:
            self.dense_columns = centered
            place, columns, x = rows.spread(binary=False, dtype=center.dtype)
            # A centered column has a number in every row.
            number = torch.full_like(center, -1, dtype=torch.long)
            number = number.index_copy(0, centered, torch.arange(centered.shape[0], device=center.device))
            number = number[columns]
            is_centered = number >= 0
            block = x.new_zeros(rows.shape[0], centered.shape[0])
            if centered.shape[0]:
                dense_x = torch.where(is_centered, x, 0.0)
                block = block.index_put((place, number.clamp(min=0)), dense_x, accumulate=True)
            self.entries = (place, columns, torch.where(is_centered, 0.0, x / spread[columns]))
        self.block = (block - center[self.dense_columns]) / spread[self.dense_columns]

    def matmul(self, table: Tensor, power: int = 1) -> Tensor:
        out = self.block**power @ table[self.dense_columns]
        if self.entries is not None:
            place, columns, x = self.entries
            out = out.index_add(0, place, (x**power)[:, None] * table[columns])
        return out

    def pieces(self, n_rows: int) -> Iterator[tuple[int, DesignMatrix]]:
        yield 0, self


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
    link = MODELS[estimator._model["loss"]].inverse_link
    if output != "raw" and estimator._draws is not None and link.kind != "identity":
        raise ValueError(
            f"output={output!r} of a model fitted by solver='mcmc' with loss={estimator._model['loss']!r} is an "
            "average over its draws, which one module cannot hold. Use output='raw', or fit with solver='vb'."
        )
    parameters = fitted_parameters(estimator, torch.from_numpy(estimator.factors_[:0]).dtype)
    machines = [_machine(part, sparse_grad=sparse_grad) for part in zip(*parameters, strict=True)]
    variance = None
    if output == "probability" and estimator._posterior is not None:
        variance = _variance(estimator, parameters.factors.dtype)
    model = fitted_model(estimator)
    heads: dict[str, Any] = {
        "raw": Raw,
        "prediction": lambda: Mean(model),
        "probability": lambda: Probabilities(model),
    }
    return ExportedFM(machines, heads[output](), variance)


def _machine(part: tuple[Tensor, Tensor, Tensor], *, sparse_grad: bool) -> FactorizationMachine:
    intercept, linear, factors = part
    machine = FactorizationMachine(
        *factors.shape,
        linear=True,
        bias=True,
        sparse_grad=sparse_grad,
        # Zeros may be what was fitted.
        factor_init=torch.nn.init.ones_,
        dtype=factors.dtype,
    )
    machine.factor_init = None
    assert machine.linear is not None  # for the type checker
    assert machine.bias is not None
    with torch.no_grad():
        machine.factors.weight.copy_(factors)
        machine.linear.weight.copy_(linear[:, None])
        machine.bias.fill_(float(intercept))
    return machine


def _variance(estimator: Any, dtype: torch.dtype) -> Variance:
    units = Scaling.of(estimator)
    means = FMParameters(*(t.to(dtype) for t in units.to_solver(fitted_parameters(estimator))))
    n_outputs, n_features, _ = means.factors.shape
    covariances = as_tensor(estimator.covariances_, dtype)
    posterior = Posterior(
        covariances.reshape(n_outputs, n_features, *covariances.shape[1 + (n_outputs > 1) :]),
        *(as_tensor(estimator._posterior[name], dtype) for name in Posterior._fields[1:]),
    )
    return Variance(means, Posterior(*(t.clone() for t in posterior)), units)
