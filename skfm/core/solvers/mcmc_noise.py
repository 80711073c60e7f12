"""The noise of the rows in a sampler: by the categories of the field that explains most, or common."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bayes.category_noise import category_fields
from ..bayes.sampled_noise import draw_category_noise
from .block.row_noise import CHOICES, MANY_CATEGORIES, LearnedNoise, RowNoise
from .problem import Problem


def has_candidates(problem: Problem, noise: int | str) -> bool:
    """Return whether the noise can differ between categories: of the given field, or of one with many categories."""
    found = category_fields(problem.design, problem.fields)
    if noise == "auto":
        return any(len(columns) >= MANY_CATEGORIES for columns in found.values())
    return noise in found


class SampledRowNoise(RowNoise):
    """The field whose categories differ in their noise, chosen in the first sweeps, and draws of their precisions.

    Parameters
    ----------
    problem : Problem
    fields : collection of int or None
        As in `RowNoise`.
    """

    def __init__(self, problem: Problem, fields: Collection[Any] | None = None) -> None:
        super().__init__(problem, fields)
        #: Whether the field stays as it is: while a chain tries another start.
        self.is_held = False

    @property
    def is_due(self) -> bool:
        """Whether to choose the field after this sweep."""
        return bool(self._columns) and self._n_sweeps in CHOICES and not self.is_held

    def begin_sweep(self) -> None:
        """Count a sweep."""
        if not self.is_held:
            super().begin_sweep()

    @property
    def without(self) -> Tensor:
        """The ratio of rows without a category, (n_outputs, 1)."""
        return self._without

    def choose(self, squares: Tensor, common: LearnedNoise) -> Tensor:
        """Set the field to that of the largest marginal likelihood, and return the precision alpha of each output."""
        if not self.is_due:
            # A chain that starts from given parameters has no early sweeps.
            self._n_sweeps = CHOICES[-1]
        return self.learn(squares, common).precision

    def draw(
        self, squares: Tensor, alpha: Tensor, prior: tuple[float, float], rng: np.random.Generator
    ) -> Tensor:
        """Draw the precisions given the squared errors of the rows, and return alpha.

        Parameters
        ----------
        squares : Tensor of shape (n_outputs, n_samples)
            Squared errors times the sample weights.
        alpha : Tensor of shape (n_outputs,)
            The current precision of a category without rows.
        prior : tuple of float
            Twice the shape and the rate of its Gamma prior.
        rng : numpy.random.Generator
        """
        assert self.field is not None  # for the type checker
        columns = self._columns[self.field]
        sums, totals = self._sums(squares)
        own = sums[columns]
        own = torch.cat([own, (totals - own.sum(0)).clamp(min=0)[None]])
        count, errors = (part.to("cpu", torch.float64).numpy() for part in (own[:, 0], own[:, 1:].T))
        start = alpha.to("cpu", torch.float64).log().numpy()
        _, log_alpha, tau = draw_category_noise(start, count, errors, prior, rng)
        ratio = torch.from_numpy(tau * np.exp(-log_alpha)[:, None]).to(self.ratio)
        self.ratio[:, columns], self._without = ratio[:, :-1], ratio[:, -1:]
        return torch.from_numpy(np.exp(log_alpha)).to(alpha)

    def set(self, ratio: Tensor, without: Tensor) -> None:
        """Set the ratios to those of another state of the chains."""
        self.ratio.copy_(ratio)
        self._without = without.clone()

    def load_state_dict(self, tensors: dict[str, Tensor], numbers: dict[str, int | None]) -> None:
        """Continue from the state of another run."""
        self.field, self._n_sweeps = numbers["field"], numbers["n_sweeps"] or 0
        self._codes = None
        self.set(tensors["noise_ratio"], tensors["noise_ratio_without"].to(self._without))
