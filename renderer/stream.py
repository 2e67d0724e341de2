"""Threads around an iterator: reading ahead and writing behind, with bounded queues.

Who owns what: the producer's thread owns the items until they are in the queue, then the consumer does. A queue holds
at most `depth` items, so the faster side waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
POLL_SECONDS = 0.1
"""How often a thread that waits looks whether the other side has given up."""


class _End:
    """What ends a queue: the exception that ended it, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def read_ahead(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yield items that a thread of its own fetches, at most `depth` ahead; its exceptions are raised here.

    Close the generator (or exhaust it) before what the items come from is closed.
    """
    queue: Queue[Item | _End] = Queue(depth)
    abandoned = Event()

    def put(item: Item | _End) -> bool:
        while not abandoned.is_set():
            try:
                queue.put(item, timeout=POLL_SECONDS)
                return True
            except Full:
                continue
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End(None))
        except BaseException as exc:
            put(_End(exc))

    thread = Thread(target=fetch, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        abandoned.set()
        thread.join()


class WriteBehind(Generic[Item]):
    """Calls a function with each item, in order, on a thread of its own. Leaving the `with` waits for the last."""

    def __init__(self, write: Callable[[Item], None], depth: int) -> None:
        """depth: items that may wait."""
        self._write = write
        self._queue: Queue[Item | _End] = Queue(depth)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="write-behind", daemon=True)

    def __enter__(self) -> WriteBehind[Item]:
        self._thread.start()
        return self

    def put(self, item: Item) -> None:
        """Hand over an item; raises what the function raised on an earlier one."""
        if self._error is not None:
            raise self._error
        self._queue.put(item)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._drop_waiting()
        self._queue.put(_End(error))
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _drop_waiting(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            return

    def _run(self) -> None:
        while not isinstance(item := self._queue.get(), _End):
            # After a failure the queue is only emptied, so that put() never blocks for ever.
            if self._error is None:
                try:
                    self._write(item)
                except BaseException as exc:
                    self._error = exc
