"""Tables of parameters with one row per column of the data, and their sparse gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter, is_lazy


class Table(torch.nn.Embedding):
    """Parameters of the columns of the data, with one row per column.

    This is a subclass of `torch.nn.Embedding` because `torch.nn.parallel.DistributedDataParallel` uses the attribute
    ``sparse`` of embeddings to determine which gradients are sparse.
    """

    def reset_parameters(self) -> None:
        """Do nothing: the layer initializes its parameters."""


class LazyTable(LazyModuleMixin, Table):
    """A table whose number of rows is not known yet."""

    cls_to_become = Table
    weight: UninitializedParameter

    def __init__(self, width: int, *, sparse: bool, device: Any, dtype: Any) -> None:
        super().__init__(0, width, sparse=sparse, device=device, dtype=dtype)
        self.weight = UninitializedParameter(device=device, dtype=dtype)  # type: ignore[call-arg]

    def initialize_parameters(self, n_rows: int) -> None:
        """Allocate the given number of rows, unless they were loaded from a state dict."""
        if is_lazy(self.weight):
            self.weight.materialize((n_rows, self.embedding_dim))
        self.num_embeddings = len(self.weight)


def gather_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a table, (n_rows, width), with a sparse gradient.

    With ``create_graph=True``, the gradient is dense.

    Parameters
    ----------
    table : Tensor of shape (n, width)
    rows : LongTensor of shape (n_rows,)
        Row numbers, strictly increasing.
    """
    found: Tensor = _GatherRows.apply(table, rows)  # type: ignore[no-untyped-call]
    return found


def sparse_from_rows(rows: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Return a coalesced sparse tensor with the given rows.

    Parameters
    ----------
    rows : LongTensor of shape (n_rows,)
        Row numbers, strictly increasing.
    values : Tensor of shape (n_rows, width)
        Values of the rows.
    shape : torch.Size
        Shape of the sparse tensor.
    """
    return torch.sparse_coo_tensor(
        rows[None], values, shape, is_coalesced=True, check_invariants=False, device=values.device
    )


class _GatherRows(torch.autograd.Function):
    """Selection of rows of a table, whose gradient is a sparse tensor."""

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
        return sparse_from_rows(rows, grad, ctx.shape), None
