"""The engine for designs with a few rows of very many non-zeros, whose columns are updated together.

The columns of such a row would all need different colors, and a sweep would make one update per non-zero. Here, the
colors leave the long rows out, so that the columns of a color may share them. All columns of a `SharedTile` move at
once. With m columns of the tile in row i, the prediction for that row moves m times as far as in a single update. The
means therefore take the step of normal equations with a larger curvature of such rows::

    theta_j += (Lam + alpha (A_j + DAMPING sum_i (m_i - 1) E[omega_i z_ij z_ij']))^-1 gradient_j

The gradient, the covariances, and hence the fixed points are those of single updates. With DAMPING = 1, no step would
be too long if predictions were linear in the parameters of a tile. They are not, so that every step is halved until it
does not raise the objective. `Moved` has the part of the objective that depends on the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...matrix.design import DesignMatrix
from ...matrix.device import accum_dtype
from ...matrix.tiles import Tile, find_colors
from ..problem import Problem
from .engine import BlockState
from .tiles import TileEngine

#: The largest number of long rows, and their largest share of all rows. They have more than LEAST_LENGTH non-zeros, and
#: more than LENGTH_RATIO times as many as all other rows.
MOST_LONG, MOST_SHARE, LEAST_LENGTH, LENGTH_RATIO = 32, 1 / 8, 128, 8
#: See the module's docstring. Measured: values of 1 take more sweeps, and with 0.25 many steps have to be halved.
DAMPING = 0.5
#: Into how many tiles the columns of a long row are divided, and the least number of columns of such a tile.
SHARED_TILES, LEAST_COLUMNS = 32, 64


class SharedTile(NamedTuple):
    """Columns that share long rows, and no other rows.

    Attributes
    ----------
    columns, rows, values : Tensor
        As for `Tile`.
    others : Tensor of shape (n_columns, length, 1)
        The number of other columns of the tile in the row of each entry.
    distinct : LongTensor of shape (n_distinct,)
        The distinct rows, including that of the padding.
    places : LongTensor of shape (n_columns * length,)
        The position of the row of each entry among them.
    """

    columns: Tensor
    rows: Tensor
    values: Tensor | None
    others: Tensor
    distinct: Tensor
    places: Tensor


class Moved(NamedTuple):
    """The state of the rows of a tile after an update.

    Attributes
    ----------
    rows : Tensor of shape (n_outputs * n_distinct, size + 1)
    T, h : Tensor or None
        The moments of the rows, if there are any.
    cost : Tensor of shape (n_outputs,)
        Half the expected sums of omega (target - yhat)^2, up to a constant.
    """

    rows: Tensor
    T: Tensor | None
    h: Tensor | None
    cost: Tensor


def find_long_rows(design: DesignMatrix) -> Tensor | None:
    """Return a mask of the rows with far more non-zeros than all others, on the CPU, or None if there are none."""
    lengths = design.indptr.cpu().long().diff()
    if not len(lengths):
        return None
    most = min(MOST_LONG, int(MOST_SHARE * len(lengths)))
    next_longest = int(lengths.topk(most + 1).values[-1])
    long = lengths > max(LEAST_LENGTH, LENGTH_RATIO * next_longest)
    return long if bool(long.any()) else None


class LongRowEngine(TileEngine):
    """The engine of tiles, with shared tiles for the columns of long rows.

    Parameters
    ----------
    problem : Problem
    state : BlockState
    long_rows : BoolTensor of shape (n_samples,)
        From `find_long_rows`.
    """

    def __init__(self, problem: Problem, state: BlockState, long_rows: Tensor) -> None:
        design = problem.design
        super().__init__(problem, state, find_colors(design, problem.fields, without=long_rows))
        longest = int(design.indptr.long().diff().max())
        n_columns = max(LEAST_COLUMNS, -(-longest // SHARED_TILES))
        mask = torch.cat([long_rows, long_rows.new_zeros(1)]).to(design.device)
        #: The tiles, of both kinds.
        self.parts = [part for tile in self.tiles for part in _share(tile, mask, n_columns, design.dtype)]

    @property
    def blocks(self) -> Sequence[Any]:
        return self.parts if self.dense is None else [*self.dense.blocks, *self.parts]

    def damped(self, block: SharedTile, A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normal equations of a shorter step with the same gradient. Call it after `normal_equations`."""
        kept = self._kept
        others = DAMPING * block.others.repeat(self.n_outputs, 1, 1)
        extra = (kept.R * others).mT @ kept.R
        if self.row_variance is not None:
            T = (kept.R[:, :, :1].square() * others).mT @ self._kept_moments[1]
            if self.row_variance.full:
                extra[:, 1:, 1:] += T.view(len(T), self.size - 1, -1)
            else:
                extra.diagonal(dim1=1, dim2=2)[:, 1:] += T[:, 0]
        return A + extra, b + (extra @ kept.theta[:, :, None])[:, :, 0]

    def move(self, block: SharedTile, theta: Tensor, covariances: Tensor | None) -> Moved:
        """Return the rows of the block after its update to theta and covariances, (n, ...). Nothing is stored."""
        state = self.state
        old = state.theta[:, block.columns].flatten(0, 1)
        before = self.rows.flatten(0, 1)[self._distinct(block)]
        root, s, e = before[:, :1], before[:, 1:-1], before[:, -1:]
        x = torch.ones_like(block.others) if block.values is None else block.values[:, :, None]
        x = x.repeat(self.n_outputs, 1, 1)
        v, old_v = theta[:, 1:], old[:, 1:]
        # The own part of a column in half the square of s is not an interaction.
        own = (v.square() - old_v.square()).sum(1)[:, None, None] / 2
        linear = x * (theta - old)[:, None, :1] - x.square() * own
        change = self._sum(block, torch.cat([linear, x * (v - old_v)[:, None]], 2))
        by, step = change[:, :1], change[:, 1:]
        e = e - root * (by + step.square().sum(1, keepdim=True) / 2) - (s * step).sum(1, keepdim=True)
        rows = torch.cat([root, s + root * step, e], 1)
        if covariances is None:
            return Moved(rows, None, None, self._cost(rows, None, None, None))
        assert state.covariances is not None
        S = state.covariances[:, block.columns].flatten(0, 1)
        rest = self._sum(block, _rest(x, theta, covariances) - _rest(x, old, S))
        moments, (T, h) = self.row_variance, self._moments(block)
        if moments is not None and T is not None and h is not None:
            dT, dh = (x.new_zeros(*x.shape[:2], m.shape[1]) for m in (T, h))
            moments.change(x, (old, S), (theta, covariances), dT, dh)
            T, h = T + self._sum(block, dT), h + self._sum(block, dh)
        return Moved(rows, T, h, self._cost(rows, T, h, rest))

    def current(self, block: SharedTile) -> Moved:
        """Return what `move` returns for the current parameters of the block."""
        rows = self.rows.flatten(0, 1)[self._distinct(block)]
        T, h = self._moments(block)
        return Moved(rows, T, h, self._cost(rows, T, h, None))

    def _moments(self, block: SharedTile) -> tuple[Tensor | None, Tensor | None]:
        if self.row_variance is None:
            return None, None
        at = self._distinct(block)
        return self.row_variance.T.flatten(0, 1)[at], self.row_variance.h.flatten(0, 1)[at]

    def _cost(self, rows: Tensor, T: Tensor | None, h: Tensor | None, rest: Tensor | None) -> Tensor:
        """Return the cost of rows, whose variances have changed by `rest` in addition to the parts of T and h."""
        root, s, squares = rows[:, :1], rows[:, 1:-1], rows[:, -1].square()
        if self.row_variance is not None and T is not None and h is not None:
            full = self.row_variance.full
            T_s = (T.view(len(T), -1, s.shape[1]) @ s[:, :, None])[:, :, 0] if full else T * s
            squares = squares + (s * (T_s - 2 * root * h)).sum(1)
            squares = squares + root[:, 0].square() * T.square().sum(1) / 2
        if rest is not None:
            squares = squares + (root.square() * rest)[:, 0]
        return squares.view(self.n_outputs, -1).sum(1, dtype=accum_dtype(squares.device)) / 2

    def store(self, block: SharedTile, moved: Moved, theta: Tensor, covariances: Tensor | None) -> None:
        """Store an update of the block, and the rows that `move` has returned for it."""
        at, state = self._distinct(block), self.state
        self.rows.flatten(0, 1).index_copy_(0, at, moved.rows)
        if self.row_variance is not None and moved.T is not None and moved.h is not None:
            self.row_variance.T.flatten(0, 1).index_copy_(0, at, moved.T)
            self.row_variance.h.flatten(0, 1).index_copy_(0, at, moved.h)
        if covariances is not None:
            assert state.covariances is not None
            state.covariances[:, block.columns] = covariances.unflatten(0, (self.n_outputs, -1))
        state.theta[:, block.columns] = theta.unflatten(0, (self.n_outputs, -1))

    def _distinct(self, block: SharedTile) -> Tensor:
        """Return the distinct rows in the stacked states of the outputs, (n_outputs * n_distinct,)."""
        first = torch.arange(self.n_outputs, device=block.distinct.device) * (self.n_samples + 1)
        return (block.distinct + first[:, None]).flatten()

    def _sum(self, block: SharedTile, entries: Tensor) -> Tensor:
        """Return the sums over the columns, (n_outputs * n_distinct, width), of entries of shape (n, length, width)."""
        n_outputs, n_distinct = self.n_outputs, len(block.distinct)
        first = torch.arange(n_outputs, device=block.places.device) * n_distinct
        places = (block.places + first[:, None]).flatten()
        out = entries.new_zeros(n_outputs * n_distinct, entries.shape[2])
        return out.index_add_(0, places, entries.flatten(0, 1))


def _rest(x: Tensor, theta: Tensor, S: Tensor) -> Tensor:
    """Return what each entry adds to the variance of its row other than by T and h, (n, length, 1)."""
    v = theta[:, 1:]
    if S.ndim == 3:
        S_ww, cross, S_vv = S[:, 0, 0], S[:, 0, 1:], S[:, 1:, 1:].flatten(1)
        S_v = (S[:, 1:, 1:] @ v[:, :, None])[:, :, 0]
    else:
        S_ww, cross, S_vv = S[:, 0], torch.zeros_like(v), S[:, 1:]
        S_v = S_vv * v
    fourth = (v * S_v).sum(1) - S_vv.square().sum(1) / 2
    x2 = x.square()
    return x2 * (S_ww[:, None, None] - 2 * x * (v * cross).sum(1)[:, None, None] + x2 * fourth[:, None, None])


def _share(tile: Tile, long_rows: Tensor, n_columns: int, dtype: torch.dtype) -> list[Tile | SharedTile]:
    """Divide a tile into one of the columns without long rows, and shared tiles of a number of columns each."""
    if tile.rows is None:
        return [tile]
    shares = long_rows[tile.rows.long()].any(1)
    if int(shares.sum()) < 2:
        return [tile]
    parts: list[Tile | SharedTile] = []
    alone, together = (~shares).nonzero()[:, 0], shares.nonzero()[:, 0]
    if len(alone):
        parts.append(_part(tile, alone))
    padding = len(long_rows) - 1
    for some in together.split(n_columns):
        columns, rows, values = _part(tile, some)
        assert rows is not None  # for the type checker
        distinct, places, counts = torch.unique(rows.long(), return_inverse=True, return_counts=True)
        others = (counts - 1)[places].masked_fill(rows == padding, 0)[:, :, None].to(dtype)
        parts.append(SharedTile(columns, rows, values, others, distinct, places.flatten()))
    return parts


def _part(tile: Tile, columns: Tensor) -> Tile:
    rows, values = (None if entries is None else entries[columns] for entries in (tile.rows, tile.values))
    return Tile(tile.columns[columns], rows, values)
