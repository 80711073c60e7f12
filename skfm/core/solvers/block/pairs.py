"""The engine for two one-hot fields: ratings by user and item, and other data that come in pairs.

If a row holds column j and one other column o, then z = [1, v_o] and the prediction without j is
w0 + w_o, so all that an update needs of the row are second moments of a = [1, w_o, v_o]. These stand
in a table with one row per column, packed like a triangular matrix, and A and b are sums of its rows: one
embedding bag, no state per sample, nothing gathered or scattered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ...matrix.device import accum_dtype
from ...matrix.tiles import Pairs
from ..problem import Problem
from .engine import BlockState, Engine

#: Floats of the sums of a block.
BLOCK_FLOATS = {"cpu": 1 << 19, "cuda": 1 << 26, "mps": 1 << 24}


class PairBlock(NamedTuple):
    """Some columns of one of the two colors.

    Attributes
    ----------
    side : int
        The color, 0 or 1.
    start, stop : int
        Places of the columns in the color.
    columns : Tensor of shape (n_columns,)
    """

    side: int
    start: int
    stop: int
    columns: Tensor


class PairEngine(Engine):
    """Sums over pairs; see the docstring of the module."""

    def __init__(self, problem: Problem, state: BlockState, pairs: Pairs) -> None:
        super().__init__(problem, state)
        self.pairs = pairs
        self.n_outputs, _, self.size = state.theta.shape
        device, n_moments = state.theta.device, self.size + 1
        self.row, self.col = torch.triu_indices(n_moments, n_moments, device=device)
        self.triangle = self.row * n_moments + self.col
        packed = torch.empty(n_moments, n_moments, dtype=torch.long, device=device)
        places = torch.arange(len(self.row), device=device)
        packed[self.row, self.col] = places
        packed[self.col, self.row] = places
        # Where A and b's second part stand in a packed row: z = a without w.
        self.z = torch.tensor([0, *range(2, n_moments)], device=device)
        self.to_A = packed[self.z][:, self.z].flatten()
        self.to_b = packed[self.z, 1]
        # f = w_j + w_o + <v_j, v_o> = c' a with c = [w_j, 1, v_j]: a with its first two entries swapped.
        swap = torch.tensor([1, 0, *range(2, n_moments)], device=device)
        self.to_c = packed[swap[self.row], swap[self.col]]
        self.twice = 2.0 - (self.row == self.col).to(state.theta.dtype)
        # Positions in a packed row to which covariances are added, and the positions of their elements.
        if state.covariances is not None and state.covariances.ndim == 4:
            self.inner = (self.row > 0).nonzero()[:, 0]
            self.from_covariances = (self.row[self.inner] - 1) * self.size + self.col[self.inner] - 1
        else:
            self.inner = ((self.row == self.col) & (self.row > 0)).nonzero()[:, 0]
            self.from_covariances = self.row[self.inner] - 1
        self.reset()
        self.square = torch.zeros(self.n_outputs, dtype=accum_dtype(device), device=device)
        step = max(1, BLOCK_FLOATS.get(device.type, 1 << 19) // (n_moments**2 * self.n_outputs))
        self._blocks = [
            PairBlock(side, start, min(start + step, len(columns)), columns[start : start + step])
            for side, columns in enumerate(pairs.columns)
            for start in range(0, len(columns), step)
        ]

    @property
    def blocks(self) -> Sequence[PairBlock]:
        return self._blocks

    def _table(self, columns: Tensor) -> Tensor:
        """Return the packed second moments of a, (n_outputs, n_columns, n_packed)."""
        theta = self.state.theta[:, columns]
        covariances = None if self.state.covariances is None else self.state.covariances[:, columns]
        return self._pack(theta, covariances)

    def _pack(self, theta: Tensor, covariances: Tensor | None) -> Tensor:
        a = torch.cat([torch.ones_like(theta[..., :1]), theta], -1)
        table = (a[..., :, None] * a[..., None, :]).flatten(2).index_select(2, self.triangle)
        if covariances is not None:
            flat = covariances.flatten(2).index_select(2, self.from_covariances)
            table.index_add_(2, self.inner, flat)
        return table

    def reset(self) -> None:
        self.tables = [self._table(columns) for columns in self.pairs.columns]

    def load(self, omega: Tensor, target: Tensor, mean: Tensor) -> None:
        self.omega = omega
        plain = bool((omega == 1).all())
        weighted = omega * (target - self.state.intercept[:, None])
        self.entry_omega = [None if plain else omega[:, rows] for rows in self.pairs.rows]
        self.entry_target = [weighted[:, rows] for rows in self.pairs.rows]
        self.square.zero_()

    def normal_equations(self, block: PairBlock) -> tuple[Tensor, Tensor]:
        side, other = block.side, 1 - block.side
        offsets = self.pairs.offsets[side][block.start : block.stop + 1]
        first, last = self.pairs.bounds[side][block.start], self.pairs.bounds[side][block.stop]
        partners = self.pairs.partners[side][first:last]
        offsets = offsets - first
        omega, target = self.entry_omega[side], self.entry_target[side]
        sums, linear = [], []
        for b, table in enumerate(self.tables[other]):
            weights = None if omega is None else omega[b, first:last]
            sums.append(bag(partners, table, offsets, weights))
            z = torch.cat(
                [torch.ones_like(table[:, :1]), self.state.theta[b, self.pairs.columns[other], 1:]], 1
            )
            linear.append(bag(partners, z, offsets, target[b, first:last]))
        self._sums = torch.cat(sums)
        A = self._sums.index_select(1, self.to_A).view(-1, self.size, self.size)
        return self._complete(A, torch.cat(linear) - self._sums[:, self.to_b])

    def write_back(self, block: PairBlock, theta: Tensor, covariances: Tensor | None) -> None:
        theta = theta.view(self.n_outputs, -1, self.size)
        self.state.theta[:, block.columns] = theta
        if covariances is not None:
            assert self.state.covariances is not None
            covariances = covariances.view(self.n_outputs, -1, *covariances.shape[1:])
            self.state.covariances[:, block.columns] = covariances
        table = self._pack(theta, covariances)
        self.tables[block.side][:, block.start : block.stop] = table
        if block.side == 1 and covariances is not None:
            # The other color has been updated in this sweep, so these are the sums of E[f^2] at its end.
            sums = self._sums.view(self.n_outputs, -1, len(self.row)) * self.twice
            self.square += (table[:, :, self.to_c] * sums).sum((1, 2), dtype=self.square.dtype)

    def write_back_side(self, side: int, theta: Tensor) -> None:
        """Store updates of all columns of a color, of shape (n_outputs, n_columns, size)."""
        self.state.theta[:, self.pairs.columns[side]] = theta
        self.tables[side] = self._pack(theta, None)

    def total_variance(self, mean: Tensor, omega: Tensor) -> Tensor:
        plain = (omega * (mean - self.state.intercept[:, None]).square()).sum(1, dtype=self.square.dtype)
        return self.reduction.sum(self.square - plain).clamp_(min=0)


def bag(indices: Tensor, table: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
    """Return the sums of rows of a table from each offset to the next, weighted if there are weights."""
    return embedding_bag(
        indices, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )
