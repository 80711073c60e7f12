"""Groups of columns that are updated together, and the rows that each update affects."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .coloring import color_fields
from .design import Columns, DesignMatrix
from .fields import discover_fields

#: Entries of a tile: small enough for a core's cache, large enough to hide the cost of a call.
TILE_ENTRIES = {"cpu": 1 << 15, "cuda": 1 << 23, "mps": 1 << 21}
#: Share of a tile that may be padding, and the size below which padding does not matter.
PADDING, SMALL_TILE = 0.15, 2048


class Tile(NamedTuple):
    """Columns that share no row, with the rows of each padded to one length.

    Attributes
    ----------
    columns : Tensor of shape (n_columns,)
    rows : Tensor of shape (n_columns, length) or None
        Row numbers; ``n_samples`` is padding. None means every row, in order.
    values : Tensor of shape (n_columns, length) or None
        Values, zero at the padding; None means ones.
    """

    columns: Tensor
    rows: Tensor | None
    values: Tensor | None


def describe_fields(design: DesignMatrix) -> Tensor:
    """Return the field of every column, found from the values: see `discover_fields`."""
    return discover_fields(design.indptr.cpu(), design.indices.cpu(), design.shape[1], design.kinds())


def find_colors(design: DesignMatrix, fields: Tensor, without: Tensor | None = None) -> Tensor:
    """Return the color of every column, -1 for dense columns, which are updated one by one.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    fields : LongTensor of shape (n_features,)
    without : BoolTensor of shape (n_samples,), optional
        Rows that columns of a color may share, on the CPU.
    """
    indptr, indices = design.indptr.cpu(), design.indices.cpu()
    colptr, rows, _ = design.columns()
    if without is not None:
        kept = torch.repeat_interleave(~without, indptr.long().diff())
        indptr, indices = _selected(indptr, kept), indices[kept]
        kept = ~without[rows.long()]
        colptr, rows = _selected(colptr, kept), rows[kept]
    colors = color_fields(indptr, indices, colptr, rows, fields.cpu())
    colors[design.dense_columns.cpu()] = -1
    return colors


def _selected(pointer: Tensor, kept: Tensor) -> Tensor:
    """Return the pointer to the entries that are kept, given that to all entries."""
    return torch.cat([pointer.new_zeros(1), kept.cumsum(0).to(pointer)])[pointer.long()]


def make_tiles(design: DesignMatrix, colors: Tensor, width: int) -> list[Tile]:
    """Return the tiles in the order of the update: dense columns, then color by color.

    Parameters
    ----------
    design : DesignMatrix
    colors : Tensor of shape (n_features,)
        From `find_colors`.
    width : int
        Floats that an update reads per row; wider rows get smaller tiles.
    """
    device = design.device
    budget = max(SMALL_TILE, TILE_ENTRIES.get(device.type, 1 << 15) * 16 // max(16, width))
    tiles = [
        Tile(column[None], None, values[None])
        for column, values in zip(design.dense_columns, design.dense, strict=True)
    ]
    columns = design.columns()
    counts = columns.colptr.long().diff()
    order = torch.argsort(counts, descending=True, stable=True)
    order = order[torch.argsort(colors[order], stable=True)]
    order = order[(counts[order] > 0) & (colors[order] >= 0)]
    bounds = torch.unique_consecutive(colors[order], return_counts=True)[1].cumsum(0).tolist()
    for start, stop in pairwise([0, *bounds]):
        for first, last in _cut(counts[order[start:stop]], budget):
            tiles.append(_tile(design, columns, counts, order[start + first : start + last]))
    return tiles


def _cut(lengths: Tensor, budget: int) -> list[tuple[int, int]]:
    """Cut columns, longest first, into runs of little padding and at most ``budget`` entries."""
    total = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    steps = torch.arange(1, len(lengths) + 1, device="cpu")
    runs, start = [], 0
    while start < len(lengths):
        longest = int(lengths[start])
        size = max(1, budget // longest)
        stop = min(start + size, len(lengths))
        filled = total[start + 1 : stop + 1] - total[start]
        padded = longest * steps[: stop - start]
        fits = (padded - filled <= PADDING * padded.float()) | (padded <= SMALL_TILE)
        # Padding only grows along a run, so the last column that fits ends it.
        stop = start + int(fits.nonzero()[-1]) + 1
        runs.append((start, stop))
        start = stop
    return runs


def _tile(design: DesignMatrix, csc: Columns, counts: Tensor, columns: Tensor) -> Tile:
    colptr, rows, values = csc
    n_samples = design.shape[0]
    lengths = counts[columns]
    steps = torch.arange(int(lengths[0]), device="cpu")
    inside = steps < lengths[:, None]
    places = (colptr[columns].long()[:, None] + steps).clamp_(max=max(len(rows) - 1, 0))
    tile_rows = rows[places].masked_fill_(~inside, n_samples)
    tile_values = None if values is None else values[places].masked_fill_(~inside, 0)
    if tile_values is not None and bool((tile_values[inside] == 1).all()):
        tile_values = None
    return Tile(
        columns.to(design.device),
        tile_rows.to(design.device),
        None if tile_values is None else tile_values.to(design.device),
    )


class Pairs(NamedTuple):
    """Rows that each hold one column of either of two colors, seen from both sides.

    Attributes
    ----------
    columns : list of Tensor
        The columns of each color.
    offsets : list of Tensor, bounds : list of list of int
        Where the entries of each of these begin and end.
    rows : list of Tensor
        The row of each entry.
    partners : list of Tensor
        The row's column of the other color, as a place among the columns of that color.
    """

    columns: list[Tensor]
    offsets: list[Tensor]
    bounds: list[list[int]]
    rows: list[Tensor]
    partners: list[Tensor]


def find_pairs(design: DesignMatrix, colors: Tensor) -> Pairs | None:
    """Return the rows as pairs, or None if they are not: two ones in each row, one of either color."""
    n_samples = design.shape[0]
    if design.values is not None or len(design.dense_columns) or len(design.indices) != 2 * n_samples:
        return None
    if bool((design.indptr.long().diff() != 2).any()):
        return None
    sides = colors.to(design.device)[design.indices.view(-1, 2)]
    if bool((sides.amin(1) != 0).any()) or bool((sides.amax(1) != 1).any()):
        return None
    pairs = design.indices.view(-1, 2)
    pairs = torch.where((sides[:, 0] == 0)[:, None], pairs, pairs.flip(1))
    found: list[Tensor] = []
    places: list[Tensor] = []
    for side in (0, 1):
        columns, place = torch.unique(pairs[:, side], return_inverse=True)
        found.append(columns.long())
        places.append(place)
    return pair_up(found, places)


def pair_up(columns: list[Tensor], places: list[Tensor]) -> Pairs:
    """Return rows as pairs, given the columns of both colors and the positions of each row's columns among them."""
    rows = [torch.argsort(place, stable=True) for place in places]
    counts = [torch.bincount(place) for place in places]
    offsets = [torch.cat([count.new_zeros(1), count.cumsum(0)]) for count in counts]
    partners = [places[1 - side][rows[side]] for side in (0, 1)]
    return Pairs(
        columns,
        [o.to(torch.int32) for o in offsets],
        [o.tolist() for o in offsets],
        rows,
        [p.to(torch.int32) for p in partners],
    )
