"""Files that are whole or not there: atomic writing, locks, JSON, hashes and content keys."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from base.errors import WorkspaceError

CHUNK_BYTES = 1 << 20
KEY_BYTES = 12
TOKEN_BYTES = 4
PARTIAL = rf"(\.[0-9a-f]{{{2 * TOKEN_BYTES}}})?\.part"
"""How the name of a half-written file ends. Each writer has a token of its own, so that a worker which outlives a
killed run for a moment cannot come between the files of the next one."""


@contextmanager
def atomic_file(path: Path, *, makes_folders: bool = False) -> Iterator[Path]:
    """Yield a partial name beside a path; rename it, flushed to the disk, if all went well, else remove it.

    The partial file is there and locked while it is written, so that clear_leftovers can tell it from one whose writer
    died. Whoever writes to it may overwrite it, but must not replace it.
    makes_folders: whether folders on the way are made.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(TOKEN_BYTES)}.part")
    lock = -1
    try:
        with disk_errors(path):
            if makes_folders:
                path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield partial
            flush(partial)
            os.replace(partial, path)
            flush(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if lock >= 0:
            os.close(lock)


def clear_leftovers(path: Path) -> None:
    """Remove what killed runs left half written beside a path; what a living process writes stays."""
    name = re.compile(re.escape(path.name) + PARTIAL)
    for partial in [*path.parent.iterdir()]:
        if name.fullmatch(partial.name):
            with suppress(OSError), partial.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def content_key(*parts: Any) -> str:
    """Return a short hash of values: dataclasses, numbers, text, and sequences and mappings of them."""
    text = json.dumps(parts, default=plain, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).hexdigest()


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it. Raises TypeError for what has no obvious form."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Fraction | Path):
        return str(value)
    if isinstance(value, range):
        return [value.start, value.stop, value.step]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"no content key for {type(value).__name__}")


def hash_bytes(path: Path) -> str:
    """Return a BLAKE2b hash of a file's bytes (2 GB take 2 to 3 seconds)."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def take_lock(folder: Path, advice: str) -> int:
    """Make a folder, keep other runs out of it, and return the open lock file; closing it lets others in.

    Raises WorkspaceError if one works there already. advice: what to do other than waiting for it.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            # The kernel drops the lock of a process that died, so no run is ever locked out by a dead one.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.write(lock, f"process {os.getpid()}".encode())
        except BlockingIOError as exc:
            owner = os.read(lock, 100).decode(errors="replace").strip() or "another process"
            os.close(lock)
            raise WorkspaceError(f"{folder}: {owner} is working here. Wait for it, or {advice}.") from exc
        except BaseException:
            os.close(lock)
            raise
    return lock


@contextmanager
def locked(folder: Path, advice: str) -> Iterator[None]:
    """Keep other runs out of a folder, and clear away what killed ones left half written; see take_lock."""
    lock = take_lock(folder, advice)
    try:
        for partial in [*folder.glob("*.part")]:
            clear_leftovers(partial.with_name(re.sub(f"{PARTIAL}$", "", partial.name)))
        yield
    finally:
        os.close(lock)


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
