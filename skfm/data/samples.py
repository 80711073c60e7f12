"""Samples as users pass them: X, y, and the side columns that every selection of the samples takes along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing


class SideColumns(NamedTuple):
    """What is known of each sample in addition to X and y.

    To add a column, add a field. Functions that select samples apply `map` and so need no change. The tensors of a
    solver have the same columns: see `skfm.core.matrix.samples`.

    Attributes
    ----------
    weight : ndarray of shape (n_samples,)
        Positive.
    """

    weight: np.ndarray

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> SideColumns:
        """Return the columns with a function applied to each."""
        return SideColumns(*map(function, self))


class Samples(NamedTuple):
    """Checked samples with positive weights.

    Attributes
    ----------
    X : ndarray or csr of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    side : SideColumns
    source : object or None
        The DataFrame that X encodes, None if X is what the user passed.
    places : ndarray of shape (n_samples,) or None
        Row numbers in it.
    """

    X: Any
    y: np.ndarray
    side: SideColumns
    source: Any = None
    places: np.ndarray | None = None

    @property
    def sample_weight(self) -> np.ndarray:
        """The weights, (n_samples,)."""
        return self.side.weight

    def take(self, which: np.ndarray) -> Samples:
        """Return the samples of these numbers, in their order."""
        return Samples(
            self.X[which],
            self.y[which],
            self.side.map(lambda column: column[which]),
            self.source,
            None if self.places is None else self.places[which],
        )

    def split(self, *parts: np.ndarray) -> tuple[Samples, ...]:
        """Return the samples of several parts, each in their original order."""
        return tuple(self.take(np.sort(part)) for part in parts)

    def without_rows(self) -> Samples:
        """Return no samples of the same kind, which keep nothing of these in memory."""
        return self.take(np.arange(0))._replace(source=None)

    def as_given(self) -> Any:
        """Return X as the user passed it."""
        return self.X if self.places is None else _safe_indexing(self.source, self.places)
