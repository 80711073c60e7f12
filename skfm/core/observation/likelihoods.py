"""Observation models as the block engine sees them: weighted least squares, once a sweep.

Each model is bounded by a quadratic in the raw prediction f, with a precision omega and a
working target for every row, that touches it at the current posterior N(mean, variance) of f.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus


class Likelihood(ABC):
    """The log likelihood of y given the raw prediction, elementwise."""

    #: Whether there is a noise precision to learn.
    has_noise: ClassVar[bool] = False
    #: Whether precisions and targets follow the predictions, or are the same in every sweep.
    is_gaussian: ClassVar[bool] = False

    @abstractmethod
    def linearize(self, y: Tensor, mean: Tensor, variance: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Return the precisions (None: all one) and the working targets."""

    @abstractmethod
    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Return the largest quadratic lower bound on E[log p(y | f)]."""

    @abstractmethod
    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return the negative log likelihood, or half the squared error."""

    @abstractmethod
    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        """Return E[y], over a Gaussian raw prediction where there is a variance."""

    @abstractmethod
    def link(self, mean: Tensor) -> Tensor:
        """Return the raw prediction whose expectation is ``mean``."""


class SquaredError(Likelihood):
    """Gaussian noise of unknown precision."""

    has_noise = True
    is_gaussian = True

    def linearize(self, y: Tensor, mean: Tensor, variance: Tensor | None) -> tuple[Tensor | None, Tensor]:
        return None, y

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return -((y - mean).square() + variance) / 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (y - raw).square() / 2

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return raw

    def link(self, mean: Tensor) -> Tensor:
        return mean


class LogLoss(Likelihood):
    """Logistic regression through the bound of Jaakkola and Jordan, also found by Polya-Gamma variables.

    ::

        omega = tanh(xi / 2) / (2 xi),   target = (y - 1/2) / omega,   xi^2 = mean^2 + variance
    """

    def linearize(self, y: Tensor, mean: Tensor, variance: Tensor | None) -> tuple[Tensor | None, Tensor]:
        xi = _root_mean_square(mean, variance)
        # tanh(x) / x loses its digits at zero only, where it is one.
        omega = torch.where(xi > 1e-4, torch.tanh(xi / 2) / (2 * xi.clamp(min=1e-4)), 0.25)
        return omega, (y - 0.5) / omega

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        xi = _root_mean_square(mean, variance)
        return logsigmoid(xi) - xi / 2 + (y - 0.5) * mean

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return softplus(raw) - y * raw

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        if variance is not None:
            raw = raw / torch.sqrt(1 + math.pi / 8 * variance)
        return torch.sigmoid(raw)

    def link(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)


class Probit(Likelihood):
    """Probit regression by a latent normal variable (Albert and Chib): its truncated mean is the target."""

    def linearize(self, y: Tensor, mean: Tensor, variance: Tensor | None) -> tuple[Tensor | None, Tensor]:
        sign = 2 * y - 1
        log_ratio = -mean.square() / 2 - math.log(2 * math.pi) / 2 - torch.special.log_ndtr(sign * mean)
        return None, mean + sign * torch.exp(log_ratio)

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return -self.loss(y, mean) - variance / 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return -torch.special.log_ndtr((2 * y - 1) * raw)

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        if variance is not None:
            raw = raw / torch.sqrt(1 + variance)
        # ndtr itself is zero from -9 on.
        return torch.special.log_ndtr(raw).exp()

    def link(self, mean: Tensor) -> Tensor:
        return torch.special.ndtri(mean)


def _root_mean_square(mean: Tensor, variance: Tensor | None) -> Tensor:
    return mean.abs() if variance is None else (mean.square() + variance).sqrt()


LIKELIHOODS: dict[str, Likelihood] = {
    "squared_error": SquaredError(),
    "log_loss": LogLoss(),
    "probit": Probit(),
}
