"""Rows as tensors, standardized in operations of torch that can be traced and differentiated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..core.matrix.standardize import Standardization
from ..nn import FactorizationMachine
from ..nn._entries import Entries
from ..nn._inputs import parse


class StandardizedFM(FactorizationMachine):
    """A factorization machine that standardizes the columns of its input.

    Its parameters are those of the standardized columns. For columns far from zero, differences of products in the
    user's units would lose all significant digits.

    Parameters
    ----------
    columns : Standardization
    n_factors : int
    **options : dict
        Options of the layer.
    """

    center: Tensor
    spread: Tensor
    centered: Tensor

    def __init__(self, columns: Standardization, n_factors: int, **options: Any) -> None:
        super().__init__(len(columns.center), n_factors, **options)
        dtype = self.factors.weight.dtype
        for name, tensor in (("center", columns.center), ("spread", columns.scale)):
            self.register_buffer(name, tensor.to(dtype).clone(memory_format=torch.contiguous_format))
        self.register_buffer("centered", columns.center.nonzero()[:, 0])

    @property
    def columns(self) -> Standardization:
        """The map from the columns of the input to those of the parameters, on the CPU."""
        return Standardization(*(t.to("cpu", torch.float64) for t in (self.center, self.spread)))

    def forward(
        self,
        input: Tensor | tuple[Tensor, ...],
        offsets: Tensor | None = None,
        values: Tensor | None = None,
    ) -> Tensor:
        """Return the output of each row, (n_samples, 1): see `skfm.nn.FactorizationMachine.forward`."""
        rows = parse(input, offsets, values, self.n_features)
        if isinstance(rows, Tensor):
            return super().forward((rows.to(self.center.dtype) - self.center) / self.spread)
        return super().forward(*self._entries(rows))

    def _entries(self, entries: Entries) -> tuple[Tensor, Tensor, Tensor]:
        """Return sparse rows as a triplet in which every row has an entry in each centered column."""
        rows, columns, x, block = split(entries, self.center, self.spread, self.centered)
        if not torch.compiler.is_compiling():
            kept = self.center[columns] == 0
            rows, columns, x = rows[kept], columns[kept], x[kept]
        n_samples, width = block.shape
        # The entries of a row are followed by its centered columns.
        numbers = torch.arange(n_samples, device=rows.device)
        starts = torch.searchsorted(rows, numbers)
        ends = torch.searchsorted(rows, numbers, right=True)
        places = torch.arange(rows.shape[0], device=rows.device) + rows * width
        block_places = (ends + numbers * width)[:, None] + torch.arange(width, device=rows.device)
        indices = columns.new_zeros(rows.shape[0] + n_samples * width)
        indices = indices.index_copy(0, places, columns)
        indices = indices.index_copy(0, block_places.reshape(-1), self.centered.repeat(n_samples))
        values = x.new_zeros(rows.shape[0] + n_samples * width).index_copy(0, places, x)
        values = values.index_copy(0, block_places.reshape(-1), block.reshape(-1))
        return indices, starts + numbers * width, values


class SolverRows:
    """Rows in the units of the solver, as far as `skfm.core.bayes.variance` asks for a design matrix.

    Parameters
    ----------
    rows : Entries or Tensor of shape (n_samples, n_features)
        Samples in the user's units.
    center, spread : Tensor of shape (n_features,)
        Centers and scales of the columns.
    centered : LongTensor of shape (n_centered,)
        The columns whose center is not zero.
    """

    def __init__(self, rows: Entries | Tensor, center: Tensor, spread: Tensor, centered: Tensor) -> None:
        self.shape = (rows.shape[0], rows.shape[1])
        self.entries: tuple[Tensor, Tensor, Tensor] | None = None
        if isinstance(rows, Tensor):
            self.dense_columns = torch.arange(rows.shape[1], device=center.device)
            self.block = (rows.to(center.dtype) - center) / spread
        else:
            self.dense_columns = centered
            *entries, self.block = split(rows, center, spread, centered)
            self.entries = (entries[0], entries[1], entries[2])

    def matmul(self, table: Tensor, power: int = 1) -> Tensor:
        """Return the rows to a power times a table, (n_samples, width)."""
        out = self.block**power @ table[self.dense_columns]
        if self.entries is not None:
            place, columns, x = self.entries
            out = out.index_add(0, place, (x**power)[:, None] * table[columns])
        return out

    def pieces(self, n_rows: int) -> Iterator[tuple[int, SolverRows]]:
        """Yield all rows at once: a traced graph has no pieces."""
        yield 0, self


def split(
    entries: Entries, center: Tensor, spread: Tensor, centered: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardized entries, those in centered columns apart as a block.

    Parameters
    ----------
    entries, center, spread, centered
        As in `SolverRows`.

    Returns
    -------
    rows, columns : LongTensor of shape (nnz,)
    values : Tensor of shape (nnz,)
        Zero in the centered columns.
    block : Tensor of shape (n_samples, n_centered)
        Columns of numbers that have one in every row.
    """
    rows, columns, x = entries.spread(binary=False, dtype=center.dtype)
    number = torch.full_like(center, -1, dtype=torch.long)
    number = number.index_copy(0, centered, torch.arange(centered.shape[0], device=center.device))[columns]
    is_centered = number >= 0
    block = x.new_zeros(entries.shape[0], centered.shape[0])
    if centered.shape[0]:
        inside = torch.where(is_centered, x, 0.0)
        block = block.index_put((rows, number.clamp(min=0)), inside, accumulate=True)
    values = torch.where(is_centered, 0.0, x / spread[columns])
    return rows, columns, values, (block - center[centered]) / spread[centered]
