"""Losses of numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from .base import Loss

#: Raw predictions on a log scale are kept within this distance of zero: exp stays finite in float32.
LARGEST_LOG = 80.0
#: Where Huber's loss turns from squares to absolute values, in robust standard deviations of the target:
#: the usual choice, 95 % efficient where the noise is normal after all.
HUBER_THRESHOLD = 1.35


class SquaredError(Loss):
    """Half the squared error."""

    degree = 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (y - raw).square() / 2

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return raw - y, torch.ones_like(raw)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return ((weight @ y) / weight.sum())[None]

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        # Dividing by the largest value first keeps the squares of very small and large numbers finite.
        largest = float(y.abs().max()) or 1.0
        relative, share = y / largest, weight / weight.sum()
        mean = float(share @ relative) if center else 0.0
        spread = float((share @ (relative - mean).square()).sqrt())
        # A constant target has a spread of rounding errors.
        return mean * largest, spread * largest if spread > 10 * torch.finfo(y.dtype).eps else 1.0


class RobustLoss(Loss):
    """What does not grow faster than the error: the target is scaled by medians, which outliers do not move."""

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        middle = float(weighted_quantile(y, weight, 0.5)) if center else 0.0
        errors = (y - middle).abs()
        # For a normal distribution, 1.4826 medians are a standard deviation.
        spread = 1.4826 * float(weighted_quantile(errors, weight, 0.5))
        if spread <= 1e-8 * float(weighted_quantile(errors, weight, 0.95)):
            # More than half of the target is one value.
            spread = float((weight / weight.sum()) @ errors)
        return middle, spread if spread > 10 * torch.finfo(y.dtype).eps * max(abs(middle), 1e-300) else 1.0


class LaplaceLoss(RobustLoss):
    """Losses in proportion to the error: the mean of the loss tells the scale of the noise, slopes do not."""

    degree = 1

    def noise(self, losses: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        return losses * curvature


class AbsoluteError(LaplaceLoss):
    """The absolute error: predictions are medians."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (y - raw).abs()

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sign(raw - y), torch.full_like(raw, 0.5)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return weighted_quantile(y, weight, 0.5)[None]


class Quantile(LaplaceLoss):
    """The pinball loss: predictions are quantiles."""

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


class Huber(RobustLoss):
    """Squares of small errors, absolute values of large ones."""

    degree = 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return huber_loss(raw, y.expand_as(raw), reduction="none", delta=HUBER_THRESHOLD)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        return (raw - y).clamp(-HUBER_THRESHOLD, HUBER_THRESHOLD), torch.ones_like(raw)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        # The root of the derivative, which rises, between the smallest and the largest value.
        low, high = y.min(), y.max()
        for _ in range(80):
            middle = (low + high) / 2
            rising = (weight @ (middle - y).clamp(-HUBER_THRESHOLD, HUBER_THRESHOLD)) > 0
            low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
        return ((low + high) / 2)[None]


class LogLinkLoss(Loss):
    """Positive targets, whose logarithm is modelled; divided by their mean first."""

    identity_link = False
    positive_only = True

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return raw.exp()

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return ((weight @ y) / weight.sum()).log()[None]

    def location_and_scale(self, y: Tensor, weight: Tensor, *, center: bool) -> tuple[float, float]:
        mean = float((weight / weight.sum()) @ y)
        return 0.0, mean if center and mean > 0 else 1.0


class Poisson(LogLinkLoss):
    """The negative log likelihood of counts, without the part that is constant in the model."""

    degree = 1
    range = "not negative"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return raw.clamp(max=LARGEST_LOG).exp() - y * raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean = raw.clamp(max=LARGEST_LOG).exp()
        return mean - y, mean

    def in_range(self, y: Tensor) -> Tensor:
        return (y >= 0) & torch.isfinite(y)


class Gamma(LogLinkLoss):
    """The negative log likelihood of positive numbers with a constant coefficient of variation."""

    range = "positive"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return y * (-raw).clamp(max=LARGEST_LOG).exp() + raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        ratio = y * (-raw).clamp(max=LARGEST_LOG).exp()
        # The expected curvature is one. Far above the mean the actual one is much larger.
        return 1 - ratio, torch.clamp(ratio, min=1)

    def in_range(self, y: Tensor) -> Tensor:
        return (y > 0) & torch.isfinite(y)


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
