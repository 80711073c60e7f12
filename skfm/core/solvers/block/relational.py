"""The engine for rows that are pairs of parts, each with columns of its own: see `skfm.core.matrix.relations`.

With g and s of a part alone, a row of the parts u and m has the prediction::

    yhat = w0 + g_u + g_m + <s_u, s_m>        g = sum_j x_j w_j + 1/2 (|s|^2 - sum_j x_j^2 |v_j|^2)

which is that of a pair of columns with parameters (g, s). So the sums over the rows of a part are those of a
column there: a quadratic form of (g_u, s_u) with matrix G_u, which stays as it is while the columns of all parts
of one kind are updated, and a slope h_u that follows. For column j, with r_u = s_u - x_uj v_j::

    d(g_u, s_u) / d theta_j = x_uj B_u'     B_u = [1, 0; r_u, I]
    A_j = sum_u x_uj^2 B_u G_u B_u'         b_j = sum_u x_uj B_u h_u + A_j theta_j

References
----------
S. Rendle, "Scaling Factorization Machines to Relational Data", Proceedings of the VLDB Endowment 6, 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...matrix.design import DesignMatrix
from ...matrix.parameters import FMParameters
from ...matrix.relations import Relations
from ..problem import Problem
from .engine import BlockState, Engine
from .pairs import PairEngine, bag

#: Floats of all G, and of row sums at a time.
MOST_FLOATS, ROW_FLOATS = 1 << 26, 1 << 20


def fits_in_memory(relations: Relations, state: BlockState) -> bool:
    """Return whether the quadratic forms of the larger kind of parts take little memory."""
    n_outputs, _, size = state.theta.shape
    return max(part.shape[0] for part in relations.parts) * n_outputs * size**2 <= MOST_FLOATS


class RelationBlock(NamedTuple):
    """The columns of a color.

    Attributes
    ----------
    side : int
        The kind of parts.
    first, last : bool
        Whether it is the first or the last color of its side.
    columns : Tensor of shape (n_columns,)
    parts : Tensor of shape (n_entries,)
        The parts that have a column, column by column.
    places : Tensor of shape (n_entries,)
        The place of that column among the columns.
    offsets : Tensor of shape (n_columns + 1,) or None
        Where the entries of each column begin and end; None if each has one.
    values : Tensor of shape (n_entries, 1) or None
        None means ones.
    """

    side: int
    first: bool
    last: bool
    columns: Tensor
    parts: Tensor
    places: Tensor
    offsets: Tensor | None
    values: Tensor | None


class RelationalEngine(Engine):
    """Sums over the parts, of sums over the rows.

    The sums over rows are those of the engine for pairs, which completes them.
    """

    def __init__(self, problem: Problem, state: BlockState, relations: Relations) -> None:
        super().__init__(problem, state)
        self.relations = relations
        self.n_outputs, _, self.size = state.theta.shape
        n_parts = sum(part.shape[0] for part in relations.parts)
        theta = state.theta.new_zeros(self.n_outputs, n_parts, self.size)
        # The state shares the intercept, which the solver changes in place.
        self.whole = BlockState(state.intercept, theta, None, state.intercept_variance, state.noise_precision)
        self.inner = PairEngine(problem, self.whole, relations.pairs)
        counts = relations.pairs.offsets[0].diff().long()
        #: The first part of each row, in the order of these parts.
        self._own = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        self._blocks = [
            block
            for side, part in enumerate(relations.parts)
            for block in _blocks(side, part, relations.colors[side])
        ]

    @property
    def blocks(self) -> Sequence[RelationBlock]:
        return self._blocks

    def load(self, omega: Tensor, target: Tensor, mean: Tensor) -> None:
        self.inner.load(omega, target, mean)

    def reset(self) -> None:
        # Computed from the columns, since differences over many sweeps lose digits.
        intercept, linear, factors = self.state.parameters
        alone = FMParameters(torch.zeros_like(intercept), linear, factors)
        for part, numbers in zip(self.relations.parts, self.relations.pairs.columns, strict=True):
            self.whole.theta[:, numbers, 0] = self.problem.interaction.raw(part, alone)
            for b in range(self.n_outputs):
                self.whole.theta[b, numbers, 1:] = part.matmul(factors[b])
        self.inner.reset()

    def mean(self) -> Tensor:
        self.reset()
        pairs, own = self.relations.pairs, self._own
        out = self.state.theta.new_empty(self.n_outputs, len(own))
        step = max(1, ROW_FLOATS // self.size)
        rows, partners = pairs.rows[0], pairs.partners[0]
        first, second = (self.whole.theta[:, numbers] for numbers in pairs.columns)
        for b in range(self.n_outputs):
            # <(1, s_u), (g_m, s_m)> + g_u
            left = torch.cat([torch.ones_like(first[b, :, :1]), first[b, :, 1:]], 1)
            for start in range(0, len(rows), step):
                piece = slice(start, start + step)
                a, c = left.index_select(0, own[piece]), second[b].index_select(0, partners[piece])
                found = (a * c).sum(1) + first[b, :, 0].index_select(0, own[piece])
                out[b, rows[piece]] = found + self.state.intercept[b]
        return out

    def normal_equations(self, block: RelationBlock) -> tuple[Tensor, Tensor]:
        if block.first:
            self._begin(block.side)
        x, K = block.values, self.size - 1
        self._old = self.state.theta[:, block.columns]
        old = self._old[:, block.places]
        theta = self._theta[:, block.parts]
        self._r = r = theta[..., 1:] - (old[..., 1:] if x is None else x * old[..., 1:])
        G, h = self._G[:, block.parts], self._h[:, block.parts]
        a = G[..., 1:, 0]
        moved = a + G[..., :1, 0] * r
        A = G.clone()
        A[..., 1:, 0] = A[..., 0, 1:] = moved
        A[..., 1:, 1:] += r[..., :, None] * moved[..., None, :] + a[..., :, None] * r[..., None, :]
        slope = torch.cat([h[..., :1], h[..., 1:] + h[..., :1] * r], -1)
        if x is not None:
            A, slope = A * x[..., None].square(), slope * x
        flat = torch.cat([A.flatten(2), slope], 2)
        if block.offsets is not None:
            order = torch.arange(len(block.parts), dtype=torch.int32, device=flat.device)
            flat = torch.stack([bag(order, table, block.offsets, None) for table in flat])
        A = flat[..., : self.size**2].unflatten(2, (self.size, self.size)).flatten(0, 1)
        b = flat[..., self.size**2 :].flatten(0, 1)
        return A, b + (A @ self._old.reshape(-1, K + 1, 1))[..., 0]

    def write_back(self, block: RelationBlock, theta: Tensor, covariances: Tensor | None) -> None:
        theta = theta.view(self.n_outputs, -1, self.size)
        self.state.theta[:, block.columns] = theta
        change = (theta - self._old)[:, block.places]
        if block.values is not None:
            change = change * block.values
        change[..., 0] += (self._r * change[..., 1:]).sum(-1)
        self._theta[:, block.parts] += change
        self._h[:, block.parts] -= (self._G[:, block.parts] @ change[..., None])[..., 0]
        if block.last:
            self.inner.write_back_side(block.side, self._theta)

    def _begin(self, side: int) -> None:
        """Compute the sums over the rows of every part of a kind."""
        self._theta = theta = self.whole.theta[:, self.relations.pairs.columns[side]]
        sums = [self.inner.normal_equations(block) for block in self.inner.blocks if block.side == side]
        G = [A.unflatten(0, (self.n_outputs, -1)) for A, _ in sums]
        b = [b.unflatten(0, (self.n_outputs, -1)) for _, b in sums]
        self._G = torch.cat(G, 1)
        self._h = torch.cat(b, 1) - (self._G @ theta[..., None])[..., 0]


def _blocks(side: int, part: DesignMatrix, colors: list[Tensor]) -> list[RelationBlock]:
    colptr, rows, values = part.columns()
    blocks = []
    for number, columns in enumerate(colors):
        starts, counts = colptr[columns.cpu()].long(), colptr.diff()[columns.cpu()].long()
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        places = torch.repeat_interleave(torch.arange(len(columns), device="cpu"), counts)
        entries = torch.arange(int(counts.sum()), device="cpu") - offsets[places] + starts[places]
        x = None if values is None else values[entries].to(part.dtype)
        if x is not None and bool((x == 1).all()):
            x = None
        device = part.device
        blocks.append(
            RelationBlock(
                side,
                number == 0,
                number == len(colors) - 1,
                columns,
                rows[entries].long().to(device),
                places.to(device),
                None if bool((counts == 1).all()) else offsets.to(torch.int32).to(device),
                None if x is None else x[:, None].to(device),
            )
        )
    return blocks
