"""read_ahead: the same items in the same order, one at most ahead; no thread outlives its use."""

import gc
import threading
import time
import traceback
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfm.streaming import read_ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "skfm.read_ahead"]


def eventually(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


@pytest.fixture(autouse=True)
def _no_thread_remains():
    yield
    gc.collect()
    assert eventually(lambda: not threads())


@given(st.lists(st.none() | st.integers()))
def test_items_come_in_order_and_none_is_lost(items):
    assert list(read_ahead(items)) == items
    assert list(read_ahead(item for item in items)) == items


def test_one_item_is_read_while_the_current_one_is_used_and_no_more():
    read = []

    def source():
        for k in range(5):
            read.append(k)
            yield k

    for k in read_ahead(source()):
        ahead = min(k + 2, 5)
        assert eventually(lambda n=ahead: len(read) == n)
        time.sleep(0.005)
        assert len(read) == ahead


def test_nothing_is_read_before_the_first_item_is_asked_for():
    items = read_ahead(1 / 0 for _ in range(1))
    assert not threads()
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_an_error_of_the_reader_comes_in_turn_with_its_traceback():
    def where_it_fails():
        yield 1
        yield 2
        raise OSError("broken disk")

    items = read_ahead(where_it_fails())
    assert next(items) == 1
    time.sleep(0.01)  # the reader has failed by now, or soon
    assert next(items) == 2
    with pytest.raises(OSError, match="broken disk") as info:
        next(items)
    assert "where_it_fails" in [frame.name for frame in traceback.extract_tb(info.value.__traceback__)]
    assert list(items) == []


def test_what_cannot_be_iterated():
    with pytest.raises(TypeError, match="not iterable"):
        next(read_ahead(5))


@pytest.mark.parametrize("end", ["close", "throw away", "error"])
def test_the_thread_ends_and_the_source_is_closed_when_the_consumer_stops(end):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = read_ahead(source())
    next(items)
    assert len(threads()) == 1
    if end == "close":
        items.close()
    elif end == "error":
        with pytest.raises(KeyError):
            items.throw(KeyError("of the consumer"))
    del items
    gc.collect()
    assert closed.wait(10)


def test_closing_does_not_wait_for_the_reader():
    go_on = threading.Event()

    def source():
        yield 0
        go_on.wait(30)
        yield 1

    items = read_ahead(source())
    next(items)
    begin = time.monotonic()
    items.close()
    assert time.monotonic() - begin < 5
    go_on.set()


def test_items_that_were_used_are_let_go():
    class Item:
        pass

    alive = []

    def source():
        for _ in range(6):
            item = Item()
            alive.append(weakref.ref(item))
            yield item
            del item

    for _ in read_ahead(source()):
        assert sum(ref() is not None for ref in list(alive)) <= 3  # with the one just let go by the loop


def test_a_passing_file_like_iterator_is_left_open(tmp_path):
    path = tmp_path / "lines"
    path.write_text("a\nb\n")
    with path.open() as file:
        assert list(read_ahead(file)) == ["a\n", "b\n"]
        assert not file.closed
