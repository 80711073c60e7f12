"""Probit regression of two classes: the sign of a latent normal variable.

::

    P(y = 1) = Phi(f)        loss = -log Phi((2 y - 1) f)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..bayes.quadrature import NODES, SMALLEST, normal_expectations
from .base import CLASS_NUMBERS, CLASSIFICATION, ObservationModel
from .classes import loss_of_probability
from .inverse_links import NORMAL_CDF
from .latent_normal import LatentNormalRows
from .parts import QuadraticBound


class ProbitBound(QuadraticBound):
    """A quadratic for the exact expected log likelihood, by quadrature.

    ::

        r = phi(s f) / Phi(s f),   g = s E[r],   c = E[r (r + s f)]       s = 2 y - 1,  f ~ N(m, v)
        omega = (1 - caution) c + caution,       target = m + g / omega

    The curvature c is that of Newton's method. It is nowhere above one, the precision of the latent normal variable,
    so that full caution gives an upper bound on the expected loss for all m. At a point, the target with this precision
    is the mean of the latent variable, truncated at zero [1]_. Under a posterior, the bound by latent variables is
    loose where v is large.

    References
    ----------
    .. [1] J. H. Albert and S. Chib, "Bayesian Analysis of Binary and Polychotomous Response Data", Journal of the
       American Statistical Association 88, 1993.
    """

    inverse_link = NORMAL_CDF
    can_overshoot = True

    def linearize(
        self, y: Tensor, mean: Tensor, variance: Tensor | None, caution: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        sign = 2 * y - 1
        if variance is None:
            return None, mean + sign * _ratio(sign * mean)
        slope, c = normal_expectations(_ratio_and_curvature, sign * mean, variance, NODES)
        omega = torch.ones_like(c) if caution is None else torch.lerp(c, torch.ones_like(c), caution)
        omega = omega.clamp(min=SMALLEST)
        return omega, mean + sign * slope / omega

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        signed = (2 * y - 1) * mean
        return normal_expectations(lambda f: (torch.special.log_ndtr(f),), signed, variance, NODES)[0]

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return -torch.special.log_ndtr((2 * y - 1) * raw)


def _ratio(f: Tensor) -> Tensor:
    """Return phi(f) / Phi(f), the derivative of the log likelihood of y = 1."""
    return math.sqrt(2 / math.pi) / torch.special.erfcx(-f / math.sqrt(2))


def _ratio_and_curvature(f: Tensor) -> tuple[Tensor, Tensor]:
    ratio = _ratio(f)
    # Far below zero, where the sum cancels, the curvature is 1 - 1 / f^2.
    return ratio, torch.where(f < -50, 1.0, ratio * (ratio + f))


class ProbitRows(LatentNormalRows):
    """The latent variable is positive for one class and negative for the other."""

    inverse_link = NORMAL_CDF
    linear_variance = 0.5

    def interval(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        infinity = raw.new_full((), math.inf)
        return torch.where(self.y > 0, -raw, -infinity), torch.where(self.y > 0, infinity, -raw)

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        return loss_of_probability(y, outcome)


PROBIT = ObservationModel(
    name="probit",
    tasks=(CLASSIFICATION,),
    target="labels",
    inverse_link=NORMAL_CDF,
    range=CLASS_NUMBERS,
    quadratic=ProbitBound(),
    latent=ProbitRows,
)
