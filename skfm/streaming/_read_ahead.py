"""Prefetching of the next item in a background thread."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def read_ahead(iterable: Iterable[T]) -> Iterator[T]:
    """Prefetch the next item in a background thread while the current one is in use.

    The items are yielded in order. At most one item is prefetched, so memory must hold two items.

    Parameters
    ----------
    iterable : iterable
        The items. After the first item is requested, only the thread accesses the iterable.

    Yields
    ------
    item : object
        The next item.

    Raises
    ------
    Exception
        Any exception that `iterable` raises, with its traceback.

    Notes
    -----
    The next item is requested while the current one is in use, so the iterable must not overwrite an item that it has
    yielded. :class:`Chunks` copies its chunks for this reason.

    The thread terminates when the iterable is exhausted. If the generator is closed or garbage-collected, the thread
    terminates after the item that it is reading. It closes `iterable` if that is a generator.

    Examples
    --------
    >>> from skfm.streaming import read_ahead
    >>> list(read_ahead(range(3)))
    [0, 1, 2]
    """
    # The thread reads one item per request, so neither queue ever blocks its writer, and a request to stop is always
    # delivered.
    requests: SimpleQueue[bool] = SimpleQueue()
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def read() -> None:
        try:
            iterator = iter(iterable)
            while requests.get():
                results.put((next(iterator, _END), None))
            if isinstance(iterator, Generator):
                iterator.close()
        except BaseException as error:
            results.put((_END, error))

    Thread(target=read, name="skfm.read_ahead", daemon=True).start()
    requests.put(True)
    try:
        while True:
            item, error = results.get()
            if error is not None:
                raise error
            if item is _END:
                return
            requests.put(True)
            yield item
    finally:
        requests.put(False)
        error = None  # break the reference cycle with this frame, which would keep the items alive
