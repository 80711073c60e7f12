"""A fitted model in centered columns: the sums of its groups, and the strength of their pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse

from ..data.frames import frame_encoder
from ..data.scaling import Scaling
from ..fitted.located import standardized
from ._groups import ColumnGroups

#: Numbers of a temporary array.
CHUNK = 1 << 23
#: Of a table of all pairs, at most.
MOST_GROUPS = 4096


class CenteredModel(NamedTuple):
    """The model in columns of which the centered ones have a mean of zero, with outputs in the user's units.

    Attributes
    ----------
    intercept : ndarray of shape (n_outputs,)
        The raw prediction where all columns are at their centers.
    linear : ndarray of shape (n_outputs, n_columns)
    factors : ndarray of shape (n_outputs, n_columns, n_factors)
    units : Scaling
    """

    intercept: np.ndarray
    linear: np.ndarray
    factors: np.ndarray
    units: Scaling

    @classmethod
    def of(cls, estimator: Any) -> CenteredModel:
        """Return the model of a fitted estimator."""
        units = Scaling.of(estimator)
        intercept, linear, factors = units.to_columns(standardized(estimator))
        return cls(intercept.numpy(), linear.numpy(), factors.numpy(), units)

    def rows(self, X: Any) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
        """Return the columns that are not centered, those that are, and the numbers of the latter."""
        design = self.units.design(X, torch.float64, torch.device("cpu"))
        ones = torch.ones_like(design.indices, dtype=torch.float32)
        values = ones if design.values is None else design.values
        rest = sparse.csr_matrix(
            (values.numpy(), design.indices.numpy(), design.indptr.numpy()), design.shape
        )
        return rest, design.dense.numpy().T, design.dense_columns.numpy()


class Sums(NamedTuple):
    """What the columns of each group add up to, for some rows and one output.

    Attributes
    ----------
    rows : slice
    linear : ndarray of shape (n_rows, n_groups)
        Of w x.
    vectors : ndarray of shape (n_rows, n_groups, n_factors)
        Of v x.
    squares : ndarray of shape (n_rows, n_groups)
        Of |v|^2 x^2.
    """

    rows: slice
    linear: np.ndarray
    vectors: np.ndarray
    squares: np.ndarray

    def main(self, average: Average) -> np.ndarray:
        """Return main effects, (n_rows, n_groups): what changes if all other groups are at their averages."""
        others = average.vectors.sum(0) - average.vectors
        return self.linear - average.linear + ((self.vectors - average.vectors) * others).sum(2)

    def pairs(self, average: Average, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the interactions of pairs of groups, (n_rows, n_pairs); a group with itself is its own columns'."""
        apart = self.vectors - average.vectors
        found = (apart @ apart.transpose(0, 2, 1))[:, first, second]
        own = np.flatnonzero(first == second)
        found[:, own] = (np.square(self.vectors).sum(2) - self.squares)[:, first[own]] / 2
        return found


class Average(NamedTuple):
    """What groups add up to on average.

    Attributes
    ----------
    linear : ndarray of shape (n_groups,)
    vectors : ndarray of shape (n_groups, n_factors)
    """

    linear: np.ndarray
    vectors: np.ndarray

    def raw(self) -> float:
        """Return what groups at these averages add to the raw prediction, but for what is inside each of them."""
        total = self.vectors.sum(0)
        return float(self.linear.sum() + (total @ total - np.square(self.vectors).sum()) / 2)


def average_sums(model: CenteredModel, groups: ColumnGroups, X: Any, output: int) -> Average:
    """Return the averages over rows; zeros, where the centers of the columns are, if there are none."""
    n_groups, n_factors = len(groups.names), model.factors.shape[2]
    linear, vectors = np.zeros(n_groups), np.zeros((n_groups, n_factors))
    if X is not None:
        for sums in group_sums(model, groups, X, output):
            linear += sums.linear.sum(0) / X.shape[0]
            vectors += sums.vectors.sum(0) / X.shape[0]
    return Average(linear, vectors)


def group_sums(model: CenteredModel, groups: ColumnGroups, X: Any, output: int) -> Iterator[Sums]:
    """Yield the sums of some rows after the other."""
    rest, block, dense = model.rows(X)
    w, V = model.linear[output], model.factors[output]
    n_groups, n_factors = len(groups.names), V.shape[1]
    columns = [np.flatnonzero(groups.of_column == g) for g in range(n_groups)]
    squares = np.square(V).sum(1)
    table = np.column_stack([w, V])
    step = max(1, CHUNK // max(1, n_groups * max(n_groups, n_factors)))
    for start in range(0, rest.shape[0], step):
        rows = slice(start, start + step)
        part, part_block = rest[rows].tocsc(), block[rows]
        part_squares = part.multiply(part).tocsc()
        sums = np.zeros((part.shape[0], n_groups, 1 + n_factors))
        own = np.zeros((part.shape[0], n_groups))
        for g, members in enumerate(columns):
            sums[:, g] = part[:, members] @ table[members]
            own[:, g] = part_squares[:, members] @ squares[members]
            centered = np.flatnonzero(groups.of_column[dense] == g)
            if len(centered):
                sums[:, g] += part_block[:, centered] @ table[dense[centered]]
                own[:, g] += np.square(part_block[:, centered]) @ squares[dense[centered]]
        yield Sums(rows, sums[:, :, 0], sums[:, :, 1:], own)


def strength_matrix(estimator: Any, groups: ColumnGroups, output: int, X: Any = None) -> np.ndarray:
    """Return the strength of every pair of groups, (n_groups, n_groups): see `interaction_strength`."""
    if len(groups.names) > MOST_GROUPS:
        raise ValueError(
            f"The pairs of {len(groups.names)} columns are too many for a table. Pass by='field', or "
            "rank them with interaction_strength(estimator, by='column')."
        )
    model = CenteredModel.of(estimator)
    if X is None:
        return _expected_strength(estimator, model.factors[output], groups)
    average = average_sums(model, groups, X, output)
    total = np.zeros((len(groups.names),) * 2)
    for sums in group_sums(model, groups, X, output):
        apart = sums.vectors - average.vectors
        total += np.square(apart @ apart.transpose(0, 2, 1)).sum(0)
    return np.sqrt(total / X.shape[0])


def _expected_strength(estimator: Any, V: np.ndarray, groups: ColumnGroups) -> np.ndarray:
    """Return the strengths for categories that are equally frequent and independent."""
    encoder = frame_encoder(estimator)
    counted = np.ones(len(V), bool) if encoder is None else ~encoder.unseen
    moments = np.empty((len(groups.names), V.shape[1], V.shape[1]))
    for g in range(len(groups.names)):
        members = V[(groups.of_column == g) & counted]
        if len(members) > 1:
            members = members - members.mean(axis=0)
        moments[g] = members.T @ members / max(1, len(members))
    # Rounding can leave a sum of squares slightly negative.
    return np.sqrt(np.einsum("gij,hij->gh", moments, moments).clip(min=0))
