"""Minibatches, laid out once: each knows its distinct columns and its entries by row and by column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .design import DesignMatrix
from .samples import SideColumns, TensorSamples

#: Number of entries sorted at a time: enough for a radix sort in torch, few enough for a cache. Larger on a GPU.
GROUP_ENTRIES = {"cpu": 1 << 17, "cuda": 1 << 25, "mps": 1 << 24}
#: Up to this number of keys per entry, a CPU marks the keys in use faster than it sorts.
MARKED_KEYS = 16


@dataclass(frozen=True)
class Batch:
    """Some rows of a design matrix, in the columns that they use.

    Attributes
    ----------
    columns : LongTensor of shape (n_distinct,)
        The distinct columns of the sparse part.
    offsets, local : Tensor of shape (n_rows + 1,), (nnz,), int32
        The sparse part by rows (CSR): where each row begins, and places in ``columns``.
    column_offsets, rows : Tensor of shape (n_distinct + 1,), (nnz,), int32
        The same part by columns (CSC).
    values, column_values : Tensor of shape (nnz,) or None
        The values in both orders; None if all are one.
    dense : Tensor of shape (n_rows, n_dense)
        The dense columns.
    target : Tensor of shape (n_rows,)
    side : SideColumns
        The side columns of the rows.
    entries_per_row : float
        Average number of non-zeros of a row, weighted by sample, those of the dense columns included.
    longest_row : int
        Largest number of non-zeros of a row.
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
    side: SideColumns
    entries_per_row: float
    longest_row: int

    @property
    def weight(self) -> Tensor:
        """The sample weights, (n_rows,)."""
        return self.side.weight

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device; copies from pinned memory overlap with computing there."""
        if self.target.device == device:
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> Batch:
        """Return the batch in pinned memory."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to all of its tensors."""
        found: dict[str, Any] = {"side": self.side.map(function)}
        for f in fields(self):
            if isinstance(value := getattr(self, f.name), Tensor):
                found[f.name] = function(value)
        return replace(self, **found)

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        values = [*self.side, *(getattr(self, f.name) for f in fields(self))]
        return sum(t.numel() * t.itemsize for t in values if isinstance(t, Tensor))


def make_batches(samples: TensorSamples, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
    """Cut samples into batches.

    Parameters
    ----------
    samples : TensorSamples
    batch_size : int
        Rows of a batch. The last one may be smaller.
    order : LongTensor of shape (n_samples,), optional
        The order in which to take the samples.

    Yields
    ------
    Batch
    """
    design = samples.design
    n_samples, n_features = design.shape
    entries = max(1, len(design.indices) // max(1, n_samples)) * batch_size
    per_group = max(1, GROUP_ENTRIES.get(design.device.type, 1 << 17) // entries)
    step = per_group * batch_size
    n_keys = per_group * n_features
    can_mark = design.device.type == "cpu" and n_keys <= MARKED_KEYS * per_group * entries
    transpose = _Marks(n_keys, torch.get_num_threads() if per_group == 1 else 1) if can_mark else _sort
    for start in range(0, n_samples, step):
        stop = min(start + step, n_samples)
        group = samples.cut(start, stop) if order is None else samples.take(order[start:stop])
        yield from _cut(group, batch_size, n_features, transpose)


def _cut(
    samples: TensorSamples,
    batch_size: int,
    n_features: int,
    transpose: Callable[[DesignMatrix, Tensor], Transposed],
) -> Iterator[Batch]:
    """Lay out all batches of a group of rows at once."""
    design, target, side = samples
    n_rows, device = design.shape[0], design.device
    n_batches = -(-n_rows // batch_size)
    starts = [*range(0, n_rows, batch_size), n_rows]
    indptr = design.indptr
    lengths = indptr.diff()
    # Numbers of batch and column in one key; sorting int32 is twice as fast.
    key_dtype = torch.int32 if n_batches * n_features < 1 << 31 else torch.int64
    keys = design.indices.to(key_dtype)
    if n_batches > 1:
        entry_batches = torch.div(_entry_rows(design), batch_size, rounding_mode="floor").to(key_dtype)
        keys = entry_batches.mul_(n_features).add_(keys)
    distinct, ends, local, by_column, column_values = transpose(design, keys)
    columns, distinct_bounds = distinct, [0, len(distinct)]
    if n_batches > 1:
        edges = torch.arange(n_batches + 1, dtype=torch.long, device=device) * n_features
        columns, distinct_bounds = distinct % n_features, torch.searchsorted(distinct, edges).tolist()
    entry_bounds = indptr[starts].tolist()
    values = design.values
    entries = lengths.to(side.weight.dtype) + design.dense.shape[0]
    for i in range(n_batches):
        first, last = starts[i], starts[i + 1]
        a, b = distinct_bounds[i], distinct_bounds[i + 1]
        e, f = entry_bounds[i], entry_bounds[i + 1]
        offsets = torch.zeros(b - a + 1, dtype=torch.int32, device=device)
        offsets[1:] = ends[a:b] - e
        batch_side = side.cut(first, last)
        mean = (batch_side.weight @ entries[first:last]) / batch_side.weight.sum()
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
            side=batch_side,
            entries_per_row=float(mean),
            longest_row=int(entries[first:last].max()),
        )


class Transposed(NamedTuple):
    """Entries by key.

    Attributes
    ----------
    distinct : LongTensor of shape (n_distinct,)
        The keys in use, those of a batch side by side.
    ends : Tensor of shape (n_distinct,)
        Where the entries of each end.
    local : Tensor of shape (nnz,), int32
        The place in ``distinct`` of each entry, in the order of the rows.
    rows : Tensor of shape (nnz,), int32
    values : Tensor of shape (nnz,) or None
        Both in the order of ``distinct``, and of the rows for each of them.
    """

    distinct: Tensor
    ends: Tensor
    local: Tensor
    rows: Tensor
    values: Tensor | None


def _entry_rows(design: DesignMatrix) -> Tensor:
    rows = torch.arange(design.shape[0], dtype=torch.int32, device=design.device)
    if design.row_length is None:
        return rows.repeat_interleave(design.indptr.diff())
    return rows[:, None].expand(-1, design.row_length).reshape(-1)


def _sort(design: DesignMatrix, keys: Tensor) -> Transposed:
    """Order the entries of a design by their keys."""
    keys, order = keys.sort(stable=True)
    keys, place, counts = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
    local = torch.empty(len(order), dtype=torch.int32, device=keys.device)
    local.scatter_(0, order, place.int())
    rows = _entry_rows(design).index_select(0, order)
    values = None if design.values is None else design.values.index_select(0, order)
    return Transposed(keys.long(), counts.cumsum(0), local, rows, values)


class _Marks:
    """The same on a CPU, without comparisons: the keys in use are marked in a list of all keys.

    The list is reused for all groups.

    Parameters
    ----------
    n_keys : int
    n_threads : int
        Threads that will share the keys in use, one run of them each. Fields with few columns, of many entries each,
        tend to come first, so the keys are dealt out like cards.
    """

    def __init__(self, n_keys: int, n_threads: int) -> None:
        self._n_threads = n_threads
        self._marked = np.zeros(n_keys, np.bool_)
        self._place = torch.empty(n_keys, dtype=torch.int32, device="cpu")

    def __call__(self, design: DesignMatrix, keys: Tensor) -> Transposed:
        # numpy's marks and finds several times as fast as torch.
        self._marked[keys.numpy()] = True
        found = np.flatnonzero(self._marked)
        self._marked[found] = False
        if self._n_threads > 1:
            found = np.concatenate([found[i :: self._n_threads] for i in range(self._n_threads)])
        distinct = torch.from_numpy(found)
        self._place[distinct] = torch.arange(len(found), dtype=torch.int32, device="cpu")
        local = self._place.index_select(0, keys)
        shape = design.shape[0], len(found)
        placed = DesignMatrix(shape, design.indptr, local, design.values, design.dense, design.dense_columns)
        starts, rows, values = placed.columns()
        return Transposed(distinct, starts[1:], local, rows.int(), values)


class BatchSource(ABC):
    """The source of the batches of an epoch, segment by segment.

    A segment is a part of an epoch after which the state of a run can be saved: a chunk of a stream, or the whole.
    """

    @property
    def n_segments(self) -> int | None:
        """Segments of an epoch, None if that is not known before the first one ends."""
        return None

    @abstractmethod
    def segments(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        """Yield the segments of an epoch from number ``start`` on."""
