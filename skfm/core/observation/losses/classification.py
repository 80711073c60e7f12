"""Losses of classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .base import Loss


class LogLoss(Loss):
    """Logistic regression of two classes."""

    has_probabilities = True
    range = "0 or 1"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return softplus(raw) - y * raw

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.sigmoid(raw)
        return p - y, p * (1 - p)

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return torch.sigmoid(raw)

    def in_range(self, y: Tensor) -> Tensor:
        return (y == 0) | (y == 1)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return torch.logit(smoothed_shares(y, weight, 2)[1:])


class Softmax(Loss):
    """Multinomial logistic regression: one model of all classes."""

    joint_outputs = True
    has_probabilities = True
    range = "class numbers"

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return torch.logsumexp(raw, 0, keepdim=True) - raw.gather(0, y.long())

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.softmax(raw, 0)
        curvature = p * (1 - p)
        return p.scatter_add(0, y.long(), -torch.ones_like(raw[:1])), curvature

    def expectation(self, raw: Tensor, variance: Tensor | None = None) -> Tensor:
        return torch.softmax(raw, 0)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        logs = smoothed_shares(y, weight, n_outputs).log()
        return logs - logs.mean()


class MarginLoss(Loss):
    """Losses of the margin z f, z being 1 for the class of an output and -1 for the others."""

    range = "class numbers"

    def signs(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return z, of the shape of ``raw``: a single output is that of class 1."""
        outputs = (
            torch.arange(len(raw), device=raw.device, dtype=raw.dtype) if len(raw) > 1 else raw.new_ones(1)
        )
        return torch.where(y == outputs[:, None], 1.0, -1.0).to(raw.dtype)


class Hinge(MarginLoss):
    """The loss of a linear support vector machine."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (1 - self.signs(y, raw) * raw).clamp(min=0)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        z = self.signs(y, raw)
        short = (z * raw < 1).to(raw.dtype)
        return -z * short, torch.full_like(raw, 0.5)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return torch.sign(2 * _class_shares(y, weight, n_outputs) - 1)


class SquaredHinge(MarginLoss):
    """Its square, which is smooth."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (1 - self.signs(y, raw) * raw).clamp(min=0).square()

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        z = self.signs(y, raw)
        return -2 * z * (1 - z * raw).clamp(min=0), torch.full_like(raw, 2.0)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return 2 * _class_shares(y, weight, n_outputs) - 1


def smoothed_shares(y: Tensor, weight: Tensor, n_classes: int) -> Tensor:
    """Return the share of each class, none of them zero: half a sample more of each."""
    totals = torch.zeros(n_classes, dtype=weight.dtype, device=weight.device).index_add_(0, y.long(), weight)
    return (totals + 0.5) / (totals.sum() + 0.5 * n_classes)


def _class_shares(y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
    """Return the share of the class of each output."""
    shares = smoothed_shares(y, weight, max(2, n_outputs))
    return shares if n_outputs > 1 else shares[1:]
