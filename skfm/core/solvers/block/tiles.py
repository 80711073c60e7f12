"""The engine for any sparsity pattern: sums over gathered rows of a state array.

A row of the state is sqrt(omega) * [1, s (K), e], with e = target - yhat. Gathered for a column and
multiplied by x, less the column's own part of s, it is R = [z, e] up to sqrt(omega), so that one
product R'R holds A, b and the squared error at once. Padding points to a last row of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...matrix.tiles import Tile, make_tiles
from ..problem import Problem
from .dense import MOST_COLUMNS, DenseColumn, DensePart
from .engine import BlockState, DenseLinear, Engine
from .row_variance import RowVariance


class Gathered(NamedTuple):
    """The intermediate results that `TileEngine.normal_equations` stores for `TileEngine.write_back`.

    Attributes
    ----------
    place : Tensor of shape (n, length) or None
        Rows of the stacked states of the outputs; None means every row of each.
    rows : Tensor of shape (n, length, size + 1)
        The state rows. Without values, already with the column's own part of s taken off.
    R : Tensor of shape (n, length, size)
    x : Tensor of shape (n, length, 1) or None
    theta : Tensor of shape (n, size)
    """

    place: Tensor | None
    rows: Tensor
    R: Tensor
    x: Tensor | None
    theta: Tensor


class TileEngine(Engine):
    """Sums over padded tiles of columns, and over dense columns one by one."""

    def __init__(self, problem: Problem, state: BlockState, colors: Tensor) -> None:
        super().__init__(problem, state)
        design = problem.design
        self.n_outputs, _, self.size = state.theta.shape
        self.n_samples = design.shape[0]
        self.rows = state.theta.new_zeros(self.n_outputs, self.n_samples + 1, self.size + 1)
        self.dense: DensePart | None = None
        if 0 < len(design.dense_columns) <= MOST_COLUMNS:
            self.dense = DensePart(design, state, self.rows[:, :-1])
        self.row_variance: RowVariance | None = None
        width = self.size + 1
        if state.covariances is not None and self.size > 1:
            self.row_variance = RowVariance(design, state, sparse_first=self.dense is not None)
            self.row_variance.refresh()
            width += self.row_variance.width + self.size - 1
        self.tiles = [
            tile for tile in make_tiles(design, colors, width) if tile.rows is not None or self.dense is None
        ]

    @property
    def blocks(self) -> Sequence[Any]:
        return self.tiles if self.dense is None else [*self.dense.blocks, *self.tiles]

    def load(self, omega: Tensor, target: Tensor, mean: Tensor) -> None:
        design, factors = self.problem.design, self.state.theta[:, :, 1:]
        rows = self.rows[:, :-1]
        rows[:, :, 0] = 1
        for b in range(self.n_outputs):
            rows[b, :, 1:-1] = design.matmul(factors[b])
        rows[:, :, -1] = target - mean
        rows *= omega.sqrt()[:, :, None]
        if self.dense is not None:
            self.dense.load(omega)

    def variance(self) -> Tensor:
        if self.row_variance is None:
            return super().variance()
        return self.row_variance.refresh() + self.state.intercept_variance[:, None]

    def dense_linear(self) -> DenseLinear | None:
        if self.dense is None:
            return None
        sums = self.dense.linear()
        gram, residual = self.reduction.sum(sums.gram), self.reduction.sum(sums.residual)
        return DenseLinear(sums.columns, gram, residual)

    def normal_equations(self, block: Tile | DenseColumn) -> tuple[Tensor, Tensor]:
        sums = self._dense_sums(block) if isinstance(block, DenseColumn) else self._tile_sums(block)
        return self._complete(*sums)

    def _tile_sums(self, block: Tile) -> tuple[Tensor, Tensor]:
        """Return A and b as sums over the rows of this process."""
        kept = self._kept = self._take(block)
        A = kept.R.mT @ kept.R
        b = torch.baddbmm(A @ kept.theta[:, :, None], kept.R.mT, kept.rows[:, :, -1:])[:, :, 0]
        if self.row_variance is not None:
            assert self.state.covariances is not None
            S = self.state.covariances[:, block.columns].flatten(0, 1)
            T, h = (self._gather(m, kept.place) for m in (self.row_variance.T, self.row_variance.h))
            # In a row without a value, sqrt(omega) x and sqrt(omega) are the same.
            y = self.row_variance.add(T, h, kept.rows[:, :, :1], kept.R, A, b)
            self.row_variance.remove_own(S, kept.theta[:, 1:], kept.x, kept.R, y, A, b)
            self._kept_moments = S, T, h
        return A, b

    def _take(self, tile: Tile) -> Gathered:
        theta = self.state.theta[:, tile.columns].flatten(0, 1)
        place = self._flat_rows(tile)
        rows = self._gather(self.rows, place)
        if tile.values is None:
            rows[:, :, 1:-1].addcmul_(rows[:, :, :1], theta[:, None, 1:], value=-1)
            return Gathered(place, rows, rows[:, :, :-1], None, theta)
        x = (tile.values if self.n_outputs == 1 else tile.values.repeat(self.n_outputs, 1))[:, :, None]
        R = rows[:, :, :-1] * x
        R[:, :, 1:].addcmul_(R[:, :, :1] * x, theta[:, None, 1:], value=-1)
        return Gathered(place, rows, R, x, theta)

    def write_back(self, block: Tile | DenseColumn, theta: Tensor, covariances: Tensor | None) -> None:
        if isinstance(block, DenseColumn):
            self._write_back_dense(block, theta, covariances)
            return
        place, rows, R, x, old = self._kept
        change = theta - old
        rows[:, :, -1:] -= R @ change[:, :, None]
        # Without values, R is the rows themselves and lacks all of the old part of s.
        rows[:, :, 1:-1].addcmul_(R[:, :, :1], (theta if x is None else change)[:, None, 1:])
        self._scatter(self.rows, place, rows)
        if covariances is not None:
            assert self.state.covariances is not None
            if self.row_variance is not None:
                S, T, h = self._kept_moments
                self.row_variance.change(x, (old, S), (theta, covariances), T, h)
                self._scatter(self.row_variance.T, place, T)
                self._scatter(self.row_variance.h, place, h)
            self.state.covariances[:, block.columns] = covariances.unflatten(0, (self.n_outputs, -1))
        self.state.theta[:, block.columns] = theta.unflatten(0, (self.n_outputs, -1))

    def _dense_sums(self, block: DenseColumn) -> tuple[Tensor, Tensor]:
        assert self.dense is not None
        A, b = self.dense.row_sums(block)
        if self.tiles and self.row_variance is not None:
            T, h = self.row_variance.T[:, :-1], self.row_variance.h[:, :-1]
            self.row_variance.add(T, h, self.dense.rows[:, :, :1], self.dense.R, A, b)
        return A, b

    def _write_back_dense(self, block: DenseColumn, theta: Tensor, covariances: Tensor | None) -> None:
        assert self.dense is not None
        self.dense.write_back(block, theta, covariances)
        if self.tiles and self.row_variance is not None and block is self.dense.blocks[-1]:
            self.row_variance.add_dense()

    def _flat_rows(self, tile: Tile) -> Tensor | None:
        """Return row numbers into the outputs' stacked states, (n_outputs * n_columns, length)."""
        if tile.rows is None:
            return None
        if self.n_outputs == 1:
            return tile.rows.long()
        first = torch.arange(self.n_outputs, device=tile.rows.device) * (self.n_samples + 1)
        return (tile.rows + first[:, None, None]).flatten(0, 1)

    @staticmethod
    def _gather(source: Tensor, place: Tensor | None) -> Tensor:
        if place is None:
            return source[:, :-1]
        return source.flatten(0, 1).index_select(0, place.flatten()).unflatten(0, place.shape)

    @staticmethod
    def _scatter(target: Tensor, place: Tensor | None, rows: Tensor) -> None:
        # Where the rows are all rows, they were gathered as a view and have changed in place.
        if place is not None:
            target.flatten(0, 1).index_copy_(0, place.flatten(), rows.flatten(0, 1))
