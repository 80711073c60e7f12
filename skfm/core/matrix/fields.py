"""Fields: groups of columns that share a prior, found from the sparsity pattern or given by the user."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right, insort
from collections.abc import Sequence

import torch
from torch import Tensor

BINARY, SPARSE_NUMERIC, DENSE_NUMERIC = 0, 1, 2

# Where there is no one-hot block, chance shows one with probability below exp(-3), about 5 %.
_CHANCE_MARGIN = 3.0


def discover_fields(indptr: Tensor, indices: Tensor, n_columns: int, kinds: Tensor) -> Tensor:
    """Find the fields of a sparse matrix from its pattern.

    Parameters
    ----------
    indptr : Tensor of shape (n_rows + 1,)
        Row pointer of the CSR pattern.
    indices : Tensor of shape (nnz,)
        Column of each entry, ascending within a row.
    n_columns : int
    kinds : Tensor of shape (n_columns,)
        0 for columns of zeros and ones, 1 for sparse numeric ones, 2 for dense numeric ones, which have no
        entries in the pattern.

    Returns
    -------
    LongTensor of shape (n_columns,)
        Field of each column, numbered from 0 in the order of first columns.

    Notes
    -----
    A *one-hot block* is a run of two or more neighboring binary columns that pairwise share no row. It
    counts if every row with any entry has one of its columns, or if it covers half of these rows and
    independent columns would have met so often that it is no accident that these never do; this keeps a
    frequent word and its rare neighbors in a bag of words from passing for a block. Blocks that cover more
    rows are settled first: the output of a OneHotEncoder without gaps is recovered exactly, whatever stands
    around it. The border of a block with gaps (``drop``, unknown categories) is ambiguous by the few rare
    columns that fit either side.

    What is in no block joins its kind: the binary columns between two blocks are one field, the sparse
    numeric ones another, even where they alternate, as the columns of a ``CountVectorizer`` do. A column
    that is alone of its kind there (a flag from ``drop="if_binary"``) joins the other lone ones of its
    kind. All dense numeric columns are one field. A column without entries joins the field of the sparse
    column before it.
    """
    kinds = kinds.long()
    dense = kinds == DENSE_NUMERIC
    counts = torch.bincount(indices, minlength=n_columns)
    occupied = (counts > 0) & ~dense
    keys = torch.zeros(n_columns, dtype=torch.int64, device="cpu")
    # From here on columns are numbered without the empty ones, which so neither start nor end a block.
    columns = occupied.nonzero().squeeze(1)
    if columns.numel() > 0:
        rank = occupied.cumsum(0) - 1
        counts, kinds, n_dense = counts[columns], kinds[columns], dense.cumsum(0)[columns]
        previous = _previous_columns(indptr, indices, n_columns)[columns]
        previous = torch.where(previous < 0, -1, rank[previous.clamp(min=0)])
        border = (kinds[1:] != kinds[:-1]) | (n_dense[1:] != n_dense[:-1])
        previous[1:] = torch.where(border, torch.arange(columns.numel() - 1, device="cpu"), previous[1:])
        n_rows = int((indptr[1:] > indptr[:-1]).sum())
        blocks = _one_hot_blocks(counts, previous.cummax(0).values, kinds == BINARY, n_rows)
        keys = _field_keys(blocks, kinds)[rank.clamp(min=0)]
    keys[dense] = -1
    return _number_by_appearance(keys)


def as_field_labels(labels: Sequence[int] | Tensor) -> Tensor:
    """Return arbitrary integer labels as numbers from 0 in the order of first appearance.

    Parameters
    ----------
    labels : sequence of int, of length n_columns

    Returns
    -------
    LongTensor of shape (n_columns,)
    """
    labels = torch.as_tensor(labels, device="cpu")
    if labels.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device="cpu")
    if labels.ndim != 1:
        raise ValueError(f"fields must be one-dimensional, got shape {tuple(labels.shape)}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"fields must be integers, got {labels.dtype}.")
    return _number_by_appearance(labels.long())


def _number_by_appearance(keys: Tensor) -> Tensor:
    # Neighbors mostly have the same key.
    keys, run = torch.unique_consecutive(keys, return_inverse=True)
    values, inverse = torch.unique(keys, return_inverse=True)
    first = torch.full_like(values, keys.numel())
    first.scatter_reduce_(0, inverse, torch.arange(keys.numel(), device="cpu"), "amin")
    return first.argsort().argsort()[inverse][run]


def _previous_columns(indptr: Tensor, indices: Tensor, n_columns: int) -> Tensor:
    """Return for each column the largest column that stands just before it in a row, or -1; (n_columns,)."""
    before = torch.empty_like(indices)
    before[1:] = indices[:-1]
    before[indptr[:-1][indptr[1:] > indptr[:-1]].long()] = -1
    previous = torch.full((n_columns,), -1, dtype=indices.dtype, device="cpu")
    return previous.scatter_reduce_(0, indices.long(), before, "amax").long()


def _one_hot_blocks(counts: Tensor, conflict: Tensor, binary: Tensor, n_rows: int) -> list[tuple[int, int]]:
    """Return disjoint one-hot blocks (start, stop), ascending.

    ``conflict[j]`` is the last column that no window reaching j may contain: columns of the window [a, e)
    share no row if and only if ``conflict[e - 1] < a``.
    """
    n = counts.numel()
    total = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    square = torch.cat(
        [torch.zeros(1, dtype=torch.float64, device="cpu"), counts.double().square().cumsum(0)]
    )
    start = torch.arange(n, device="cpu")
    stop = torch.searchsorted(conflict, start)
    longest = torch.ones(n, dtype=torch.bool, device="cpu")  # not contained in the window one to the left
    longest[1:] = stop[1:] > stop[:-1]
    n_windows = int(longest.sum())
    covered = total[stop] - total[:-1]
    wanted = longest & binary & (stop - start >= 2) & (2 * covered >= n_rows)
    start, stop, covered = start[wanted], stop[wanted], covered[wanted]

    # A block of full rows collides with every neighbor, so it is one of these windows, and goes first.
    heap = list(zip((-covered).tolist(), start.tolist(), stop.tolist(), strict=True))
    heapq.heapify(heap)
    blocks: list[tuple[int, int]] = []
    while heap:
        negative, a, e = heapq.heappop(heap)
        at = bisect_right(blocks, (a, n))
        after_left = max(a, blocks[at - 1][1]) if at else a
        right = blocks[at][0] if at < len(blocks) else n
        if after_left > a or right < e:  # cut by a block already settled: what remains has to queue again
            pieces = [(after_left, min(e, right))]
            if right < e:
                pieces.append((blocks[at][1], e))
            for b, f in pieces:
                rest = int(total[f] - total[b]) if f - b >= 2 else 0
                if rest > 0 and 2 * rest >= n_rows:
                    heapq.heappush(heap, (-rest, b, f))
            continue
        expected = (float(negative) ** 2 - float(square[e] - square[a])) / (2 * n_rows)
        if -negative == n_rows or expected >= math.log(n_windows) + _CHANCE_MARGIN:
            insort(blocks, (a, e))
    return blocks


def _field_keys(blocks: list[tuple[int, int]], kinds: Tensor) -> Tensor:
    """Return a key of the field of each occupied column, not negative and not consecutive."""
    n = kinds.numel()
    bounds = torch.tensor(blocks, dtype=torch.int64, device="cpu").reshape(-1, 2)
    at = torch.arange(n, device="cpu")
    segment = torch.searchsorted(bounds[:, 0].contiguous(), at, right=True)  # number of blocks begun
    in_block = segment > torch.searchsorted(bounds[:, 1].contiguous(), at, right=True)
    key = 3 * segment + torch.where(in_block, 2, kinds) + 2  # 0 and 1 are kept for lone columns
    size = torch.bincount(key)
    return torch.where((size[key] == 1) & ~in_block, kinds, key)
