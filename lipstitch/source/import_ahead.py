"""Import torch, which takes two seconds, while something else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread, main_thread

MODULE = "renderer.engine"
"""Imports torch, and what every job needs of ours."""


@contextmanager
def import_ahead() -> Iterator[None]:
    """Import torch beside what the block does, and wait for it at the block's end.

    The block must import nothing itself: where modules of a library import one another, two threads that enter it
    through different modules can see each other's modules half made.
    """

    def work() -> None:
        with suppress(Exception):  # the code that needs the module imports it again, and gets the error
            if main_thread().is_alive():  # the job may have ended with an error meanwhile
                import_module(MODULE)

    thread = Thread(target=work, name="import-ahead")
    thread.start()
    try:
        yield
    finally:
        thread.join()
