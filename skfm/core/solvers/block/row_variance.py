"""Sums over the posterior for each row while columns change: T and h of `skfm.core.bayes.variance`.

They correct the sums of a column, its own part taken off, for the variance of the others::

    A += [0, 0; 0, sum omega x^2 T]        b -= (0, sum omega x (T q - h))

The second is the covariance of q with the rest of the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...bayes.variance import CHUNK, RowMoments, combine, row_moments
from ...matrix.design import DesignMatrix
from .engine import BlockState


class RowVariance:
    """T and h of every row and output, with a last row of zeros for padding.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    state : BlockState
        With covariances.
    sparse_first : bool
        Whether the sums leave the dense columns out until `add_dense`: those come first in a sweep
        and handle their own part.
    """

    def __init__(self, design: DesignMatrix, state: BlockState, *, sparse_first: bool) -> None:
        assert state.covariances is not None
        self.design, self.state = design, state
        self.sparse_part, self.dense_part = design.parts()
        self.sparse_first = sparse_first
        self.full = state.covariances.ndim == 4
        n_outputs, _, size = state.theta.shape
        self.n_factors = size - 1
        self.width = self.n_factors**2 if self.full else self.n_factors
        self.T = state.theta.new_zeros(n_outputs, design.shape[0] + 1, self.width)
        self.h = state.theta.new_zeros(n_outputs, design.shape[0] + 1, self.n_factors)

    def refresh(self) -> Tensor:
        """Sum anew, since differences over many sweeps lose digits; return the variances, (n_outputs, n_samples).

        The intercept's part is left out.
        """
        out = self.state.theta.new_empty(len(self.T), self.design.shape[0])
        for start, stop, b, factors, covariances in self._pieces():
            moments = row_moments(self.sparse_part.rows(start, stop), factors, covariances)
            own = row_moments(self.dense_part.rows(start, stop), factors, covariances)
            total = RowMoments(*(x + y for x, y in zip(moments, own, strict=True)))
            kept = moments if self.sparse_first else total
            self.T[b, start:stop], self.h[b, start:stop] = kept.T.flatten(1), kept.h
            out[b, start:stop] = combine(self.design.rows(start, stop).matmul(factors), total)
        # The padding has been updated together with the rows.
        self.T[:, -1], self.h[:, -1] = 0, 0
        return out.clamp_(min=0)

    def add_dense(self) -> None:
        """Add the dense columns after their updates in this sweep."""
        for start, stop, b, factors, covariances in self._pieces():
            own = row_moments(self.dense_part.rows(start, stop), factors, covariances)
            self.T[b, start:stop] += own.T.flatten(1)
            self.h[b, start:stop] += own.h

    def _pieces(self) -> Iterator[tuple[int, int, int, Tensor, Tensor]]:
        """Cut rows and outputs into pieces whose covariances take little memory."""
        assert self.state.covariances is not None
        n_samples, step = self.design.shape[0], max(1, CHUNK // max(1, self.width))
        for start in range(0, n_samples, step):
            for b, (theta, covariances) in enumerate(
                zip(self.state.theta, self.state.covariances, strict=True)
            ):
                yield start, min(start + step, n_samples), b, theta[:, 1:], covariances

    def add(self, T: Tensor, h: Tensor, root: Tensor, R: Tensor, A: Tensor, b: Tensor) -> Tensor:
        """Correct A and b for everything in T and h, and return omega x q.

        Parameters
        ----------
        T, h : Tensor of shape (n, length, width), (n, length, n_factors)
            The moments of the entries of n columns.
        root : Tensor of shape (n, length, 1)
            sqrt(omega).
        R : Tensor of shape (n, length, 1 + n_factors)
            sqrt(omega) x [1, q].
        A, b : Tensor of shape (n, size, size), (n, size)
        """
        n, length, K = *R.shape[:2], self.n_factors
        y = root * R[:, :, 1:]
        sum_T = R[:, :, :1].square().mT @ T
        if self.full:
            A[:, 1:, 1:] += sum_T.view(n, K, K)
            # One product over the entries and one index of the symmetric T.
            sum_Ty = y.reshape(n, 1, length * K) @ T.reshape(n, length * K, K)
        else:
            A.diagonal(dim1=1, dim2=2)[:, 1:] += sum_T[:, 0]
            sum_Ty = (y * T).sum(1, keepdim=True)
        b[:, 1:] -= (sum_Ty - (root * R[:, :, :1]).mT @ h)[:, 0]
        return y

    def remove_own(
        self, S: Tensor, v: Tensor, x: Tensor | None, R: Tensor, y: Tensor, A: Tensor, b: Tensor
    ) -> None:
        """Take the part of the updated columns themselves out of A and b again.

        Parameters
        ----------
        S : Tensor of shape (n, size[, size])
        v : Tensor of shape (n, n_factors)
        x : Tensor of shape (n, length, 1) or None
            None means ones.
        R, y, A, b
            As in `add`.
        """
        w2 = R[:, :, :1].square()
        if x is None:
            third = fourth = w2.sum((1, 2))[:, None]
            own_y = y.sum(1)
        else:
            third, fourth = (w2 * x).sum((1, 2))[:, None], (w2 * x.square()).sum((1, 2))[:, None]
            own_y = (y * x.square()).sum(1)
        if self.full:
            Svv = S[:, 1:, 1:]
            A[:, 1:, 1:] -= fourth[:, :, None] * Svv
            b[:, 1:] += (Svv @ (own_y - fourth * v)[:, :, None])[:, :, 0] + third * S[:, 1:, 0]
        else:
            A.diagonal(dim1=1, dim2=2)[:, 1:] -= fourth * S[:, 1:]
            b[:, 1:] += S[:, 1:] * (own_y - fourth * v)

    def change(
        self, x: Tensor | None, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], T: Tensor, h: Tensor
    ) -> None:
        """Update the moments of the entries in place from old to new (theta, S) of their columns."""
        (theta, S), (new_theta, new_S) = old, new
        if self.full:
            change_T = (new_S[:, 1:, 1:] - S[:, 1:, 1:]).flatten(1)
            change_m = ((new_S[:, 1:] @ _padded(new_theta)) - (S[:, 1:] @ _padded(theta)))[:, :, 0]
            cross = new_S[:, 1:, 0] - S[:, 1:, 0]
        else:
            change_T = new_S[:, 1:] - S[:, 1:]
            change_m = new_S[:, 1:] * new_theta[:, 1:] - S[:, 1:] * theta[:, 1:]
            cross = torch.zeros_like(change_m)
        if x is None:
            T += change_T[:, None]
            h += (change_m - cross)[:, None]
        else:
            T.addcmul_(x.square(), change_T[:, None])
            h.addcmul_(x**3, change_m[:, None])
            h.addcmul_(x.square(), cross[:, None], value=-1)


def _padded(theta: Tensor) -> Tensor:
    """Return (0, v) as columns, so that S times it leaves w out."""
    return torch.cat([torch.zeros_like(theta[:, :1]), theta[:, 1:]], 1)[:, :, None]
