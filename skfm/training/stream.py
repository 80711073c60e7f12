"""A stream of chunks. Only the chunk that is in use is kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Any

from ..data.samples import Samples
from ..streaming import Chunk, Chunks, read_ahead
from .digests import AnotherRunError, ChunkDigests


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


def _emptied(items: list) -> Iterator:
    """Yield and drop the items."""
    while items:
        yield items.pop(0)
