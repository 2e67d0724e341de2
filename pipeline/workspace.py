"""The folder beside the output: content keys, atomic files, resume, one run at a time.

A file's name is a hash of everything that it depends on, so a file that is there is the right one, and a changed
setting simply asks for another name. Nothing is ever changed in place: files are written under a partial name, flushed
to the disk, and renamed.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from media.errors import WorkspaceError
from media.timeline import FrameTable

CHUNK_BYTES = 1 << 20
KEY_BYTES = 12
OWN_FILE = re.compile(rf"(?P<stage>[a-z]+)-[0-9a-f]{{{2 * KEY_BYTES}}}\.\w+(?P<partial>\.part)?")
"""Names that Workspace.path gives. Others are never touched: the user may have named a folder that holds more."""
Keep = Literal["none", "scan", "all"]


class Workspace:
    """One job's folder, locked while it is open. Use it in a `with` statement."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made and locked by entering."""
        self.folder = folder
        self._lock = -1

    def __enter__(self) -> Workspace:
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                # The kernel drops the lock of a process that died, so no run is ever locked out by a dead one.
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                owner = os.read(self._lock, 100).decode().strip() or "another process"
                os.close(self._lock)
                raise WorkspaceError(
                    f"{self.folder}: {owner} is working here. Wait for it, or choose another execution.workspace."
                ) from exc
            os.ftruncate(self._lock, 0)
            os.write(self._lock, f"process {os.getpid()}".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def path(self, stage: str, key: str, suffix: str) -> Path:
        """Return where the file of a stage with a content key belongs."""
        return self.folder / f"{stage}-{key}{suffix}"

    def load(self, path: Path) -> Any | None:
        """Return the JSON value of a finished file, or None if it is not there or not whole."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def store(self, path: Path, value: Any) -> None:
        """Write a JSON value atomically."""
        with atomic_file(path) as partial:
            partial.write_text(json.dumps(value, default=plain), encoding="utf-8")

    def tidy(self, keep: Keep) -> None:
        """Remove what is not to be kept after success; the folder too if nothing is left in it."""
        for path, name in self._own_files():
            if keep == "none" or (keep == "scan" and name["stage"] != "scan"):
                path.unlink()
        if keep == "none":
            (self.folder / "lock").unlink()
            with suppress(OSError):  # something else lies there
                self.folder.rmdir()

    def clear_partial(self) -> None:
        """Remove what a killed run left half written."""
        for path, name in self._own_files():
            if name["partial"]:
                path.unlink()

    def _own_files(self) -> Iterator[tuple[Path, re.Match[str]]]:
        for path in [*self.folder.iterdir()]:
            if match := OWN_FILE.fullmatch(path.name):
                yield path, match


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a partial name beside a path; rename it, flushed to the disk, if all went well, else remove it."""
    partial = path.with_name(path.name + ".part")
    try:
        with disk_errors(path):
            yield partial
            flush(partial)
            os.replace(partial, path)
            flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


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


def fingerprint(path: Path, table: FrameTable) -> str:
    """Return what identifies a source video wherever it lies: size, packet index and bytes; not its name or date."""
    index = hashlib.blake2b(table.pts.tobytes() + table.dts.tobytes() + table.keyframe, digest_size=16).hexdigest()
    return content_key(path.stat().st_size, index, hash_bytes(path))
