"""The stored entries of a batch of sparse rows, in row order (CSR) and in column order (CSC)."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.matrix.design import Columns, DesignMatrix


class Entries(NamedTuple):
    """Sparse rows in the CSR format.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, n_features)``.
    indices : Tensor of shape (nnz,), int32 or int64
        The column of each entry.
    starts : Tensor of shape (n_samples,), same dtype as `indices`
        The position of the first entry of each row. The last row extends to the last entry.
    values : Tensor of shape (nnz,) or None
        The values, or None if all are one.
    distinct : bool
        True if it is known that no row has duplicate columns.
    """

    shape: tuple[int, int]
    indices: Tensor
    starts: Tensor
    values: Tensor | None
    distinct: bool = False

    def rows(self) -> Tensor:
        """Return the row of each entry, int64 of shape (nnz,)."""
        # len() would be a constant in a traced graph.
        n_entries = self.indices.shape[0]
        entries = torch.arange(n_entries, device=self.indices.device, dtype=self.starts.dtype)
        # Rows without entries have the same start as the next row. With right=True, the last of them is found.
        return torch.searchsorted(self.starts, entries, right=True) - 1

    def coalesced(self, *, binary: bool, dtype: torch.dtype) -> Entries:
        """Return entries without duplicate columns in a row. The order of the entries is preserved.

        The values of duplicate entries are summed. If `binary`, they count as a single one.
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
        """Return the coalesced entries as triples (COO) whose shapes do not depend on the data, for traced graphs.

        Returns
        -------
        rows, columns : LongTensor of shape (nnz,)
            The row and the column of each entry.
        values : Tensor of shape (nnz,)
            The value of each entry. The first of several duplicate entries has the sum of their values, or one if
            `binary`, and the others are zero.
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
    """Entries in row order and, computed lazily, in column order, restricted to the columns in use if these are few.

    Parameters
    ----------
    entries : Entries

    Attributes
    ----------
    columns : LongTensor of shape (n_columns,) or None
        The columns in use, in increasing order, to which `indices` refers by position. None if `indices` refers to all
        columns.
    indices, indptr : Tensor of shape (nnz,), (n_samples + 1,)
        The entries in the CSR format.
    """

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.indices, starts = entries.indices, entries.starts
        self.indptr = torch.cat([starts, starts.new_full((1,), len(self.indices))])
        self.columns: Tensor | None = None
        if 2 * len(self.indices) < entries.shape[1]:
            # For a few rows, avoid temporary arrays whose length is the number of all columns.
            self.columns, self.indices, self.by_column = self._sort_by_column()
            self.indptr = self.indptr.int()

    @cached_property
    def by_column(self) -> Columns:
        """The entries in the CSC format, with increasing rows in each column."""
        if self.indices.device.type == "cpu":
            return self._count_by_column()
        columns, _, found = self._sort_by_column()
        return self._with_unused_columns(columns, found)

    @cached_property
    def is_distinct(self) -> bool:
        """Whether no row has duplicate columns."""
        not_increasing = self.indices[1:] <= self.indices[:-1]
        if int(not_increasing.count_nonzero()) < len(self.indptr) and _all_start_a_bag(
            not_increasing, self.indptr
        ):
            return True
        # The rows of each column are non-decreasing, so duplicates are adjacent.
        starts, rows, _ = self.by_column
        return _all_start_a_bag(rows[1:] == rows[:-1], starts)

    def _sort_by_column(self) -> tuple[Tensor, Tensor, Columns]:
        """Return the columns in use, the position of the column of each entry among them, and the entries in CSC."""
        keys, order = self.indices.sort(stable=True)
        columns, place, counts = torch.unique_consecutive(keys, return_inverse=True, return_counts=True)
        local = torch.empty(len(order), dtype=torch.int32, device=keys.device)
        local.scatter_(0, order, place.int())
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
        rows = torch.arange(len(self.indptr) - 1, dtype=torch.int32, device=keys.device)
        rows = rows.repeat_interleave(self.indptr.diff(), output_size=len(order)).index_select(0, order)
        return columns.long(), local, Columns(starts, rows, self._values(order))

    def _with_unused_columns(self, columns: Tensor, found: Columns) -> Columns:
        """Extend the CSC arrays of `_sort_by_column` to all columns, including those without entries."""
        places = torch.arange(self.entries.shape[1] + 1, device=columns.device)
        return found._replace(colptr=found.colptr[torch.searchsorted(columns, places)])

    def _count_by_column(self) -> Columns:
        """Return the entries in CSC by counting, which takes time linear in the number of columns but needs no sort."""
        values = self._values()
        design = DesignMatrix(
            self.entries.shape, self.indptr, self.indices, values, EMPTY[None, :0], EMPTY[:0]
        )
        return design.columns()

    def _values(self, order: Tensor | None = None) -> Tensor | None:
        values = self.entries.values
        if values is None:
            return None
        # The CSC arrays are only used to compute gradients and need no gradient themselves.
        return values.detach() if order is None else values.detach().index_select(0, order)


#: Placeholder for the dense columns of a design matrix without dense columns.
EMPTY = torch.empty(1, dtype=torch.float32, device="cpu")


def _all_start_a_bag(marked: Tensor, starts: Tensor) -> bool:
    """Return whether the entry after each marked entry is the first of its bag."""
    places = marked.nonzero()[:, 0] + 1
    found = torch.searchsorted(starts, places.to(starts.dtype))
    return bool((starts[found] == places).all())
