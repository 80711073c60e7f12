"""Checks of streams and of their chunks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.solvers import SOLVERS, Solver
from ..data.samples import Samples, SideColumns
from ..data.targets import Target
from ..data.validation import check_rows
from ..streaming import Chunk, Chunks


def check_stream(solver: Solver, chunks: Chunks, y: Any, sample_weight: Any, max_iter: int | None) -> None:
    """Raise an error if ``fit`` cannot learn from these chunks."""
    if chunks.has_one_pass and (max_iter or 1) > 1:
        raise ValueError(
            f"max_iter={max_iter} epochs cannot be made of chunks from a "
            f"{type(chunks.source).__name__} object, which can be read once only. Let Chunks have a function that "
            "makes a new one, or set max_iter=1."
        )
    if y is not None or sample_weight is not None:
        raise ValueError("The chunks contain y and sample_weight. Do not pass them in addition to a stream.")
    if not solver.learns_online:
        others = ", ".join(repr(name) for name, other in SOLVERS.items() if other.learns_online)
        raise ValueError(
            f"solver={solver.name!r} needs all data at once and cannot learn from chunks. Use one of {others}."
        )


class ChunkCheck:
    """Checks chunks as ``fit`` checks arrays, the later ones against the first.

    Parameters
    ----------
    estimator : estimator
    target : Target
    classes : ndarray or None
        All labels, if the user has passed them.
    reset : bool
        Whether the columns are learned from the first chunk, rather than known from a fit before.
    """

    def __init__(self, estimator: Any, target: Target, classes: np.ndarray | None, *, reset: bool) -> None:
        self._estimator, self._target, self._classes, self._reset = estimator, target, classes, reset
        self._dtype: Any = None
        #: The columns of whose new categories the user has been warned.
        self._known_new: set[str] = set()

    def __call__(self, chunk: Chunk, first: bool) -> Samples:
        if _is_empty(chunk):
            return _no_samples(chunk)
        estimator, target = self._estimator, self._target
        rows = check_rows(
            estimator,
            *chunk,
            reset=first and self._reset,
            y_numeric=not target.are_labels,
            known_new=self._known_new,
        )
        if first:
            self._dtype = rows.X.dtype
            target.learn(rows.y if self._classes is None else self._classes)
        elif rows.X.dtype != self._dtype:
            raise ValueError(
                f"X is {rows.X.dtype}, but {self._dtype} in the first chunk. Convert all chunks to one dtype."
            )
        return rows._replace(y=target.encode(rows.y))


class ValidationChunkCheck:
    """Checks chunks of validation data against the training data.

    Parameters
    ----------
    estimator : estimator
        The columns and the labels are known by now.
    target : Target
    """

    def __init__(self, estimator: Any, target: Target) -> None:
        self._estimator, self._target = estimator, target

    def __call__(self, chunk: Chunk, first: bool) -> Samples:
        if _is_empty(chunk):
            return _no_samples(chunk)
        numeric = not self._target.are_labels
        rows = check_rows(self._estimator, *chunk, reset=False, y_numeric=numeric)
        return rows._replace(y=self._target.encode(rows.y, "y_val"))


def _is_empty(chunk: Chunk) -> bool:
    """Return whether a chunk has no samples of positive weight."""
    weight = chunk.sample_weight
    return not len(chunk.y) or (weight is not None and not weight.any())


def _no_samples(chunk: Chunk) -> Samples:
    return Samples(chunk.X[:0], np.empty(0), SideColumns(np.empty(0)))
