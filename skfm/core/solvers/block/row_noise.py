"""The noise of the rows in a variational run: common, or by the categories of the field that explains most."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...bayes.category_noise import CategoryNoise, categories_of_rows, category_fields, learn_noise
from ...matrix.transposed import transposed_product
from ..problem import Problem

#: The sweeps after which the field is chosen: early residuals hold interactions that look like noise.
CHOICES = (4, 8, 12)
#: Number of sweeps between two updates of the ratios, which cost a pass over the variances of all rows.
PERIOD = 4
#: Largest number of fields to choose from, those with the most categories, and the smallest number of categories. With
#: few categories, such as the hours of a day, what looks like noise is often a part of the target that the model cannot
#: express. To give these rows less weight would increase the error where it is largest already.
MOST_FIELDS, MANY_CATEGORIES = 32, 100


class LearnedNoise(NamedTuple):
    """Noise that maximizes the bound.

    Attributes
    ----------
    fit : Tensor of shape (n_outputs,)
        The expected log likelihood; less the divergence of precisions that differ from their prior.
    prior : Tensor of shape (n_outputs,)
        The rest of its part of the bound.
    precision : Tensor of shape (n_outputs,)
        The noise precision of rows without a category of the field.
    """

    fit: Tensor
    prior: Tensor
    precision: Tensor


class RowNoise:
    """The field whose categories differ in their noise, and by how much.

    Parameters
    ----------
    problem : Problem
    fields : collection of int or None
        The fields to choose from; None stands for all with many categories.

    Attributes
    ----------
    field : int or None
        None if the noise is common.
    ratio : Tensor of shape (n_outputs, n_features)
        The precision of rows with a category, divided by that of rows without one; one for other columns.
    """

    def __init__(self, problem: Problem, fields: Collection[Any] | None = None) -> None:
        design, n_outputs = problem.design, len(problem.target)
        found = category_fields(design, problem.fields)
        if fields is None:
            large = [g for g, columns in found.items() if len(columns) >= MANY_CATEGORIES]
            fields = sorted(large, key=lambda g: -len(found[g]))[:MOST_FIELDS]
        #: The columns of the fields to choose from.
        self._columns = {g: found[g] for g in fields if g in found}
        self._problem = problem
        self.field: int | None = None
        #: The categories of the rows in the field.
        self._codes: Tensor | None = None
        self.ratio = torch.ones(n_outputs, design.shape[1], dtype=design.dtype, device=design.device)
        self._without = self.ratio.new_ones(n_outputs, 1)
        self._n_sweeps = 0
        self._learned: CategoryNoise | None = None

    @property
    def is_pending(self) -> bool:
        """Whether the first choice is still to be made."""
        return bool(self._columns) and self._n_sweeps <= CHOICES[0]

    def begin_sweep(self) -> None:
        """Count a sweep."""
        self._n_sweeps += 1

    @property
    def is_due(self) -> bool:
        """Whether to learn from the errors of the rows after this sweep."""
        if self._n_sweeps in CHOICES:
            return bool(self._columns)
        return self.field is not None and self._n_sweeps % PERIOD == 0

    def of_rows(self) -> Tensor:
        """Return the ratio of each row, (n_outputs, n_samples)."""
        assert self.field is not None  # for the type checker
        columns = self._columns[self.field]
        if self._codes is None:
            self._codes = categories_of_rows(self._problem.design, columns)
        return torch.cat([self.ratio[:, columns], self._without], 1)[:, self._codes]

    def learn(self, squares: Tensor, common: LearnedNoise) -> LearnedNoise:
        """Return the best noise, and set the field and the ratios.

        Parameters
        ----------
        squares : Tensor of shape (n_outputs, n_samples)
            Expected squared errors, times the sample weights.
        common : LearnedNoise
            The best noise that is common to all rows.
        """
        best, best_bound = None, float((common.fit + common.prior).sum())
        sums, totals = self._sums(squares)
        for field, columns in self._columns.items():
            if self._n_sweeps not in CHOICES and field != self.field:
                continue
            own = sums[columns]
            # Rows without a category come last. Rounding can leave less than nothing for them.
            own = torch.cat([own, (totals - own.sum(0)).clamp(min=0)[None]])
            found = learn_noise(own[:, 0], own[:, 1:].T)
            if float(found.bound.sum()) > best_bound:
                best, best_bound = (field, columns, found), float(found.bound.sum())
        self.ratio.fill_(1)
        previous, self.field, self._learned = self.field, None, None
        if best is None:
            self._codes = None
            return common
        self.field, columns, self._learned = best
        if self.field != previous:
            self._codes = None
        ratio = self._learned.ratio.to(self.ratio)
        self.ratio[:, columns], self._without = ratio[:, :-1], ratio[:, -1:]
        return self._as_learned(self._learned.bound)

    def unchanged(self, squares: Tensor) -> LearnedNoise:
        """Return the noise as it is.

        Parameters
        ----------
        squares : Tensor of shape (n_outputs,)
            The sum of the expected squared errors of the rows, times the sample weights and the ratios.
        """
        assert self._learned is not None  # for the type checker
        return self._as_learned(self._learned.at(squares))

    def _as_learned(self, bound: Tensor) -> LearnedNoise:
        assert self._learned is not None  # for the type checker
        return LearnedNoise(bound, torch.zeros_like(bound), self._learned.precision)

    def _sums(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of weights and squares over the rows of each column, and over all rows."""
        problem = self._problem
        rows = torch.cat([problem.sample_weight.to(squares.dtype)[None], squares]).T
        reduce = problem.reduction.sum
        return reduce(transposed_product(problem.design, rows)), reduce(rows.sum(0))

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, int | None]]:
        """Return the tensors and the numbers that are needed to continue."""
        n_outputs = len(self.ratio)
        learned = self._learned or CategoryNoise(*(self.ratio.new_zeros(n_outputs) for _ in range(4)))
        tensors = {
            "noise_ratio": self.ratio,
            "noise_ratio_without": self._without,
            "noise_bound": learned.bound,
            "noise_squares": learned.squares,
            "noise_of_others": learned.precision,
        }
        return tensors, {"field": self.field, "n_sweeps": self._n_sweeps}

    def load_state_dict(self, tensors: dict[str, Tensor], numbers: dict[str, int | None]) -> None:
        """Continue from the state of another run."""
        self.ratio.copy_(tensors["noise_ratio"])
        self._without = tensors["noise_ratio_without"].to(self._without, copy=True)
        self.field, self._n_sweeps, self._learned = numbers["field"], numbers["n_sweeps"] or 0, None
        self._codes = None
        if self.field is not None:
            ratio = torch.cat([self.ratio[:, self._columns[self.field]], self._without], 1)
            bound, squares, precision = (
                tensors[name].to(ratio.device, copy=True)
                for name in ("noise_bound", "noise_squares", "noise_of_others")
            )
            self._learned = CategoryNoise(bound, precision, ratio, squares)
