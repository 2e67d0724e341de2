"""Threads around an iterator: order, bounds, errors on either side, and nothing that hangs or is left running."""

import threading
import time

import pytest

from renderer.stream import WriteBehind, read_ahead

LONG_SECONDS = 20
"""Longer than any of this can take, unless it hangs."""


def finished(function, *arguments):
    """Call a function on another thread; fail if it hangs, else return what it returned or raise what it raised."""
    result, errors = [], []

    def call():
        try:
            result.append(function(*arguments))
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(LONG_SECONDS)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
    return result[0]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    for _ in range(100):
        left = [thread.name for thread in threading.enumerate() if thread.name in ("read-ahead", "write-behind")]
        if not left:
            return
        time.sleep(0.01)
    raise AssertionError(f"threads left running: {left}")


class Counted:
    """Items that count how many were made."""

    def __init__(self, number, fails_at=None):
        self.number, self.fails_at, self.made = number, fails_at, 0

    def __iter__(self):
        for item in range(self.number):
            if item == self.fails_at:
                raise ValueError(f"item {item}")
            self.made += 1
            yield item


# Reading ahead


@pytest.mark.parametrize("number", [0, 1, 5, 200])
def test_items_come_in_order(number):
    assert finished(list, read_ahead(range(number), 3)) == list(range(number))


def test_items_are_fetched_ahead_but_not_far():
    def consume():
        items = Counted(100)
        most = 0
        for got in read_ahead(items, 4):
            if got % 10 == 0:
                time.sleep(0.02)  # time to run away
            most = max(most, items.made - got - 1)
        return most

    # Four wait in the queue, and one in the hands of the thread.
    assert 4 <= finished(consume) <= 5


def test_errors_of_the_producer_come_after_the_items_before():
    got = []
    with pytest.raises(ValueError, match="item 7"):
        finished(lambda: got.extend(read_ahead(Counted(20, fails_at=7), 3)))
    assert got == list(range(7))


def test_a_consumer_may_give_up():
    def give_up():
        items = Counted(1000)
        stream = read_ahead(items, 4)
        assert next(stream) == 0
        stream.close()
        made = items.made
        time.sleep(0.05)
        return made, items.made

    made, later = finished(give_up)
    assert made == later <= 6


def test_closing_before_the_first_item_starts_nothing():
    items = Counted(10)
    read_ahead(items, 2).close()
    assert items.made == 0


def test_items_are_fetched_on_another_thread():
    names = finished(list, read_ahead((threading.current_thread().name for _ in range(3)), 2))
    assert set(names) == {"read-ahead"}


# Writing behind


def write_all(items, write, depth=3):
    with WriteBehind(write, depth) as behind:
        for item in items:
            behind.put(item)


@pytest.mark.parametrize("number", [0, 1, 5, 200])
def test_items_are_written_in_order_before_leaving(number):
    written = []

    def slowly(item):
        time.sleep(0.001)
        written.append((item, threading.current_thread().name))

    finished(write_all, range(number), slowly)
    assert written == [(item, "write-behind") for item in range(number)]


def test_items_wait_but_not_many():
    put, written, most = [], [], []

    def slowly(item):
        time.sleep(0.003)
        most.append(len(put) - len(written))
        written.append(item)

    def feed():
        for item in range(30):
            yield item
            put.append(item)

    finished(write_all, feed(), slowly, 4)
    # Four wait, one is being written.
    assert 4 <= max(most) <= 5


@pytest.mark.parametrize("fails_at", [0, 5, 99])
def test_errors_of_the_writer_surface(fails_at):
    written = []

    def write(item):
        if item == fails_at:
            raise OSError(f"item {item}")
        written.append(item)

    with pytest.raises(OSError, match=f"item {fails_at}"):
        finished(write_all, range(100), write)
    assert written == list(range(fails_at))


def test_an_error_of_the_last_item_surfaces():
    def write(item):
        time.sleep(0.05)
        raise OSError("late")

    with pytest.raises(OSError, match="late"):
        finished(write_all, [1], write)


def test_an_error_inside_wins_and_drops_what_waits():
    written = []

    def slowly(item):
        time.sleep(0.05)
        written.append(item)

    def fail():
        with WriteBehind(slowly, 10) as behind:
            for item in range(8):
                behind.put(item)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finished(fail)
    assert len(written) < 8


def test_both_sides_together_hold_few():
    def pipe():
        items, written, most = Counted(300), [], [0]

        def write(item):
            most[0] = max(most[0], items.made - len(written))
            written.append(item)

        stream = read_ahead(items, 3)
        write_all(stream, write, 3)
        return written, most[0]

    written, most = finished(pipe)
    assert written == list(range(300))
    assert most <= 3 + 1 + 1 + 3 + 1
