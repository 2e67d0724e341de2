"""Run a command and measure it as a whole: wall time, CPU time, and the memory of all its processes together."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SAMPLE_SECONDS = 1.0
"""How often memory is looked at. The kernel walks through all of it while the process waits: five times a second took a
sixth of a core."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a command cost."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    """Greatest sum of the proportional set sizes (PSS) of the command and its descendants, as seen each second; at
    least what the command itself held at any moment, which the kernel notes."""
    output: str


def run_measured(command: list[str], *, cwd: Path | None = None, num_cores: int | None = None) -> Measured:
    """Run a command to its end, on the first cores or on all; raise RuntimeError with its messages if it fails."""
    cores = os.sched_getaffinity(0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    os.sched_setaffinity(0, sorted(cores)[:num_cores])  # which the command inherits
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    os.sched_setaffinity(0, cores)
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            held = sum(_noted_mb(member, "smaps_rollup", "Pss") for member in _family(process.pid))
            peak[0] = max(peak[0], held, _noted_mb(process.pid, "status", "VmHWM"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.monotonic() - start
    done.set()
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{output}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(seconds, cpu, peak[0], output)


def seconds_to_stop(command: list[str], begun: Callable[[], bool]) -> float:
    """Start a command, wait until it has begun, press Ctrl-C; return the seconds until the last of its processes ends.

    Raises RuntimeError if the command ends by itself.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    while not begun():
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)}: ended by itself, exit code {process.returncode}")
        time.sleep(0.01)
    pressed = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    while any(stat.session == process.pid and stat.state != "Z" for stat in _running()):
        time.sleep(0.01)
    return time.monotonic() - pressed


class _Stat(NamedTuple):
    """What the kernel says of a process."""

    process: int
    state: str
    parent: int
    session: int


def _running() -> Iterator[_Stat]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text()
            except OSError:
                continue
            state, parent, _, session, *_ = stat.rsplit(")", 1)[1].split()
            yield _Stat(int(entry.name), state, int(parent), int(session))


def _family(root: int) -> list[int]:
    """Return a process and its descendants."""
    running = list(_running())
    family = [root]
    for process in family:
        family += [stat.process for stat in running if stat.parent == process]
    return family


def _noted_mb(process: int, file: str, name: str) -> float:
    """Return what the kernel notes of a process's memory; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), 0.0)
