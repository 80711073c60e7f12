"""The gradient of a minibatch in closed form: no autograd graph, and only the rows of the columns in use.

With delta_i and omega_i the first derivative and the curvature of the loss by the raw prediction, times the
sample weight, and s_i = sum_j x_ij v_j::

    grad w_j = sum_i delta_i x_ij
    grad v_j = sum_i delta_i x_ij s_i - v_j sum_i delta_i x_ij^2
    curvature of w_j = sum_i omega_i x_ij^2

Tables of parameters have one row per column of the data, which holds ``[w, v_1 .. v_K]`` of every output.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..matrix.batches import Batch
from .base import Backward, Forward


def factor_mask(n_factors: int, like: Tensor) -> Tensor:
    """Return the matrix that sums the factors of an output, (1 + n_factors, 1)."""
    mask = torch.ones(1 + n_factors, 1, dtype=like.dtype, device=like.device)
    mask[0] = 0
    return mask


def forward(batch: Batch, theta: Tensor, intercept: Tensor, mask: Tensor) -> Forward:
    """Return raw predictions and sums. See `Interaction.forward`."""
    n_rows, n_outputs, n_sparse = len(batch.target), len(intercept), len(batch.columns)
    width, size = theta.shape[1], len(mask)
    squares = (theta.square().view(-1, size) @ mask).view(-1, n_outputs)
    # If all values are one, x^2 = x, and one pass over the rows computes both sums.
    bags: list[tuple[Tensor, Tensor | None]] = [(torch.cat([theta[:n_sparse], squares[:n_sparse]], 1), None)]
    if batch.values is not None:
        bags = [(theta[:n_sparse], batch.values), (squares[:n_sparse], batch.values.square())]
    found = [
        embedding_bag(
            batch.local, table, batch.offsets, mode="sum", per_sample_weights=x, include_last_offset=True
        )
        for table, x in bags
    ]
    sums, self_interactions = found if len(found) == 2 else (found[0][:, :width], found[0][:, width:])
    if batch.dense.shape[1]:
        sums = torch.addmm(sums, batch.dense, theta[n_sparse:])
        self_interactions = torch.addmm(self_interactions, batch.dense.square(), squares[n_sparse:])
    shaped = sums.reshape(n_rows, n_outputs, size)
    linear = intercept + shaped[:, :, 0]
    shaped[:, :, 0] = 1
    squared = shaped.square()
    pairs = (squared.view(-1, size) @ mask).view(n_rows, n_outputs).sub_(self_interactions)
    return Forward(torch.add(linear, pairs, alpha=0.5), shaped, squared)


def backward(batch: Batch, theta: Tensor, sums: Tensor, delta: Tensor, omega: Tensor) -> Backward:
    """Return gradient and curvature of the columns of a batch. See `Interaction.backward`."""
    n_rows, n_outputs, size = sums.shape
    n_sparse, width = len(batch.columns), n_outputs * size
    slopes = (sums * delta[:, :, None]).view(n_rows, width)
    shape = n_sparse, n_outputs, size
    if batch.column_values is None:
        # Again x^2 = x: the sum of delta x^2 is the gradient of the linear weights.
        found = _by_column(batch, torch.cat([slopes, omega], 1), None)
        gradient, curvature = found[:, :width].view(shape), found[:, width:]
        squares = gradient[:, :, 0]
    else:
        gradient = _by_column(batch, slopes, batch.column_values).view(shape)
        found = _by_column(batch, torch.cat([delta, omega], 1), batch.column_values.square())
        squares, curvature = found[:, :n_outputs], found[:, n_outputs:]
    if batch.dense.shape[1]:
        dense_squares = batch.dense.square().T
        gradient = torch.cat([gradient, (batch.dense.T @ slopes).view(-1, n_outputs, size)])
        squares = torch.cat([squares, dense_squares @ delta])
        curvature = torch.cat([curvature, dense_squares @ omega])
    whole = torch.addcmul(gradient, theta.view(-1, n_outputs, size), squares[:, :, None], value=-1)
    whole[:, :, 0] = gradient[:, :, 0]
    return Backward(whole.view(-1, width), curvature)


def bound_long_rows(
    batch: Batch, squares: Tensor, delta: Tensor, omega: Tensor, most_entries: float
) -> Tensor:
    """Return a bound of the curvature of long rows. See `Interaction.bound_long_rows`.

    With m non-zeros and K factors, m (1 + K) parameters of a row move at once. Apart from the curvature of the loss,
    the products of two factors have one, which is as large as the slope::

        w_j    sum_i m_i (1 + K) omega_i x_ij^2
        v_jk   sum_i m_i ((1 + K) omega_i s_ik^2 + |delta_i|) x_ij^2
    """
    n_rows, _, size = squares.shape
    entries = batch.offsets.diff() + batch.dense.shape[1]
    moving = torch.where(entries > most_entries, entries, 0).to(squares.dtype)
    rows = size * omega[:, :, None] * squares
    rows[:, :, 1:] += delta.abs()[:, :, None]
    rows = (rows * moving[:, None, None]).view(n_rows, -1)
    values = batch.column_values
    bound = _by_column(batch, rows, None if values is None else values.square())
    return torch.cat([bound, batch.dense.square().T @ rows]) if batch.dense.shape[1] else bound


def _by_column(batch: Batch, rows: Tensor, values: Tensor | None) -> Tensor:
    return embedding_bag(
        batch.rows,
        rows,
        batch.column_offsets,
        mode="sum",
        per_sample_weights=values,
        include_last_offset=True,
    )
