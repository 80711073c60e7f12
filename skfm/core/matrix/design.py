"""The design matrix: the only place where numpy and scipy data are converted to torch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import embedding_bag

#: A numeric column is kept dense if one of this number of entries is not zero: it then takes a little more memory
#: than its values and row numbers would, and much less time.
DENSITY = 4

BINARY, SPARSE_NUMERIC, DENSE_NUMERIC = 0, 1, 2


class Columns(NamedTuple):
    """The sparse part of a design matrix, column by column (CSC), on the CPU."""

    colptr: Tensor
    rows: Tensor
    values: Tensor | None


class DesignMatrix:
    """Samples by features, in the two storage formats that suit a factorization machine.

    Numeric columns that are mostly non-zero are kept dense, one contiguous vector each; all
    other columns are one CSR matrix. Which is which depends on the values alone, so a matrix
    means the same whether it came dense or sparse.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, n_features)``.
    indptr, indices : Tensor
        CSR pattern of the sparse part, int32 or int64, in the columns of the whole matrix.
    values : Tensor or None
        Its values; None if all are one.
    dense : Tensor of shape (n_dense, n_samples)
        The dense columns.
    dense_columns : Tensor of shape (n_dense,)
        Their places in the matrix, increasing.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        indptr: Tensor,
        indices: Tensor,
        values: Tensor | None,
        dense: Tensor,
        dense_columns: Tensor,
    ) -> None:
        self.shape = shape
        self.indptr = indptr
        self.indices = indices
        self.values = values
        self.dense = dense
        self.dense_columns = dense_columns

    @classmethod
    def from_array(
        cls,
        X: Any,
        *,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        dense_columns: np.ndarray | None = None,
    ) -> DesignMatrix:
        """Take a 2-d array or scipy sparse matrix, without a copy where its layout allows.

        Parameters
        ----------
        X : ndarray or scipy sparse of shape (n_samples, n_features)
            Finite numbers; any format, memory order, byte order or index width.
        dtype : torch.dtype
            float32 or float64.
        device : torch.device or str
        dense_columns : ndarray of int, optional
            The columns to keep dense. By default those with values other than 0 and 1
            and at least a quarter of non-zeros, and a few others if there are many of these.
        """
        numpy_dtype = np.dtype(str(dtype).removeprefix("torch."))
        X = X if sparse.issparse(X) else np.asarray(X)
        # Neither scipy nor torch computes with another byte order than the machine's.
        X = X.astype(X.dtype.newbyteorder("="), copy=False)
        if sparse.issparse(X):
            csr = _canonical_csr(X, numpy_dtype)
            if dense_columns is None:
                dense_columns = _mostly_dense(csr)
            block = csr[:, dense_columns].toarray() if len(dense_columns) else None
        else:
            if dense_columns is None:
                dense_columns = _mostly_dense(X)
            csr = None if len(dense_columns) == X.shape[1] else _canonical_csr(X, numpy_dtype, dense_columns)
            # Indexing makes a copy, so it is skipped if all columns are selected.
            block = X if csr is None else X[:, dense_columns] if len(dense_columns) else None
        n_samples, n_features = X.shape

        if csr is None:
            csr = sparse.csr_matrix(X.shape, dtype=numpy_dtype)
        elif block is not None:
            csr = _without_columns(csr, dense_columns)
        dense = np.empty((0, n_samples), numpy_dtype) if block is None else _own(block.T, numpy_dtype)
        values = None if csr.nnz == 0 or (csr.data == 1).all() else _tensor(csr.data)
        return cls(
            (n_samples, n_features),
            _tensor(csr.indptr).to(device),
            _tensor(csr.indices).to(device),
            None if values is None else values.to(device),
            _tensor(dense).to(device),
            torch.from_numpy(np.asarray(dense_columns, dtype=np.int64)).to(device),
        )

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type of the values."""
        return self.dense.dtype

    @property
    def device(self) -> torch.device:
        """Device on which the matrix is stored."""
        return self.dense.device

    def matmul(self, table: Tensor, power: int = 1) -> Tensor:
        """Return ``(X ** power) @ table`` for a table of shape (n_features, width).

        Rows are summed one by one, so the result of a row does not depend on its neighbors.
        """
        n_samples = self.shape[0]
        if len(self.indices):
            weights = None if self.values is None else self.values.to(table.dtype) ** power
            out = embedding_bag(
                self.indices,
                table,
                self.indptr,
                mode="sum",
                per_sample_weights=weights,
                include_last_offset=True,
            )
        else:
            out = table.new_zeros(n_samples, table.shape[1])
        if len(self.dense_columns):
            out += (self.dense.to(table.dtype) ** power).T @ table[self.dense_columns]
        return out

    def rows(self, start: int, stop: int) -> DesignMatrix:
        """Return the rows ``start`` to ``stop`` as views."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return DesignMatrix(
            (stop - start, self.shape[1]),
            self.indptr[start : stop + 1] - first,
            self.indices[first:last],
            None if self.values is None else self.values[first:last],
            self.dense[:, start:stop],
            self.dense_columns,
        )

    def take(self, rows: Tensor) -> DesignMatrix:
        """Return the given rows, in their order, as a copy.

        Parameters
        ----------
        rows : LongTensor of shape (n_taken,)
        """
        n_taken, length = len(rows), self.row_length
        if length is not None:
            # Rows of equal length are a table.
            indptr = torch.arange(n_taken + 1, dtype=self.indptr.dtype, device=self.device) * length
            indices = self.indices.view(-1, length).index_select(0, rows).view(-1)
            values = self.values
            if values is not None:
                values = values.view(-1, length).index_select(0, rows).view(-1)
        else:
            lengths = self.indptr.diff().index_select(0, rows)
            indptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0).to(lengths.dtype)])
            places = (self.indptr.index_select(0, rows) - indptr[:-1]).repeat_interleave(lengths)
            places += torch.arange(len(places), dtype=places.dtype, device=self.device)
            indices = self.indices.index_select(0, places)
            values = None if self.values is None else self.values.index_select(0, places)
        shape = (n_taken, self.shape[1])
        dense = self.dense.index_select(1, rows)
        return DesignMatrix(shape, indptr, indices, values, dense, self.dense_columns)

    @cached_property
    def row_length(self) -> int | None:
        """Number of entries of a row in the sparse part, None if it differs."""
        lengths = self.indptr.diff()
        return int(lengths[0]) if len(self.indices) and bool((lengths == lengths[0]).all()) else None

    def compact(self) -> tuple[DesignMatrix, Tensor]:
        """Return the matrix in the columns that it uses, and these, increasing."""
        used = torch.cat([self.indices.long(), self.dense_columns])
        if 32 * len(used) < self.shape[1]:
            columns, places = torch.unique(used, return_inverse=True)
        else:
            # Marking them in a list of all columns is faster than sorting.
            mark = torch.zeros(self.shape[1], dtype=torch.bool, device=self.device)
            columns = mark.index_fill_(0, used, True).nonzero()[:, 0]
            number = used.new_empty(self.shape[1])
            number[columns] = torch.arange(len(columns), device=self.device)
            places = number.index_select(0, used)
        indices = places[: len(self.indices)].to(self.indices.dtype)
        dense_columns = places[len(self.indices) :]
        shape = (self.shape[0], len(columns))
        return DesignMatrix(shape, self.indptr, indices, self.values, self.dense, dense_columns), columns

    def pieces(self, n_rows: int) -> Iterator[tuple[int, DesignMatrix]]:
        """Cut into pieces of at most ``n_rows`` rows, each with the number of its first row."""
        step = max(1, n_rows)
        for start in range(0, self.shape[0], step):
            yield start, self if step >= self.shape[0] else self.rows(start, min(start + step, self.shape[0]))

    def parts(self) -> tuple[DesignMatrix, DesignMatrix]:
        """Return the sparse columns and the dense ones as matrices of the same shape."""
        none = self.dense_columns[:0]
        sparse_part = DesignMatrix(self.shape, self.indptr, self.indices, self.values, self.dense[:0], none)
        dense_part = DesignMatrix(
            self.shape,
            torch.zeros_like(self.indptr),
            self.indices[:0],
            None,
            self.dense,
            self.dense_columns,
        )
        return sparse_part, dense_part

    def columns(self) -> Columns:
        """Return the sparse part column by column."""
        ones = np.ones(1, np.bool_)
        data = (
            np.broadcast_to(ones, len(self.indices)) if self.values is None else self.values.numpy(force=True)
        )
        csr = sparse.csr_matrix(
            (data, self.indices.numpy(force=True), self.indptr.numpy(force=True)), self.shape
        )
        csc = csr.tocsc()
        values = None if self.values is None else torch.from_numpy(csc.data)
        return Columns(torch.from_numpy(csc.indptr), torch.from_numpy(csc.indices), values)

    def kinds(self) -> Tensor:
        """Return the kind of each column: 0/1 values, sparse numbers or dense numbers."""
        kinds = torch.zeros(self.shape[1], dtype=torch.long, device="cpu")
        if self.values is not None:
            numeric = self.indices[self.values != 1].long()
            kinds[numeric.cpu()] = SPARSE_NUMERIC
        kinds[self.dense_columns[self.dense_numeric()].cpu()] = DENSE_NUMERIC
        return kinds

    def dense_numeric(self) -> Tensor:
        """Return which dense columns hold values other than 0 and 1, (n_dense,)."""
        return ((self.dense != 0) & (self.dense != 1)).any(1)

    def replace(self, values: Tensor | None, dense: Tensor) -> DesignMatrix:
        """Return the same pattern with other values."""
        return DesignMatrix(self.shape, self.indptr, self.indices, values, dense, self.dense_columns)


def _canonical_csr(X: Any, dtype: np.dtype, dense_columns: np.ndarray | None = None) -> Any:
    """Return a CSR matrix with sorted, distinct indices and no stored zeros, copying only what must change."""
    if not sparse.issparse(X):
        if dense_columns is not None and len(dense_columns):
            # The dense columns are set to zero first, to avoid converting them to indices.
            X = X.copy()
            X[:, dense_columns] = 0
        X = sparse.csr_matrix(X)
    csr = X.tocsr()
    if not csr.has_canonical_format:
        csr = csr.copy() if csr is X else csr
        csr.sum_duplicates()
    if csr.nnz and not csr.data.all():
        csr = csr.copy() if csr is X else csr
        csr.eliminate_zeros()
    data = np.ascontiguousarray(csr.data, dtype=dtype)
    if data is csr.data:
        return csr
    return sparse.csr_matrix((data, csr.indices, csr.indptr), shape=csr.shape)


def _mostly_dense(X: Any) -> np.ndarray:
    """Return the columns that hold numbers other than 0 and 1 and are not mostly zeros, and few others."""
    n_samples, n_features = X.shape
    if sparse.issparse(X) and (X.data == 1).all():
        return np.empty(0, np.intp)
    if not sparse.issparse(X):
        numeric = (
            np.array([bool(((c != 0) & (c != 1)).any()) for c in X.T]) if n_features else np.empty(0, bool)
        )
        counts = np.count_nonzero(X, axis=0)
    else:
        counts = np.bincount(X.indices, minlength=n_features)
        numeric = np.zeros(n_features, bool)
        numeric[X.indices[X.data != 1]] = True
    if n_samples * np.count_nonzero(numeric) <= DENSITY * counts[numeric].sum():
        # A few sparser columns are stored more efficiently with the dense ones.
        dense = numeric
    else:
        dense = numeric & (n_samples < DENSITY * counts)
    rest = (counts > 0) & ~dense
    if DENSITY * np.count_nonzero(rest) <= np.count_nonzero(dense):
        # So are a few flags: without any sparse columns, much less has to be stored per row.
        dense = dense | rest
    return np.flatnonzero(dense)


def _without_columns(csr: Any, columns: np.ndarray) -> Any:
    """Return a copy of a CSR matrix with the given columns emptied."""
    dropped = np.zeros(csr.shape[1], bool)
    dropped[columns] = True
    keep = ~dropped[csr.indices]
    if keep.all():
        return csr
    row_ends = np.concatenate([[0], np.cumsum(keep)])[csr.indptr].astype(csr.indptr.dtype)
    return sparse.csr_matrix((csr.data[keep], csr.indices[keep], row_ends), shape=csr.shape)


def _own(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return a C-ordered array in native byte order."""
    return np.ascontiguousarray(array, dtype=dtype)


def _tensor(array: np.ndarray) -> Tensor:
    """Wrap an array; torch cannot hold read-only memory, so such arrays are copied."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())
