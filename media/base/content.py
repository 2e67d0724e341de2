"""Hashes of files and keys of values: what is done again when it changes, and only then."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import xxhash

KEY_BYTES = 12
"""Length of a content key; it is written as twice as many hexadecimal digits."""
FileState: TypeAlias = tuple[int, ...]
Algorithm = Literal["xxh3_128", "sha256"]
"""XXH3 is as fast as files can be read; SHA-256, with which weights are published, also detects forgeries."""


def content_key(*parts: Any) -> str:
    """Return a short hash of values: dataclasses, numbers, text, and sequences and mappings of them."""
    return hash_text(json.dumps(parts, default=plain, sort_keys=True))


def hash_text(text: str) -> str:
    """Return a BLAKE2b hash of a text as long as a content key."""
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


def hash_bytes(path: Path, algorithm: Algorithm = "xxh3_128") -> str:
    """Return a hash of a file's bytes in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128 if algorithm == "xxh3_128" else hashlib.sha256).hexdigest()


def hash_once(path: Path, algorithm: Algorithm = "xxh3_128") -> str:
    """Return hash_bytes of a file; a process reads each file once, as long as the file is not changed."""
    return _hash_once(path, algorithm, file_state(path))


@lru_cache(maxsize=64)
def _hash_once(path: Path, algorithm: Algorithm, _state: FileState) -> str:
    return hash_bytes(path, algorithm)


def file_state(path: Path) -> FileState:
    """Return what changes whenever a file is written to, renamed or replaced, even by one with the same date."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def file_identity(path: Path) -> list[int]:
    """Return what tells a file from every other one, and stays the same when the file is renamed."""
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
