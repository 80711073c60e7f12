"""A fitted model in centered columns: the sums of its groups, and the strength of their pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .._frames import frame_encoder
from .._state import fitted_parameters
from .._units import Units
from ._groups import Groups

#: Numbers of a temporary array.
CHUNK = 1 << 23


class CenteredModel(NamedTuple):
    """The model in columns of which the centered ones have a mean of zero, with outputs in the user's units.

    Attributes
    ----------
    intercept : ndarray of shape (n_outputs,)
        The raw prediction where all columns are at their centers.
    linear : ndarray of shape (n_outputs, n_columns)
    factors : ndarray of shape (n_outputs, n_columns, n_factors)
    center, scale : ndarray of shape (n_columns,)
    """

    intercept: np.ndarray
    linear: np.ndarray
    factors: np.ndarray
    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, estimator: Any) -> CenteredModel:
        """Return the model of a fitted estimator."""
        units = Units.of(estimator)
        found = units.to_solver(fitted_parameters(estimator))
        intercept, linear, factors = (t.numpy() for t in found)
        shift, scale = units.shift.numpy(), units.scale.numpy()
        conditioning = units.conditioning
        return cls(
            shift + scale * intercept,
            scale[:, None] * linear,
            np.sqrt(scale)[:, None, None] * factors,
            conditioning.center.numpy(force=True),
            conditioning.scale.numpy(force=True),
        )

    def rows(self, X: Any) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
        """Return the columns that are not centered, those that are, and the numbers of the latter."""
        dense = np.flatnonzero(self.center)
        if sparse.issparse(X):
            block, rest = X[:, dense].toarray(), sparse.csr_matrix(X, dtype=np.float64)
        else:
            block, rest = X[:, dense], sparse.csr_matrix(np.asarray(X, np.float64))
        keep = np.ones(len(self.center))
        keep[dense] = 0
        rest = (rest @ sparse.diags(keep / self.scale)).tocsr()
        rest.eliminate_zeros()
        return rest, (np.asarray(block, np.float64) - self.center[dense]) / self.scale[dense], dense


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

    def pairs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the interactions of pairs of groups, (n_rows, n_pairs); a group with itself is its own columns'."""
        products = self.vectors @ self.vectors.transpose(0, 2, 1)
        found = products[:, first, second]
        own = np.flatnonzero(first == second)
        found[:, own] = (found[:, own] - self.squares[:, first[own]]) / 2
        return found


def group_sums(model: CenteredModel, groups: Groups, X: Any, output: int) -> Iterator[Sums]:
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


def strength_matrix(estimator: Any, groups: Groups, output: int) -> np.ndarray:
    """Return the strength of every pair of groups, from the factors alone, (n_groups, n_groups)."""
    V = CenteredModel.of(estimator).factors[output]
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
