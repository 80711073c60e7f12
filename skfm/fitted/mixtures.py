"""Quantiles of mixtures of normal distributions."""

from __future__ import annotations

import torch
from torch import Tensor

#: Maximum number of steps of the search for a quantile, and its tolerance in standard deviations of the noise.
STEPS, NEAR = 100, 1e-7


def mixture_quantile(mean: Tensor, spread: Tensor, level: Tensor) -> Tensor:
    """Return where the mean of the distribution functions of normals is ``level``.

    Newton's method, kept between bounds: a quantile of the mixture is among those of its parts.

    Parameters
    ----------
    mean : Tensor of shape (n_parts, n_samples)
    spread : Tensor of shape (n_parts, 1) or (n_parts, n_samples)
        Standard deviations.
    level : Tensor of shape ()

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    parts = mean + spread * torch.special.ndtri(level.to(mean))
    low, high = parts.amin(0), parts.amax(0)
    x = parts.mean(0)
    for _ in range(STEPS):
        z = (x - mean) / spread
        excess = torch.special.ndtr(z).mean(0) - level
        low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
        density = (torch.exp(-z.square() / 2) / spread).mean(0) / (2 * torch.pi) ** 0.5
        moved = x - excess / density
        # At the root, x is equal to one of the bounds and does not change.
        inside = ((moved > low) & (moved < high)) | (moved == x)
        moved = torch.where(inside, moved, (low + high) / 2)
        done = (moved - x).abs() <= NEAR * spread.amin()
        x = moved
        if bool(done.all()):
            break
    return x
