"""Losses of the margin z f, as support vector machines have them: z is 1 for the class of an output, -1 for others.

::

    hinge:            loss = max(0, 1 - z f)
    squared_hinge:    loss = max(0, 1 - z f)^2
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import CLASS_NUMBERS, CLASSIFICATION, ObservationModel
from .classes import shares_of_outputs
from .inverse_links import SCORE
from .parts import MinibatchLoss


class MarginLoss(MinibatchLoss):
    """The common base of losses of the margin."""

    inverse_link = SCORE

    def signs(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return z, of the shape of ``raw``: a single output is that of class 1."""
        outputs = (
            torch.arange(len(raw), device=raw.device, dtype=raw.dtype) if len(raw) > 1 else raw.new_ones(1)
        )
        return torch.where(y == outputs[:, None], 1.0, -1.0).to(raw.dtype)


class HingeLoss(MarginLoss):
    """The loss of a linear support vector machine."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (1 - self.signs(y, raw) * raw).clamp(min=0)

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        z = self.signs(y, raw)
        short = (z * raw < 1).to(raw.dtype)
        return -z * short, torch.full_like(raw, 0.5)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return torch.sign(2 * shares_of_outputs(y, weight, n_outputs) - 1)


class SquaredHingeLoss(MarginLoss):
    """The square of the hinge loss, which is smooth."""

    def loss(self, y: Tensor, raw: Tensor) -> Tensor:
        return (1 - self.signs(y, raw) * raw).clamp(min=0).square()

    def derivatives(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        z = self.signs(y, raw)
        return -2 * z * (1 - z * raw).clamp(min=0), torch.full_like(raw, 2.0)

    def constant(self, y: Tensor, weight: Tensor, n_outputs: int) -> Tensor:
        return 2 * shares_of_outputs(y, weight, n_outputs) - 1


HINGE = ObservationModel(
    name="hinge",
    tasks=(CLASSIFICATION,),
    target="labels",
    inverse_link=SCORE,
    range=CLASS_NUMBERS,
    loss=HingeLoss,
)

SQUARED_HINGE = ObservationModel(
    name="squared_hinge",
    tasks=(CLASSIFICATION,),
    target="labels",
    inverse_link=SCORE,
    range=CLASS_NUMBERS,
    loss=SquaredHingeLoss,
)
