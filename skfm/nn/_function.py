"""The machine on sparse rows with its gradient in closed form.

With s = sum_j x_j v_j, h the factor before the interactions and c = 1, or 0 to keep the squares::

    f(x) = <w, x> + h (|s|^2 - c sum_j x_j^2 |v_j|^2)
    df/dw_j = x_j        df/dv_j = 2 h (x_j s - c x_j^2 v_j)        df/dx_j = w_j + 2 h <v_j, s - c x_j v_j>

Two passes of `embedding_bag` do the work, one over the rows and one over the columns: nothing has a row of factors
for each entry. The gradient holds each column once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ._entries import Entries, Layout
from ._inputs import check
from ._tables import sparse_rows

#: Rows of factors that are held at a time: few enough for a cache, and for memory that is used again.
ROWS = 1 << 13


class Form(NamedTuple):
    """What is computed of the sums.

    Attributes
    ----------
    scale : float
        The factor before the interactions.
    subtract : bool
        Whether the interactions of each column with itself are left out.
    sparse : bool
        Whether gradients of the tables are sparse tensors.
    """

    scale: float
    subtract: bool
    sparse: bool


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the type to compute in: the squares of sums in half precision would have no digits left."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


@torch.compiler.disable  # type: ignore[untyped-decorator]
def sparse_raw(
    entries: Entries, factors: Tensor, linear: Tensor | None, form: Form, *, binary: bool
) -> Tensor:
    """Return the raw prediction of sparse rows, (n_samples,).

    Parameters
    ----------
    entries : Entries
        Of which any may be at the same place.
    factors : Tensor of shape (n_features, n_factors)
    linear : Tensor of shape (n_features, 1) or None
    form : Form
    binary : bool
        Whether all entries count as one.
    """
    check(entries)
    values = None if binary or entries.values is None else entries.values.to(wide(factors.dtype))
    entries = entries._replace(values=values)
    layout = Layout(entries)
    if not (entries.distinct or layout.is_distinct):
        entries = entries.merged(binary=binary, dtype=wide(factors.dtype))
        layout = Layout(entries)
    raw: Tensor = RawPrediction.apply(factors, linear, entries.values, layout, form)  # type: ignore[no-untyped-call]
    return raw


class RawPrediction(torch.autograd.Function):
    """The function above, on (factors, linear, values, layout, form).

    Values have the type that is computed in. No row may hold a column twice. Under ``create_graph=True`` gradients
    are dense, and differentiable themselves.
    """

    @staticmethod
    def forward(
        ctx: Any, factors: Tensor, linear: Tensor | None, values: Tensor | None, layout: Layout, form: Form
    ) -> Tensor:
        # A tensor that needs no gradient takes the shorter way through embedding_bag.
        w, x = (None if t is None else t.detach() for t in (linear, values))
        raw, sums, table = _forward(factors.detach(), w, x, layout, form)
        ctx.layout, ctx.form = layout, form
        ctx.save_for_backward(factors, linear, values, sums, None if layout.columns is None else table)
        return raw.to(factors.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        factors, linear, values, sums, table = ctx.saved_tensors
        layout, form = ctx.layout, ctx.form
        if torch.is_grad_enabled():
            found = differentiable_gradient(grad, factors, linear, values, layout.entries, form)
            return (*found, None, None)
        by_factors = by_linear = by_values = None
        grad = grad.to(sums.dtype)
        slopes = sums * (2 * form.scale * grad)[:, None]
        table = factors.to(sums.dtype) if table is None else table
        needs_factors, needs_linear, needs_values, *_ = ctx.needs_input_grad
        if needs_factors or needs_linear:
            columns, bags, x = _used_columns(layout, sparse=form.sparse)
            named = columns if layout.columns is None else layout.columns
            first = _bag(*bags, grad[:, None], x)
            if needs_linear:
                by_linear = _gradient(first, named, linear, sparse=form.sparse)
            if needs_factors:
                by_factors = _bag(*bags, slopes, x)
                if form.subtract:
                    second = first if x is None else _bag(*bags, grad[:, None], x.square())
                    _subtract(by_factors, table, columns, second, 2 * form.scale)
                by_factors = _gradient(by_factors, named, factors, sparse=form.sparse)
        if needs_values:
            by_values = _value_gradient(layout, form, grad, slopes, table, linear, values)
        return by_factors, by_linear, by_values, None, None


def _forward(
    factors: Tensor, linear: Tensor | None, x: Tensor | None, layout: Layout, form: Form
) -> tuple[Tensor, Tensor, Tensor]:
    """Return raw predictions, sums, and the factors of the columns of the layout."""
    columns, rows = layout.columns, (layout.indices, layout.indptr)
    dtype = wide(factors.dtype)
    table = _rows(factors, columns, dtype)
    sums = _bag(*rows, table, x)
    raw = sums.square().sum(1).mul_(form.scale)
    # One number a column, times x and times x^2.
    first = None if linear is None else _rows(linear, columns, dtype)
    second = None
    if form.subtract and factors.shape[1]:
        # The norm is several times faster than the sum of squares.
        second = torch.linalg.vector_norm(table, dim=1, keepdim=True).square_().mul_(-form.scale)
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
    form: Form,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradient by factors, linear weights and values in operations that can be differentiated again.

    It is dense, and has a row of factors for each entry on the way.
    """
    rows, columns = entries.rows(), entries.indices.long()
    dtype = wide(factors.dtype)
    v = factors.index_select(0, columns).to(dtype)
    x = (v.new_ones(len(columns)) if values is None else values)[:, None]
    sums = v.new_zeros(len(entries.starts), v.shape[1]).index_add(0, rows, x * v)
    slope = sums.index_select(0, rows)
    if form.subtract:
        slope = slope - x * v
    delta = grad.to(dtype).index_select(0, rows)[:, None]
    by_factors = v.new_zeros(factors.shape).index_add(0, columns, 2 * form.scale * delta * x * slope)
    by_linear = by_values = None
    if linear is not None:
        by_linear = v.new_zeros(linear.shape).index_add(0, columns, delta * x).to(linear.dtype)
    if values is not None:
        per_value = 2 * form.scale * (v * slope).sum(1, keepdim=True)
        if linear is not None:
            per_value = per_value + linear.index_select(0, columns).to(dtype)
        by_values = (delta * per_value)[:, 0]
    return by_factors.to(factors.dtype), by_linear, by_values


def _rows(table: Tensor, columns: Tensor | None, dtype: torch.dtype) -> Tensor:
    if columns is None:
        return table.to(dtype)
    if table.device.type != "cpu":
        return table.index_select(0, columns).to(dtype)
    # A CPU fetches the rows of bags of one several times faster than by index_select.
    bags = torch.arange(len(columns) + 1, device=columns.device)
    return _bag(columns, bags, table, None).to(dtype)


def _bag(indices: Tensor, indptr: Tensor, table: Tensor, weights: Tensor | None) -> Tensor:
    """Return the (weighted) sum of the rows of a table for each bag."""
    if not (len(indices) and table.numel()):
        return table.new_zeros(len(indptr) - 1, table.shape[1])
    return embedding_bag(
        indices, table, indptr, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _used_columns(
    layout: Layout, *, sparse: bool
) -> tuple[Tensor | None, tuple[Tensor, Tensor], Tensor | None]:
    """Return the columns to sum up (None: all of the layout), their entries as bags of rows, and the values."""
    starts, rows, x = layout.by_column
    if layout.columns is not None or not sparse:
        return None, (rows, starts), x
    columns = (starts[1:] > starts[:-1]).nonzero()[:, 0]
    return columns, (rows, torch.cat([starts.index_select(0, columns), starts[-1:]])), x


def _subtract(out: Tensor, table: Tensor, columns: Tensor | None, factor: Tensor, scale: float) -> None:
    """Subtract multiples of some rows of a table (None: of all), in place."""
    for start in range(0, len(out), ROWS):
        part = slice(start, start + ROWS)
        own = table[part] if columns is None else table.index_select(0, columns[part])
        out[part].addcmul_(own, factor[part], value=-scale)


def _gradient(values: Tensor, columns: Tensor | None, table: Tensor, *, sparse: bool) -> Tensor:
    """Return the gradient of a table, of which the rows of some columns (None: of all) are given."""
    values = values.to(table.dtype)
    if columns is None:
        return values
    if sparse:
        return sparse_rows(columns, values, table.shape)
    return values.new_zeros(table.shape).index_copy_(0, columns, values)


def _value_gradient(
    layout: Layout,
    form: Form,
    grad: Tensor,
    slopes: Tensor,
    table: Tensor,
    linear: Tensor | None,
    values: Tensor,
) -> Tensor:
    """Return the gradient of the values, some entries after the other."""
    weights = None if linear is None else _rows(linear, layout.columns, slopes.dtype)[:, 0]
    out = torch.empty_like(values)
    all_rows = layout.entries.rows()
    for start in range(0, len(out), ROWS):
        part = slice(start, start + ROWS)
        columns, rows = layout.indices[part], all_rows[part]
        v, delta = table.index_select(0, columns), grad.index_select(0, rows)
        found = (v * slopes.index_select(0, rows)).sum(1)
        if form.subtract:
            found -= 2 * form.scale * delta * values[part] * v.square().sum(1)
        if weights is not None:
            found += delta * weights.index_select(0, columns)
        out[part] = found
    return out
