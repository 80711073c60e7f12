"""The stored entries of a batch of sparse rows, by row and by column."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.matrix.design import Columns, DesignMatrix


class Entries(NamedTuple):
    """Sparse rows (CSR).

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, n_features)``.
    indices : Tensor of shape (nnz,), int32 or int64
        The column of each entry.
    starts : Tensor of shape (n_samples,)
        Where each row begins, in the type of ``indices``. The last row ends with the entries.
    values : Tensor of shape (nnz,) or None
        None if all are one.
    distinct : bool
        Whether no row is known to hold a column twice.
    """

    shape: tuple[int, int]
    indices: Tensor
    starts: Tensor
    values: Tensor | None
    distinct: bool = False

    def rows(self) -> Tensor:
        """Return the row of each entry, int64."""
        # No len: in a traced graph it would be a constant.
        n_entries = self.indices.shape[0]
        entries = torch.arange(n_entries, device=self.indices.device, dtype=self.starts.dtype)
        # Rows without entries begin where the next one does, so the last of them is the one.
        return torch.searchsorted(self.starts, entries, right=True) - 1

    def merged(self, *, binary: bool, dtype: torch.dtype) -> Entries:
        """Return entries of which no row holds a column twice, the others in their order.

        The values of the same place are added up, or count as a one together if ``binary``.
        """
        keys, order = (self.rows() * self.shape[1] + self.indices).sort(stable=True)
        first = torch.ones_like(keys, dtype=torch.bool)
        torch.ne(keys[1:], keys[:-1], out=first[1:])
        kept, group = order[first].sort()
        values = None
        if not binary:
            ordered = torch.ones_like(keys, dtype=dtype) if self.values is None else self.values[order]
            total = ordered.new_zeros(len(kept)).index_add(0, first.cumsum(0) - 1, ordered)
            values = total.index_select(0, group)
        starts = torch.searchsorted(kept, self.starts.long()).to(self.starts.dtype)
        return Entries(self.shape, self.indices[kept], starts, values, True)

    def spread(self, *, binary: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same as triples of shapes that depend on no value, for a traced graph.

        Returns
        -------
        rows, columns : LongTensor of shape (nnz,)
        values : Tensor of shape (nnz,)
            The first entry of a place has the sum of its values, or one if ``binary``, and the others zero.
        """
        rows = self.rows()
        if self.distinct:
            values = self.values
            ones = torch.ones_like(rows, dtype=dtype)
            return rows, self.indices.long(), ones if binary or values is None else values.to(dtype)
        keys, order = (rows * self.shape[1] + self.indices).sort(stable=True)
        first = keys != torch.cat([keys[:1] - 1, keys[:-1]])
        if binary:
            total = torch.ones_like(keys, dtype=dtype)
        else:
            group = first.cumsum(0) - 1
            values = (
                torch.ones_like(keys, dtype=dtype) if self.values is None else self.values[order].to(dtype)
            )
            total = torch.zeros_like(values).index_add(0, group, values)[group]
        return rows[order], self.indices[order].long(), torch.where(first, total, 0.0)


class Layout:
    """Entries in the columns that they use, and the same column by column once that is asked for.

    Parameters
    ----------
    entries : Entries

    Attributes
    ----------
    columns : LongTensor of shape (n_columns,) or None
        The columns that ``indices`` numbers anew, increasing. None if it keeps all.
    indices, indptr : Tensor of shape (nnz,), (n_samples + 1,)
        The entries by rows (CSR).
    """

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.indices, starts = entries.indices, entries.starts
        self.indptr = torch.cat([starts, starts.new_full((1,), len(self.indices))])
        self.columns: Tensor | None = None
        if 2 * len(self.indices) < entries.shape[1]:
            # A few rows do not need temporary arrays of all columns.
            self.columns, self.indices, self.by_column = self._sort()
            self.indptr = self.indptr.int()

    @cached_property
    def by_column(self) -> Columns:
        """The entries column by column (CSC), and by rows in each of them."""
        if self.indices.device.type == "cpu":
            return self._count()
        columns, _, found = self._sort()
        return self._spread(columns, found)

    @cached_property
    def is_distinct(self) -> bool:
        """Whether no row holds a column twice."""
        not_increasing = self.indices[1:] <= self.indices[:-1]
        if int(not_increasing.count_nonzero()) < len(self.indptr) and _all_begin(not_increasing, self.indptr):
            return True
        # The rows of a column increase, so those of the same place are neighbors.
        starts, rows, _ = self.by_column
        return _all_begin(rows[1:] == rows[:-1], starts)

    def _sort(self) -> tuple[Tensor, Tensor, Columns]:
        """Return the columns in use, the place of each entry among them, and the entries column by column."""
        keys, order = self.indices.sort(stable=True)
        columns, place, counts = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
        local = torch.empty(len(order), dtype=torch.int32, device=keys.device)
        local.scatter_(0, order, place.int())
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
        rows = torch.arange(len(self.indptr) - 1, dtype=torch.int32, device=keys.device)
        rows = rows.repeat_interleave(self.indptr.diff(), output_size=len(order)).index_select(0, order)
        return columns.long(), local, Columns(starts, rows, self._values(order))

    def _spread(self, columns: Tensor, found: Columns) -> Columns:
        """Return what `_sort` has found with all columns, those that are not in use among them."""
        places = torch.arange(self.entries.shape[1] + 1, device=columns.device)
        return found._replace(colptr=found.colptr[torch.searchsorted(columns, places)])

    def _count(self) -> Columns:
        """Return the entries column by column. That goes over all columns, but sorts none."""
        values = self._values()
        design = DesignMatrix(self.entries.shape, self.indptr, self.indices, values, NONE[None, :0], NONE[:0])
        return design.columns()

    def _values(self, order: Tensor | None = None) -> Tensor | None:
        values = self.entries.values
        if values is None:
            return None
        # Arrays by columns are for gradients, and have none themselves.
        return values.detach() if order is None else values.detach().index_select(0, order)


#: Stands for the dense columns of a design that has none.
NONE = torch.empty(1)


def _all_begin(marked: Tensor, starts: Tensor) -> bool:
    """Tell whether the entry after each marked one is the first of its bag."""
    places = marked.nonzero()[:, 0] + 1
    found = torch.searchsorted(starts, places.to(starts.dtype))
    return bool((starts[found] == places).all())
