"""The blocks of the table engine: columns of one field, with their rows laid out one column after another."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...matrix.tiles import Tile

#: Numbers in the sums E of a piece: few enough for the cache of a core.
PIECE_FLOATS = {"cpu": 1 << 18, "cuda": 1 << 26, "mps": 1 << 24}
#: Numbers in the sums M of a block.
BLOCK_FLOATS = {"cpu": 1 << 22, "cuda": 1 << 26, "mps": 1 << 24}


class Run(NamedTuple):
    """Columns of a piece that have the same number of rows, padding included.

    Attributes
    ----------
    first, n_columns : int
        The place of the first column in the block, and their number.
    length : int
        Number of rows of each.
    """

    first: int
    n_columns: int
    length: int


class Piece(NamedTuple):
    """Consecutive rows of a block that are processed together."""

    start: int
    stop: int
    runs: list[Run]


class FieldBlock(NamedTuple):
    """Columns of one field.

    Attributes
    ----------
    field : int
    columns : Tensor of shape (n_columns,)
    rows : Tensor of shape (n_rows,)
        The rows of the first column, padded, then those of the second, and so on. ``n_samples`` is padding.
    pieces : list of Piece
    """

    field: int
    columns: Tensor
    rows: Tensor
    pieces: list[Piece]


def make_blocks(tiles: list[Tile], colors: Tensor, width: int, size: int) -> list[FieldBlock]:
    """Return the blocks of all fields, in the order of the tiles.

    Parameters
    ----------
    tiles : list of Tile
        Of columns of ones, color by color.
    colors : Tensor of shape (n_features,)
    width : int
        Numbers in a table row.
    size : int
        Rows of M for each column.
    """
    blocks: list[FieldBlock] = []
    pending: list[Tile] = []
    field = n_columns = 0
    for tile in tiles:
        color, count = int(colors[tile.columns[0]]), len(tile.columns)
        most = BLOCK_FLOATS.get(tile.columns.device.type, 1 << 22) // (width * size)
        if pending and (color != field or n_columns + count > most):
            blocks.append(_block(field, pending, width))
            pending, n_columns = [], 0
        pending.append(tile)
        field, n_columns = color, n_columns + count
    if pending:
        blocks.append(_block(field, pending, width))
    return blocks


def _block(field: int, tiles: list[Tile], width: int) -> FieldBlock:
    rows = [tile.rows.flatten() for tile in tiles if tile.rows is not None]
    columns = torch.cat([tile.columns for tile in tiles])
    limit = piece_rows(columns.device, width)
    return FieldBlock(field, columns, torch.cat(rows), _pieces(tiles, limit))


def piece_rows(device: torch.device, width: int) -> int:
    """Return the number of rows of a piece, for sums of the given width."""
    return max(1, PIECE_FLOATS.get(device.type, 1 << 18) // width)


def _pieces(tiles: list[Tile], limit: int) -> list[Piece]:
    """Cut the rows of tiles into pieces of about ``limit`` rows; long single columns are cut, other tiles are not."""
    pieces: list[Piece] = []
    runs: list[Run] = []
    start = stop = first = 0
    for tile in tiles:
        assert tile.rows is not None  # for the type checker
        n_columns, length = tile.rows.shape
        n_parts = -(-length // limit) if n_columns == 1 else 1
        cuts = [length * i // n_parts for i in range(n_parts + 1)]
        for i in range(n_parts):
            part = cuts[i + 1] - cuts[i]
            if runs and stop + n_columns * part - start > limit:
                pieces.append(Piece(start, stop, runs))
                runs, start = [], stop
            runs.append(Run(first, n_columns, part))
            stop += n_columns * part
        first += n_columns
    pieces.append(Piece(start, stop, runs))
    return pieces
