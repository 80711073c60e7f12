"""Rows that are pairs of two entities, each with columns of its own.

A rating has a user and a film, and the columns of the user are the same in all ratings of the user. Such rows
repeat the same few parts over and over, and sums over the rows need each part only once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from .design import DesignMatrix
from .tiles import Pairs, pair_up

#: Number of rows per part below which this engine does not pay off.
ROWS_A_PART = 4
#: Number of pairs of rows that suffice to rule out most other data quickly.
PROBES = 2000


class Relations(NamedTuple):
    """The two kinds of parts.

    Attributes
    ----------
    parts : list of DesignMatrix of shape (n_parts, n_features)
        The distinct parts of either kind, without the columns of the other.
    colors : list of list of Tensor
        The columns of either kind, color by color.
    pairs : Pairs
        The rows as pairs of parts; those of the second kind are numbered after those of the first.
    """

    parts: list[DesignMatrix]
    colors: list[list[Tensor]]
    pairs: Pairs


def find_relations(design: DesignMatrix, colors: Tensor) -> Relations | None:
    """Return the rows as pairs of parts, or None if they are not.

    The keys are the two largest colors that have a column in every row. The value of every other column must be a
    function of one of them.
    """
    n_samples, n_features = design.shape
    if len(design.dense_columns) or not len(design.indices):
        return None
    color_of = colors.numpy(force=True)
    indices, indptr = design.indices.numpy(force=True), design.indptr.numpy(force=True)
    counts = np.bincount(indices, minlength=n_features)
    used, n_colors = counts > 0, int(color_of.max()) + 1
    sizes = np.bincount(color_of[used], minlength=n_colors)
    complete = np.flatnonzero(np.bincount(color_of, weights=counts, minlength=n_colors) == n_samples)
    if len(complete) < 2 or np.count_nonzero(sizes) == 2:
        return None
    keys = complete[np.argsort(-sizes[complete], kind="stable")[:2]]
    if ROWS_A_PART * sizes[keys].max() > n_samples:
        return None
    # Ones of one byte, which take no more memory than they must.
    values = np.ones(len(indices), np.int8) if design.values is None else design.values.numpy(force=True)
    X = sparse.csr_matrix((values, indices, indptr), shape=design.shape)
    parts_of, sides = [], np.full(n_features, -1)
    for side, key in enumerate(keys):
        sides[color_of == key] = side
        parts_of.append(np.unique(indices[sides[indices] == side], return_inverse=True)[1])
    for constant in (_probe, _is_function):
        follows = [constant(X, place) for place in parts_of]
        allowed = np.select([sides == 0, sides == 1], follows, follows[0] | follows[1])
        if (used & ~allowed).any():
            return None
    sides = np.where(sides >= 0, sides, np.where(follows[0], 0, 1))
    return _relations(design, X, color_of, parts_of, sides)


def _probe(X: sparse.csr_matrix, part: np.ndarray) -> np.ndarray:
    """Return which columns are the same in two rows of each of some parts."""
    order = np.argsort(part, kind="stable")
    same = np.flatnonzero(part[order][1:] == part[order][:-1])
    same = same[:: max(1, len(same) // PROBES)]
    differences = X[order[same]] - X[order[same + 1]]
    differences.eliminate_zeros()
    return np.bincount(differences.indices, minlength=X.shape[1]) == 0


def _is_function(X: sparse.csr_matrix, part: np.ndarray) -> np.ndarray:
    """Return which columns are the same in all rows of every part: there the values have no variance."""
    n = len(part)
    ones = sparse.csr_matrix((np.ones(n), (part, np.arange(n))), shape=(part.max() + 1, n))
    totals = (ones @ X).tocoo()
    explained = totals.data**2 / np.bincount(part)[totals.row]
    explained = np.bincount(totals.col, weights=explained, minlength=X.shape[1])
    squares = np.bincount(X.indices, weights=np.square(X.data, dtype=np.float64), minlength=X.shape[1])
    return squares - explained <= 1e-10 * squares


def _relations(
    design: DesignMatrix,
    X: sparse.csr_matrix,
    color_of: np.ndarray,
    parts_of: list[np.ndarray],
    sides: np.ndarray,
) -> Relations:
    device = design.device
    parts, found = [], []
    for side, part in enumerate(parts_of):
        first = np.unique(part, return_index=True)[1]
        own = X[first] @ sparse.diags((sides == side).astype(np.float64))
        parts.append(
            DesignMatrix.from_array(own, dtype=design.dtype, device=device, dense_columns=np.empty(0, int))
        )
        columns = np.unique(own.tocoo().col)
        order = columns[np.argsort(color_of[columns], kind="stable")].astype(np.int64)
        cuts = np.flatnonzero(np.diff(color_of[order])) + 1
        found.append([torch.from_numpy(c).to(device) for c in np.split(order, cuts)])
    numbers = torch.arange(sum(part.shape[0] for part in parts), device=device)
    both = list(numbers.split([part.shape[0] for part in parts]))
    return Relations(parts, found, pair_up(both, [torch.from_numpy(p).to(device) for p in parts_of]))
