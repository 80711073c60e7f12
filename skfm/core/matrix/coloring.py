"""Colors of columns: no two columns of a color share a row, so that a color can be updated at once."""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 62  # colors in each int64 of a row's set: keeps clear of the sign bit
_STRETCH = 1 << 22  # entries laid out at a time by the first fit


def one_hot_fields(indptr: Tensor, indices: Tensor, fields: Tensor) -> Tensor:
    """Return which fields can be used as colors without changes.

    These are the fields with at most one entry in every row and one in at least half of the rows with any
    entry. Smaller ones are better packed by the coloring: thousands of them may share a color.

    Parameters
    ----------
    indptr : Tensor of shape (n_rows + 1,)
    indices : Tensor of shape (nnz,)
        Ascending within a row.
    fields : LongTensor of shape (n_columns,)

    Returns
    -------
    BoolTensor of shape (n_fields,)
    """
    n_fields = int(fields.max()) + 1 if fields.numel() else 0
    lengths = indptr[1:].long() - indptr[:-1].long()
    entries = fields.to(torch.int32)[indices]
    counts = torch.bincount(entries, minlength=n_fields)
    suitable = (counts > 0) & (2 * counts >= (lengths > 0).sum())
    step = entries[1:] - entries[:-1]
    step[_inner_starts(indptr) - 1] = 1
    suitable[entries[1:][step == 0].long()] = False
    if bool((step < 0).any()):  # fields are not intervals of columns: a repetition need not be adjacent
        row = torch.repeat_interleave(torch.arange(lengths.numel(), device="cpu"), lengths)
        mask = suitable[entries]
        pair = (row[mask] * n_fields + entries[mask]).sort().values
        suitable[pair[1:][pair[1:] == pair[:-1]] % n_fields] = False
    return suitable


def color_priority(fields: Tensor, one_hot: Tensor, counts: Tensor) -> Tensor:
    """Order the columns for `color_columns`: one-hot fields in their order, the rest by descending count.

    Parameters
    ----------
    fields : LongTensor of shape (n_columns,)
    one_hot : BoolTensor of shape (n_fields,)
    counts : Tensor of shape (n_columns,)
        Number of entries of each column.

    Returns
    -------
    LongTensor of shape (n_columns,)
        Rank of each column, a permutation; lower ranks come first.
    """
    n = fields.numel()
    # Ties are broken by a hash. Broken by position, they would form chains along banded patterns, one round per link.
    mixed = torch.arange(n, device="cpu") * 2654435761 % (1 << 32)
    mixed = (mixed ^ (mixed >> 15)) * 2246822519 % (1 << 32)
    order = mixed.argsort(stable=True)
    flags = one_hot[fields] if n else one_hot.new_zeros(0)
    key = torch.where(flags, fields - fields.numel() - counts.sum(), -counts)
    order = order[key[order].argsort(stable=True)]
    rank = torch.empty(n, dtype=torch.int64, device="cpu")
    rank[order] = torch.arange(n, device="cpu")
    return rank


def color_columns(
    indptr: Tensor,
    indices: Tensor,
    colptr: Tensor,
    rows: Tensor,
    priority: Tensor,
    initial: Tensor | None = None,
) -> Tensor:
    """Color the columns so that no two columns of a color share a row.

    In every round each row elects its first uncolored column, and the columns elected by all of their rows
    are colored. If there are no more rounds than entries in the longest row, rounds are the colors, and none
    could be saved. Otherwise each column takes the first color that is free in all of its rows, which gives
    the same colors as coloring the columns one after the other by priority. Work is O(nnz) for the rounds
    and O(nnz * n_colors / 62) for the first fit.

    Parameters
    ----------
    indptr, indices : Tensor of shape (n_rows + 1,), (nnz,)
        CSR pattern.
    colptr, rows : Tensor of shape (n_columns + 1,), (nnz,)
        CSC pattern of the same matrix.
    priority : LongTensor of shape (n_columns,)
        Distinct values; columns with lower values come first.
    initial : LongTensor of shape (n_columns,), optional
        Colors that are settled already, numbered from 0, and -1 for the columns to color.

    Returns
    -------
    LongTensor of shape (n_columns,)
        Color of each column, from 0. Columns without entries have color 0 unless `initial` places them.
    """
    lengths = colptr[1:].long() - colptr[:-1].long()
    colors = torch.full_like(lengths, -1) if initial is None else initial.clone()
    n_settled = int(colors.max()) + 1 if colors.numel() else 0
    settled = colors >= 0
    colors[~settled & (lengths == 0)] = 0
    # Free columns are renamed by priority: from here on "column" is a position in `order`.
    order = priority.argsort()
    order = order[colors[order] < 0]
    if order.numel() == 0:
        return colors
    starts, lengths = colptr[:-1].long()[order], lengths[order]
    if bool(settled.any()):
        rowptr, columns = _group_by_row(rows, starts, lengths, indptr.numel() - 1)
    else:
        rank = torch.empty(priority.numel(), dtype=torch.int32, device="cpu")
        rank[order] = torch.arange(order.numel(), dtype=torch.int32, device="cpu")
        rowptr, columns = indptr.long(), rank[indices]
        ascending = columns[1:] > columns[:-1]
        ascending[_inner_starts(indptr) - 1] = True
        if not bool(ascending.all()):  # else the rows are in the order of priority as they are
            rowptr, columns = _group_by_row(rows, starts, lengths, indptr.numel() - 1)
    rounds = _elect(rowptr, columns, rows, starts, lengths)

    longest = int((indptr[1:] - indptr[:-1]).max())
    if n_settled + len(rounds) <= longest:
        found = torch.empty_like(order)
        for number, members in enumerate(rounds):
            found[members] = n_settled + number
    else:
        used = _used_colors(colptr, rows, colors, settled, n_settled, indptr.numel() - 1)
        found = _first_fit(rounds, rows, starts, lengths, used)
    colors[order] = found
    return colors


def color_fields(indptr: Tensor, indices: Tensor, colptr: Tensor, rows: Tensor, fields: Tensor) -> Tensor:
    """Color the columns, starting from the fields that can be used as colors without changes.

    These are those of `one_hot_fields`. The first colors are these fields in their order, so for one-hot
    data colors are fields; other columns fill the gaps in them before they open new colors.

    Parameters
    ----------
    indptr, indices : Tensor of shape (n_rows + 1,), (nnz,)
        CSR pattern.
    colptr, rows : Tensor of shape (n_columns + 1,), (nnz,)
        CSC pattern of the same matrix.
    fields : LongTensor of shape (n_columns,)

    Returns
    -------
    LongTensor of shape (n_columns,)
    """
    one_hot = one_hot_fields(indptr, indices, fields)
    numbers = torch.where(one_hot, one_hot.cumsum(0) - 1, -1)
    initial = numbers[fields]
    priority = color_priority(fields, one_hot, colptr[1:].long() - colptr[:-1].long())
    return color_columns(indptr, indices, colptr, rows, priority, initial)


def _inner_starts(indptr: Tensor) -> Tensor:
    """Return where the rows with entries start, but for the first of them."""
    nonempty = indptr[1:] > indptr[:-1]
    return indptr[:-1][nonempty][1:].long()


def _spans(starts: Tensor, lengths: Tensor) -> Tensor:
    """Return the concatenation of arange(start, start + length)."""
    ends = lengths.cumsum(0)
    return torch.repeat_interleave(starts - ends + lengths, lengths).add_(
        torch.arange(int(ends[-1]), device="cpu")
    )


def _group_by_row(rows: Tensor, starts: Tensor, lengths: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """Transpose columns given by their spans in `rows`: row pointer (n_rows + 1,) and ascending columns."""
    entry_rows = rows[_spans(starts, lengths)].to(torch.int32)
    counts = torch.bincount(entry_rows, minlength=n_rows)
    permutation = entry_rows.sort(stable=True).indices
    columns = torch.repeat_interleave(
        torch.arange(lengths.numel(), dtype=torch.int32, device="cpu"), lengths
    )[permutation]
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), columns


def _elect(rowptr: Tensor, columns: Tensor, rows: Tensor, starts: Tensor, lengths: Tensor) -> list[Tensor]:
    """Return the columns colored in each round."""
    pointer, end = rowptr[:-1].clone(), rowptr[1:]
    first = columns[pointer[pointer < end]]
    votes = torch.bincount(first, minlength=lengths.numel())
    slot = torch.empty_like(votes)
    one = votes.new_ones(1)
    ready = (votes == lengths).nonzero().squeeze(1)
    rounds = []
    while ready.numel() > 0:
        rounds.append(ready)
        voters = rows[_spans(starts[ready], lengths[ready])].long()
        position = pointer[voters] + 1
        pointer[voters] = position
        elected = columns[position[position < end[voters]]].long()
        votes.index_add_(0, elected, one.expand(elected.numel()))
        complete = elected[votes[elected] == lengths[elected]]
        # A column may be there once for each of its voters: keep one, without sorting.
        number = torch.arange(complete.numel(), device="cpu")
        slot[complete] = number
        ready = complete[slot[complete] == number]
    return rounds


def _used_colors(
    colptr: Tensor, rows: Tensor, colors: Tensor, settled: Tensor, n_settled: int, n_rows: int
) -> Tensor:
    """Return the colors in use in each row as bits, (n_rows, n_words), with room for one more color."""
    n_words = n_settled // _WORD + 1
    used = torch.zeros(n_rows * n_words, dtype=torch.int64, device="cpu")
    if n_settled:
        at = settled.nonzero().squeeze(1)
        lengths = (colptr[1:] - colptr[:-1]).long()[at]
        color = torch.repeat_interleave(colors[at], lengths)
        where = rows[_spans(colptr[:-1].long()[at], lengths)].long() * n_words + color // _WORD
        # A row has each color once, so a sum of bits is their union.
        used.index_add_(0, where, torch.ones_like(color) << (color % _WORD))
    return used.view(n_rows, n_words)


def _first_fit(rounds: list[Tensor], rows: Tensor, starts: Tensor, lengths: Tensor, used: Tensor) -> Tensor:
    """Give each column the first color that none of its rows uses; (n_free_columns,).

    Columns of a round share no row, so all of them choose at once. Rows of a column are padded to a power of
    two by repeating the last one, which a union does not mind; in a round the longest columns come first.
    """
    sequence = torch.cat(rounds)
    depth = torch.frexp((lengths[sequence] - 1).double()).exponent.long()  # padded length is 2 ** depth
    number = torch.repeat_interleave(torch.tensor([members.numel() for members in rounds], device="cpu"))
    resorted = (number * 64 - depth).argsort()
    sequence, depth = sequence[resorted], depth[resorted]
    n_depths = int(depth.max()) + 1
    sizes = torch.bincount(number * n_depths + depth, minlength=len(rounds) * n_depths).view(-1, n_depths)
    n_entries = (sizes << torch.arange(n_depths, device="cpu")).sum(1).cumsum(0)
    stretches = torch.unique_consecutive((n_entries - 1) // _STRETCH, return_counts=True)[1].tolist()
    by_round = sizes.tolist()

    word, bit = torch.empty_like(sequence), torch.empty_like(sequence)
    stop = done = 0
    for n_rounds in stretches:  # rounds whose entries are laid out together, to save kernels and bound memory
        current = by_round[stop : stop + n_rounds]
        stop += n_rounds
        part = slice(done, done + sum(map(sum, current)))
        columns, padded = sequence[part], torch.ones_like(depth[part]) << depth[part]
        owner = torch.repeat_interleave(padded)
        entry = _spans(torch.zeros_like(padded), padded)
        entry = torch.minimum(entry, (lengths[columns] - 1)[owner]).add_(starts[columns][owner])
        at_rows = rows[entry].long()
        owner += done
        offset = 0
        for by_depth in current:
            members = slice(done, done + sum(by_depth))
            span = slice(offset, offset + sum(count << d for d, count in enumerate(by_depth)))
            done, offset = members.stop, span.stop
            free = ~_unite(used.index_select(0, at_rows[span]), by_depth) & ((1 << _WORD) - 1)
            first = (free != 0).to(torch.int8).argmax(1)
            free = free.gather(1, first.unsqueeze(1)).squeeze(1)
            word[members] = first
            bit[members] = lowest = free & -free
            cell = at_rows[span] * used.shape[1] + word[owner[span]]
            flat = used.view(-1)
            flat[cell] = flat[cell] | bit[owner[span]]
            if int((first + (lowest >> (_WORD - 1))).max()) == used.shape[1]:  # the last color is taken
                used = torch.cat([used, used.new_zeros(used.shape[0], 1)], 1)
    colors = torch.empty_like(lengths)
    colors[sequence] = word * _WORD + torch.frexp(bit.double()).exponent.long() - 1
    return colors


def _unite(words: Tensor, by_depth: list[int]) -> Tensor:
    """Return the bitwise union over the padded rows of each column, longest first; (n_columns, n_words)."""
    n_words = words.shape[1]
    united = words.new_empty(0, 1, n_words)
    offset = 0
    for d in range(len(by_depth) - 1, -1, -1):
        if united.shape[0]:
            half = 1 << d
            united = united[:, :half] | united[:, half:]
        if by_depth[d]:
            count = by_depth[d] << d
            joining = words[offset : offset + count].view(by_depth[d], 1 << d, n_words)
            united = torch.cat([united, joining]) if united.shape[0] else joining
            offset += count
    return united.view(-1, n_words)
