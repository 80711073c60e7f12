"""All pairs of columns, weighted by the inner products of their factors: the factorization machine of second order.

::

    yhat(x) = w0 + <w, x> + sum_{i<j} <v_i, v_j> x_i x_j
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..matrix.batches import Batch
from ..matrix.design import DesignMatrix
from ..matrix.parameters import FMParameters
from .base import Backward, Forward, Interaction
from .pairwise_gradient import backward, bound_long_rows, factor_mask, forward

#: Floats of the row sums at a time: few enough for a CPU's cache, many for a GPU.
ROW_FLOATS = {"cpu": 1 << 19, "cuda": 1 << 28, "mps": 1 << 26}


class Pairwise(Interaction):
    """Every pair of columns interacts."""

    def raw(self, design: DesignMatrix, parameters: FMParameters) -> Tensor:
        return raw_prediction(design, parameters)

    def forward(self, batch: Batch, theta: Tensor, intercept: Tensor, mask: Tensor) -> Forward:
        return forward(batch, theta, intercept, mask)

    def backward(self, batch: Batch, theta: Tensor, sums: Tensor, delta: Tensor, omega: Tensor) -> Backward:
        return backward(batch, theta, sums, delta, omega)

    def bound_long_rows(
        self, batch: Batch, squares: Tensor, delta: Tensor, omega: Tensor, most_entries: float
    ) -> Tensor:
        return bound_long_rows(batch, squares, delta, omega, most_entries)

    def factor_mask(self, n_factors: int, like: Tensor) -> Tensor:
        return factor_mask(n_factors, like)

    def shift_origin(
        self, intercept: Tensor, linear: Tensor, factors: Tensor, by: Tensor
    ) -> tuple[Tensor, Tensor]:
        return shift_origin(intercept, linear, factors, by)


PAIRWISE = Pairwise()


def raw_prediction(design: DesignMatrix, parameters: FMParameters) -> Tensor:
    """Return the linear predictor of every output.

    ::

        yhat(x) = w0 + <w, x> + 1/2 sum_f [ (sum_j v_jf x_j)^2 - sum_j v_jf^2 x_j^2 ]

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    parameters : FMParameters
        In the same units.

    Returns
    -------
    Tensor of shape (n_outputs, n_samples)
    """
    intercept, linear, factors = parameters
    if 2 * len(design.indices) < factors.shape[1]:
        # For a few rows, a table of all columns is unnecessary.
        design, columns = design.compact()
        linear, factors = linear[:, columns], factors[:, columns]
    n_outputs, n_features, n_factors = factors.shape
    half_squares = factors.square().sum(2) / 2
    only_ones = design.values is None and not len(design.dense_columns)
    if only_ones:
        # x^2 = x: the self-interactions are a linear term, and one pass over the rows does.
        linear = linear - half_squares
    table = torch.cat([linear[:, :, None], factors], 2).permute(1, 0, 2)
    table = table.reshape(n_features, n_outputs * (1 + n_factors))
    squares_table = half_squares.T.contiguous()
    out = factors.new_empty(n_outputs, design.shape[0])
    for start, part in design.pieces(ROW_FLOATS.get(design.device.type, 1 << 19) // table.shape[1]):
        sums = part.matmul(table).view(-1, n_outputs, 1 + n_factors)
        raw = intercept + sums[:, :, 0] + sums[:, :, 1:].square().sum(2) / 2
        if not only_ones and n_factors:
            raw -= part.matmul(squares_table, power=2)
        out[:, start : start + len(raw)] = raw.T
    return out


def shift_origin(intercept: Tensor, linear: Tensor, V: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """Return (w0, w) of the FM whose value at x is that of the given FM at x + by."""
    columns = by.nonzero()[:, 0]
    by = by[columns]
    some = V[:, columns]
    # The products first: squares of factors alone may exceed the range of numbers.
    moved = by[:, None] * some
    M = moved.sum(1)
    new_linear = linear + torch.einsum("bpk,bk->bp", V, M)
    new_linear[:, columns] -= (some * moved).sum(2)
    new_intercept = intercept + linear[:, columns] @ by
    return new_intercept + (M.square().sum(1) - moved.square().sum((1, 2))) / 2, new_linear
