"""Counts and other positive targets, whose logarithm is modelled.

::

    poisson:    loss = exp(f) - y f          y >= 0
    gamma:      loss = y exp(-f) + f         y > 0
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import REGRESSION, ObservationModel, Range
from .inverse_links import EXP
from .parts import MinibatchLoss

#: Raw predictions on a log scale are kept within this distance of zero: exp stays finite in float32.
LARGEST_LOG = 80.0


class LogLinkLoss(MinibatchLoss):
    """Losses of the logarithm of positive targets, which are divided by their mean first."""

    inverse_link = EXP

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return ((weight @ y) / weight.sum()).log()[None]

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        mean = float((weight / weight.sum()) @ y)
        return 0.0, mean if center and mean > 0 else 1.0


class PoissonLoss(LogLinkLoss):
    """The negative log likelihood of counts, without the part that does not depend on the model."""

    degree = 1

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return raw.clamp(max=LARGEST_LOG).exp() - y * raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean = raw.clamp(max=LARGEST_LOG).exp()
        return mean - y, mean


class GammaLoss(LogLinkLoss):
    """The negative log likelihood of positive numbers with a constant coefficient of variation."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return y * (-raw).clamp(max=LARGEST_LOG).exp() + raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        ratio = y * (-raw).clamp(max=LARGEST_LOG).exp()
        # The expected curvature is one. Far above the mean the actual one is much larger.
        return 1 - ratio, torch.clamp(ratio, min=1)


def _is_not_negative(y: Tensor) -> Tensor:
    return (y >= 0) & torch.isfinite(y)


def _is_positive(y: Tensor) -> Tensor:
    return (y > 0) & torch.isfinite(y)


POISSON = ObservationModel(
    name="poisson",
    tasks=(REGRESSION,),
    target="numbers",
    inverse_link=EXP,
    range=Range("not negative", _is_not_negative),
    loss=PoissonLoss,
)

GAMMA = ObservationModel(
    name="gamma",
    tasks=(REGRESSION,),
    target="numbers",
    inverse_link=EXP,
    range=Range("positive", _is_positive),
    loss=GammaLoss,
)
