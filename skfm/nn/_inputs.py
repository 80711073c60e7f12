"""What the layer takes: matrices of torch in several layouts, and triplets as `torch.nn.EmbeddingBag` has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._entries import Entries

INTEGERS = (torch.int32, torch.int64)


def parse(input: Any, offsets: Tensor | None, values: Tensor | None, n_features: int) -> Entries | Tensor:
    """Return sparse rows, or a dense matrix as it is.

    Parameters
    ----------
    input : Tensor or tuple
        A matrix of shape (n_samples, n_features), dense, COO or CSR; or the indices of a triplet, or the triplet.
    offsets, values : Tensor or None
        The rest of the triplet.
    n_features : int

    Returns
    -------
    Entries or Tensor of shape (n_samples, n_features)
    """
    if isinstance(input, (tuple, list)):
        if offsets is not None or values is not None or not 1 <= len(input) <= 3:
            raise TypeError(
                "A triplet is one tuple (indices, offsets, values) or three arguments, the values being optional, "
                f"got a tuple of {len(input)} and {sum(part is not None for part in (offsets, values))} arguments "
                "beside it."
            )
        return _triplet(*input, *[None] * (3 - len(input)), n_features=n_features)
    if not isinstance(input, Tensor):
        raise TypeError(
            f"The input is a {type(input).__name__} object. Pass a torch tensor, or a tuple (indices, offsets, "
            "values) of them; torch.from_numpy makes one of a numpy array."
        )
    if offsets is not None or values is not None:
        return _triplet(input, offsets, values, n_features=n_features)
    if input.layout != torch.strided and torch.compiler.is_compiling():
        raise TypeError(
            "torch cannot trace graphs of sparse tensors. Pass their triplet (indices, offsets, values)."
        )
    reader = MATRICES.get(input.layout)
    if reader is None:
        raise TypeError(f"The input has the layout {input.layout}. Convert it, as in input.to_sparse_csr().")
    if input.ndim != 2 or input.shape[1] != n_features:
        raise ValueError(
            f"The input must have the shape (n_samples, n_features={n_features}), got {tuple(input.shape)}. "
            "Indices of columns go with offsets: (indices, offsets) or (indices, offsets, values)."
        )
    return reader(input)


def _dense(X: Tensor) -> Tensor:
    if X.is_complex():
        raise TypeError(f"The input must hold real numbers, got {X.dtype}.")
    return X


def _coo(X: Tensor) -> Entries:
    if X.sparse_dim() != 2:
        raise ValueError(f"A sparse input must have two sparse dimensions, got {X.sparse_dim()}.")
    # That adds up what stands in the same place.
    X = X.coalesce()
    rows, columns = X.indices()
    starts = torch.searchsorted(rows.contiguous(), torch.arange(X.shape[0], device=X.device))
    return Entries((X.shape[0], X.shape[1]), columns.contiguous(), starts, X.values(), True)


def _csr(X: Tensor) -> Entries:
    values = X.values()
    if values.ndim != 1:
        raise ValueError(
            f"A sparse input must hold a number in each place, got values of shape {values.shape}."
        )
    indices = X.col_indices()
    return Entries((X.shape[0], X.shape[1]), indices, X.crow_indices()[:-1].to(indices.dtype), values)


#: By layout of the matrix.
MATRICES: dict[torch.layout, Callable[[Tensor], Entries | Tensor]] = {
    torch.strided: _dense,
    torch.sparse_coo: _coo,
    torch.sparse_csr: _csr,
}


def _triplet(indices: Any, offsets: Any, values: Any, *, n_features: int) -> Entries:
    if not isinstance(indices, Tensor) or indices.dtype not in INTEGERS or indices.ndim not in (1, 2):
        raise TypeError(
            "The indices of a triplet must be a tensor of one or two dimensions of int32 or int64, got "
            f"{_describe(indices)}."
        )
    if values is not None and (not isinstance(values, Tensor) or values.shape != indices.shape):
        raise ValueError(
            f"The values must be a tensor of the shape of the indices, {tuple(indices.shape)}, got "
            f"{_describe(values)}."
        )
    if indices.ndim == 2:
        if offsets is not None:
            raise ValueError("Indices of two dimensions are rows of the same length, and take offsets=None.")
        n_samples, length = indices.shape
        offsets = torch.arange(n_samples, device=indices.device, dtype=indices.dtype) * length
        indices, values = indices.reshape(-1), None if values is None else values.reshape(-1)
    elif not isinstance(offsets, Tensor) or offsets.dtype not in INTEGERS or offsets.ndim != 1:
        raise TypeError(
            "The offsets of a triplet must be a tensor of one dimension of int32 or int64, which says where each row "
            f"begins, got {_describe(offsets)}."
        )
    return Entries((offsets.shape[0], n_features), indices, offsets.to(indices.dtype), values)


def check(entries: Entries) -> None:
    """Say so if indices or offsets point to nowhere."""
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
            "The offsets say where each row begins, so the first one must be 0, got "
            f"{starts[:5].tolist()} for {nnz} indices."
        )
    if int(starts[-1]) > nnz or bool((starts[1:] < starts[:-1]).any()):
        raise ValueError(
            f"The offsets must not decrease, nor exceed the number of indices, {nnz}. An offset of {nnz} begins a "
            "row without entries."
        )


def _describe(given: Any) -> str:
    if isinstance(given, Tensor):
        return f"one of shape {tuple(given.shape)} and {given.dtype}"
    return f"{given!r}" if given is None else f"a {type(given).__name__} object"
