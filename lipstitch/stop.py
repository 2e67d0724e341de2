"""How a run ends early: on Ctrl-C or SIGTERM within two seconds, and never without its workers.

Imports nothing but the standard library: workers load it first, and the command line before anything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

EXIT_STOPPED = 130
"""Exit code of a run that was stopped: 128 + SIGINT, as shells count."""
GRACE_SECONDS = 1.0
"""How long the run may take to clean up behind itself before it is ended where it stands."""
WATCH_SECONDS = 0.2
"""How often a worker looks whether the run is still there."""


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into KeyboardInterrupt, ignores more, and ends the process if it lingers.

    What cannot be interrupted (a call into a codec, a library that swallows exceptions, a thread) is left behind: files
    under partial names, which the next run removes, and workers, which follow.
    """

    def __init__(self, last_words: str) -> None:
        """Install the handlers. last_words: what to write to stderr when the process ends."""
        self.came = False
        """Whether a signal has come."""
        self._last_words = last_words
        self._ending = threading.Lock()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)
        # Python runs handlers between two steps of its main thread, which may be inside a long call. A thread of its
        # own hears of the signal at once, through a pipe that Python's part in C writes to.
        self._heard, heard = os.pipe()
        os.set_blocking(heard, False)
        signal.set_wakeup_fd(heard, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, name="stop-signals", daemon=True).start()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt

    def _wait(self) -> None:
        while not {signal.SIGINT, signal.SIGTERM} & {*os.read(self._heard, 16)}:
            pass
        time.sleep(GRACE_SECONDS)
        self.end()

    def end(self) -> NoReturn:
        """End the process at once, with the last words: what it does at exit can hang, or wait for threads."""
        self._ending.acquire()  # never released: the first caller ends the process
        sys.stdout.flush()
        os.write(sys.stderr.fileno(), f"{self._last_words}\n".encode(errors="backslashreplace"))
        os._exit(EXIT_STOPPED)


def follow_parent(parent: int) -> None:
    """End this worker process as soon as the process that started it is gone, killed or not."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(EXIT_STOPPED)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()
