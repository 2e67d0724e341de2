"""The folder beside the output: content keys, atomic files, resume, one run at a time.

A file's name is a hash of everything that it depends on, so a file that is there is the right one, and a changed
setting simply asks for another name (docs/content-keys.md). Nothing is ever changed in place: files are written under
a partial name, flushed to the disk, and renamed. What is read back is first compared with its checksum.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from lipstitch.job_file.config import JobConfig
from media.base.content import KEY_BYTES, content_key, file_identity, hash_bytes, hash_once, hash_text, plain
from media.base.errors import WorkspaceError
from media.base.files import PARTIAL, atomic_file, disk_errors
from media.base.locks import LOCK_NAME, take_lock
from media.base.text import size_text
from media.packets.frame_table import FrameTable

OWN_FILE = re.compile(rf"(?P<stage>[a-z]+)-[0-9a-f]{{{2 * KEY_BYTES}}}\.\w+(?P<partial>{PARTIAL})?")
"""Names that Workspace.path gives. Others are never touched: the user may have named a folder that holds more."""
SCRATCH = re.compile(rf"scratch-[0-9a-f]{{{2 * KEY_BYTES}}}")
"""Names of the folders that Workspace.scratch makes."""
Keep = Literal["none", "scan", "clips", "all"]
KEPT_WITH_SCAN = ("source", "scan", "offset", "speaking", "bank", "still", "fetched")
"""Stages that depend on the video alone, which another dub needs again, and what would have to be fetched again."""
MADE_QUICKLY = ("driving",)
"""Stages that take much space and little time: 64 KB a second of sound, an hour of it in seconds."""


def require_space(folder: Path, num_bytes: int) -> None:
    """Raise WorkspaceError if a folder's disk has less space than that."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise WorkspaceError(
            f"{folder}: about {size_text(num_bytes)} are needed and {size_text(free)} are free. Make space there."
        )


class Workspace:
    """One job's folder, locked while it is open. Use it in a `with` statement."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made and locked by entering."""
        self.folder = folder
        self._asked: set[str] = set()
        """Names of what this run has made or used; without their suffix, since seals lie beside files."""
        self._stack = ExitStack()

    def __enter__(self) -> Workspace:
        lock = take_lock(self.folder, "choose another execution.workspace")
        self._stack.callback(lock.release)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def path(self, stage: str, key: str, suffix: str) -> Path:
        """Return where the file of a stage with a content key belongs."""
        self._asked.add(f"{stage}-{key}")
        return self.folder / f"{stage}-{key}{suffix}"

    def load(self, path: Path) -> Any | None:
        """Return the JSON value of a finished file, or None if it is not there or its checksum is not its value's."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["checksum"] == hash_text(json.dumps(content["value"])):
                return content["value"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        return None

    def store(self, path: Path, value: Any) -> None:
        """Write a JSON value with its checksum, atomically."""
        text = json.dumps(value, default=plain)
        with atomic_file(path) as partial:
            partial.write_text(f'{{"checksum": "{hash_text(text)}", "value": {text}}}', encoding="utf-8")

    def seal(self, path: Path, known: Mapping[str, Any]) -> None:
        """Store the checksum of a finished file beside it, with what is known of it. Without, it counts for nothing."""
        self.store(path.with_suffix(".json"), {"hash": hash_bytes(path), "known": known})

    def sealed(self, path: Path) -> dict[str, Any] | None:
        """Return what is known of a finished file; None if file or seal are missing, or the file is damaged."""
        record = self.load(path.with_suffix(".json"))
        if record is None or not path.is_file() or record["hash"] != hash_bytes(path):
            return None
        known: dict[str, Any] = record["known"]
        return known

    def note_output(self, output: Path, partial: Path, job: str) -> None:
        """Note, just before an output gets its name, that it is this unfinished job's; job: its content key."""
        self.store(self._note_of(output), {"job": job, "file": file_identity(partial)})

    def wrote_output(self, output: Path, job: str) -> bool:
        """Tell whether an earlier run of the same job wrote an output and was stopped before all were done."""
        note = self.load(self._note_of(output))
        if note is None or not output.exists():  # it may have been stopped between the note and the name
            return False
        return bool(note == {"job": job, "file": file_identity(output)})

    def _note_of(self, output: Path) -> Path:
        return self.path("output", content_key(output.name), ".json")

    def num_bytes(self, stage: str) -> int:
        """Return how much the finished files of a stage hold."""
        num_bytes = 0
        for path, name in self._own_files():
            if name["stage"] == stage and not name["partial"]:
                with suppress(FileNotFoundError):  # a worker of a cluster that was lost may still be at work here
                    num_bytes += path.stat().st_size
        return num_bytes

    def tidy(self, keep: Keep) -> None:
        """Remove what is not to be kept after success; the folder too if nothing is left in it.

        scan: what depends on the video alone stays. clips: also what this run has made or used, but for what is made
        quickly. all: everything.
        """
        for path, name in self._own_files():
            is_kept = {
                "none": False,
                "scan": name["stage"] in KEPT_WITH_SCAN,
                "clips": name["stage"] in KEPT_WITH_SCAN
                or (path.name.partition(".")[0] in self._asked and name["stage"] not in MADE_QUICKLY),
                "all": True,
            }
            if not is_kept[keep] or name["stage"] == "output":
                path.unlink(missing_ok=True)
        if keep == "none":
            (self.folder / LOCK_NAME).unlink()
            with suppress(OSError):  # something else lies there
                self.folder.rmdir()

    @contextmanager
    def scratch(self, key: str) -> Iterator[Path]:
        """Yield an empty folder for what one piece of work needs meanwhile; it is removed afterwards.

        key: the content key of that work. What a killed run left is removed by clear_partial.
        """
        folder = self.folder / f"scratch-{key}"
        shutil.rmtree(folder, ignore_errors=True)
        with disk_errors(folder):
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_partial(self) -> None:
        """Remove what a killed run left half written."""
        for folder in self.folder.iterdir():
            if SCRATCH.fullmatch(folder.name) and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
        for path, name in self._own_files():
            if name["partial"]:
                path.unlink(missing_ok=True)

    def _own_files(self) -> Iterator[tuple[Path, re.Match[str]]]:
        for path in [*self.folder.iterdir()]:
            if match := OWN_FILE.fullmatch(path.name):
                yield path, match


def fingerprint(path: Path, table: FrameTable) -> str:
    """Return what identifies a source video wherever it lies: size, packet index and bytes; not its name or date."""
    index = hashlib.blake2b(table.pts.tobytes() + table.dts.tobytes() + table.keyframe, digest_size=16).hexdigest()
    return content_key(path.stat().st_size, index, hash_once(path))


def workspace_folder(config: JobConfig) -> Path:
    """Return the folder of the job's workspace: beside the output unless the job says otherwise."""
    return config.execution.workspace or config.output.with_name(f"{config.output.name}.lipstitch")


def job_key(config: JobConfig) -> str:
    """Return the content key of a job file: the same job, wherever and however it is worked on."""
    return content_key(config.model_dump(mode="json", exclude={"execution"}))
