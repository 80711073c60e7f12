"""Functions of classes that several models share."""

from __future__ import annotations

import torch
from torch import Tensor

from .inverse_links import InverseLink


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


def class_probabilities(link: InverseLink, raw: Tensor, variance: Tensor | None) -> Tensor:
    """Return the probabilities of the classes, (n_classes, n_samples).

    Parameters
    ----------
    link : InverseLink
    raw : Tensor of shape (n_outputs, n_samples)
        Two classes have one output.
    variance : Tensor of shape (n_outputs, n_samples) or None
        Variance of the raw predictions under the posterior, if there is one.
    """
    if len(raw) == 1:
        # Both are computed from the raw prediction, because 1 - p loses all significant digits where p is close to one.
        both = torch.cat([link.expectation(-raw, variance), link.expectation(raw, variance)])
        # Rounding of the weights of a quadrature can leave slightly more than one.
        return both.clamp(max=1)
    if link.joint_outputs:
        return link.expectation(raw)
    if variance is not None:
        # All classes of a sample share one variance, which preserves the order of the classes.
        variance = variance.mean(0)
    p = link.expectation(raw, variance)
    total = p.sum(0)
    # Where every class is nearly impossible, the ratios of the probabilities are those of the tails.
    return torch.where(total > torch.finfo(p.dtype).tiny * len(p), p / total, torch.softmax(raw, 0))


def loss_of_classes(y: Tensor, p: Tensor) -> Tensor:
    """Return the negative log likelihood of classes from their probabilities, (1, n_samples).

    Parameters
    ----------
    y : Tensor of shape (1, n_samples) or (n_classes, n_samples)
        0 or 1: of two classes the second, otherwise whether the sample is of each class.
    p : Tensor of shape (n_classes, n_samples)
    """
    if len(y) == 1:
        y = torch.cat([1 - y, y])
    return -(y * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum(0, keepdim=True)
