"""Tables of parameters with a row a column of the data, and gradients that name the rows in use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Table(torch.nn.Embedding):
    """Parameters of the columns, one row each.

    An embedding for its ``sparse`` flag: `torch.nn.parallel.DistributedDataParallel` looks for it to learn which
    gradients are sparse.
    """

    def reset_parameters(self) -> None:
        """Leave the numbers to the layer, which knows how they begin."""


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a table, (n_rows, width), with a sparse gradient.

    Where a second derivative is asked for, the gradient is dense.

    Parameters
    ----------
    table : Tensor of shape (n, width)
    rows : LongTensor of shape (n_rows,)
        Distinct and increasing.
    """
    found: Tensor = _TakeRows.apply(table, rows)  # type: ignore[no-untyped-call]
    return found


def sparse_rows(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Return a sparse tensor of which some rows are given.

    Parameters
    ----------
    rows : LongTensor of shape (n_rows,)
        Distinct and increasing.
    values : Tensor of shape (n_rows, width)
    shape : torch.Size
    """
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)


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
        return sparse_rows(rows, grad, ctx.shape), None
