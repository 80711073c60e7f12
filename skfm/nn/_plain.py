"""The machine in plain operations of torch: for dense rows, and for sparse ones where a graph is traced."""

from __future__ import annotations

import torch
from torch import Tensor

from ._entries import Entries
from ._function import Form, wide
from ._tables import take_rows


def dense_raw(X: Tensor, factors: Tensor, linear: Tensor | None, form: Form, *, binary: bool) -> Tensor:
    """Return the raw prediction of dense rows, (n_samples,).

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features)
    factors : Tensor of shape (n_features, n_factors)
    linear : Tensor of shape (n_features, 1) or None
    form : Form
    binary : bool
        Whether all numbers but zero count as one.
    """
    dtype = wide(factors.dtype)
    if form.sparse and not torch.compiler.is_compiling():
        used = torch.arange(X.shape[1], device=X.device)
        if not (X.requires_grad or X.device.type == "meta"):
            # A column of zeros has no gradient.
            used = (X != 0).any(0).nonzero()[:, 0]
            X = X.index_select(1, used)
        factors = take_rows(factors, used)
        linear = None if linear is None else take_rows(linear, used)
    X, V = (X != 0 if binary else X).to(dtype), factors.to(dtype)
    # Autocast takes products of matrices to half precision, in which the difference has no digits left.
    with torch.autocast(X.device.type, enabled=False):
        raw = form.scale * (X @ V).square().sum(1)
        if form.subtract:
            raw = raw - form.scale * ((X if binary else X.square()) @ V.square().sum(1))
        if linear is not None:
            raw = raw + X @ linear[:, 0].to(dtype)
    return raw.to(factors.dtype)


def traced_raw(
    entries: Entries, factors: Tensor, linear: Tensor | None, form: Form, *, binary: bool
) -> Tensor:
    """Return the raw prediction of sparse rows, (n_samples,), in operations whose shapes depend on no value.

    Parameters
    ----------
    entries : Entries
    factors, linear, form, binary
        As in `dense_raw`. Gradients are dense.
    """
    dtype = wide(factors.dtype)
    rows, columns, x = entries.spread(binary=binary, dtype=dtype)
    n_samples = entries.starts.shape[0]
    v = factors.index_select(0, columns).to(dtype)
    sums = v.new_zeros(n_samples, v.shape[1]).index_add(0, rows, x[:, None] * v)
    raw = form.scale * sums.square().sum(1)
    terms = None if linear is None else x * linear.index_select(0, columns)[:, 0].to(dtype)
    if form.subtract:
        own = form.scale * x.square() * v.square().sum(1)
        terms = -own if terms is None else terms - own
    if terms is not None:
        raw = raw + v.new_zeros(n_samples).index_add(0, rows, terms)
    return raw.to(factors.dtype)
