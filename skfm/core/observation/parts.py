"""The parts of an observation model, each of them for a family of solvers.

A class of a model defines how its raw predictions become predictions: `inverse_link` has to be that of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..matrix.device import accum_dtype
from .inverse_links import IDENTITY, InverseLink


class _Part:
    """The interface that all parts of a model share: the predictions."""

    #: The inverse link of the model or of its joint form.
    inverse_link: ClassVar[InverseLink] = IDENTITY

    @property
    def joint_outputs(self) -> bool:
        """Whether the outputs are one model together, rather than one model each."""
        return self.inverse_link.joint_outputs

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        """Return the prediction, averaged over a Gaussian raw prediction where there is a variance."""
        return self.inverse_link.expectation(raw, variance)


class MinibatchLoss(_Part, ABC):
    """A loss of the raw prediction, with its derivatives.

    Functions of a raw prediction are elementwise over arrays of shape (n_outputs, n_samples); ``y`` has one row,
    whatever the number of outputs.
    """

    #: With y = s z and a raw prediction to match, loss(y) = s^degree loss(z), up to a constant. Constants of the loss
    #: that have the unit of the target, such as thresholds, are multiplied by s as well.
    degree: ClassVar[int] = 0
    #: Whether the location and the scale of the target are more than its mean and its standard deviation.
    uses_medians: ClassVar[bool] = False

    @abstractmethod
    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return the losses, (n_outputs, n_samples), or (1, n_samples) if the outputs are one model."""

    @abstractmethod
    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first derivative by the raw prediction, and a curvature that steps can trust.

        The curvature is not negative. It is the second derivative, its expected value, or an upper bound. Where the
        second derivative is zero, as for absolute errors, it is that of a smooth loss of the same kind.
        """

    @abstractmethod
    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        """Return the raw predictions of the best model without any columns, (n_outputs,), finite.

        Parameters
        ----------
        y, weight : Tensor of shape (n_samples,)
        n_outputs : int
        """

    def noise(self, losses: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        """Return the variance of the slope that the noise in the target causes, estimated elementwise.

        Summed over rows, curvature / noise is the precision that turns the loss into a negative log likelihood: that
        of the normal distribution for squared errors, about one for a loss that is a negative log likelihood already.
        """
        return slope.square()

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        """Return the number that is subtracted from the target before training, and the one it is divided by.

        Parameters
        ----------
        y, weight : Tensor of shape (n_samples,)
        center : bool
            Whether the target may be shifted, or rescaled under a logarithm: both need an intercept.
        """
        return 0.0, 1.0


class QuadraticBound(_Part, ABC):
    """A quadratic in the raw prediction f of each row, which the block solvers minimize in closed form.

    The quadratic has a precision omega and a working target. It has the slope of the expected negative log likelihood
    at the current posterior N(mean, variance) of f, and with full caution it is nowhere below it as a function of the
    mean. All functions are elementwise, and y is 0 or 1 for classes.
    """

    #: Whether there is a noise precision to learn.
    has_noise: ClassVar[bool] = False
    #: Whether precisions and targets are the same in every sweep, or follow the predictions.
    is_gaussian: ClassVar[bool] = False
    #: Whether the precisions depend on the caution, so that a sweep can lower the expected log likelihood.
    can_overshoot: ClassVar[bool] = False

    @abstractmethod
    def linearize(
        self, y: Tensor, mean: Tensor, variance: Tensor | None, caution: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Return the precisions (None: all one) and the working targets.

        Parameters
        ----------
        y, mean : Tensor of shape (n_outputs, n_samples)
        variance : Tensor of shape (n_outputs, n_samples) or None
            None for a posterior that is a point.
        caution : Tensor of shape (n_outputs, 1) or None
            From 0, the precisions of Newton's method, to 1, those of an upper bound. None means 1. Models without
            `can_overshoot` ignore it.
        """

    @abstractmethod
    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the expected log likelihood E[log p(y | f)], or a lower bound on it."""

    @abstractmethod
    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return the negative log likelihood, or half the squared error."""

    def link(self, mean: Tensor) -> Tensor:
        """Return the raw prediction whose expectation is ``mean``."""
        return self.inverse_link.link(mean)


class LatentVariables(ABC):
    """The latent variables of the rows of some chains.

    Given its latent variables, a row is a Gaussian observation of the raw prediction f, with a precision omega and a
    working target. A sample weight s is a power of the likelihood: a row of weight two is the row twice.

    Parameters
    ----------
    y : Tensor of shape (n_outputs, n_samples)
    weight : Tensor of shape (n_samples,)
    generator : torch.Generator
    """

    #: The inverse link of the model.
    inverse_link: ClassVar[InverseLink] = IDENTITY
    #: Whether there is a noise precision to learn.
    has_noise: ClassVar[bool] = False
    #: Prior variance of the linear weights, in standard units: targets of variance one leave little to each, log odds
    #: have no such limit.
    linear_variance: ClassVar[float] = 0.1
    #: Whether the model has an intercept; otherwise cut-points or the like take its place.
    has_intercept: ClassVar[bool] = True
    #: Cut-points of every output, if there are any.
    cut_points: Tensor | None = None

    def __init__(self, y: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        self.dtype, self.accum_dtype = y.dtype, accum_dtype(y.device)
        self.y, self.weight = y.to(self.accum_dtype), weight.to(self.accum_dtype)
        self.has_unit_weights = bool((weight == 1).all())
        self.generator = generator

    @abstractmethod
    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Draw given the predictions, (n_outputs, n_samples); return precisions, weights included, and targets."""

    @abstractmethod
    def log_likelihood(self, raw: Tensor, noise_precision: Tensor) -> Tensor:
        """Return the weighted log likelihood of each output, (n_outputs,)."""

    @classmethod
    def outcome(cls, raw: Tensor, cut_points: Tensor | None) -> Tensor:
        """Return what is averaged over draws: means or probabilities, as `InverseLink` returns them."""
        return cls.inverse_link(raw, cut_points)

    @staticmethod
    @abstractmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        """Return the loss of averaged outcomes, (1, n_samples) or (n_outputs, n_samples)."""
