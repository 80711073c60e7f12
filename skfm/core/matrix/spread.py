"""Mean and standard deviation of numbers that are far from zero by their own spread."""

from __future__ import annotations

import torch
from torch import Tensor

#: Standard deviations relative to the largest number below which the rounding of sums is seen in them, and up to which
#: numbers differ by their own rounding alone.
NARROW, ROUNDING = 1e-6, 3 * torch.finfo(torch.float64).eps


def narrow_moments(x: Tensor, weight: Tensor) -> tuple[float, float]:
    """Return the weighted mean and standard deviation of numbers that are close to each other.

    Numbers of the same sign that differ by a factor of at most two have exact differences, and these are so small that
    their sums lose nothing.

    Parameters
    ----------
    x, weight : Tensor of shape (n,)
        In float64.

    Returns
    -------
    mean, spread : float
        In the unit of x. The spread is zero if the numbers differ by their rounding alone.
    """
    apart = x - x[0]
    size = float(apart.abs().max())
    if size == 0:
        return float(x[0]), 0.0
    share, relative = weight / weight.sum(), apart / size
    offset = share @ relative
    spread = float((share @ (relative - offset).square()).sqrt()) * size
    return float(x[0]) + float(offset) * size, spread if spread > ROUNDING * float(x.abs().max()) else 0.0
