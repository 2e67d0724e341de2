"""Clips in processes of their own, through loky: one that is killed is noticed, and outputs of one job share them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from lipstitch.backends.base import Backend, Pool, Request
from lipstitch.stop import follow_parent
from media.base.errors import RenderError
from media.base.machine import num_cores

IDLE_SECONDS = 300
"""How long a worker waits for the next output of the job."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""What tells libraries how many threads to start: all workers together start one a core."""


@contextmanager
def open_processes(request: Request) -> Iterator[Pool]:
    """Yield a pool of processes. They stay for the next pool, unless this one ends before its clips are done."""
    from loky import BrokenProcessPool, get_reusable_executor

    num_threads = max(1, num_cores() // request.num_workers)
    with _quiet_children():
        executor = get_reusable_executor(
            request.num_workers,
            timeout=IDLE_SECONDS,
            initializer=follow_parent,
            initargs=(os.getpid(),),
            env=dict.fromkeys(THREAD_VARIABLES, str(num_threads)),
        )
        executor.submit(os.getpid)  # starts all of them

    def explain(error: BaseException) -> Exception | None:
        if not isinstance(error, BrokenProcessPool):
            return None
        return RenderError(
            "A worker process was killed, most likely because memory ran out."
            " Lower execution.workers or renderer.batch_size and start again; finished clips are reused."
        )

    try:
        yield Pool(executor, request.num_workers, num_cores(), num_ahead=2 * request.num_workers, explain=explain)
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise


@contextmanager
def _quiet_children() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, which a terminal sends to all: this one hears it and ends them.

    If this process is killed, the trackers of semaphores tidy up behind it without complaining.
    """
    if sys.platform == "win32":  # where Ctrl-C is held back in no other way, and nothing is to be tracked
        yield
        return
    warnings = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (warnings, "ignore:resource_tracker")))
    resource_tracker.ensure_running()  # before Python 3.12 starting it later would unblock the signal again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if warnings is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warnings


BACKEND = Backend(open_processes, shares_process=False)
