"""Import what takes seconds to import while something else goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread, main_thread

ALWAYS = ("renderer.engine", "librosa.feature.spectral")


@contextmanager
def import_ahead(modules: Sequence[str]) -> Iterator[None]:
    """Import slow libraries, and those that every job needs, beside what the block does; wait for them at its end.

    The block must import nothing itself: where modules of a library import one another, two threads that enter it
    through different modules can see each other's modules half made.
    """

    def work() -> None:
        with suppress(Exception):  # the code that needs the module imports it again, and gets the error
            for module in (*ALWAYS, *modules):
                if main_thread().is_alive():  # the job may have ended with an error meanwhile
                    import_module(module)

    thread = Thread(target=work, name="import-ahead")
    thread.start()
    try:
        yield
    finally:
        thread.join()
