"""The engine for any sparsity pattern: sums over gathered rows of a state array.

A row of the state is sqrt(omega) * [1, s (K), e], with e = target - yhat. Gathered for a column and
multiplied by x, less the column's own part of s, it is R = [z, e] up to sqrt(omega), so that one
product R'R holds A, b and the squared error at once. Padding points to a last row of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..plan import Tile, make_tiles
from ..variance import CHUNK, RowMoments, combine, row_moments
from .base import Problem
from .dense import MOST_COLUMNS, DenseColumn, DensePart
from .engine import BlockState, Engine


class TileEngine(Engine):
    """Sums over padded tiles of columns.

    With covariances, rows also keep T and h of `skfm.core.variance`, of which the tile's own part is
    taken off before use::

        A += [0, 0; 0, sum omega x^2 T]        b -= (0, sum omega x (T q - h))
    """

    def __init__(self, problem: Problem, state: BlockState, classes: Tensor) -> None:
        super().__init__(problem, state)
        self.n_outputs, _, self.size = state.theta.shape
        self.n_samples = problem.design.shape[0]
        width = self.size + 1
        self.rows = state.theta.new_zeros(self.n_outputs, self.n_samples + 1, width)
        self.moment_width = 0
        if state.covariances is not None:
            n_factors = self.size - 1
            self.moment_width = n_factors**2 if state.covariances.ndim == 4 else n_factors
            width += self.moment_width + n_factors
            self.row_moments = state.theta.new_zeros(
                self.n_outputs, self.n_samples + 1, self.moment_width + n_factors
            )
        self.tiles = make_tiles(problem.design, classes, width)
        self.dense: DensePart | None = None
        if 0 < len(problem.design.dense_columns) <= MOST_COLUMNS:
            self.dense = DensePart(problem.design, state, self.rows[:, :-1])
            self.tiles = [tile for tile in self.tiles if tile.rows is not None]
        if state.covariances is not None:
            self.variance()

    @property
    def blocks(self) -> Sequence[Tile | DenseColumn]:  # noqa: D102
        return self.tiles if self.dense is None else [*self.dense.blocks, *self.tiles]

    def load(self, omega: Tensor, target: Tensor, mean: Tensor) -> None:  # noqa: D102
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
        """Return the variances of the predictions, and take new sums T and h from the parameters.

        Updating T and h by differences over many sweeps would lose digits. Dense columns, which come
        first in a sweep and look after their own part, are left out of these sums until they are done.
        """
        out = self.state.theta.new_empty(self.n_outputs, self.n_samples)
        sparse_part, dense_part = self.problem.design.parts()
        for rows, b, factors, covariances in self._pieces():
            moments = row_moments(sparse_part.rows(*rows), factors, covariances)
            own = row_moments(dense_part.rows(*rows), factors, covariances)
            total = RowMoments(*(x + y for x, y in zip(moments, own, strict=True)))
            self._keep(rows, b, total if self.dense is None else moments)
            s = self.problem.design.rows(*rows).matmul(factors)
            out[b, slice(*rows)] = combine(s, total)
        self.row_moments[:, -1] = 0
        return out.clamp_(min=0) + self.state.intercept_variance[:, None]

    def _pieces(self) -> Iterator[tuple[tuple[int, int], int, Tensor, Tensor]]:
        """Cut rows and outputs into pieces whose covariances take little memory."""
        assert self.state.covariances is not None  # noqa: S101  for the type checker
        step = max(1, CHUNK // max(1, self.moment_width))
        for start in range(0, self.n_samples, step):
            for b in range(self.n_outputs):
                rows = start, min(start + step, self.n_samples)
                yield rows, b, self.state.theta[b, :, 1:], self.state.covariances[b]

    def _keep(self, rows: tuple[int, int], b: int, moments: RowMoments, *, add: bool = False) -> None:
        kept = self.row_moments[b, slice(*rows)]
        new = torch.cat([moments.T.flatten(1), moments.h], 1)
        kept.copy_(kept + new if add else new)

    def moments(self, tile: Tile | DenseColumn) -> tuple[Tensor, Tensor]:  # noqa: D102
        if isinstance(tile, DenseColumn):
            return self._dense_moments(tile)
        state = self.state
        theta = state.theta[:, tile.columns].flatten(0, 1)
        self._place = self._flat_rows(tile)
        gathered = self._gather(self.rows, self._place)
        root = gathered[:, :, :1]
        v = theta[:, None, 1:]
        if tile.values is None:
            R = gathered
            R[:, :, 1:-1].addcmul_(root, v, value=-1)
            x = None
        else:
            x = tile.values if self.n_outputs == 1 else tile.values.repeat(self.n_outputs, 1)
            x = x[:, :, None]
            R = torch.cat([gathered[:, :, :-1] * x, gathered[:, :, -1:]], 2)
            R[:, :, 1:-1].addcmul_(R[:, :, :1] * x, v, value=-1)
        gram = R.mT @ R
        A = gram[:, :-1, :-1]
        b = gram[:, :-1, -1] + (A @ theta[:, :, None])[:, :, 0]
        self._kept = gathered, R, x, theta
        if state.covariances is not None and self.size > 1:
            A = A.clone()
            self._add_variance(tile, A, b)
        return A, b

    def _add_variance(self, tile: Tile, A: Tensor, b: Tensor) -> None:
        """Add both corrections to A and b, the tile's own part taken off."""
        gathered, R, x, theta = self._kept
        assert self.state.covariances is not None  # noqa: S101  for the type checker
        S = self.state.covariances[:, tile.columns].flatten(0, 1)
        moments = self._gather(self.row_moments, self._place)
        y = self._add_row_moments(gathered[:, :, :1], R, moments, A, b)
        w2, v = R[:, :, :1].square(), theta[:, 1:]
        if x is None:
            third = fourth = w2.sum((1, 2))[:, None]
            own_y = y.sum(1)
        else:
            third, fourth = (w2 * x).sum((1, 2))[:, None], (w2 * x.square()).sum((1, 2))[:, None]
            own_y = (y * x.square()).sum(1)
        if S.ndim == 3:
            Svv = S[:, 1:, 1:]
            A[:, 1:, 1:] -= fourth[:, :, None] * Svv
            b[:, 1:] += (Svv @ (own_y - fourth * v)[:, :, None])[:, :, 0] + third * S[:, 1:, 0]
        else:
            A.diagonal(dim1=1, dim2=2)[:, 1:] -= fourth * S[:, 1:]
            b[:, 1:] += S[:, 1:] * (own_y - fourth * v)
        self._kept_moments = moments, S

    def _add_row_moments(self, root: Tensor, R: Tensor, moments: Tensor, A: Tensor, b: Tensor) -> Tensor:
        """Add sum omega x^2 T to A and take sum omega x (T q - h) off b; return omega x q."""
        T, h = moments[:, :, : self.moment_width], moments[:, :, self.moment_width :]
        x_weight = root * R[:, :, :1]
        y = root * R[:, :, 1 : self.size]
        n, length, n_factors = y.shape
        sum_T = R[:, :, :1].square().mT @ T
        if self.moment_width > n_factors or n_factors == 1:
            A[:, 1:, 1:] += sum_T.view(n, n_factors, n_factors)
            # One product over the entries and one index of the symmetric T.
            sum_Ty = y.reshape(n, 1, -1) @ T.reshape(n, length * n_factors, n_factors)
        else:
            A.diagonal(dim1=1, dim2=2)[:, 1:] += sum_T[:, 0]
            sum_Ty = (y * T).sum(1, keepdim=True)
        b[:, 1:] -= (sum_Ty - x_weight.mT @ h)[:, 0]
        return y

    def _dense_moments(self, block: DenseColumn) -> tuple[Tensor, Tensor]:
        assert self.dense is not None  # noqa: S101  for the type checker
        A, b = self.dense.moments(block)
        if self.tiles and self.state.covariances is not None and self.size > 1:
            # These are the sums over the sparse columns alone; see `variance`.
            self._add_row_moments(self.dense.rows[:, :, :1], self.dense.R, self.row_moments[:, :-1], A, b)
        return A, b

    def commit(self, tile: Tile | DenseColumn, theta: Tensor, covariances: Tensor | None) -> None:  # noqa: D102
        if isinstance(tile, DenseColumn):
            self._commit_dense(tile, theta, covariances)
            return
        state = self.state
        gathered, R, x, old = self._kept
        change = theta - old
        gathered[:, :, -1:] -= R[:, :, :-1] @ change[:, :, None]
        if x is None:
            # R shares the gathered memory and lacks the old part of s already.
            R[:, :, 1:-1].addcmul_(R[:, :, :1], theta[:, None, 1:])
        else:
            gathered[:, :, 1:-1].addcmul_(R[:, :, :1], change[:, None, 1:])
        self._scatter(self.rows, self._place, gathered)
        if covariances is not None:
            if self.size > 1:
                self._commit_variance(x, old, theta, covariances)
            assert state.covariances is not None  # noqa: S101  for the type checker
            state.covariances[:, tile.columns] = covariances.view(
                self.n_outputs, -1, *covariances.shape[1:]
            )
        state.theta[:, tile.columns] = theta.view(self.n_outputs, -1, self.size)

    def _commit_dense(self, block: DenseColumn, theta: Tensor, covariances: Tensor | None) -> None:
        assert self.dense is not None  # noqa: S101  for the type checker
        self.dense.commit(block, theta, covariances)
        if covariances is not None and self.tiles and block is self.dense.blocks[-1]:
            _, dense_part = self.problem.design.parts()
            for rows, b, factors, all_covariances in self._pieces():
                own = row_moments(dense_part.rows(*rows), factors, all_covariances)
                self._keep(rows, b, own, add=True)

    def _commit_variance(self, x: Tensor | None, old: Tensor, new: Tensor, S: Tensor) -> None:
        moments, old_S = self._kept_moments
        if S.ndim == 3:
            change_T = (S[:, 1:, 1:] - old_S[:, 1:, 1:]).flatten(1)
            S_m = [(C[:, 1:, 1:] @ m[:, 1:, None])[:, :, 0] for C, m in ((S, new), (old_S, old))]
            change_cross = S[:, 1:, 0] - old_S[:, 1:, 0]
        else:
            change_T = S[:, 1:] - old_S[:, 1:]
            S_m = [C[:, 1:] * m[:, 1:] for C, m in ((S, new), (old_S, old))]
            change_cross = torch.zeros_like(change_T)
        change_m = S_m[0] - S_m[1]
        if x is None:
            moments += torch.cat([change_T, change_m - change_cross], 1)[:, None]
        else:
            moments[:, :, : self.moment_width].addcmul_(x.square(), change_T[:, None])
            moments[:, :, self.moment_width :].addcmul_(x**3, change_m[:, None])
            moments[:, :, self.moment_width :].addcmul_(x.square(), change_cross[:, None], value=-1)
        self._scatter(self.row_moments, self._place, moments)

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
        return source.flatten(0, 1).index_select(0, place.flatten()).view(*place.shape, -1)

    @staticmethod
    def _scatter(target: Tensor, place: Tensor | None, rows: Tensor) -> None:
        # Every row of all, gathered as a view, has been changed in place.
        if place is not None:
            target.view(-1, target.shape[-1]).index_copy_(0, place.flatten(), rows.flatten(0, 1))
