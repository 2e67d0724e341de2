"""What each worker does beside its work: puts back what was lost, tells clients of ends, and removes what is old."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lipstitch.service.answer import describe
from lipstitch.service.queue import Queue
from lipstitch.service.settings import ServiceSettings
from lipstitch.service.store import Store
from lipstitch.service.webhook import deliver
from media.base.errors import LipstitchError
from media.base.files import disk_errors
from media.base.locks import try_lock

ROUND_SECONDS = 1.0
"""Between two looks at the generations."""
REMOVE_SECONDS = 600.0
"""Between two looks for what is old."""


class Upkeep:
    """Looks after the generations of a service; several at a time do no harm."""

    def __init__(self, settings: ServiceSettings, store: Store, queue: Queue, secret: str) -> None:
        self._settings, self._store, self._queue, self._secret = settings, store, queue, secret
        self._settled: set[str] = set()
        """Generations that need no more looking after."""

    def start(self) -> None:
        """Put back what was lost, and go on in threads that end with the process."""
        self.requeue_lost()  # before anything is taken from the queue: what was begun comes first
        for name, work, seconds in (
            ("requeue", self.requeue_lost, ROUND_SECONDS),
            ("webhooks", self.deliver_due, ROUND_SECONDS),
            ("remove", self.remove_old, REMOVE_SECONDS),
        ):
            threading.Thread(target=_repeat, args=(work, seconds), name=name, daemon=True).start()

    def requeue_lost(self) -> None:
        """Put generations back into the queue that are neither in it nor worked on: a killed process had them.

        One that is taken from the queue this moment, and not yet worked on, is put back too, behind the others. If its
        worker is then killed, it is put back once more, before them. One whose end was asked for is ended instead.
        """
        lost = [(generation, state) for generation, state in self._store.unfinished() if self._is_free(generation)]
        waiting = self._queue.waiting() if lost else {}
        for generation, state in lost:
            if state.is_cancel_asked:  # while another process held it for a moment, or by one that was killed then
                self._store.cancel(generation)
                continue
            was_begun = state.started_at is not None
            if generation not in waiting or was_begun > waiting[generation]:
                self._queue.put(generation, was_begun=was_begun)

    def _is_free(self, generation: str) -> bool:
        with self._store.claim(generation) as is_free:
            return is_free

    def deliver_due(self) -> None:
        """Tell clients of ends that they have not heard of."""
        for generation in self._store.ids():
            if generation in self._settled:
                continue
            state, asked = self._store.state(generation), self._store.asked(generation)
            if state is None or asked is None or (state.is_finished and not state.delivery.is_due):
                self._settled.add(generation)
            elif state.is_finished:
                told = describe(asked, state, self._store.result(generation), self._secret)
                content = told.model_dump(mode="json", by_alias=True)
                deliver(self._store, generation, content, self._settings.addresses, self._secret)

    def remove_old(self) -> None:
        """Remove what is kept no longer."""
        self._store.remove_old(self._settings.limits.keep_hours * 3600)


def _repeat(work: Callable[[], None], seconds: float) -> None:
    while True:
        try:
            work()
        except (LipstitchError, OSError) as exc:  # a folder that was removed just now, a Redis that is away
            print(f"Warning: {exc}", file=sys.stderr, flush=True)  # noqa: T201
        time.sleep(seconds)


@contextmanager
def announced(folder: Path) -> Iterator[None]:
    """Let the server count this worker while the context lasts."""
    place = folder / "workers"
    with disk_errors(place):
        place.mkdir(exist_ok=True)
    path = place / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.lock"
    with try_lock(path):
        yield
    path.unlink(missing_ok=True)


def count_workers(folder: Path) -> int:
    """Return how many workers are alive; what dead ones left is removed."""
    alive = 0
    for path in (folder / "workers").glob("*.lock"):
        with try_lock(path) as is_free:
            if is_free:
                path.unlink(missing_ok=True)
        alive += not is_free
    return alive
