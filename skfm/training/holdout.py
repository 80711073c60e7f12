"""Held-out samples, whose loss decides which state is kept and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..core.bayes.variance import prediction_variance
from ..core.interactions.base import Interaction
from ..core.interactions.pairwise import PAIRWISE
from ..core.matrix.design import DesignMatrix
from ..core.matrix.reduce import LOCAL, Reduction
from ..core.observation.classes import class_probabilities, loss_of_classes
from ..core.solvers import Iterate


class HeldOutLoss(Protocol):
    """Measures the loss of the states of a run on held-out samples, sweep after sweep."""

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over the samples in the user's units."""


@dataclass(frozen=True)
class Validation:
    """Held-out samples, in the units of the solver.

    Attributes
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    target : Tensor of shape (n_outputs, n_samples)
    sample_weight : Tensor of shape (n_samples,)
    likelihood : object
        The part of the observation model that has the losses.
    unit : float
        The value in the user's units of a loss of one in the units of the solver.
    reduction : Reduction
        Completes the sums over samples where other processes hold further ones.
    interaction : Interaction
        The form of the raw prediction.
    """

    design: DesignMatrix
    target: Tensor
    sample_weight: Tensor
    likelihood: Any
    unit: float = 1.0
    reduction: Reduction = LOCAL
    interaction: Interaction = PAIRWISE

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over the samples in the user's units.

        For classes this is the loss of their probabilities, which a posterior makes less certain, and which are
        normalized where each class is fitted against the rest.
        """
        raw, posterior, link = self.raw(iterate), iterate.posterior, self.likelihood.inverse_link
        if not link.is_probability or link.joint_outputs or (posterior is None and len(raw) == 1):
            return self.mean_loss(raw)
        variance = None
        if posterior is not None:
            variance = prediction_variance(self.design, iterate.parameters.factors, posterior)
        return self.mean(loss_of_classes(self.target, class_probabilities(link, raw, variance)))

    def raw(self, iterate: Iterate) -> Tensor:
        """Return the raw predictions of a state, (n_outputs, n_samples)."""
        return self.interaction.raw(self.design, iterate.parameters)

    def mean_loss(self, predicted: Tensor) -> float:
        """Return the weighted mean of the loss of predictions, which are what the likelihood's loss takes."""
        return self.mean(self.likelihood.loss(self.target, predicted))

    def mean(self, losses: Tensor) -> float:
        """Return the weighted mean of the losses of samples, (1, n_samples), in the user's units."""
        weight, reduce = self.sample_weight, self.reduction.sum
        losses = losses.sum(0).to(weight)
        return self.unit * float(reduce(losses @ weight) / reduce(weight.sum()))


class SampledValidation:
    """The loss of a sampler: that of the average prediction of its sweeps since the burn-in.

    The loss has to be computed after every sweep, because the predictions are accumulated.

    Parameters
    ----------
    samples : Validation
        Validation samples with the observation model of the sampler as their likelihood.
    """

    def __init__(self, samples: Validation) -> None:
        self._samples = samples
        #: Sum of the predictions of the sweeps since the burn-in.
        self._total: Tensor | None = None

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over the samples in the user's units."""
        samples, outcome = self._samples, self._average(iterate)
        if len(samples.target) == 1:
            return samples.mean_loss(outcome)
        # Each class was fitted against the rest.
        return samples.mean(loss_of_classes(samples.target, outcome / outcome.sum(0)))

    def _average(self, iterate: Iterate) -> Tensor:
        """Return the average prediction with that of another sweep; in the burn-in that of the sweep alone."""
        draws = iterate.draws
        assert draws is not None  # for the type checker
        assert draws.latest is not None
        raw = self._samples.raw(iterate).unflatten(0, (draws.n_chains, -1))
        outcome = self._samples.likelihood.outcome(raw, draws.latest.cut_points).mean(0)
        if not draws.is_warm:
            return outcome
        self._total = outcome if self._total is None else outcome + self._total
        return self._total / (draws.n_seen - draws.burn_in)
