"""Training on a stream of chunks: each is checked, turned into batches and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..core.matrix.batches import Batch, BatchSource
from ..core.solvers import SOLVERS, Iterate, Solver
from ..core.solvers.minibatch.batch_source import cut
from ..data.validation import Samples, check_rows
from ..streaming import Chunk, Chunks, read_ahead
from .problem import Task, describe_validation


class Stream:
    """Chunks, checked one by one.

    The first one is read at once, to learn from it what all have in common. It is not read a second time in
    the same pass, since that may be the only one.

    Parameters
    ----------
    chunks : Chunks
    check : callable
        Turns a chunk and its number into rows; ``first`` tells whether it is the first one read.
    """

    def __init__(self, chunks: Chunks, check: Callable[[Chunk, bool], Samples]) -> None:
        self.chunks = chunks
        self._check = check
        self._reading: Any = read_ahead(chunks.chunks())
        self._opened: list[Samples] = []
        self._first = self._first_rows = 0
        #: Applied to the rows of that chunk in every pass: sets validation rows apart.
        self.keep: Callable[[Samples], Samples] = lambda rows: rows

    @property
    def n_samples(self) -> int | None:
        """About how many rows there are, None if nobody knows."""
        n_chunks = self.chunks.n_chunks
        return None if n_chunks is None else n_chunks * self._first_rows

    def first(self) -> Samples:
        """Return the rows of the first chunk that has any."""
        for number, chunk in enumerate(self._reading):
            rows = self._rows(chunk, number, first=True)
            self._opened.append(rows)
            if len(rows.y):
                self._first, self._first_rows = number, len(rows.y)
                return rows
        raise ValueError("No chunk holds any rows with a positive weight.")

    def rows(self, start: int) -> Generator[tuple[int, Samples], None, None]:
        """Yield number and rows of each chunk from ``start`` on."""
        opened, self._opened = self._opened, []
        reading = self._reading
        if opened and (not start or self.chunks.has_one_pass):
            items: Iterator[Any] = islice(chain(_emptied(opened), reading), start, None)
        else:
            opened.clear()
            reading.close()
            items = reading = read_ahead(self.chunks.chunks(start))
        with closing(reading):
            for number, item in enumerate(items, start):
                rows = item if isinstance(item, Samples) else self._rows(item, number, first=False)
                yield number, self.keep(rows) if number == self._first else rows
                # Not to hold this chunk while the next one is prepared.
                del item, rows

    def _rows(self, chunk: Chunk, number: int, *, first: bool) -> Samples:
        try:
            return self._check(chunk, first)
        except (ValueError, TypeError) as error:
            raise type(error)(f"Chunk {number}: {error}") from error


class ChunkedBatches(BatchSource):
    """The batches of a stream.

    Parameters
    ----------
    stream : Stream
    task : Task
    batch_size : int or "auto"
    seed : int
    shuffle : bool
    """

    def __init__(
        self, stream: Stream, task: Task, batch_size: int | str, seed: int, *, shuffle: bool
    ) -> None:
        self._stream, self._task = stream, task
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle

    @property
    def n_segments(self) -> int | None:
        return self._stream.chunks.n_chunks

    def segments(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        with closing(self._stream.rows(start)) as chunks:
            for number, rows in chunks:
                if not len(rows.y):
                    yield []
                    continue
                yield cut(
                    self._task.rows(rows), self._batch_size, self._seed, epoch, number, shuffle=self._shuffle
                )
                del rows


class ChunkedValidation:
    """Held-out chunks, read again for every look at them.

    Parameters
    ----------
    estimator : estimator
        Knows the columns and the labels by now.
    chunks : Chunks
    task : Task
    """

    def __init__(self, estimator: Any, chunks: Chunks, task: Task) -> None:
        if chunks.has_one_pass:
            raise ValueError(
                f"X_val comes from a {type(chunks.source).__name__} object, which can be read once only, but is "
                "looked at after every sweep. Let Chunks have a function that makes a new one."
            )
        self._estimator, self._chunks, self._task = estimator, chunks, task

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over all rows, as `Validation` does."""
        loss = weight = 0.0
        with closing(Stream(self._chunks, self._check).rows(0)) as chunks:
            for _, rows in chunks:
                if len(rows.y):
                    part = describe_validation(rows, self._task)
                    share = float(part.sample_weight.sum())
                    loss, weight = loss + share * part.loss(iterate), weight + share
        if not weight:
            raise ValueError("X_val holds no rows with a positive weight.")
        return loss / weight

    def _check(self, chunk: Chunk, first: bool) -> Samples:
        estimator, weight = self._estimator, chunk.sample_weight
        if not len(chunk.y) or (weight is not None and not weight.any()):
            return Samples(chunk.X[:0], np.empty(0), np.empty(0))
        rows = check_rows(estimator, *chunk, reset=False, y_numeric=not estimator._target.are_labels)
        return rows._replace(y=estimator._target.encode(rows.y, "y_val"))


def _emptied(items: list) -> Iterator:
    """Yield and drop the items."""
    while items:
        yield items.pop(0)


def open_stream(estimator: Any, solver: Solver, chunks: Chunks, y: Any, sample_weight: Any) -> Stream:
    """Return a stream for ``fit``, or say why it cannot be."""
    if chunks.has_one_pass and (estimator.max_iter or 1) > 1:
        raise ValueError(
            f"max_iter={estimator.max_iter} epochs cannot be made of chunks from a "
            f"{type(chunks.source).__name__} object, which can be read once only. Let Chunks have a function that "
            "makes a new one, or set max_iter=1."
        )
    if y is not None or sample_weight is not None:
        raise ValueError("A stream of chunks brings y and sample_weight along. Pass neither beside it.")
    if not solver.learns_online:
        others = ", ".join(repr(name) for name, other in SOLVERS.items() if other.learns_online)
        raise ValueError(
            f"solver={solver.name!r} needs all data at once and cannot learn from chunks. Use one of {others}."
        )
    return Stream(chunks, ChunkCheck(estimator, chunks))


class ChunkCheck:
    """Checks chunks as ``fit`` checks arrays, the later ones against the first."""

    def __init__(self, estimator: Any, chunks: Chunks) -> None:
        self._estimator, self._chunks = estimator, chunks
        self._dtype: Any = None

    def __call__(self, chunk: Chunk, first: bool) -> Samples:
        estimator = self._estimator
        weight = chunk.sample_weight
        if not len(chunk.y) or (weight is not None and not weight.any()):
            return Samples(chunk.X[:0], np.empty(0), np.empty(0))
        reset = first and not estimator._continues()
        rows = check_rows(estimator, *chunk, reset=reset, y_numeric=not estimator._target.are_labels)
        if first:
            self._dtype = rows.X.dtype
            estimator._target.learn(rows.y if self._chunks.classes is None else self._chunks.classes)
        elif rows.X.dtype != self._dtype:
            raise ValueError(
                f"X is {rows.X.dtype}, but {self._dtype} in the first chunk. Convert all chunks to one dtype."
            )
        return rows._replace(y=estimator._target.encode(rows.y))


def identity_of(estimator: Any, rows: Samples, held_out: Samples | None) -> dict[str, Any]:
    """Return what tells a run from others: its parameters, its first rows and its validation rows."""
    # These may differ between a run and the one that goes on from it.
    free = {"checkpoint", "device", "random_state", "verbose", "warm_start"}
    identity: dict[str, Any] = {
        name: repr(value) for name, value in estimator.get_params().items() if name not in free
    }
    identity["estimator"] = type(estimator).__name__
    for suffix, part in (("", rows), ("_val", held_out)):
        if part is not None:
            values = part.X.data if sp.issparse(part.X) else part.X
            identity |= {
                f"shape of X{suffix}": list(part.X.shape),
                f"dtype of X{suffix}": str(part.X.dtype),
                f"sum of X{suffix}": float(np.sum(values, dtype=np.float64)),
                f"sum of y{suffix}": float(np.sum(part.y, dtype=np.float64)),
                f"sum of sample_weight{suffix}": float(np.sum(part.sample_weight, dtype=np.float64)),
            }
    return identity
