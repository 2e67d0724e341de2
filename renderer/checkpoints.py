"""The registry of network weights: find a checkpoint by name or path, download it, verify it.

    name or path --find_checkpoint--> a file that is what the registry says

It serves the weights of every stage, and needs no torch.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pooch

from media.base.content import hash_once
from media.base.errors import CheckpointError, CheckpointNotFound, ChecksumMismatch
from media.base.shipped import is_checkout, shipped_folder
from media.identity import EmbedderSettings

SHIPPED_REGISTRY = shipped_folder("checkpoints") / "registry.toml"
"""The registry of the program, in the folder of the weights that ship with it."""
READ_TIMEOUT_SECONDS = 30.0
"""A download that sends nothing for longer counts as cut off."""
CHUNK_BYTES = 1 << 16
"""Bytes written at a time; a cut connection loses fewer than these."""

Progress = Callable[[int, int], None]
"""Called every 64 KiB with the bytes downloaded so far and the size of the file."""


@dataclass(frozen=True, slots=True)
class RegisteredCheckpoint:
    """A file of weights that a job file may call by name."""

    name: str
    """What a job file calls it."""
    what: str
    """The network, in one sentence."""
    file_name: str
    """Name of the file in the checkpoints folder: a bare name, which cannot lead elsewhere."""
    addresses: tuple[str, ...]
    """Where to download it, tried in this order; empty for weights that ship with the program."""
    sha256: str
    """SHA-256 of the file, 64 hexadecimal digits."""
    num_bytes: int
    """Size of the file."""
    licence: str
    """What the weights may be used for."""
    is_commercial: bool = True
    """False for weights whose licence a job has to accept first, because it forbids commercial use."""
    embedder: EmbedderSettings | None = None
    """How to use a face-recognition network; None for others."""


def download_folder() -> Path:
    """Return where weights are downloaded to: the checkout's own folder, or else the user's cache.

    An installed program has no folder that survives its upgrades, and some checkouts cannot be written.
    """
    folder = SHIPPED_REGISTRY.parent
    return folder if is_checkout() and os.access(folder, os.W_OK) else Path(pooch.os_cache("lipstitch"))


def load_registry(path: Path = SHIPPED_REGISTRY) -> dict[str, RegisteredCheckpoint]:
    """Read a registry and return its entries by name. Raises CheckpointError if the file is not a valid registry."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = {name: _read_entry(name, table) for name, table in tables.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a registry of checkpoints ({error}).") from error
    for entry in entries.values():
        if {entry.name, entry.file_name} & {".", ".."} or {"/", "\\"} & {*entry.name, *entry.file_name}:
            raise CheckpointError(f"{path}: {entry.name}: a name in the registry must not hold a path.")
    return entries


def _read_entry(name: str, table: dict[str, Any]) -> RegisteredCheckpoint:
    return RegisteredCheckpoint(
        name=name,
        what=table["what"],
        file_name=table["file_name"],
        addresses=tuple(table["addresses"]),
        sha256=table["sha256"],
        num_bytes=table["bytes"],
        licence=table["licence"],
        is_commercial=table.get("commercial", True),
        embedder=_read_embedder(table["embedder"]) if "embedder" in table else None,
    )


def _read_embedder(table: dict[str, Any]) -> EmbedderSettings:
    red, green, blue = (float(value) for value in table["mean"])
    if table["channels"] not in ("rgb", "bgr"):
        raise ValueError(f"channels are rgb or bgr, not {table['channels']}")
    return EmbedderSettings(
        scale=float(table["scale"]),
        mean=(red, green, blue),
        channels=table["channels"],
        same=float(table["same"]),
        different=float(table["different"]),
    )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits; an unchanged file is read once per process."""
    return hash_once(path, "sha256")


def find_checkpoint(
    name_or_path: str,
    *,
    folder: Path,
    download: bool = True,
    connect_timeout_seconds: float = 5.0,
    on_progress: Progress | None = None,
    registry: Path = SHIPPED_REGISTRY,
) -> Path:
    """Return the file of a checkpoint: a name in the registry, or else a path, which is not checked.

    A registered file is looked for in `folder`, then beside the registry, and its SHA-256 is checked. If it is in
    neither, it is downloaded into `folder`, unless `download` is false. The next call resumes a download that was cut,
    and the file gets its name only once it is complete.
    Raises CheckpointNotFound, ChecksumMismatch, or CheckpointError where `folder` cannot be written.
    """
    entries = load_registry(registry)
    if name_or_path not in entries:
        return _find_path(name_or_path, entries)
    entry = entries[name_or_path]
    for place in (folder, registry.parent):
        path = place / entry.file_name
        if path.is_file():
            return _verified(path, entry)
    if not download or not entry.addresses:
        raise CheckpointNotFound(f"Checkpoint {entry.name} is missing: {_how_to_get(entry, folder)}")
    return _download(entry, folder, connect_timeout_seconds, on_progress)


def _find_path(name_or_path: str, entries: dict[str, RegisteredCheckpoint]) -> Path:
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        names = ", ".join(entries)
        raise CheckpointNotFound(f"Checkpoint {name_or_path!r} is neither a file nor one of the names {names}.")
    return path


def _verified(path: Path, entry: RegisteredCheckpoint) -> Path:
    if hash_file(path) != entry.sha256:
        raise ChecksumMismatch(
            f"{path} is not the file that the registry names {entry.name} (its SHA-256 differs): "
            "remove it to get the right one, or give its path instead of the name."
        )
    return path


def _how_to_get(entry: RegisteredCheckpoint, folder: Path) -> str:
    source = f"from {entry.addresses[0]}" if entry.addresses else "which ships with the program"
    return f"put {entry.file_name} into {folder}, {source}."


def _download(
    entry: RegisteredCheckpoint, folder: Path, connect_timeout_seconds: float, on_progress: Progress | None
) -> Path:
    """Download into `folder`, address by address. The data stays in a `.part` file until it is verified."""
    part = folder / f"{entry.file_name}.part"
    problems: dict[str, str] = {}
    got_another_file = False
    for address in entry.addresses:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _fetch(address, part, entry.num_bytes, connect_timeout_seconds, on_progress)
            if hash_file(part) == entry.sha256:
                return part.replace(folder / entry.file_name)
            part.unlink()
            problems[address] = "a different file, its SHA-256 differs"
            got_another_file = True
        except OSError as error:
            if _is_local(error):
                raise CheckpointError(f"{part} cannot be written ({error.strerror}).") from error
            problems[address] = _describe(error)
            if part.stat().st_size == 0:
                part.unlink()
    kind = ChecksumMismatch if got_another_file else CheckpointNotFound
    reasons = "; ".join(f"{urlsplit(address).netloc}: {problem}" for address, problem in problems.items())
    raise kind(f"Checkpoint {entry.name} could not be downloaded ({reasons}): {_how_to_get(entry, folder)}")


def _fetch(
    address: str, part: Path, num_bytes: int, connect_timeout_seconds: float, on_progress: Progress | None
) -> None:
    """Fetch what `part` still lacks; try again as long as each cut connection has added to it."""
    while True:
        had = part.stat().st_size if part.exists() else 0
        if had == num_bytes:
            return
        try:
            with part.open("wb" if had > num_bytes else "ab") as file:
                _fetch_rest(address, file, num_bytes, connect_timeout_seconds, on_progress)
            return
        except OSError as error:
            if _is_local(error) or part.stat().st_size <= had:
                raise


def _is_local(error: OSError) -> bool:
    """Tell an error of this machine's files from one of the network: errors of requests have no number."""
    return isinstance(error.errno, int)


def _describe(error: OSError) -> str:
    """Say in few words what requests says in many."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__


def _fetch_rest(
    address: str, file: IO[bytes], num_bytes: int, connect_timeout_seconds: float, on_progress: Progress | None
) -> None:
    """Append to `file` what it lacks; start over if the server cannot resume."""

    def start_over_unless_resumed(response: Any, **_options: Any) -> None:
        if response.status_code == 200:  # 206 resumes; redirects and errors come through here as well
            file.truncate(0)

    headers = {"Accept-Encoding": "identity"}  # a compressed response would not continue the file's own bytes
    if file.tell() > 0:
        headers["Range"] = f"bytes={file.tell()}-"
    fetch = pooch.HTTPDownloader(
        progressbar=_ProgressBar(file, num_bytes, on_progress),
        chunk_size=CHUNK_BYTES,
        timeout=(connect_timeout_seconds, READ_TIMEOUT_SECONDS),
        headers=headers,
        hooks={"response": start_over_unless_resumed},
    )
    fetch(address, file, None)


class _ProgressBar:
    """The progress bar that pooch expects; it reports the bytes in the file instead of adding them up."""

    def __init__(self, file: IO[bytes], num_bytes: int, on_progress: Progress | None) -> None:
        self.total = num_bytes
        self._file, self._num_bytes, self._on_progress = file, num_bytes, on_progress

    def update(self, _num_bytes: int) -> None:
        if self._on_progress:
            self._on_progress(self._file.tell(), self._num_bytes)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass
