"""Probit regression of two classes: the sign of a latent normal variable.

::

    P(y = 1) = Phi(f)        loss = -log Phi((2 y - 1) f)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import CLASS_NUMBERS, CLASSIFICATION, ObservationModel
from .classes import loss_of_probability
from .inverse_links import NORMAL_CDF
from .latent_normal import LatentNormalRows
from .parts import QuadraticBound


class ProbitBound(QuadraticBound):
    """The working target is the mean of a latent normal variable, truncated at zero (Albert and Chib)."""

    inverse_link = NORMAL_CDF

    def linearize(
        self, y: Tensor, mean: Tensor, variance: Tensor | None, caution: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        sign = 2 * y - 1
        log_ratio = -mean.square() / 2 - math.log(2 * math.pi) / 2 - torch.special.log_ndtr(sign * mean)
        return None, mean + sign * torch.exp(log_ratio)

    def bound(self, y: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return -self.loss(y, mean) - variance / 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return -torch.special.log_ndtr((2 * y - 1) * raw)


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
