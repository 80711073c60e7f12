"""Held-out rows, whose loss tells which state to keep and when to stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..core.matrix.design import DesignMatrix
from ..core.matrix.parameters import raw_prediction
from ..core.solvers.base import Iterate


@dataclass(frozen=True)
class Validation:
    """Held-out rows, in the units of the solver.

    Attributes
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    target : Tensor of shape (n_outputs, n_samples)
    sample_weight : Tensor of shape (n_samples,)
    likelihood : object
        The part of the observation model that has the losses.
    unit : float
        What a loss of one is in the user's units.
    """

    design: DesignMatrix
    target: Tensor
    sample_weight: Tensor
    likelihood: Any
    unit: float = 1.0

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over the rows, summed over the outputs."""
        losses = self.likelihood.loss(self.target, self.predict(iterate)).sum(0).to(self.sample_weight)
        return self.unit * float(losses @ self.sample_weight / self.sample_weight.sum())

    def predict(self, iterate: Iterate) -> Tensor:
        """Return what the loss is a function of."""
        return raw_prediction(self.design, iterate.parameters)


@dataclass(frozen=True)
class SampledValidation(Validation):
    """Held-out rows of a sampler: the loss of what its sweeps since the burn-in predict on average.

    Attributes
    ----------
    outcomes : list of Tensor
        The sum over these sweeps, once there is one.
    """

    outcomes: list[Tensor] = field(default_factory=list)

    def predict(self, iterate: Iterate) -> Tensor:
        draws, sample = iterate.draws, iterate.sample
        assert draws is not None  # for the type checker
        assert sample is not None
        raw = super().predict(iterate).unflatten(0, (draws.n_chains, -1))
        outcome = self.likelihood.outcome(raw, sample.cut_points).mean(0)
        if not draws.is_warm:
            return outcome
        self.outcomes[:] = [sum(self.outcomes, outcome)]
        return self.outcomes[0] / (draws.n_seen - draws.burn_in)
