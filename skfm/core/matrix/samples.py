"""Samples as tensors: the design, the target, and the side columns that every cut of the samples takes along."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .design import DesignMatrix


class SideColumns(NamedTuple):
    """Columns of each sample in addition to its row of the design and its target.

    To add a column, add a field. Functions that take, cut or batch samples apply `map` and so need no change.

    Attributes
    ----------
    weight : Tensor of shape (n_samples,)
        Positive.
    """

    weight: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> SideColumns:
        """Return the columns with a function applied to each."""
        return SideColumns(*map(function, self))

    def cut(self, start: int, stop: int) -> SideColumns:
        """Return a range of the samples as views."""
        return self.map(lambda column: column[start:stop])


class TensorSamples(NamedTuple):
    """Samples in the units of a solver.

    Attributes
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    target : Tensor of shape (n_samples,)
        Standardized values or class numbers.
    side : SideColumns
    """

    design: DesignMatrix
    target: Tensor
    side: SideColumns

    @property
    def weight(self) -> Tensor:
        """The sample weights, (n_samples,)."""
        return self.side.weight

    def take(self, rows: Tensor) -> TensorSamples:
        """Return samples in the order of their numbers, as a copy; ``rows`` has shape (n_taken,)."""
        return TensorSamples(
            self.design.take(rows),
            self.target.index_select(0, rows),
            self.side.map(lambda column: column.index_select(0, rows)),
        )

    def cut(self, start: int, stop: int) -> TensorSamples:
        """Return a range of the samples as views."""
        return TensorSamples(
            self.design.rows(start, stop),
            self.target[start:stop],
            self.side.cut(start, stop),
        )
