"""Sums over the rows of a design, column by column."""

from __future__ import annotations

from torch import Tensor

from .design import DesignMatrix


def transposed_product(design: DesignMatrix, rows: Tensor, power: int = 1) -> Tensor:
    """Return ``(X ** power)' @ rows``, (n_features, width).

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    rows : Tensor of shape (n_samples, width)
    power : int
    """
    out = rows.new_zeros(design.shape[1], rows.shape[1])
    if len(design.indices):
        entries = rows.repeat_interleave(design.indptr.diff().long(), 0)
        if design.values is not None:
            entries *= design.values.to(rows.dtype)[:, None] ** power
        out.index_add_(0, design.indices.long(), entries)
    if len(design.dense_columns):
        out[design.dense_columns] += design.dense.to(rows.dtype) ** power @ rows
    return out
