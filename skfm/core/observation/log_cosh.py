"""The logarithm of the hyperbolic cosine of the error, e = y - f: a smooth loss between squares and absolute values.

::

    loss = log(cosh(e))        slope = tanh(f - y)        second derivative = 1 - tanh(e)^2

It is e^2 / 2 for small errors and abs(e) - log(2) for large ones. The unit of e is one robust standard deviation of the
target, s, so that in the unit of y the loss is s^2 log(cosh(e / s)): as with the threshold of Huber's loss, s is a part
of the loss, which has degree two with it, and penalties mean what they mean for squared errors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import REGRESSION, ObservationModel
from .inverse_links import IDENTITY
from .robust import RobustLoss, location_by_bisection


class LogCoshLoss(RobustLoss):
    """Half the squares of small errors, absolute values of large ones, and smooth between them."""

    degree = 2

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        error = (y - raw).abs()
        # For small errors, the second form loses all digits in its difference. The squares of the first form overflow.
        small = torch.log1p(2 * torch.sinh(error.clamp(max=1) / 2).square())
        return torch.where(error < 1, small, error + torch.log1p(torch.exp(-2 * error)) - math.log(2))

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        error = raw - y
        slope = torch.tanh(error)
        # The second derivative vanishes for large errors, and a step by it would be much too long. The curvature of the
        # quadratic that touches the loss at the error and lies above it everywhere is never smaller.
        size = error.abs()
        curvature = torch.where(size > 1e-4, slope.abs() / size.clamp(min=1e-4), 1.0)
        return slope, curvature

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return location_by_bisection(y, weight, torch.tanh)[None]


LOG_COSH = ObservationModel(
    name="log_cosh",
    tasks=(REGRESSION,),
    target="numbers",
    inverse_link=IDENTITY,
    loss=LogCoshLoss,
)
