"""The queue: numbers of generations, handed to one worker each. What is true of them stands in the store.

huey holds it, in a file of SQLite or in Redis. A number that is lost with a killed worker is put back from the store
(upkeep.py); one that is in it twice is taken up once.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from huey import PriorityRedisHuey, SqliteHuey
from huey.registry import Message
from redis import RedisError

from lipstitch.service.settings import ServiceSettings
from media.base.errors import WorkspaceError

NAME = "lipstitch"
FILE_NAME = "queue.db"
NEW, BEGUN = 0, 1
"""Priorities."""
LONGEST_POLL_SECONDS = 1.0
HEALTH_SECONDS = 1.0
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Queue:
    """The queue of a service."""

    def __init__(self, settings: ServiceSettings, work: Callable[[str], None] | None = None) -> None:
        """Open the queue. work: what `consume` does with a generation."""
        options: dict[str, Any] = {"results": False, "serializer": _JsonMessages()}
        if settings.redis:
            self._huey = PriorityRedisHuey(NAME, url=settings.redis, **options)
        else:
            self._huey = SqliteHuey(NAME, filename=str(settings.folder / FILE_NAME), fsync=True, **options)

        def generation(number: str) -> None:
            assert work is not None, "only workers consume"
            work(number)

        self._task = self._huey.task(name="generation")(generation)

    def put(self, generation: str, *, was_begun: bool = False) -> None:
        """Append a generation, before those that were not begun if it was. Raises WorkspaceError if it is away."""
        with _queue_errors():
            self._task(generation, priority=BEGUN if was_begun else NEW)

    def waiting(self) -> dict[str, bool]:
        """Return the generations that no worker has taken yet, and whether they come before those that were not begun.

        Raises WorkspaceError if the queue is away.
        """
        with _queue_errors():
            tasks = sorted(self._huey.pending(), key=lambda task: task.priority or NEW)
            return {task.args[0]: task.priority == BEGUN for task in tasks}

    def consume(self, num_threads: int) -> NoReturn:
        """Work on generations, so many at a time, for ever; the main thread's KeyboardInterrupt leaves it."""
        consumer = self._huey.create_consumer(
            workers=num_threads, periodic=False, backoff=1.3, max_delay=LONGEST_POLL_SECONDS
        )
        own = {number: signal.getsignal(number) for number in SIGNALS}
        consumer.start()
        for number, handler in own.items():  # huey takes them, to wait for work under way: hours of it
            signal.signal(number, handler)
        while True:
            time.sleep(HEALTH_SECONDS)
            consumer.check_worker_health()


@contextmanager
def _queue_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, sqlite3.Error) as exc:
        raise WorkspaceError(f"The queue of the service cannot be used ({exc}). Check the disk, or --redis.") from exc


class _JsonMessages:
    """Messages as JSON: huey's own are pickles, which execute what they hold."""

    def serialize(self, message: Any) -> bytes:
        """Return a message's text."""
        return json.dumps({key: value for key, value in message._asdict().items() if value is not None}).encode()

    def deserialize(self, text: bytes) -> Any:
        """Return the message of a text."""
        return Message(**json.loads(text))
