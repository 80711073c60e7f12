"""Tables of parameters with a row a column of the data, and gradients that name the rows in use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding


class Table(torch.nn.Embedding):
    """Parameters of the columns, one row each.

    An embedding for its ``sparse`` flag: `torch.nn.parallel.DistributedDataParallel` looks for it to learn which
    gradients are sparse.
    """

    def reset_parameters(self) -> None:
        """Leave the numbers to the layer, which knows how they begin."""


def take_rows(table: Tensor, rows: Tensor, *, sparse: bool) -> Tensor:
    """Return rows of a table, (n_rows, width), as often differentiable as is asked for.

    Parameters
    ----------
    table : Tensor of shape (n, width)
    rows : LongTensor of shape (n_rows,)
    sparse : bool
        Whether the gradient of the table is a sparse tensor, if no second derivative is asked for.
    """
    if torch.compiler.is_compiling():
        return embedding(rows, table, sparse=sparse)
    return _TakeRows.apply(table, rows) if sparse else table.index_select(0, rows)


def sparse_rows(rows: Tensor, values: Tensor, shape: torch.Size, *, distinct: bool) -> Tensor:
    """Return a sparse tensor of which some rows are given.

    Parameters
    ----------
    rows : LongTensor of shape (n_rows,)
    values : Tensor of shape (n_rows, width)
    shape : torch.Size
    distinct : bool
        Whether the rows are distinct and increasing.
    """
    return torch.sparse_coo_tensor(
        rows[None], values, shape, is_coalesced=True if distinct else None, check_invariants=False
    )


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(table: Tensor, rows: Tensor) -> Tensor:
        return table.index_select(0, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        table, rows = inputs
        ctx.shape = table.shape
        ctx.save_for_backward(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return grad.new_zeros(ctx.shape).index_add(0, rows, grad), None
        return sparse_rows(rows, grad, ctx.shape, distinct=False), None
