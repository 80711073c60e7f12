"""The dense columns of the table engine.

They are updated first, while the sums of the tables of the fields stay as they are. Afterwards the sums over the dense
columns are one more table, with a row for each row of the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...matrix.design import DesignMatrix
from .dense import DenseColumn, subtract_variance
from .engine import BlockState, DenseLinear
from .table_rows import RowLayout

#: Rows whose products are added up in the dtype of the rows, before these sums are added up in that of the state.
SUMMED_ROWS = 4096


class TableDense:
    """The dense columns.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    state : BlockState
        With covariances.
    layout : RowLayout
    """

    def __init__(self, design: DesignMatrix, state: BlockState, layout: RowLayout) -> None:
        self.columns, self.state, self.layout = design.dense_columns, state, layout
        self.blocks = [DenseColumn(j, column[None]) for j, column in enumerate(self.columns)]
        self.x = design.dense.to(layout.dtype)
        self.x2 = self.x.square()
        self.n_outputs, _, self.size = state.theta.shape
        n_samples, n_moments = design.shape[0], layout.h.stop - layout.T.start
        #: [1, s] of every row, over all columns.
        self.s = self.x.new_ones(self.n_outputs, self.size, n_samples)
        #: [T, h] of every row, over the columns of the fields.
        self.moments = self.x.new_empty(self.n_outputs, n_samples, n_moments)

    def set_sums(self, output: int, start: int, stop: int, E: Tensor) -> None:
        """Take the sums E over the columns of the fields, (stop - start, width), of some rows."""
        layout = self.layout
        v = self.state.theta[output, self.columns, 1:].to(layout.dtype)
        self.s[output, 1:, start:stop] = torch.addmm(E[:, layout.v], self.x[:, start:stop].T, v).T
        self.moments[output, start:stop] = E[:, layout.T.start : layout.h.stop]

    def load(self, omega: Tensor, residual: Tensor) -> None:
        """Take row precisions and target - yhat, (n_outputs, n_samples), and sum what does not change in a sweep."""
        self.omega, self.e = omega, residual
        dtype, n_packed = self.state.theta.dtype, self.layout.h.start - self.layout.T.start
        weighted = self.x * omega[:, None, :]
        weighted2 = weighted * self.x
        self.sum_T = product(weighted2, self.moments[:, :, :n_packed], dtype)
        x2, x3 = self.x2.T, (self.x2 * self.x).T
        self.C, self.E2, self.E3 = (
            product(left, right, dtype) for left, right in ((weighted2, x2), (weighted, x2), (weighted, x3))
        )
        for gram in (self.C, self.E2, self.E3):
            # The updated column is not part of its own corrections.
            gram.diagonal(dim1=1, dim2=2).zero_()

    def row_sums(self, block: DenseColumn) -> tuple[Tensor, Tensor]:
        """Return A, (n_outputs, size, size), and b, (n_outputs, size): sums over the rows of this process."""
        j, layout, size = block.place, self.layout, self.size
        theta = self._old = self.state.theta[:, block.columns[0]]
        z = self._z = self.s * self.x[j]
        z[:, 1:].addcmul_(theta[:, 1:, None].to(z), self.x2[j], value=-1)
        left = z * self.omega[:, None, :]
        A = product(left, z.mT, theta.dtype)
        e, moments = (product(left, right, theta.dtype) for right in (self.e[:, :, None], self.moments))
        M = theta.new_zeros(self.n_outputs, size, layout.width)
        M[:, :, :size], M[:, :, layout.lin] = A, (A @ theta[:, :, None] + e)[:, :, 0]
        M[:, :, layout.T.start : layout.h.stop] = moments
        M[:, 0, layout.T] = self.sum_T[:, j]
        A, b = layout.normal_equations(M)
        self._subtract_own_part(j, left[:, 1:], A, b)
        return A, b

    def _subtract_own_part(self, j: int, y: Tensor, A: Tensor, b: Tensor) -> None:
        """Correct A and b for the variance of the other dense columns: see `.dense`.

        Parameters
        ----------
        j : int
        y : Tensor of shape (n_outputs, n_factors, n_samples)
            omega x q.
        A, b
            As in `row_sums`.
        """
        assert self.state.covariances is not None  # for the type checker
        means, S = self.state.theta[:, self.columns, 1:], self.state.covariances[:, self.columns]
        Y = product(y, self.x2.T, means.dtype).mT.contiguous()
        Y[:, j] = 0
        Y -= self.E3[:, j, :, None] * means
        subtract_variance(Y, self.C[:, j, None, :], self.E2[:, j, None, :], S, A, b)

    def write_back(self, block: DenseColumn, theta: Tensor, covariances: Tensor) -> None:
        """Store a parameter update and refresh the rows."""
        assert self.state.covariances is not None  # for the type checker
        change = (theta - self._old).to(self.x)
        self.e -= (change[:, None, :] @ self._z)[:, 0]
        self.s[:, 1:].addcmul_(change[:, 1:, None], self.x[block.place])
        self.state.theta[:, block.columns[0]] = theta
        self.state.covariances[:, block.columns[0]] = covariances

    def fill(self, table: Tensor, n_rows: int) -> None:
        """Write the table of the dense columns, (n_outputs, n_samples, width), ``n_rows`` rows at a time."""
        assert self.state.covariances is not None  # for the type checker
        #: The linear weights in the table.
        self.linear = self.state.theta[:, self.columns, 0]
        for b in range(self.n_outputs):
            theta, S = self.state.theta[b, self.columns], self.state.covariances[b, self.columns]
            packed = self.layout.pack_powers(theta, S).flatten(0, 1)
            for start in range(0, table.shape[1], n_rows):
                x, x2 = self.x[:, start : start + n_rows], self.x2[:, start : start + n_rows]
                powers = torch.cat([x, x2, x * x2, x2.square()])
                torch.mm(powers.T, packed, out=table[b, start : start + n_rows])

    def linear_change(self) -> Tensor:
        """Return what the linear weights add to the predictions that was not in the table, (n_outputs, n_samples)."""
        change = self.state.theta[:, self.columns, 0] - self.linear
        return (change.to(self.x) @ self.x).to(change)

    def linear_sums(self, omega: Tensor, residual: Tensor) -> DenseLinear:
        """Return the sums of a joint step of the linear weights over the rows of this process.

        Parameters
        ----------
        omega, residual : Tensor of shape (n_outputs, n_samples)
            Row precisions and target - yhat.
        """
        dtype = self.state.theta.dtype
        x = torch.cat([torch.ones_like(self.x[:1]), self.x])
        gram = product(x * omega[:, None, :].to(x), x.T, dtype)
        return DenseLinear(self.columns, gram, product(x, (omega * residual).to(x).T, dtype).T)


def product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Return left @ right, summed over the rows of the data in a dtype that may be wider than that of the factors.

    Parameters
    ----------
    left : Tensor of shape (..., n, n_samples)
    right : Tensor of shape (..., n_samples, m)
    dtype : torch.dtype
    """
    if left.dtype == dtype:
        return left @ right
    whole = left.shape[-1] // SUMMED_ROWS * SUMMED_ROWS
    lefts = left[..., :whole].unflatten(-1, (-1, SUMMED_ROWS)).transpose(-3, -2)
    rights = right[..., :whole, :].unflatten(-2, (-1, SUMMED_ROWS))
    return (lefts @ rights).sum(-3, dtype=dtype) + left[..., whole:] @ right[..., whole:, :]
