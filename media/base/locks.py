"""Folders in which one process at a time works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from media.base.errors import WorkspaceError
from media.base.files import clear_all_leftovers, disk_errors

LOCK_NAME = "lock"
"""The file in a locked folder that holds the name of the process that works there."""


def take_lock(folder: Path, advice: str) -> BaseFileLock:
    """Make a folder, keep other processes out of it, and return the lock; `release` lets others in.

    The operating system drops the lock of a process that died, so a dead process never keeps anyone out. advice: what
    to do other than waiting. Raises WorkspaceError if another process works there, or the folder cannot be written.
    """
    path = folder / LOCK_NAME
    # Locks that are no more than files would outlive a dead process, so where there are no others it is refused.
    lock = FileLock(path, mode=0o644, thread_local=False, fallback_to_soft=False, on_acquired=_write_owner)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout as exc:
            raise WorkspaceError(f"{folder}: {_read_owner(path)} is working here. Wait for it, or {advice}.") from exc
    return lock


@contextmanager
def locked(folder: Path, advice: str) -> Iterator[None]:
    """Keep other processes out of a folder, and remove what killed ones left half written; see take_lock."""
    lock = take_lock(folder, advice)
    try:
        clear_all_leftovers(folder)
        yield
    finally:
        lock.release()


def _write_owner(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()}".encode())


def _read_owner(path: Path) -> str:
    try:
        owner = path.read_text(encoding="utf-8", errors="replace")[:100].strip()
    except OSError:  # Windows shows nothing of a locked file
        owner = ""
    return owner or "another process"


@contextmanager
def try_lock(path: Path, *, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Hold a lock file while the context lasts, and yield whether it is held: not, if another holder kept it.

    Two holders in one process keep each other out as well. wait_seconds: how long to wait for another one.
    """
    lock = FileLock(path, mode=0o644, thread_local=False, fallback_to_soft=False, timeout=wait_seconds)
    with disk_errors(path):
        is_held = _acquire(lock)
    try:
        yield is_held
    finally:
        lock.release()


def _acquire(lock: BaseFileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    return True
