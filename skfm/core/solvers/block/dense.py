"""Updates of dense columns, whose variance corrections need no state per row.

Where all rows hold all columns, T_i and h_i are sums over the same columns for every row, so sums over the rows
come first, as Gram matrices, and those over the columns l (the updated column j left out) last::

    sum_i omega x_ij^2 T_i           = sum_l C_jl S_l[v,v]                               C  = X^2' W X^2
    sum_i omega x_ij (T_i q_i - h_i) = sum_l S_l[v,v] (Y_l - E3_jl m_l) + E2_jl S_l[v,w] E2 = X' W X^2,  E3 = X' W X^3
    Y_l                              = sum_i omega x_ij x_il^2 q_i
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...matrix.design import DesignMatrix
from .engine import BlockState, DenseLinear

#: Above this number of dense columns, sums over rows and columns cost more than a state per row.
MOST_COLUMNS = 512


class DenseColumn(NamedTuple):
    """One dense column: its place among the dense ones, and its number, (1,)."""

    place: int
    columns: Tensor


class DensePart:
    """The dense columns of a design.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    state : BlockState
    rows : Tensor of shape (n_outputs, n_samples, size + 1)
        sqrt(omega) * [1, s, e] of every row, which updates keep current.
    """

    def __init__(self, design: DesignMatrix, state: BlockState, rows: Tensor) -> None:
        self.x = design.dense
        self.columns = design.dense_columns
        self.state = state
        self.rows = rows
        self.blocks = [DenseColumn(j, column[None]) for j, column in enumerate(self.columns)]
        if state.covariances is not None:
            self.x2 = self.x.square()
            self.x3 = self.x2 * self.x

    def load(self, omega: Tensor) -> None:
        """Compute the sums over the rows that do not change within a sweep."""
        if self.state.covariances is None:
            return
        weighted = self.x * omega[:, None, :]
        self.C = (weighted * self.x) @ self.x2.T
        self.E2, self.E3 = weighted @ self.x2.T, weighted @ self.x3.T
        for gram in (self.C, self.E2, self.E3):
            # The updated column is not part of its own corrections.
            gram.diagonal(dim1=1, dim2=2).zero_()
        self.means = self.state.theta[:, self.columns, 1:]
        self.covariances = self.state.covariances[:, self.columns]

    def row_sums(self, block: DenseColumn) -> tuple[Tensor, Tensor]:
        """Return A, (n_outputs, size, size), and b, (n_outputs, size): sums over the rows of this process."""
        j, rows = block.place, self.rows
        self._old = theta = self.state.theta[:, block.columns[0]]
        x = self.x[j][:, None]
        R = rows[:, :, :-1] * x
        R[:, :, 1:].addcmul_(R[:, :, :1] * x, theta[:, None, 1:], value=-1)
        A = R.mT @ R
        b = torch.baddbmm(A @ theta[:, :, None], R.mT, rows[:, :, -1:])[:, :, 0]
        self.R = R
        if self.state.covariances is not None and theta.shape[1] > 1:
            self._add_variance(j, A, b)
        return A, b

    def linear(self) -> DenseLinear:
        """Return the sums of a joint step of the linear weights over the rows of this process."""
        root = self.rows[:, :, 0]
        x = torch.cat([torch.ones_like(self.x[:1]), self.x]) * root[:, None, :]
        return DenseLinear(self.columns, x @ x.mT, (x @ self.rows[:, :, -1:])[:, :, 0])

    def _add_variance(self, j: int, A: Tensor, b: Tensor) -> None:
        S = self.covariances
        n_outputs, _, n_factors = self.means.shape
        # One product for all outputs, which x2 would have to be repeated for otherwise.
        y = (self.rows[:, :, :1] * self.R[:, :, 1:]).transpose(0, 1).flatten(1)
        Y = (self.x2 @ y).unflatten(1, (n_outputs, n_factors)).transpose(0, 1).contiguous()
        Y[:, j] = 0
        Y -= self.E3[:, j, :, None] * self.means
        subtract_variance(Y, self.C[:, j, None, :], self.E2[:, j, None, :], S, A, b)

    def write_back(self, block: DenseColumn, theta: Tensor, covariances: Tensor | None) -> None:
        """Store a parameter update and refresh the rows."""
        change = theta - self._old
        self.rows[:, :, -1:] -= self.R @ change[:, :, None]
        self.rows[:, :, 1:-1].addcmul_(self.R[:, :, :1], change[:, None, 1:])
        column = block.columns[0]
        self.state.theta[:, column] = theta
        if covariances is not None:
            assert self.state.covariances is not None
            self.state.covariances[:, column] = covariances
            self.covariances[:, block.place] = covariances
            self.means[:, block.place] = theta[:, 1:]


def subtract_variance(Y: Tensor, C: Tensor, E2: Tensor, S: Tensor, A: Tensor, b: Tensor) -> None:
    """Correct A and b of a dense column in place for the variance of the other dense columns.

    Parameters
    ----------
    Y : Tensor of shape (n_outputs, n_dense, n_factors)
        Y_l - E3_jl m_l, see the docstring of the module.
    C, E2 : Tensor of shape (n_outputs, 1, n_dense)
        The rows of the updated column.
    S : Tensor of shape (n_outputs, n_dense, size[, size])
    A : Tensor of shape (n_outputs, size, size)
    b : Tensor of shape (n_outputs, size)
    """
    if S.ndim == 4:
        n_outputs, n_columns, n_factors = Y.shape
        vv = S[:, :, 1:, 1:].reshape(n_outputs, n_columns, -1)
        A[:, 1:, 1:] += (C @ vv).view(n_outputs, n_factors, n_factors)
        change = Y.reshape(n_outputs, 1, -1) @ vv.view(n_outputs, n_columns * n_factors, n_factors)
        change += E2 @ S[:, :, 1:, 0]
    else:
        A.diagonal(dim1=1, dim2=2)[:, 1:] += (C @ S[:, :, 1:])[:, 0]
        change = (Y * S[:, :, 1:]).sum(1, keepdim=True)
    b[:, 1:] -= change[:, 0]
