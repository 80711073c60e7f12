"""The rows of the tables: what a column contributes to the update of any other column, packed.

For a column with w, v and the covariances S of its posterior the row is, with K(K + 1) / 2 numbers of the symmetric T::

    [0, v, T, h, lin, rest]     T    = S[v,v]
                                h    = S[v,v] v - S[v,w]
                                lin  = w - |v|^2 / 2
                                rest = S[w,w] - 2 v' S[v,w] + v' S[v,v] v - |S[v,v]|^2 / 2

All of these are additive. Their sums E over the columns of a row of the data, with 1 in the first place, give the
mean w0 + lin + |s|^2 / 2 and the variance s' T s - 2 s' h + |T|^2 / 2 + rest, where s is the sum of v. The sums
without column j are all that its update needs. With r = target - mean in the place of lin, and the sum over the rows
that hold the column::

    M_j = sum omega [1, q]' E        A_j = M[:, :1+K] + (0 + M[0, T])
                                     b_j = M[:, r] + (0, M[0, h] - sum_b M[1+b, T_ab])

where q is the sum of v without column j. With independent parameters, T has the K variances only.
"""

from __future__ import annotations

import torch
from torch import Tensor


class RowLayout:
    """The places in a table row, and the conversions to and from it.

    Parameters
    ----------
    n_factors : int
    full : bool
        Whether the covariances are matrices.
    dtype : torch.dtype
        Of the rows.
    device : torch.device
    """

    def __init__(self, n_factors: int, *, full: bool, dtype: torch.dtype, device: torch.device) -> None:
        self.n_factors, self.full, self.dtype = n_factors, full, dtype
        K = n_factors
        row, col = (
            torch.triu_indices(K, K, device=device) if full else torch.arange(K, device=device).expand(2, K)
        )
        self.row, self.col = row, col
        first, n_moments = 1 + K, len(row)
        self.v = slice(1, first)
        self.T = slice(first, first + n_moments)
        self.h = slice(self.T.stop, self.T.stop + K)
        self.lin, self.rest = self.h.stop, self.h.stop + 1
        self.width = self.rest + 1
        #: How often an element of the packed T occurs in the matrix.
        self.times = (2.0 - (row == col).to(dtype)) if full else torch.ones(K, dtype=dtype, device=device)
        #: The place of each element of the matrix among those of the packed T.
        self.packed = torch.empty(K, K, dtype=torch.long, device=device)
        places = torch.arange(n_moments, device=device)
        self.packed[row, col] = places
        self.packed[col, row] = places
        if full:
            # Where the element T_ab of row 1 + b is in a flat M, a first.
            rows = 1 + torch.arange(K, device=device)
            self._Ty = (rows * self.width + first + self.packed).flatten()

    def zeros(self, *shape: int) -> Tensor:
        """Return table rows of zeros, of the given shape but for the width."""
        return torch.zeros(*shape, self.width, dtype=self.dtype, device=self.row.device)

    def pack(self, theta: Tensor, covariances: Tensor) -> Tensor:
        """Return the table rows of columns of ones.

        Parameters
        ----------
        theta : Tensor of shape (n, 1 + n_factors)
        covariances : Tensor of shape (n, 1 + n_factors, 1 + n_factors) or (n, 1 + n_factors)

        Returns
        -------
        Tensor of shape (n, width)
        """
        w, v = theta[:, 0], theta[:, 1:]
        T, S_v, cross, rest = self._moments(v, covariances)
        out = self.zeros(len(theta))
        out[:, self.v], out[:, self.T], out[:, self.h] = v, T, S_v - cross
        out[:, self.lin] = w - v.square().sum(1) / 2
        out[:, self.rest] = sum(rest)
        return out

    def pack_powers(self, theta: Tensor, covariances: Tensor) -> Tensor:
        """Return table rows, (4, n, width), whose multiples by x, x^2, x^3 and x^4 add up to those of a value x."""
        w, v = theta[:, 0], theta[:, 1:]
        T, S_v, cross, rest = self._moments(v, covariances)
        out = self.zeros(4, len(theta))
        out[0, :, self.v], out[0, :, self.lin] = v, w
        out[1, :, self.T], out[1, :, self.h], out[1, :, self.lin] = T, -cross, -v.square().sum(1) / 2
        out[2, :, self.h] = S_v
        out[1, :, self.rest], out[2, :, self.rest], out[3, :, self.rest] = rest
        return out

    def _moments(
        self, v: Tensor, covariances: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return the packed T, S[v,v] v, S[v,w], and the parts of rest with the powers two, three and four of x."""
        if self.full:
            S, cross, S_ww = covariances[:, 1:, 1:], covariances[:, 0, 1:], covariances[:, 0, 0]
            S_v, T, square = (S @ v[:, :, None])[:, :, 0], S[:, self.row, self.col], S.square().sum((1, 2))
        else:
            S, cross, S_ww = covariances[:, 1:], torch.zeros_like(v), covariances[:, 0]
            S_v, T, square = S * v, S, S.square().sum(1)
        return T, S_v, cross, (S_ww, -2 * (cross * v).sum(1), (S_v * v).sum(1) - square / 2)

    def normal_equations(self, M: Tensor) -> tuple[Tensor, Tensor]:
        """Return A and b of columns, (n, size, size) and (n, size), from their M of shape (n, size, width)."""
        A, b = M[:, :, : self.T.start].clone(), M[:, :, self.lin].clone()
        T = M[:, 0, self.T]
        b[:, 1:] += M[:, 0, self.h]
        if self.full:
            K = self.n_factors
            A[:, 1:, 1:] += T[:, self.packed.flatten()].view(len(M), K, K)
            b[:, 1:] -= M.flatten(1)[:, self._Ty].view(len(M), K, K).sum(2)
        else:
            A.diagonal(dim1=1, dim2=2)[:, 1:] += T
            b[:, 1:] -= M[:, 1:, self.T].diagonal(dim1=1, dim2=2)
        return A, b

    def means_and_variances(self, E: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and variances of rows, (n,) each, without those of the intercept.

        Parameters
        ----------
        E : Tensor of shape (n, width)
            The sums of table rows over all columns of a row of the data.
        """
        # Numbers of one kind side by side: all operations then run over the rows.
        E = E.T.contiguous()
        s, T, h = E[self.v], E[self.T], E[self.h]
        times = self.times[:, None]
        quadratic = s[self.row].mul_(s[self.col]).mul_(T).mul_(times).sum(0)
        square = T.square().mul_(times).sum(0)
        variance = quadratic + square / 2 + E[self.rest] - 2 * (h * s).sum(0)
        return E[self.lin] + s.square().sum(0) / 2, variance
