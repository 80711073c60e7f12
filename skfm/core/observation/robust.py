"""Losses that do not grow faster than the error, e = y - f, for large errors.

::

    absolute_error:    loss = abs(e)
    quantile:          loss = max(q e, (q - 1) e)
    huber:             loss = e^2 / 2 up to abs(e) = d,  d (abs(e) - d / 2) beyond
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from ..matrix.spread import ROUNDING
from .base import REGRESSION, ObservationModel
from .inverse_links import IDENTITY
from .parts import MinibatchLoss

#: Where Huber's loss turns from squares to absolute values, in robust standard deviations of the target. This is the
#: usual choice, which is 95 % efficient where the noise is normal.
HUBER_THRESHOLD = 1.35
#: Losses beyond this number, in robust standard deviations of the target, are those of outliers.
OUTLIER = 3.0


class RobustLoss(MinibatchLoss):
    """A loss whose target is centered and scaled by medians, which outliers hardly move."""

    uses_medians = True

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        middle = float(weighted_quantile(y, weight, 0.5)) if center else 0.0
        errors = (y - middle).abs()
        # For a normal distribution, 1.4826 medians are a standard deviation.
        spread = 1.4826 * float(weighted_quantile(errors, weight, 0.5))
        if spread <= 1e-8 * float(weighted_quantile(errors, weight, 0.95)):
            # More than half of the target is one value.
            spread = float((weight / weight.sum()) @ errors)
        return middle, spread if spread > ROUNDING * max(abs(middle), 1e-300) else 1.0


class LaplaceLoss(RobustLoss):
    """Losses in proportion to the error: the scale of the noise follows from their mean, not from their slopes.

    Outliers count in this mean as far as they still look like noise.
    """

    degree = 1

    def noise(self, losses: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        return losses.clamp(max=OUTLIER) * curvature


class AbsoluteErrorLoss(LaplaceLoss):
    """The absolute error: predictions are medians."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (y - raw).abs()

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sign(raw - y), torch.full_like(raw, 0.5)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return weighted_quantile(y, weight, 0.5)[None]


class QuantileLoss(LaplaceLoss):
    """The pinball loss: predictions are quantiles.

    Parameters
    ----------
    quantile : float
        Between 0 and 1.
    """

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        error = y - raw
        return torch.maximum(self.quantile * error, (self.quantile - 1) * error)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        q = self.quantile
        sign = torch.sign(raw - y)
        return sign.clamp(min=0) * (1 - q) + sign.clamp(max=0) * q, torch.full_like(raw, q * (1 - q))

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return weighted_quantile(y, weight, self.quantile)[None]


class HuberLoss(RobustLoss):
    """Squares of small errors, absolute values of large ones."""

    degree = 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return huber_loss(raw, y.expand_as(raw), reduction="none", delta=HUBER_THRESHOLD)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return (raw - y).clamp(-HUBER_THRESHOLD, HUBER_THRESHOLD), torch.ones_like(raw)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return location_by_bisection(y, weight, lambda error: error.clamp(-HUBER_THRESHOLD, HUBER_THRESHOLD))[
            None
        ]


def location_by_bisection(y: Tensor, weight: Tensor, slope: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the number c whose weighted sum of ``slope(c - y)`` is zero.

    Parameters
    ----------
    y, weight : Tensor of shape (n_samples,)
    slope : callable
        An odd function that rises: the derivative of a symmetric convex loss.
    """
    low, high = y.min(), y.max()
    # Until the ends are a number and its neighbor: about 60 halvings, and some hundred with outliers.
    while bool((low < (middle := low / 2 + high / 2)) & (middle < high)):
        rising = (weight @ slope(middle - y)) > 0
        low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
    return middle


def weighted_quantile(values: Tensor, weight: Tensor, level: float) -> Tensor:
    """Return the middle of all numbers that minimize the weighted pinball loss, so weights are repeats."""
    order = values.argsort()
    ordered, total = values[order], weight[order].cumsum(0)
    goal = level * total[-1]
    slack = 1e-9 * total[-1]
    last = len(ordered) - 1
    lower = torch.searchsorted(total, goal - slack).clamp(max=last)
    upper = torch.searchsorted(total, goal + slack).clamp(max=last)
    return (ordered[lower] + ordered[upper]) / 2


ABSOLUTE_ERROR = ObservationModel(
    name="absolute_error",
    tasks=(REGRESSION,),
    target="numbers",
    inverse_link=IDENTITY,
    loss=AbsoluteErrorLoss,
)

QUANTILE = ObservationModel(
    name="quantile",
    tasks=(REGRESSION,),
    target="numbers",
    inverse_link=IDENTITY,
    parameters={"quantile": 0.5},
    loss=QuantileLoss,
)

HUBER = ObservationModel(
    name="huber",
    tasks=(REGRESSION,),
    target="numbers",
    inverse_link=IDENTITY,
    loss=HuberLoss,
)
