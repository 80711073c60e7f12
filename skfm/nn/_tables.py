"""Tables of parameters with a row a column of the data, and gradients that name the rows in use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter, is_lazy


class Table(torch.nn.Embedding):
    """Parameters of the columns, one row each.

    An embedding for its ``sparse`` flag: `torch.nn.parallel.DistributedDataParallel` looks for it to learn which
    gradients are sparse.
    """

    def reset_parameters(self) -> None:
        """Leave the numbers to the layer, which knows how they begin."""


class LazyTable(LazyModuleMixin, Table):
    """A table that does not know its number of rows yet."""

    cls_to_become = Table
    weight: UninitializedParameter

    def __init__(self, width: int, *, sparse: bool, device: Any, dtype: Any) -> None:
        super().__init__(0, width, sparse=sparse, device=device, dtype=dtype)
        self.weight = UninitializedParameter(device=device, dtype=dtype)  # type: ignore[call-arg]

    def initialize_parameters(self, n_rows: int) -> None:
        """Make room for so many rows."""
        if is_lazy(self.weight):
            self.weight.materialize((n_rows, self.embedding_dim))
        self.num_embeddings = len(self.weight)


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
