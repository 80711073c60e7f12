"""The engine for one-hot fields: all that an update needs of a row is a sum of one table row per group of fields.

Tables have a row for each observed combination of the levels of a group of fields (`.table_groups`), which holds what
these columns contribute to any update (`.table_rows`). A field is updated from the sums of the tables, its own columns
left out. No state is kept per row, so nothing has to be gathered and scattered when parameters change, and no
rounding errors accumulate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ...matrix.tiles import make_tiles
from ..problem import Problem
from .engine import BlockState, Engine
from .table_blocks import PIECE_FLOATS, FieldBlock, Piece, make_blocks
from .table_groups import Tables
from .table_rows import RowLayout


class TableEngine(Engine):
    """Sums over rows of tables, for designs of one-hot fields and solvers with covariances.

    Parameters
    ----------
    problem : Problem
        All values of the design are one.
    state : BlockState
        With covariances.
    colors : Tensor of shape (n_features,)
        From `find_colors`.
    tables : Tables
        From `find_tables`.
    dtype : torch.dtype, optional
        Of the tables and the rows, that of the state by default. Sums over the rows of a column are added up in the
        dtype of the state.
    """

    def __init__(
        self,
        problem: Problem,
        state: BlockState,
        colors: Tensor,
        tables: Tables,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(problem, state)
        assert state.covariances is not None  # for the type checker
        design, device = problem.design, state.theta.device
        self.n_outputs, n_features, self.size = state.theta.shape
        self.n_samples = design.shape[0]
        self.layout = RowLayout(
            self.size - 1, full=state.covariances.ndim == 4, dtype=dtype or state.theta.dtype, device=device
        )
        width = self.layout.width
        self._blocks = make_blocks(make_tiles(design, colors, width), colors, width, self.size)
        self.groups, self.codes = tables
        self.group_of = {field: k for k, group in enumerate(self.groups) for field in group.members}
        self.table = self.layout.zeros(self.n_outputs, tables.n_rows + 1)
        #: The table row of every column, and of none.
        self.packed = self.layout.zeros(self.n_outputs, n_features + 1)
        self.reset()

    @property
    def blocks(self) -> Sequence[FieldBlock]:
        return self._blocks

    def reset(self) -> None:
        covariances = self.state.covariances
        assert covariances is not None  # for the type checker
        for b in range(self.n_outputs):
            self.packed[b, :-1] = self.layout.pack(self.state.theta[b], covariances[b])
        #: The field that is left out of the table of each group: -1 for none, None if the table is out of date.
        self._without: list[int | None] = [None] * len(self.groups)
        self._end: tuple[Tensor, Tensor] | None = None

    def load(self, omega: Tensor, target: Tensor, mean: Tensor) -> None:
        zero = omega.new_zeros(self.n_outputs, 1, dtype=self.layout.dtype)
        response = (target - self.state.intercept[:, None]).to(zero)
        self.omega = torch.cat([omega.to(zero), zero], 1)
        self.target = torch.cat([response, zero], 1)

    def normal_equations(self, block: FieldBlock) -> tuple[Tensor, Tensor]:
        for k in range(len(self.groups)):
            self._build(k, block.field if k == self.group_of[block.field] else -1)
        shape = self.n_outputs, len(block.columns), self.size, self.layout.width
        M = self.state.theta.new_zeros(shape)
        for piece in block.pieces:
            rows = block.rows[piece.start : piece.stop]
            codes = self.codes.index_select(0, rows)
            for b in range(self.n_outputs):
                self._add_piece(piece, sum_rows(codes, self.table[b]), b, rows, M[b])
        return self._complete(*self.layout.normal_equations(M.flatten(0, 1)))

    def _add_piece(self, piece: Piece, E: Tensor, output: int, rows: Tensor, M: Tensor) -> None:
        """Add the rows of a piece, with the sums E of their tables, to M of shape (n_columns, size, width)."""
        lin = self.layout.lin
        z = E[:, : self.size].T.clone(memory_format=torch.contiguous_format)
        mean = z[1:].square().sum(0).div_(2).add_(E[:, lin])
        E[:, lin] = self.target[output].index_select(0, rows).sub_(mean)
        z *= self.omega[output].index_select(0, rows)
        start = 0
        for first, n_columns, length in piece.runs:
            stop = start + n_columns * length
            left = z[:, start:stop].unflatten(1, (n_columns, length)).transpose(0, 1)
            M[first : first + n_columns] += left @ E[start:stop].unflatten(0, (n_columns, length))
            start = stop

    def write_back(self, block: FieldBlock, theta: Tensor, covariances: Tensor | None) -> None:
        state, columns = self.state, block.columns
        assert covariances is not None  # for the type checker
        assert state.covariances is not None
        state.theta[:, columns] = theta.unflatten(0, (self.n_outputs, -1))
        state.covariances[:, columns] = covariances.unflatten(0, (self.n_outputs, -1))
        self.packed[:, columns] = self.layout.pack(theta, covariances).unflatten(0, (self.n_outputs, -1))
        k = self.group_of[block.field]
        # The table that leaves the field out stays as it is.
        if self._without[k] != block.field:
            self._without[k] = None
        self._end = None

    def mean(self) -> Tensor:
        return self._finish()[0] + self.state.intercept[:, None]

    def variance(self) -> Tensor:
        return self._finish()[1] + self.state.intercept_variance[:, None]

    def _finish(self) -> tuple[Tensor, Tensor]:
        """Return the means and variances of all rows, (n_outputs, n_samples) each, without those of the intercept."""
        if self._end is None:
            mean, variance = self.state.theta.new_empty(2, self.n_outputs, self.n_samples)
            for k in range(len(self.groups)):
                self._build(k, -1)
            step = max(1, PIECE_FLOATS.get(mean.device.type, 1 << 18) // self.layout.width)
            for start in range(0, self.n_samples, step):
                stop = min(start + step, self.n_samples)
                for b in range(self.n_outputs):
                    E = sum_rows(self.codes[start:stop], self.table[b])
                    mean[b, start:stop], variance[b, start:stop] = self.layout.means_and_variances(E)
            # Rounding can leave a variance of zero slightly negative.
            self._end = mean, variance.clamp_(min=0)
        return self._end

    def _build(self, k: int, without: int) -> None:
        """Bring the table of a group up to date, with one of its fields left out, or none."""
        if self._without[k] == without:
            return
        group = self.groups[k]
        table = self.table[:, group.start : group.stop].zero_()
        for field, columns in group.members.items():
            if field != without:
                for b in range(self.n_outputs):
                    table[b] += self.packed[b].index_select(0, columns)
        # Each row of the data has a row of the first group, and so a one.
        table[:, :, 0] = 1 if k == 0 else 0
        self._without[k] = without


def sum_rows(codes: Tensor, table: Tensor) -> Tensor:
    """Return the sums of the table rows that each row of codes lists, (n, width) for codes of shape (n, n_groups)."""
    if table.dtype == torch.float32 or table.device.type != "cpu":
        return embedding_bag(codes, table, mode="sum")
    # Several times faster than the embedding bags of float64 numbers on a CPU.
    out = table.index_select(0, codes[:, 0])
    for k in range(1, codes.shape[1]):
        out += table.index_select(0, codes[:, k])
    return out
