"""Files that are whole or not there: atomic writing, JSON, content keys, one run at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from media.errors import WorkspaceError

KEY_BYTES = 12
CHUNK_BYTES = 1 << 20


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into WorkspaceError: one sentence with what to do."""
    try:
        yield
    except OSError as exc:
        remedy = "Make space and start again" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "Check its permissions"
        raise WorkspaceError(f"{path}: cannot be written ({exc.strerror or exc}). {remedy}.") from exc


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a partial name beside a path; give it its name, flushed to the disk, if all went well, else remove it.

    For folders in which only one process writes (see locked).
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            flush(partial)
            os.replace(partial, path)
            flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and keep other runs out of it; raise WorkspaceError if one works there already."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel drops the lock of a process that died
        except BlockingIOError as exc:
            raise WorkspaceError(f"{folder}: another run works here. Wait for it, or choose another folder.") from exc
        yield
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, atomically."""
    with atomic_file(path) as partial:
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


def hash_bytes(path: Path) -> str:
    """Return a BLAKE2b hash of a file's bytes."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def content_key(*parts: Any) -> str:
    """Return a short hash of values that JSON can hold."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=KEY_BYTES).hexdigest()
