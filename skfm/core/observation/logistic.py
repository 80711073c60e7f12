"""Logistic regression, of two classes or of all classes together.

::

    two classes:    loss = log(1 + exp(f)) - y f               y is 0 or 1
    more:           loss = log sum_c exp(f_c) - f_y            y is the number of the class
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..bayes.quadrature import NODES, SMALLEST, normal_expectations
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
    """A quadratic for the exact expected log likelihood, by quadrature.

    ::

        p = E[sigmoid(f)],  c = E[sigmoid'(f)],  a = (p - 1/2) / m       f ~ N(m, v)
        omega = (1 - caution) c + caution a,     target = m + (y - p) / omega

    The curvature c is that of Newton's method, which can overshoot, and the one for which also the variances are
    optimal. The curvature a is never smaller, and gives an upper bound on the expected loss for all m. At a point,
    ``a = tanh(m / 2) / (2 m)`` is the bound of Jaakkola and Jordan [1]_, which is that of Polya-Gamma variables. Under
    a posterior that bound is loose where v is large: it distorts the probabilities of rare events and of categories
    with few rows.

    References
    ----------
    .. [1] T. S. Jaakkola and M. I. Jordan, "Bayesian Parameter Estimation via Variational Methods", Statistics and
       Computing 10, 2000.
    """

    inverse_link = SIGMOID
    can_overshoot = True

    def linearize(
        self, y: Tensor, mean: Tensor, variance: Tensor | None, caution: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        # (p - 1/2) / m loses its digits at zero only, where it is c.
        safe = torch.where(mean.abs() > 1e-3, mean, 1.0)
        if variance is None:
            omega = torch.where(mean.abs() > 1e-3, torch.tanh(safe / 2) / (2 * safe), 0.25)
            return omega, (y - 0.5) / omega
        p, c = normal_expectations(_probability_and_slope, mean, variance, NODES)
        a = torch.where(mean.abs() > 1e-3, (p - 0.5) / safe, c)
        omega = (a if caution is None else torch.lerp(c, a, caution)).clamp(min=SMALLEST)
        return omega, mean + (y - p) / omega

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        (partition,) = normal_expectations(lambda f: (softplus(f),), mean, variance, NODES)
        return y * mean - partition

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


def _probability_and_slope(raw: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.sigmoid(raw)
    return p, p * (1 - p)


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
