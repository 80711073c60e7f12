"""The raw prediction of sparse rows as an autograd function with a closed-form gradient.

Let s = sum_j x_j v_j, let h be the scale of the interactions, and let c be 1 to subtract self-interactions, else 0::

    f(x) = <w, x> + h (|s|^2 - c sum_j x_j^2 |v_j|^2)
    df/dw_j = x_j        df/dv_j = 2 h (x_j s - c x_j^2 v_j)        df/dx_j = w_j + 2 h <v_j, s - c x_j v_j>

The sums are computed with `embedding_bag`, over rows in the forward pass and over columns in the backward pass, so no
temporary tensor has shape (nnz, n_factors). The sparse gradient is coalesced: it has each column once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ._entries import Entries, Layout
from ._inputs import check_entries
from ._tables import sparse_from_rows

#: Number of rows of factors that are processed at a time. A block fits in the cache, and its memory is reused.
ROWS_PER_BLOCK = 1 << 13


class FMOptions(NamedTuple):
    """Options of the factorization machine.

    Attributes
    ----------
    scale : float
        The scale h of the interactions.
    subtract : bool
        Whether the interactions of each column with itself are subtracted.
    sparse : bool
        Whether the gradients of the factors and the linear weights are sparse tensors.
    """

    scale: float
    subtract: bool
    sparse: bool


def accum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype for sums: float32 for half precision, in which differences of squares are too inaccurate."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


@torch.compiler.disable  # type: ignore[untyped-decorator]
def sparse_raw(
    entries: Entries, factors: Tensor, linear: Tensor | None, options: FMOptions, *, binary: bool
) -> Tensor:
    """Return the raw prediction of sparse rows, (n_samples,).

    Parameters
    ----------
    entries : Entries
        The rows, which may have duplicate columns.
    factors : Tensor of shape (n_features, n_factors)
    linear : Tensor of shape (n_features, 1) or None
    options : FMOptions
    binary : bool
        Whether all values are replaced by one.
    """
    check_entries(entries)
    values = None if binary or entries.values is None else entries.values.to(accum_dtype(factors.dtype))
    entries = entries._replace(values=values)
    layout = Layout(entries)
    if not (entries.distinct or layout.is_distinct):
        entries = entries.coalesced(binary=binary, dtype=accum_dtype(factors.dtype))
        layout = Layout(entries)
    raw: Tensor = RawPrediction.apply(factors, linear, entries.values, layout, options)  # type: ignore[no-untyped-call]
    return raw


class RawPrediction(torch.autograd.Function):
    """Raw prediction as a function of (factors, linear, values, layout, options).

    The values must have the accumulation dtype, and rows must not have duplicate columns. With ``create_graph=True``,
    gradients are dense and differentiable.
    """

    @staticmethod
    def forward(
        ctx: Any,
        factors: Tensor,
        linear: Tensor | None,
        values: Tensor | None,
        layout: Layout,
        options: FMOptions,
    ) -> Tensor:
        # embedding_bag has a faster code path for tensors that do not require gradients.
        w, x = (None if t is None else t.detach() for t in (linear, values))
        raw, sums, table = _forward(factors.detach(), w, x, layout, options)
        ctx.layout, ctx.options = layout, options
        ctx.save_for_backward(factors, linear, values, sums, None if layout.columns is None else table)
        return raw.to(factors.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        factors, linear, values, sums, table = ctx.saved_tensors
        layout, options = ctx.layout, ctx.options
        if torch.is_grad_enabled():
            found = differentiable_gradient(grad, factors, linear, values, layout.entries, options)
            return (*found, None, None)
        by_factors = by_linear = by_values = None
        grad = grad.to(sums.dtype)
        slopes = sums * (2 * options.scale * grad)[:, None]
        table = factors.to(sums.dtype) if table is None else table
        needs_factors, needs_linear, needs_values, *_ = ctx.needs_input_grad
        if needs_factors or needs_linear:
            columns, bags, x = _used_columns(layout, sparse=options.sparse)
            column_numbers = columns if layout.columns is None else layout.columns
            first = _bag(*bags, grad[:, None], x)
            if needs_linear:
                by_linear = _gradient(first, column_numbers, linear, sparse=options.sparse)
            if needs_factors:
                by_factors = _bag(*bags, slopes, x)
                if options.subtract:
                    second = first if x is None else _bag(*bags, grad[:, None], x.square())
                    _subtract(by_factors, table, columns, second, 2 * options.scale)
                by_factors = _gradient(by_factors, column_numbers, factors, sparse=options.sparse)
        if needs_values:
            by_values = _value_gradient(layout, options, grad, slopes, table, linear, values)
        return by_factors, by_linear, by_values, None, None


def _forward(
    factors: Tensor, linear: Tensor | None, x: Tensor | None, layout: Layout, options: FMOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the raw predictions, the sums s of all rows, and the factors of the columns of the layout."""
    columns, rows = layout.columns, (layout.indices, layout.indptr)
    dtype = accum_dtype(factors.dtype)
    table = _rows(factors, columns, dtype)
    sums = _bag(*rows, table, x)
    raw = sums.square().sum(1).mul_(options.scale)
    # Both have one number per column, which is multiplied by x and by x^2.
    first = None if linear is None else _rows(linear, columns, dtype)
    second = None
    if options.subtract and factors.shape[1]:
        # vector_norm is several times faster than a sum of squares.
        second = torch.linalg.vector_norm(table, dim=1, keepdim=True).square_().mul_(-options.scale)
    if x is None and first is not None and second is not None:
        first, second = first + second, None
    for power, of_column in ((1, first), (2, second)):
        if of_column is not None:
            raw += _bag(*rows, of_column, None if x is None else x**power)[:, 0]
    return raw, sums, table


def differentiable_gradient(
    grad: Tensor,
    factors: Tensor,
    linear: Tensor | None,
    values: Tensor | None,
    entries: Entries,
    options: FMOptions,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients with respect to factors, linear weights and values, by differentiable operations.

    The gradients are dense, and temporary tensors have shape (nnz, n_factors).
    """
    rows, columns = entries.rows(), entries.indices.long()
    dtype = accum_dtype(factors.dtype)
    v = factors.index_select(0, columns).to(dtype)
    x = (v.new_ones(len(columns)) if values is None else values)[:, None]
    sums = v.new_zeros(len(entries.starts), v.shape[1]).index_add(0, rows, x * v)
    slope = sums.index_select(0, rows)
    if options.subtract:
        slope = slope - x * v
    delta = grad.to(dtype).index_select(0, rows)[:, None]
    by_factors = v.new_zeros(factors.shape).index_add(0, columns, 2 * options.scale * delta * x * slope)
    by_linear = by_values = None
    if linear is not None:
        by_linear = v.new_zeros(linear.shape).index_add(0, columns, delta * x).to(linear.dtype)
    if values is not None:
        per_value = 2 * options.scale * (v * slope).sum(1, keepdim=True)
        if linear is not None:
            per_value = per_value + linear.index_select(0, columns).to(dtype)
        by_values = (delta * per_value)[:, 0]
    return by_factors.to(factors.dtype), by_linear, by_values


def _rows(table: Tensor, columns: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return the given rows of a table, or all rows if `columns` is None, in the given dtype."""
    if columns is None:
        return table.to(dtype)
    if table.device.type != "cpu":
        return table.index_select(0, columns).to(dtype)
    # On a CPU, embedding_bag with bags of one row is several times faster than index_select.
    bags = torch.arange(len(columns) + 1, device=columns.device)
    return _bag(columns, bags, table, None).to(dtype)


def _bag(indices: Tensor, indptr: Tensor, table: Tensor, weights: Tensor | None) -> Tensor:
    """Return the (weighted) sum of rows of a table for each bag."""
    if not (len(indices) and table.numel()):
        return table.new_zeros(len(indptr) - 1, table.shape[1])
    return embedding_bag(
        indices, table, indptr, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _used_columns(
    layout: Layout, *, sparse: bool
) -> tuple[Tensor | None, tuple[Tensor, Tensor], Tensor | None]:
    """Return the columns to sum over (None for all of the layout), their entries as bags of rows, and the values."""
    starts, rows, x = layout.by_column
    if layout.columns is not None or not sparse:
        return None, (rows, starts), x
    columns = (starts[1:] > starts[:-1]).nonzero()[:, 0]
    return columns, (rows, torch.cat([starts.index_select(0, columns), starts[-1:]])), x


def _subtract(out: Tensor, table: Tensor, columns: Tensor | None, factor: Tensor, scale: float) -> None:
    """Subtract multiples of the given rows of a table (None for all rows) from `out`, in place."""
    for start in range(0, len(out), ROWS_PER_BLOCK):
        part = slice(start, start + ROWS_PER_BLOCK)
        own = table[part] if columns is None else table.index_select(0, columns[part])
        out[part].addcmul_(own, factor[part], value=-scale)


def _gradient(values: Tensor, columns: Tensor | None, table: Tensor, *, sparse: bool) -> Tensor:
    """Return the gradient of a table from its rows for the given columns (None for all columns)."""
    values = values.to(table.dtype)
    if columns is None:
        return values
    if sparse:
        return sparse_from_rows(columns, values, table.shape)
    return values.new_zeros(table.shape).index_copy_(0, columns, values)


def _value_gradient(
    layout: Layout,
    options: FMOptions,
    grad: Tensor,
    slopes: Tensor,
    table: Tensor,
    linear: Tensor | None,
    values: Tensor,
) -> Tensor:
    """Return the gradient of the values, computed in blocks of entries."""
    weights = None if linear is None else _rows(linear, layout.columns, slopes.dtype)[:, 0]
    out = torch.empty_like(values)
    all_rows = layout.entries.rows()
    for start in range(0, len(out), ROWS_PER_BLOCK):
        part = slice(start, start + ROWS_PER_BLOCK)
        columns, rows = layout.indices[part], all_rows[part]
        v, delta = table.index_select(0, columns), grad.index_select(0, rows)
        found = (v * slopes.index_select(0, rows)).sum(1)
        if options.subtract:
            found -= 2 * options.scale * delta * values[part] * v.square().sum(1)
        if weights is not None:
            found += delta * weights.index_select(0, columns)
        out[part] = found
    return out
