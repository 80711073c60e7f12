"""The variance of a prediction under a Gaussian posterior of each column.

With independent columns, (w_l, v_l) ~ N(m_l, S_l), and s = sum_l x_l m_l over the factors::

    T = sum_l x_l^2 S_l[v,v]        h = sum_l x_l^3 S_l[v,v] m_l - x_l^2 S_l[v,w]
    Var(yhat) = s' T s - 2 s' h + 1/2 |T|^2
                + sum_l x_l^2 S_l[w,w] - 2 x_l^3 m_l' S_l[v,w] + x_l^4 (m_l' S_l[v,v] m_l - 1/2 |S_l[v,v]|^2)

Diagonal covariances are the same formulas with vectors in place of matrices.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..matrix.design import DesignMatrix
from ..matrix.parameters import Posterior

#: Entries of a temporary array of T; larger inputs are processed in chunks of rows.
CHUNK = 1 << 22


class RowMoments(NamedTuple):
    """Sums over the posterior of one output for each row.

    Attributes
    ----------
    T : Tensor of shape (n_samples, n_factors, n_factors) or (n_samples, n_factors)
    h : Tensor of shape (n_samples, n_factors)
    rest : Tensor of shape (n_samples,)
        The terms of the variance that hold neither s nor T.
    """

    T: Tensor
    h: Tensor
    rest: Tensor


def row_moments(design: DesignMatrix, factors: Tensor, covariances: Tensor) -> RowMoments:
    """Sum the covariances of the columns of each row.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    factors : Tensor of shape (n_features, n_factors)
        Means.
    covariances : Tensor of shape (n_features, 1 + n_factors, 1 + n_factors) or (n_features, 1 + n_factors)
    """
    n_factors = factors.shape[1]
    if covariances.ndim == 3:
        S, cross, S_ww = covariances[:, 1:, 1:], covariances[:, 0, 1:], covariances[:, 0, 0]
        S_m = torch.einsum("pij,pj->pi", S, factors)
        S_square = S.square().sum((1, 2))
    else:
        S, cross, S_ww = covariances[:, 1:], None, covariances[:, 0]
        S_m = S * factors
        S_square = S.square().sum(1)
    quadratic = (S_m * factors).sum(1) - S_square / 2
    squares = [S.flatten(1), S_ww[:, None]]
    cubes = [S_m]
    if cross is not None:
        squares.append(-cross)
        cubes.append(-2 * (cross * factors).sum(1, keepdim=True))
    squares_sum = design.matmul(torch.cat(squares, 1), power=2)
    cubes_sum = design.matmul(torch.cat(cubes, 1), power=3)
    fourths_sum = design.matmul(quadratic[:, None], power=4)
    width = S.shape[1:].numel()
    T = squares_sum[:, :width].reshape(squares_sum.shape[0], *S.shape[1:])
    h = cubes_sum[:, :n_factors] + squares_sum[:, width + 1 :] if cross is not None else cubes_sum
    rest = squares_sum[:, width] + fourths_sum[:, 0]
    if cross is not None:
        rest = rest + cubes_sum[:, n_factors]
    return RowMoments(T, h, rest)


def combine(s: Tensor, moments: RowMoments) -> Tensor:
    """Return the variances of the rows, given their sums s of shape (n_samples, n_factors)."""
    T, h, rest = moments
    if T.ndim == 3:
        T_s = torch.einsum("nij,nj->ni", T, s)
        T_square = T.square().sum((1, 2))
    else:
        T_s = T * s
        T_square = T.square().sum(1)
    return (s * (T_s - 2 * h)).sum(1) + T_square / 2 + rest


def prediction_variance(design: Any, factors: Tensor, posterior: Posterior) -> Tensor:
    """Return the variance of the raw prediction, noise excluded.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
        Or another object with its ``shape``, ``matmul`` and ``pieces``.
    factors : Tensor of shape (n_outputs, n_features, n_factors)
        Posterior means, in the same units. The means of the linear terms make no difference.
    posterior : Posterior

    Returns
    -------
    Tensor of shape (n_outputs, n_samples)
    """
    n_outputs, _, n_factors = factors.shape
    out = factors.new_empty(n_outputs, design.shape[0])
    for start, part in design.pieces(CHUNK // math.prod(posterior.covariances.shape[2:])):
        for b, (means, covariances) in enumerate(zip(factors, posterior.covariances, strict=True)):
            s = part.matmul(means) if n_factors else means.new_zeros(part.shape[0], 0)
            out[b, start : start + part.shape[0]] = combine(s, row_moments(part, means, covariances))
    # Rounding can leave a variance of zero slightly negative.
    return out.clamp_(min=0) + posterior.intercept_variance[:, None]
