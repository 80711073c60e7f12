"""Groups of one-hot fields whose observed combinations of levels share one table.

The table engine looks up one table row per group in every row of the data. Fields with few observed combinations are
therefore put into one group, whose table has a row for each of these combinations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...matrix.design import DesignMatrix

#: The largest part of the rows, and the largest number, that the combinations of a group may reach. A field is
#: updated with the table of its group computed anew, which must cost little compared with the rows.
SHARE_OF_ROWS, MOST_COMBINATIONS = 8, 4096
#: Number of combinations that is always accepted.
FEW_COMBINATIONS = 64
#: The largest numbers of fields and of groups. The time of an update is proportional to the number of groups, and
#: with more of them a state per row is faster.
MOST_FIELDS, MOST_GROUPS = 64, 32


class Group(NamedTuple):
    """Fields that share one table.

    Attributes
    ----------
    start, stop : int
        The rows of the table among those of all tables.
    members : dict of int to Tensor of shape (stop - start,)
        For each field, the column that a combination holds; ``n_features`` if it holds none.
    """

    start: int
    stop: int
    members: dict[int, Tensor]


class Tables(NamedTuple):
    """The groups of a design.

    Attributes
    ----------
    groups : list of Group
    codes : IntTensor of shape (n_samples + 1, n_groups)
        The table row of each row of the data in each group. The last row is padding: all its numbers are that of an
        additional table row after those of the groups.
    """

    groups: list[Group]
    codes: Tensor

    @property
    def n_rows(self) -> int:
        """Number of table rows, without the additional one."""
        return self.groups[-1].stop


class _Draft(NamedTuple):
    """A group while it grows: its fields, the combination of each row, and the number of combinations."""

    fields: list[int]
    code: Tensor
    n_combinations: int


def find_tables(design: DesignMatrix, colors: Tensor) -> Tables | None:
    """Return the tables of a design, or None if there are values other than one, or too many fields or groups.

    Parameters
    ----------
    design : DesignMatrix of shape (n_samples, n_features)
    colors : Tensor of shape (n_features,)
        The fields: no row holds two columns of a color.
    """
    n_samples, n_features = design.shape
    if design.values is not None or not len(design.indices):
        return None
    indices = design.indices.cpu().long()
    entry_colors = colors.cpu()[indices]
    n_fields = int(entry_colors.max()) + 1
    if n_fields > MOST_FIELDS:
        return None
    columns = torch.full((n_fields, n_samples), n_features, dtype=torch.int32, device="cpu")
    rows = torch.arange(n_samples, device="cpu").repeat_interleave(design.indptr.cpu().diff())
    columns[entry_colors, rows] = indices.to(torch.int32)
    tables = make_tables(columns, n_features)
    if len(tables.groups) > MOST_GROUPS:
        return None
    device = design.device
    groups = [g._replace(members={f: m.to(device) for f, m in g.members.items()}) for g in tables.groups]
    return Tables(groups, tables.codes.to(device))


def make_tables(columns: Tensor, n_features: int) -> Tables:
    """Return tables on the CPU.

    Parameters
    ----------
    columns : IntTensor of shape (n_fields, n_samples)
        The column that each row holds of each field, ``n_features`` for none.
    n_features : int
    """
    n_fields, n_samples = columns.shape
    limit = max(FEW_COMBINATIONS, min(n_samples // SHARE_OF_ROWS, MOST_COMBINATIONS))
    drafts = [_Draft([f], *_number(columns[f].long(), n_features + 1)) for f in range(n_fields)]
    drafts.sort(key=lambda draft: draft.n_combinations)
    merged: list[_Draft] = []
    for draft in drafts:
        _merge(draft, merged, limit)
    codes = torch.empty(n_samples + 1, len(merged), dtype=torch.int32, device="cpu")
    groups, start = [], 0
    for k, (fields, code, n_combinations) in enumerate(merged):
        row = torch.empty(n_combinations, dtype=torch.long, device="cpu")
        row[code.long()] = torch.arange(n_samples, device="cpu")  # any row that holds the combination
        groups.append(Group(start, start + n_combinations, {f: columns[f, row].long() for f in fields}))
        codes[:-1, k] = code + start
        start += n_combinations
    codes[-1] = start
    return Tables(groups, codes)


def _merge(draft: _Draft, merged: list[_Draft], limit: int) -> None:
    """Add a field to the group that grows least by it, or as a group of its own."""
    best: tuple[int, int, _Draft] | None = None
    for k, group in enumerate(merged):
        if 2 * max(group.n_combinations, draft.n_combinations) > limit:
            continue
        product = group.code.long() * draft.n_combinations + draft.code
        code, n_combinations = _number(product, group.n_combinations * draft.n_combinations)
        growth = n_combinations - group.n_combinations
        if n_combinations <= limit and (best is None or growth < best[0]):
            best = growth, k, _Draft(group.fields + draft.fields, code, n_combinations)
    if best is None:
        merged.append(draft)
    else:
        merged[best[1]] = best[2]


def _number(values: Tensor, n_values: int) -> tuple[Tensor, int]:
    """Return the rank of each value among the distinct values, and how many distinct values there are."""
    seen = torch.zeros(n_values, dtype=torch.bool, device="cpu")
    seen[values] = True
    numbers = seen.cumsum(0, dtype=torch.int32) - 1
    return numbers[values], int(numbers[-1]) + 1
