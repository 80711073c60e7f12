"""The engine for one-hot fields: all that an update needs of a row is a sum of one table row per group of fields.

Tables have a row for each observed combination of the levels of a group of fields (`.table_groups`), which holds what
these columns contribute to any update (`.table_rows`). A field is updated from the sums of the tables, its own columns
left out. No state is kept per row, so nothing has to be gathered and scattered when parameters change, and no
rounding errors accumulate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ...matrix.tiles import make_tiles
from ..problem import Problem
from .dense import DenseColumn
from .engine import BlockState, DenseLinear, Engine
from .table_blocks import FieldBlock, Piece, make_blocks, piece_rows
from .table_dense import TableDense
from .table_groups import Group, Tables
from .table_rows import RowLayout

#: A float64 problem of at least this number of rows, on a CPU, has tables and rows of float32, whose sums take a third
#: of the time. Dense columns and sample weights must not be larger than these numbers: the fourth powers of values are
#: summed, and the range of float32 is limited.
LEAST_ROWS, LARGEST_VALUE, LARGEST_WEIGHT = 1024, 30.0, 1e12


def row_dtype(problem: Problem) -> torch.dtype:
    """Return the dtype in which tables and rows are precise enough and fast."""
    design = problem.design
    if design.device.type != "cpu" or design.shape[0] < LEAST_ROWS:
        return design.dtype
    moderate = float(problem.sample_weight.max()) <= LARGEST_WEIGHT
    if design.dense.numel():
        moderate = moderate and float(design.dense.abs().max()) <= LARGEST_VALUE
    return torch.float32 if moderate else design.dtype


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
        Of the tables and the rows, that of `row_dtype` by default. Sums over the rows of a column are added up in the
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
            self.size - 1, full=state.covariances.ndim == 4, dtype=dtype or row_dtype(problem), device=device
        )
        width = self.layout.width
        tiles = [tile for tile in make_tiles(design, colors, width) if tile.rows is not None]
        self._blocks = make_blocks(tiles, colors, width, self.size)
        self.groups, self.codes = tables
        self.dense = TableDense(design, state, self.layout) if len(design.dense_columns) else None
        n_rows = tables.n_rows + 1
        if self.dense is not None:
            # Each row of the data has a table row of its own, and the padding has the row of zeros.
            dense_rows = torch.arange(n_rows, n_rows + self.n_samples + 1, device=device)
            dense_rows[-1] = tables.n_rows
            self.codes = torch.cat([self.codes, dense_rows[:, None].to(self.codes.dtype)], 1)
        #: The tables of the groups, a row of zeros for padding, and the table of the dense columns.
        self.table = self.layout.zeros(self.n_outputs, n_rows + (self.n_samples if self.dense else 0))
        self.dense_table = self.table[:, n_rows:]
        #: The table row of every column, and of none.
        self.packed = self.layout.zeros(self.n_outputs, n_features + 1)
        self.rounding = self._rounding()
        self.reset()

    @property
    def blocks(self) -> Sequence[FieldBlock | DenseColumn]:
        return self._blocks if self.dense is None else [*self.dense.blocks, *self._blocks]

    def _rounding(self) -> float:
        """Return the rounding error of sums over all rows.

        The errors of rows are independent, so those of rows of a narrower type than the state cancel in part.
        """
        row, whole = (torch.finfo(dtype).eps for dtype in (self.layout.dtype, self.state.theta.dtype))
        own = torch.tensor([row**2 * self.n_samples, self.n_samples], dtype=torch.float64, device="cpu")
        square, n_samples = self.reduction.sum(own).tolist()
        return float(max(square**0.5 / n_samples, whole))

    def reset(self) -> None:
        covariances = self.state.covariances
        assert covariances is not None  # for the type checker
        for b in range(self.n_outputs):
            self.packed[b, :-1] = self.layout.pack(self.state.theta[b], covariances[b])
        #: The field that is left out of the table of each group: -1 for none, None if the table is out of date.
        self._without: list[int | None] = [None] * len(self.groups)
        self._forget_dense()

    def _forget_dense(self) -> None:
        """Mark the table of the dense columns and the predictions as out of date."""
        self._dense_is_current = False
        self._end: tuple[Tensor, Tensor] | None = None

    def load(self, omega: Tensor, target: Tensor, mean: Tensor) -> None:
        zero = omega.new_zeros(self.n_outputs, 1, dtype=self.layout.dtype)
        self._working = omega, target
        self.omega = torch.cat([omega.to(zero), zero], 1)
        self.target = torch.cat([(target - self.state.intercept[:, None]).to(zero), zero], 1)
        if self.dense is not None:
            self._build_all()
            for b, start, stop in self._cuts():
                codes = self.codes[start:stop, :-1].contiguous()
                self.dense.set_sums(b, start, stop, sum_rows(codes, self.table[b]))
            self.dense.load(self.omega[:, :-1], (target - mean).to(zero))

    def normal_equations(self, block: FieldBlock | DenseColumn) -> tuple[Tensor, Tensor]:
        if isinstance(block, DenseColumn):
            assert self.dense is not None  # for the type checker
            return self._complete(*self.dense.row_sums(block))
        self._build_all(without=block.field)
        self._fill_dense()
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

    def write_back(self, block: FieldBlock | DenseColumn, theta: Tensor, covariances: Tensor | None) -> None:
        state, columns = self.state, block.columns
        assert covariances is not None  # for the type checker
        assert state.covariances is not None
        if isinstance(block, DenseColumn):
            assert self.dense is not None
            self.dense.write_back(block, theta, covariances)
            self._forget_dense()
            return
        state.theta[:, columns] = theta.unflatten(0, (self.n_outputs, -1))
        state.covariances[:, columns] = covariances.unflatten(0, (self.n_outputs, -1))
        self.packed[:, columns] = self.layout.pack(theta, covariances).unflatten(0, (self.n_outputs, -1))
        # The table of the group is still correct, because `normal_equations` has left the field out of it.
        self._end = None

    def dense_linear(self) -> DenseLinear | None:
        if self.dense is None:
            return None
        omega, target = self._working
        sums = self.dense.linear_sums(omega, target - self.mean())
        return DenseLinear(sums.columns, self.reduction.sum(sums.gram), self.reduction.sum(sums.residual))

    def mean(self) -> Tensor:
        mean = self._finish()[0] + self.state.intercept[:, None]
        return mean if self.dense is None else mean + self.dense.linear_change()

    def variance(self) -> Tensor:
        return self._finish()[1] + self.state.intercept_variance[:, None]

    def _finish(self) -> tuple[Tensor, Tensor]:
        """Return the means and variances of all rows, (n_outputs, n_samples) each, without those of the intercept."""
        if self._end is None:
            mean, variance = self.state.theta.new_empty(2, self.n_outputs, self.n_samples)
            self._build_all()
            self._fill_dense()
            for b, start, stop in self._cuts():
                E = sum_rows(self.codes[start:stop], self.table[b])
                mean[b, start:stop], variance[b, start:stop] = self.layout.means_and_variances(E)
            # Rounding can leave a variance of zero slightly negative.
            self._end = mean, variance.clamp_(min=0)
        return self._end

    def _cuts(self) -> Iterator[tuple[int, int, int]]:
        """Cut the rows into pieces: yield the output, the first row and the one after the last."""
        step = piece_rows(self.table.device, self.layout.width)
        for start in range(0, self.n_samples, step):
            for b in range(self.n_outputs):
                yield b, start, min(start + step, self.n_samples)

    def _build_all(self, without: int = -1) -> None:
        """Bring the tables of all groups up to date, with one of the fields left out, or none."""
        for k, group in enumerate(self.groups):
            left_out = without if without in group.members else -1
            if self._without[k] != left_out:
                self._build(group, left_out)
                # Each row of the data has a row of the first group, and so a one.
                self.table[:, group.start : group.stop, 0] = 1 if k == 0 else 0
                self._without[k] = left_out

    def _build(self, group: Group, without: int) -> None:
        table = self.table[:, group.start : group.stop].zero_()
        for field, columns in group.members.items():
            if field != without:
                for b in range(self.n_outputs):
                    table[b] += self.packed[b].index_select(0, columns)

    def _fill_dense(self) -> None:
        """Bring the table of the dense columns up to date."""
        if self.dense is not None and not self._dense_is_current:
            self.dense.fill(self.dense_table, piece_rows(self.table.device, self.layout.width))
            self._dense_is_current = True


def sum_rows(codes: Tensor, table: Tensor) -> Tensor:
    """Return the sums of the table rows that each row of codes lists, (n, width) for codes of shape (n, n_groups)."""
    if table.dtype == torch.float32 or table.device.type != "cpu":
        return embedding_bag(codes, table, mode="sum")
    # Several times faster than the embedding bags of float64 numbers on a CPU.
    out = table.index_select(0, codes[:, 0])
    for k in range(1, codes.shape[1]):
        out += table.index_select(0, codes[:, k])
    return out
