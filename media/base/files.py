"""Files that are whole or not there: atomic writing, and JSON."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from media.base.errors import WorkspaceError

TOKEN_BYTES = 4
PARTIAL = rf"(\.[0-9a-f]{{{2 * TOKEN_BYTES}}})?\.part"
"""How the name of a half-written file ends. Each writer has a token of its own, so that a worker which outlives a
killed run for a moment cannot come between the files of the next one."""


@contextmanager
def atomic_file(path: Path, *, makes_folders: bool = False) -> Iterator[Path]:
    """Yield a partial name beside a path; rename it, flushed to the disk, if all went well, else remove it.

    The partial file exists and is held while it is written, so that clear_leftovers can tell it from one whose writer
    died. Its writer may overwrite it, but must not replace it. makes_folders: whether missing folders are made.
    """
    partial = _partial_name(path)
    handle = -1
    try:
        with disk_errors(path):
            if makes_folders:
                path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            with suppress(OSError):  # a file system without locks
                _hold(handle)
            yield partial
            flush(partial)
            if sys.platform == "win32":  # where an open file cannot be renamed
                os.close(handle)
                handle = -1
            os.replace(partial, path)
            flush(path.parent)
    finally:
        if handle >= 0:
            os.close(handle)
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def scratch_file(path: Path) -> Iterator[Path]:
    """Yield a name beside a path whose file is removed in the end, by clear_leftovers if its writer dies."""
    scratch = _partial_name(path)
    try:
        yield scratch
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def _partial_name(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(TOKEN_BYTES)}.part")


def clear_leftovers(path: Path) -> None:
    """Remove what killed runs left half written beside a path; what a living process writes stays."""
    name = re.compile(re.escape(path.name) + PARTIAL)
    for partial in [*path.parent.iterdir()]:
        if name.fullmatch(partial.name):
            with suppress(OSError):
                _remove_unless_held(partial)


def clear_all_leftovers(folder: Path) -> None:
    """Remove what killed runs left half written in a folder; what a living process writes stays."""
    for partial in [*folder.glob("*.part")]:
        clear_leftovers(partial.with_name(re.sub(f"{PARTIAL}$", "", partial.name)))


# FileLock holds a file of its own beside what it guards. A partial file guards itself: no second file can be left
# behind, and it is renamed while it is held.
if sys.platform == "win32":

    def _hold(handle: int) -> None:
        """Do nothing: Windows does not remove a file that is open."""

    def _remove_unless_held(partial: Path) -> None:
        partial.unlink()

else:
    import fcntl

    def _hold(handle: int) -> None:
        """Lock an open file until it is closed, or its process dies."""
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _remove_unless_held(partial: Path) -> None:
        """Remove a file; raise OSError if a process holds it."""
        with partial.open("rb") as file:
            _hold(file.fileno())
            partial.unlink()


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into WorkspaceError: one sentence with what to do."""
    try:
        yield
    except OSError as exc:
        remedy = "Make space and start again" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "Check its permissions"
        raise WorkspaceError(f"{path}: cannot be written ({exc.strerror or exc}). {remedy}.") from exc


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    if sys.platform == "win32" and path.is_dir():  # which Windows keeps itself
        return
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, atomically; folders on the way are made."""
    with atomic_file(path, makes_folders=True) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if it is not there or holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Append JSON values to a file, one a line."""
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)
