"""Clips one after the other, in the thread that asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from lipstitch.backends.base import Backend, Pool, Request
from media.base.machine import num_cores


class SerialExecutor(Executor):
    """Runs a call in submit()."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function and return its outcome; what is no Exception (Ctrl-C) is raised here."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:
            future.set_exception(exc)
        return future


@contextmanager
def open_serial(_request: Request) -> Iterator[Pool]:
    """Yield a pool of one worker, which begins no clip before the last one was taken."""
    yield Pool(SerialExecutor(), num_workers=1, num_cores=num_cores(), num_ahead=1)


BACKEND = Backend(open_serial, shares_process=True, max_workers=1)
