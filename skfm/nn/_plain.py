"""The raw prediction in standard torch operations: for dense rows, and for sparse rows in traced graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from ._entries import Entries
from ._function import FMOptions, accum_dtype
from ._tables import gather_rows


def dense_raw(
    X: Tensor, factors: Tensor, linear: Tensor | None, options: FMOptions, *, binary: bool
) -> Tensor:
    """Return the raw prediction of dense rows, (n_samples,).

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features)
    factors : Tensor of shape (n_features, n_factors)
    linear : Tensor of shape (n_features, 1) or None
    options : FMOptions
    binary : bool
        Whether all non-zero values are replaced by one.
    """
    dtype = accum_dtype(factors.dtype)
    if options.sparse and not torch.compiler.is_compiling():
        used = torch.arange(X.shape[1], device=X.device)
        if not (X.requires_grad or X.device.type == "meta"):
            # Columns that are zero in all rows have no gradient.
            used = (X != 0).any(0).nonzero()[:, 0]
            X = X.index_select(1, used)
        factors = gather_rows(factors, used)
        linear = None if linear is None else gather_rows(linear, used)
    X, V = (X != 0 if binary else X).to(dtype), factors.to(dtype)
    # Autocast would compute the matrix products in half precision, which is too inaccurate for the difference below.
    with torch.autocast(X.device.type, enabled=False):
        raw = options.scale * (X @ V).square().sum(1)
        if options.subtract:
            raw = raw - options.scale * ((X if binary else X.square()) @ V.square().sum(1))
        if linear is not None:
            raw = raw + X @ linear[:, 0].to(dtype)
    return raw.to(factors.dtype)


def traced_raw(
    entries: Entries, factors: Tensor, linear: Tensor | None, options: FMOptions, *, binary: bool
) -> Tensor:
    """Return the raw prediction of sparse rows, (n_samples,), by operations whose shapes do not depend on the data.

    Gradients are dense.

    Parameters
    ----------
    entries : Entries
    factors : Tensor of shape (n_features, n_factors)
    linear : Tensor of shape (n_features, 1) or None
    options : FMOptions
    binary : bool
        Whether all values are replaced by one.
    """
    dtype = accum_dtype(factors.dtype)
    rows, columns, x = entries.spread(binary=binary, dtype=dtype)
    n_samples = entries.starts.shape[0]
    v = factors.index_select(0, columns).to(dtype)
    sums = v.new_zeros(n_samples, v.shape[1]).index_add(0, rows, x[:, None] * v)
    raw = options.scale * sums.square().sum(1)
    terms = None if linear is None else x * linear.index_select(0, columns)[:, 0].to(dtype)
    if options.subtract:
        own = options.scale * x.square() * v.square().sum(1)
        terms = -own if terms is None else terms - own
    if terms is not None:
        raw = raw + v.new_zeros(n_samples).index_add(0, rows, terms)
    return raw.to(factors.dtype)
