"""What the minibatch engine asks of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class Loss(ABC):
    """A loss of the raw prediction."""

    #: With y = s z and a raw prediction to match, loss(y) = s^degree loss(z), up to a constant.
    degree: ClassVar[int] = 0
    #: Whether s multiplies the raw prediction; otherwise its logarithm is added to it.
    identity_link: ClassVar[bool] = True
    #: Whether the outputs are one model each, or one model together.
    joint_outputs: ClassVar[bool] = False
    #: Whether `expectation` gives probabilities of the classes.
    has_probabilities: ClassVar[bool] = False

    @abstractmethod
    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return the losses, (n_outputs, n_samples), or one row of them if the outputs are one model."""

    @abstractmethod
    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first derivative by the raw prediction, and a curvature that steps can trust.

        The curvature is the second derivative or its expected value. Where that is zero, as for absolute
        errors, it is one that a smooth loss of the same kind would have.
        """

    def noise(self, losses: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        """Return what the curvature stands in proportion to, as the noise in the target allows, elementwise.

        Summed over rows, curvature / noise is the precision that makes a likelihood of the loss: of the normal
        distribution for squared errors, about one for a likelihood that is right as it is.
        """
        return slope.square()

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        """Return the prediction that belongs to a raw prediction."""
        return raw

    def in_range(self, y: Tensor) -> Tensor:
        """Tell which y the loss can take, elementwise."""
        return torch.isfinite(y)

    #: What `in_range` asks for, in words, and whether no negative number is in it.
    range: ClassVar[str] = "finite"
    positive_only: ClassVar[bool] = False

    @abstractmethod
    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        """Return the raw predictions of the best model without any columns, (n_outputs,), finite.

        Parameters
        ----------
        y, weight : Tensor of shape (n_samples,)
        n_outputs : int
        """

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        """Return what the target is shifted by and divided by before training.

        Parameters
        ----------
        y, weight : Tensor of shape (n_samples,)
        center : bool
            Whether it may be shifted, or rescaled under a logarithm: that takes an intercept.
        """
        return 0.0, 1.0
