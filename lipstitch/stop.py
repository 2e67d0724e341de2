"""How a run ends early: on Ctrl-C or SIGTERM within two seconds, and never without its workers.

Imports nothing but the standard library: workers load it first, and the command line before anything else.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
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
        # own hears of the signal at once, through a socket that Python's part in C writes to: Windows
        # knows no pipe that does not block.
        self._heard, self._hearing = socket.socketpair()
        self._hearing.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(self._hearing.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._wait, name="stop-signals", daemon=True).start()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt

    def _wait(self) -> None:
        while not {signal.SIGINT, signal.SIGTERM} & {*self._heard.recv(16)}:
            pass
        time.sleep(GRACE_SECONDS)
        self.end()

    def end(self) -> NoReturn:
        """End the process at once, with the last words: what it does at exit can hang, or wait for threads."""
        self._ending.acquire()  # never released: the first caller ends the process
        sys.stdout.flush()
        os.write(sys.stderr.fileno(), f"{self._last_words}\n".encode(errors="backslashreplace"))
        os._exit(EXIT_STOPPED)


if sys.platform == "win32":
    import ctypes

    SYNCHRONIZE = 0x00100000
    STILL_RUNS = 0x102
    """WAIT_TIMEOUT of WaitForSingleObject."""

    def _presence(parent: int) -> Callable[[], bool]:
        """Return what tells whether a process is there, which another one of its number would not be."""
        handle = ctypes.windll.kernel32.OpenProcess(SYNCHRONIZE, False, parent)  # noqa: FBT003
        return lambda: ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == STILL_RUNS

else:

    def _presence(parent: int) -> Callable[[], bool]:
        """Return what tells whether this process's parent is there: orphans get another one."""
        return lambda: os.getppid() == parent


def follow_parent(parent: int) -> None:
    """End this worker process as soon as the process that started it is gone, killed or not."""
    is_there = _presence(parent)

    def watch() -> None:
        while is_there():
            time.sleep(WATCH_SECONDS)
        os._exit(EXIT_STOPPED)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()
