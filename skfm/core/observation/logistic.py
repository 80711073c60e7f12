"""Logistic regression, of two classes or of all classes together.

::

    two classes:    loss = log(1 + exp(f)) - y f               y is 0 or 1
    more:           loss = log sum_c exp(f_c) - f_y            y is the number of the class
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..bayes.sampling import polya_gamma
from .base import CLASS_NUMBERS, CLASSIFICATION, ObservationModel
from .classes import loss_of_probability, smoothed_shares
from .inverse_links import SIGMOID, SOFTMAX
from .parts import LatentVariables, MinibatchLoss, QuadraticBound


class LogisticLoss(MinibatchLoss):
    """Logistic regression of two classes."""

    inverse_link = SIGMOID

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return logistic_loss(y, raw)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.sigmoid(raw)
        return p - y, p * (1 - p)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return torch.logit(smoothed_shares(y, weight, 2)[1:])


class SoftmaxLoss(MinibatchLoss):
    """Multinomial logistic regression: one model of all classes."""

    inverse_link = SOFTMAX

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return torch.logsumexp(raw, 0, keepdim=True) - raw.gather(0, y.long())

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.softmax(raw, 0)
        curvature = p * (1 - p)
        return p.scatter_add(0, y.long(), -torch.ones_like(raw[:1])), curvature

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        logs = smoothed_shares(y, weight, n_outputs).log()
        return logs - logs.mean()


class LogisticBound(QuadraticBound):
    """The quadratic bound of Jaakkola and Jordan, which is also that of Polya-Gamma variables.

    ::

        omega = tanh(xi / 2) / (2 xi),   target = (y - 1/2) / omega,   xi^2 = mean^2 + variance
    """

    inverse_link = SIGMOID

    def linearize(self, y: Tensor, mean: Tensor, variance: Tensor | None) -> tuple[Tensor | None, Tensor]:
        xi = _root_mean_square(mean, variance)
        # tanh(x) / x loses its digits at zero only, where it is one.
        omega = torch.where(xi > 1e-4, torch.tanh(xi / 2) / (2 * xi.clamp(min=1e-4)), 0.25)
        return omega, (y - 0.5) / omega

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        xi = _root_mean_square(mean, variance)
        return logsigmoid(xi) - xi / 2 + (y - 0.5) * mean

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return logistic_loss(y, raw)


class PolyaGammaRows(LatentVariables):
    """Polya-Gamma variables: ``omega ~ PG(s, f)``, ``target = s (y - 1/2) / omega``, for any weight s."""

    inverse_link = SIGMOID
    linear_variance = 0.5

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        raw = raw.to(self.accum_dtype)
        shape = None if self.has_unit_weights else self.weight.expand_as(raw).contiguous()
        # Far out, a precision would be zero in the type of the solver, and the target infinite.
        omega = polya_gamma(shape, raw, self.generator).clamp(min=torch.finfo(self.dtype).tiny ** 0.5)
        return omega.to(self.dtype), ((self.y - 0.5) * self.weight / omega).to(self.dtype)

    def log_likelihood(self, raw: Tensor, noise_precision: Tensor) -> Tensor:
        return logsigmoid((2 * self.y - 1) * raw) @ self.weight

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        return loss_of_probability(y, outcome)


def logistic_loss(y: Tensor, raw: Tensor) -> Tensor:
    """Return the negative log likelihood of y, 0 or 1, elementwise."""
    return softplus(raw) - y * raw


def _root_mean_square(mean: Tensor, variance: Tensor | None) -> Tensor:
    return mean.abs() if variance is None else (mean.square() + variance).sqrt()


LOG_LOSS = ObservationModel(
    name="log_loss",
    tasks=(CLASSIFICATION,),
    target="labels",
    inverse_link=SIGMOID,
    range=CLASS_NUMBERS,
    loss=LogisticLoss,
    joint_loss=SoftmaxLoss,
    quadratic=LogisticBound(),
    latent=PolyaGammaRows,
)
