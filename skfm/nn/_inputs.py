"""Parsing of the input of the layer: matrices in several layouts, and triplets as for `torch.nn.EmbeddingBag`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._entries import Entries

INTEGERS = (torch.int32, torch.int64)


def parse(input: Any, offsets: Tensor | None, values: Tensor | None, n_features: int) -> Entries | Tensor:
    """Return sparse rows as `Entries`, and a dense matrix unchanged.

    Parameters
    ----------
    input : Tensor or tuple
        A dense, COO or CSR matrix of shape (n_samples, n_features); or the indices of a triplet; or a triplet
        ``(indices, offsets, values)``. A dense tensor of integers holds indices, all other dense tensors are matrices.
    offsets, values : Tensor or None
        The offsets and values, if `input` holds the indices of a triplet.
    n_features : int
        Number of columns.

    Returns
    -------
    rows : Entries or Tensor of shape (n_samples, n_features)
        The rows.
    """
    if isinstance(input, (tuple, list)):
        if offsets is not None or values is not None or not 1 <= len(input) <= 3:
            raise TypeError(
                "A triplet must be passed as one tuple (indices, offsets, values) or as three arguments, where the "
                f"values are optional, got a tuple of length {len(input)} and "
                f"{sum(part is not None for part in (offsets, values))} further arguments."
            )
        return _triplet(*input, *[None] * (3 - len(input)), n_features=n_features)
    if not isinstance(input, Tensor):
        raise TypeError(
            f"The input must be a torch tensor or a tuple of tensors (indices, offsets, values), got a "
            f"{type(input).__name__} object. Convert numpy arrays with torch.from_numpy."
        )
    if offsets is not None or values is not None or holds_indices(input):
        return _triplet(input, offsets, values, n_features=n_features)
    if input.layout != torch.strided and torch.compiler.is_compiling():
        raise TypeError(
            "Sparse tensors cannot be traced by torch.compile and torch.export. Pass a triplet (indices, offsets, "
            "values) instead."
        )
    reader = MATRIX_READERS.get(input.layout)
    if reader is None:
        raise TypeError(
            f"The layout {input.layout} of the input is not supported. Convert it, for example with "
            "input.to_sparse_csr()."
        )
    if input.ndim != 2 or input.shape[1] != n_features:
        raise ValueError(
            f"An input of dtype {input.dtype} is a matrix, which must have shape (n_samples, n_features={n_features}), "
            f"got {tuple(input.shape)}. Column indices must be of dtype int32 or int64."
        )
    return reader(input)


def holds_indices(input: Tensor) -> bool:
    """Return whether a tensor holds column indices, which is the case for dense tensors of integers.

    The data type decides and not the shape, because a table of indices may have as many columns as a matrix.
    """
    is_number = input.is_floating_point() or input.is_complex() or input.dtype == torch.bool
    return input.layout == torch.strided and not is_number


def _dense(X: Tensor) -> Tensor:
    if X.is_complex():
        raise TypeError(f"The input must hold real numbers, got {X.dtype}.")
    return X


def _coo(X: Tensor) -> Entries:
    if X.sparse_dim() != 2:
        raise ValueError(f"A sparse input must have two sparse dimensions, got {X.sparse_dim()}.")
    # coalesce() sums duplicate entries.
    X = X.coalesce()
    rows, columns = X.indices()
    starts = torch.searchsorted(rows.contiguous(), torch.arange(X.shape[0], device=X.device))
    return Entries((X.shape[0], X.shape[1]), columns.contiguous(), starts, X.values(), True)


def _csr(X: Tensor) -> Entries:
    values = X.values()
    if values.ndim != 1:
        raise ValueError(
            f"The values of a sparse input must be scalars, got values of shape {tuple(values.shape)}."
        )
    indices = X.col_indices()
    return Entries((X.shape[0], X.shape[1]), indices, X.crow_indices()[:-1].to(indices.dtype), values)


#: Functions that parse a matrix, by its layout.
MATRIX_READERS: dict[torch.layout, Callable[[Tensor], Entries | Tensor]] = {
    torch.strided: _dense,
    torch.sparse_coo: _coo,
    torch.sparse_csr: _csr,
}


def _triplet(indices: Any, offsets: Any, values: Any, *, n_features: int) -> Entries:
    if not isinstance(indices, Tensor) or indices.dtype not in INTEGERS or indices.ndim not in (1, 2):
        raise TypeError(
            "The indices of a triplet must be a one- or two-dimensional tensor of int32 or int64, got "
            f"{_describe(indices)}. A dense matrix must be of a floating-point dtype."
        )
    if values is not None and (not isinstance(values, Tensor) or values.shape != indices.shape):
        raise ValueError(
            f"The values must be a tensor with the same shape as the indices, {tuple(indices.shape)}, got "
            f"{_describe(values)}."
        )
    if indices.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "Two-dimensional indices are rows of equal length, which have no offsets. Pass offsets=None."
            )
        n_samples, length = indices.shape
        offsets = torch.arange(n_samples, device=indices.device, dtype=indices.dtype) * length
        indices, values = indices.reshape(-1), None if values is None else values.reshape(-1)
    elif not isinstance(offsets, Tensor) or offsets.dtype not in INTEGERS or offsets.ndim != 1:
        raise TypeError(
            "The offsets of a triplet must be a one-dimensional tensor of int32 or int64 with the position of the "
            f"first entry of each row, got {_describe(offsets)}. Rows of equal length need no offsets if their indices "
            "are a tensor of shape (n_samples, length). A dense matrix must be of a floating-point dtype."
        )
    return Entries((offsets.shape[0], n_features), indices, offsets.to(indices.dtype), values)


def check_entries(entries: Entries) -> None:
    """Raise an error if indices or offsets are out of range."""
    (n_samples, n_features), nnz = entries.shape, len(entries.indices)
    if nnz:
        low, high = (int(end) for end in entries.indices.aminmax())
        if low < 0 or high >= n_features:
            raise IndexError(
                f"Indices must be from 0 to n_features - 1 = {n_features - 1}, got {low if low < 0 else high}."
            )
    starts = entries.starts
    if n_samples == 0 and nnz == 0:
        return
    if n_samples == 0 or int(starts[0]) != 0:
        raise ValueError(
            "The first offset must be 0, since the offsets are the positions of the first entry of each row, got "
            f"{starts[:5].tolist()} for {nnz} indices."
        )
    if int(starts[-1]) > nnz or bool((starts[1:] < starts[:-1]).any()):
        raise ValueError(
            f"The offsets must be non-decreasing and not exceed the number of indices, {nnz}. A last row without "
            f"entries has the offset {nnz}."
        )


def _describe(given: Any) -> str:
    """Return a description of an argument for error messages."""
    if isinstance(given, Tensor):
        return f"a tensor of shape {tuple(given.shape)} and dtype {given.dtype}"
    return f"{given!r}" if given is None else f"a {type(given).__name__} object"
