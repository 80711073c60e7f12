"""Ordered probit: levels in order, between cut-points of a latent normal variable.

::

    P(y = l) = Phi(c_(l+1) - f) - Phi(c_l - f)
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import CLASS_NUMBERS, CLASSIFICATION, REGRESSION, ObservationModel
from .cut_points import CutPoints, bounds
from .inverse_links import CUT_POINTS
from .latent_normal import LatentNormalRows


class OrderedProbitRows(LatentNormalRows):
    """The latent variable falls between the cut-points of the level. These are drawn first, with it summed out."""

    inverse_link = CUT_POINTS
    has_intercept = False

    def __init__(self, y: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__(y, weight, generator)
        self._cuts = CutPoints(self.y, self.weight, int(y.max()) + 1)

    @property
    def cut_points(self) -> Tensor:
        """The cut-points of every output, (n_outputs, n_levels - 1)."""
        return self._cuts.value

    @cut_points.setter
    def cut_points(self, value: Tensor) -> None:
        self._cuts.value = value

    def draw(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        self._cuts.draw(raw.to(self.accum_dtype), self.generator)
        return super().draw(raw)

    def interval(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return bounds(self.cut_points, self._cuts.levels, raw)

    @staticmethod
    def loss(y: Tensor, outcome: Tensor) -> Tensor:
        tiny = torch.finfo(outcome.dtype).tiny
        return -outcome.gather(0, y.long()).clamp(min=tiny).log()


ORDERED_PROBIT = ObservationModel(
    name="ordered_probit",
    tasks=(REGRESSION, CLASSIFICATION),
    target="levels",
    inverse_link=CUT_POINTS,
    range=CLASS_NUMBERS,
    latent=OrderedProbitRows,
)
