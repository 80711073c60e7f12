"""Rows of tables, by number: fetched and put back.

A CPU takes several times as long for a row of two numbers as for one number of twice the size, so short rows are
viewed as such numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Number types by their size in bytes.
NUMBERS = {8: torch.int64, 16: torch.complex128}


def take_rows(table: Tensor, places: Tensor) -> Tensor:
    """Return the rows at places that may repeat, (n, width), of a contiguous table."""
    found = _short(table).index_select(0, places)
    return found if found.ndim == 2 else found.view(table.dtype).view(-1, table.shape[1])


def put_rows(table: Tensor, places: Tensor, rows: Tensor) -> None:
    """Overwrite the rows at places that do not repeat."""
    _short(table).index_copy_(0, places, _short(rows))


def _short(table: Tensor) -> Tensor:
    """Return short rows of a contiguous table as one number each."""
    if table.shape[1] == 1:
        return table[:, 0]
    number = NUMBERS.get(table.shape[1] * table.itemsize)
    if number is None or table.device.type != "cpu":
        return table
    return table.view(number)[:, 0]
