"""Import what takes seconds to import while something else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread, main_thread

FOR_RENDERING, FOR_DETECTION, FOR_HEARING = "renderer.engine", "torchvision.models", "librosa.feature.spectral"


@contextmanager
def import_ahead() -> Iterator[None]:
    """Import the slow libraries beside what the block does, and wait for them at its end.

    The block must import nothing itself: where modules of a library import one another, two threads that enter it
    through different modules can see each other's modules half made.
    """

    def work() -> None:
        with suppress(Exception):  # the code that needs the module imports it again, and gets the error
            for module in (FOR_RENDERING, FOR_DETECTION, FOR_HEARING):
                if main_thread().is_alive():  # the job may have ended with an error meanwhile
                    import_module(module)

    thread = Thread(target=work, name="import-ahead")
    thread.start()
    try:
        yield
    finally:
        thread.join()
