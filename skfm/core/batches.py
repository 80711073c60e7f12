"""Minibatches, laid out once: each knows its distinct columns and its entries by row and by column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .design import DesignMatrix

#: Entries that are sorted at a time: enough for torch to sort by radix, few enough for a cache. On a GPU, many.
GROUP_ENTRIES = {"cpu": 1 << 17, "cuda": 1 << 25, "mps": 1 << 24}


@dataclass(frozen=True)
class Batch:
    """Some rows of a design matrix, in the columns that they use.

    Attributes
    ----------
    columns : LongTensor of shape (n_distinct,)
        The distinct columns of the sparse part, increasing.
    offsets, local : Tensor of shape (n_rows + 1,), (nnz,), int32
        The sparse part by rows (CSR): where each row begins, and places in ``columns``.
    column_offsets, rows : Tensor of shape (n_distinct + 1,), (nnz,), int32
        The same part by columns (CSC).
    values, column_values : Tensor of shape (nnz,) or None
        The values in both orders; None if all are one.
    dense : Tensor of shape (n_rows, n_dense)
        The dense columns.
    target, weight : Tensor of shape (n_rows,)
    entries_per_row : float
        Non-zeros of a row, on average by weight, those of the dense columns included.
    """

    columns: Tensor
    offsets: Tensor
    local: Tensor
    column_offsets: Tensor
    rows: Tensor
    values: Tensor | None
    column_values: Tensor | None
    dense: Tensor
    target: Tensor
    weight: Tensor
    entries_per_row: float

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device; copies from pinned memory overlap with computing there."""
        if self.target.device == device:
            return self
        tensors: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **tensors)

    def pin(self) -> Batch:
        """Return the batch in pinned memory."""
        tensors: dict[str, Any] = {
            f.name: value.pin_memory()
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **tensors)

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        values = (getattr(self, f.name) for f in fields(self))
        return sum(t.numel() * t.itemsize for t in values if isinstance(t, Tensor))


class Rows(NamedTuple):
    """A design with its targets and weights, (n_samples,) each, the weights positive."""

    design: DesignMatrix
    target: Tensor
    weight: Tensor


def make_batches(rows: Rows, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
    """Cut rows into batches.

    Parameters
    ----------
    rows : Rows
    batch_size : int
        Rows of a batch. The last one may be smaller.
    order : LongTensor of shape (n_samples,), optional
        In which order to take the rows.

    Yields
    ------
    Batch
    """
    design = rows.design
    n_samples, n_features = design.shape
    entries = max(1, len(design.indices) // max(1, n_samples)) * batch_size
    per_group = max(1, GROUP_ENTRIES.get(design.device.type, 1 << 17) // entries)
    step = per_group * batch_size
    for start in range(0, n_samples, step):
        stop = min(start + step, n_samples)
        if order is None:
            part, target, weight = design.rows(start, stop), rows.target[start:stop], rows.weight[start:stop]
        else:
            chosen = order[start:stop]
            part, target, weight = design.take(chosen), rows.target[chosen], rows.weight[chosen]
        yield from _cut(part, target, weight, batch_size, n_features)


def _cut(
    design: DesignMatrix, target: Tensor, weight: Tensor, batch_size: int, n_features: int
) -> Iterator[Batch]:
    """Lay out all batches of a group of rows with one sort."""
    n_rows, device = design.shape[0], design.device
    n_batches = -(-n_rows // batch_size)
    starts = [*range(0, n_rows, batch_size), n_rows]
    indptr = design.indptr
    lengths = indptr.diff()
    # Numbers of batch and column in one key; sorting int32 is twice as fast.
    wide = torch.int32 if n_batches * n_features < 1 << 31 else torch.int64
    row_numbers = torch.arange(n_rows, dtype=torch.int32, device=device)
    if design.row_length is None:
        entry_rows = row_numbers.repeat_interleave(lengths)
    else:
        entry_rows = row_numbers[:, None].expand(-1, design.row_length).reshape(-1)
    keys = design.indices.to(wide)
    if n_batches > 1:
        keys = torch.div(entry_rows, batch_size, rounding_mode="floor").to(wide).mul_(n_features).add_(keys)
    keys, order = keys.sort(stable=True)
    keys, place, counts = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
    edges = torch.arange(n_batches + 1, dtype=wide, device=device) * n_features
    distinct_bounds = torch.searchsorted(keys, edges).tolist()
    entry_bounds = indptr[starts].tolist()
    columns = keys.long() % n_features if n_batches > 1 else keys.long()
    ends = counts.cumsum(0)
    local = torch.empty(len(order), dtype=torch.int32, device=device)
    local.scatter_(0, order, place.int())
    by_column = entry_rows.index_select(0, order)
    values = design.values
    column_values = None if values is None else values.index_select(0, order)
    entries = lengths.to(weight.dtype) + design.dense.shape[0]
    for i in range(n_batches):
        first, last = starts[i], starts[i + 1]
        a, b = distinct_bounds[i], distinct_bounds[i + 1]
        e, f = entry_bounds[i], entry_bounds[i + 1]
        offsets = torch.zeros(b - a + 1, dtype=torch.int32, device=device)
        offsets[1:] = ends[a:b] - e
        batch_weight = weight[first:last]
        mean = (batch_weight @ entries[first:last]) / batch_weight.sum()
        yield Batch(
            columns=columns[a:b],
            offsets=(indptr[first : last + 1] - e).int(),
            local=local[e:f].sub_(a),
            column_offsets=offsets,
            rows=by_column[e:f].sub_(first),
            values=None if values is None else values[e:f],
            column_values=None if column_values is None else column_values[e:f],
            dense=design.dense[:, first:last].T.contiguous(),
            target=target[first:last],
            weight=batch_weight,
            entries_per_row=float(mean),
        )
