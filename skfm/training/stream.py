"""Training on a stream of chunks: each is checked, turned into batches and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Any

import numpy as np

from ..core.matrix.batches import Batch, BatchSource
from ..core.solvers import SOLVERS, Iterate, Solver
from ..core.solvers.minibatch.batch_source import cut
from ..data.samples import Samples, SideColumns
from ..data.targets import Target
from ..data.validation import check_rows
from ..streaming import Chunk, Chunks, read_ahead
from .digests import AnotherRunError, ChunkDigests
from .problem import TrainingProblem, describe_held_out


class Stream:
    """Chunks, checked one by one.

    The first chunk is read at once, to learn from it what all have in common. It is not read a second time in
    the same pass, because there may be only one pass.

    Parameters
    ----------
    chunks : Chunks
    check : callable
        Turns a chunk into samples; its second argument is whether the chunk is the first one read.
    """

    def __init__(self, chunks: Chunks, check: Callable[[Chunk, bool], Samples]) -> None:
        self.chunks = chunks
        self._check = check
        self._reading: Any = read_ahead(chunks.chunks())
        self._opened: list[Samples] = []
        self._first = self._first_rows = 0
        #: Applied to the samples of that chunk in every pass: sets validation samples apart.
        self.keep: Callable[[Samples], Samples] = lambda samples: samples
        self._digests: ChunkDigests | None = None

    def record_digests(self, of_another_run: Callable[[str], AnotherRunError]) -> ChunkDigests:
        """Return the digests of the chunks, which are recorded from now on. See `ChunkDigests`."""
        self._digests = ChunkDigests(of_another_run)
        return self._digests

    @property
    def n_samples(self) -> int | None:
        """Approximate number of samples, or None if it is not known."""
        n_chunks = self.chunks.n_chunks
        return None if n_chunks is None else n_chunks * self._first_rows

    def first(self) -> Samples:
        """Return the samples of the first chunk that has any."""
        for number, chunk in enumerate(self._reading):
            rows = self._rows(chunk, number, first=True)
            self._opened.append(rows)
            if len(rows.y):
                self._first, self._first_rows = number, len(rows.y)
                return rows
        raise ValueError("No chunk holds any rows with a positive weight.")

    def rows(self, start: int) -> Generator[tuple[int, Samples], None, None]:
        """Yield number and samples of each chunk from ``start`` on."""
        # Chunks that have to be read anyway are compared with those of the run that is resumed.
        is_compared = self._digests is not None and self._digests.are_expected
        first = 0 if is_compared and not self.chunks._skips_cheaply else start
        opened, self._opened = self._opened, []
        reading = self._reading
        if opened and (not first or self.chunks.has_one_pass):
            items: Iterator[Any] = islice(chain(_emptied(opened), reading), first, None)
        else:
            opened.clear()
            reading.close()
            items = reading = read_ahead(self.chunks.chunks(first))
        number = first - 1
        with closing(reading):
            for number, item in enumerate(items, first):
                rows = item if isinstance(item, Samples) else self._rows(item, number, first=False)
                if self._digests is not None:
                    self._digests.add(number, rows)
                if number >= start:
                    yield number, self.keep(rows) if number == self._first else rows
                # Release this chunk before the next one is prepared.
                del item, rows
        if self._digests is not None:
            self._digests.end_pass(number + 1)

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
    problem : TrainingProblem
    batch_size : int or "auto"
    seed : int
    shuffle : bool
    """

    def __init__(
        self, stream: Stream, problem: TrainingProblem, batch_size: int | str, seed: int, *, shuffle: bool
    ) -> None:
        self._stream, self._problem = stream, problem
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
                tensors = self._problem.tensors(rows)
                yield cut(tensors, self._batch_size, self._seed, epoch, number, shuffle=self._shuffle)
                del rows


class ChunkedValidation:
    """Held-out chunks, read again for every evaluation.

    Parameters
    ----------
    chunks : Chunks
    check : callable
        Turns a chunk into samples, as for `Stream`.
    problem : TrainingProblem
    """

    def __init__(
        self, chunks: Chunks, check: Callable[[Chunk, bool], Samples], problem: TrainingProblem
    ) -> None:
        if chunks.has_one_pass:
            raise ValueError(
                f"X_val comes from a {type(chunks.source).__name__} object, which can be read once only, but is "
                "looked at after every sweep. Let Chunks have a function that makes a new one."
            )
        self._chunks, self._check, self._problem = chunks, check, problem

    def loss(self, iterate: Iterate) -> float:
        """Return the weighted mean over all rows, as `Validation` does."""
        loss = weight = 0.0
        with closing(Stream(self._chunks, self._check).rows(0)) as chunks:
            for _, rows in chunks:
                if len(rows.y):
                    part = describe_held_out(rows, self._problem)
                    share = float(part.sample_weight.sum())
                    loss, weight = loss + share * part.loss(iterate), weight + share
        if not weight:
            raise ValueError("X_val holds no rows with a positive weight.")
        return loss / weight


def _emptied(items: list) -> Iterator:
    """Yield and drop the items."""
    while items:
        yield items.pop(0)


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
