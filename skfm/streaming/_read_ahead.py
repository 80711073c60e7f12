"""Reading the next item while the current one is in use."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def read_ahead(iterable: Iterable[T]) -> Iterator[T]:
    """Read the next item in a thread while the current one is in use.

    Items come in order and none is lost. At most one item is waiting, so memory has to hold two of them.

    Parameters
    ----------
    iterable : iterable
        What to read from. Only the thread touches it, once the first item is asked for.

    Yields
    ------
    item : object
        The next item.

    Raises
    ------
    Exception
        What `iterable` raises, with its traceback.

    Notes
    -----
    The thread ends with the iterable, or when the generator is closed or thrown away, after the item that it
    is reading just then. It closes `iterable` if that is a generator.

    Examples
    --------
    >>> from skfm.streaming import read_ahead
    >>> list(read_ahead(range(3)))
    [0, 1, 2]
    """
    # The thread reads one item for each request, so neither side ever waits to put something down, and a
    # request to stop always gets through.
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
        error = None  # its traceback holds this frame: a cycle that would keep the items alive
