"""Functions of classes that several models share."""

from __future__ import annotations

import torch
from torch import Tensor


def smoothed_shares(y: Tensor, weight: Tensor, n_classes: int) -> Tensor:
    """Return the share of each class, with half a sample added to each so that none is zero."""
    totals = torch.zeros(n_classes, dtype=weight.dtype, device=weight.device).index_add_(0, y.long(), weight)
    return (totals + 0.5) / (totals.sum() + 0.5 * n_classes)


def shares_of_outputs(y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
    """Return the share of the class of each output: a single output is that of class 1."""
    shares = smoothed_shares(y, weight, max(2, n_outputs))
    return shares if n_outputs > 1 else shares[1:]


def loss_of_probability(y: Tensor, p: Tensor) -> Tensor:
    """Return the negative log likelihood of y, 0 or 1, whose probability of 1 is p."""
    tiny = torch.finfo(p.dtype).tiny
    return -(y * p.clamp(min=tiny).log() + (1 - y) * torch.log1p(-p.clamp(max=1 - torch.finfo(p.dtype).eps)))
