"""Generations as folders: what was asked, how far it is, who works on it. Whole at every moment, whatever is killed.

generations/<id>/asked.json   what was asked, written once
                 state.json   how far it is; changed under a lock, replaced atomically
                 claim.lock   held by the worker that works on it: the system drops the lock of a dead process
                 input*       inputs that were fetched from addresses
                 job.yaml     the job that it is
                 events.jsonl progress, as the job prints it
                 ended.json   how the job ended, written by the job itself
                 work/        the job's workspace
                 result.*     the result, and its report

A folder appears under its name when it is complete. All machines of a service may share it over a network file system
that has locks.
"""

from __future__ import annotations

import html
import json
import os
import re
import secrets
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from lipstitch.service.request import GenerationRequest
from media.base.errors import WorkspaceError
from media.base.files import clear_all_leftovers, disk_errors, flush, read_json, write_json
from media.base.locks import try_lock

Status = Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED", "REJECTED", "CANCELED"]
FINISHED: tuple[Status, ...] = ("COMPLETED", "FAILED", "REJECTED", "CANCELED")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EVENTS_NAME = "events.jsonl"
CHANGE_WAIT_SECONDS = 30.0
"""How long a change of state may wait for another one, which takes milliseconds."""
UNFINISHED_PREFIX = "."
"""Of the names of folders that are not complete yet."""
STALE_SECONDS = 3600.0
"""Age at which a folder that is still not complete is taken for what a killed server left."""


Record = TypeVar("Record", bound=BaseModel)


class Asked(BaseModel, frozen=True):
    """What was asked for, and by what it is known."""

    id: str
    created_at: datetime
    request: GenerationRequest
    files: tuple[Path | None, ...]
    """Of each input, its file on this machine; None: an address."""
    base_url: str
    """What the addresses begin with that the client is told."""


class Delivery(BaseModel, frozen=True):
    """How far the webhook is."""

    is_due: bool = False
    num_tries: int = 0
    next_try: float = 0.0
    """Unix time before which it is not tried again."""


class State(BaseModel, frozen=True):
    """How far a generation is."""

    status: Status = "PENDING"
    error: str | None = None
    error_code: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output_seconds: float | None = None
    is_cancel_asked: bool = False
    num_losses: int = 0
    """How often the process that rendered it was killed."""
    delivery: Delivery = Delivery()

    @property
    def is_finished(self) -> bool:
        """Whether nothing will change but the delivery of the webhook."""
        return self.status in FINISHED


class Store:
    """The generations in a service's folder."""

    def __init__(self, folder: Path) -> None:
        """Use a service's folder; it is made if it is missing."""
        self.folder = folder / "generations"
        self.uploads = folder / "uploads"
        self.sent, self.looks = folder / "sent", folder / "looks"
        """What the studio's page was sent and shows, and what it found out about videos; made by the studio."""
        self._finished: set[str] = set()
        """Of those that were seen, the ones that have ended: they need not be looked at again."""
        for path in (self.folder, self.uploads):
            with disk_errors(path):
                path.mkdir(parents=True, exist_ok=True)

    def place(self, generation: str) -> Path:
        """Return the folder of a generation."""
        return self.folder / generation

    def add(
        self, request: GenerationRequest, files: Sequence[Path | None], base_url: str, work: Path | None = None
    ) -> Asked:
        """Write down a new generation, and return it; from then on it is not lost.

        work: a workspace that knows its video, which becomes its own.
        """
        asked = Asked(id=new_id(), created_at=datetime.now(UTC), request=request, files=tuple(files), base_url=base_url)
        unfinished = self.folder / f"{UNFINISHED_PREFIX}{asked.id}"
        with disk_errors(unfinished):
            unfinished.mkdir()
            write_json(unfinished / "asked.json", asked.model_dump(mode="json", by_alias=True))
            write_json(unfinished / "state.json", State().model_dump(mode="json"))
            if work is not None and work.is_dir():
                os.rename(work, unfinished / "work")
            os.rename(unfinished, self.place(asked.id))
            flush(self.folder)
        return asked

    def ids(self) -> list[str]:
        """Return all generations, newest first."""
        return sorted((path.name for path in self.folder.iterdir() if ID.fullmatch(path.name)), reverse=True)

    def asked(self, generation: str) -> Asked | None:
        """Return what was asked; None if there is no such generation."""
        return _load(Asked, self.place(generation) / "asked.json") if ID.fullmatch(generation) else None

    def state(self, generation: str) -> State | None:
        """Return how far a generation is; None if there is no such one (any more)."""
        return _load(State, self.place(generation) / "state.json")

    def change(self, generation: str, change: Callable[[State], State]) -> State | None:
        """Replace a generation's state by what `change` makes of it; return it, or None if there is no such one."""
        folder = self.place(generation)
        if not ID.fullmatch(generation) or not folder.is_dir():
            return None
        with try_lock(folder / "change.lock", wait_seconds=CHANGE_WAIT_SECONDS) as is_held:
            if not is_held:
                raise WorkspaceError(f"{folder}: another process has been changing it for too long. Look for it.")
            state = self.state(generation)
            if state is None:
                return None
            changed = change(state)
            if changed != state:
                write_json(folder / "state.json", changed.model_dump(mode="json"))
            return changed

    def claim(self, generation: str) -> AbstractContextManager[bool]:
        """Return a context that yields whether the generation is this worker's alone while it lasts."""
        return try_lock(self.place(generation) / "claim.lock")

    def claim_delivery(self, generation: str) -> AbstractContextManager[bool]:
        """Likewise for telling the client of its end."""
        return try_lock(self.place(generation) / "delivery.lock")

    def result(self, generation: str) -> Path | None:
        """Return the video that a generation wrote; None if it wrote nothing."""
        return next((path for path in self.place(generation).glob("result.*") if path.stem == "result"), None)

    def without_paths(self, text: str) -> str:
        """Return a text for clients, be it JSON or HTML: where the service's files lie is no one else's concern."""
        start = f"{self.folder.parent}{os.sep}"
        for written in (start, json.dumps(start)[1:-1], html.escape(start)):
            text = text.replace(written, "")
        return text

    def finish(self, generation: str, status: Status, **what: Any) -> State | None:
        """Give a generation its last state; one whose end was asked for is CANCELED whatever came of it."""

        def end(state: State) -> State:
            if state.is_finished:
                return state
            canceled: Mapping[str, Any] = {"status": "CANCELED"} if state.is_cancel_asked else {}
            asked = self.asked(generation)
            delivery = Delivery(is_due=asked is not None and asked.request.webhook_url is not None)
            changes = canceled or {"status": status, **what}
            return state.model_copy(update={**changes, "finished_at": datetime.now(UTC), "delivery": delivery})

        if what.get("error"):
            what["error"] = self.without_paths(what["error"])
        state = self.change(generation, end)
        if state is not None:
            self._remove_unneeded(generation, state)
        return state

    def _remove_unneeded(self, generation: str, state: State) -> None:
        """Remove what a generation that has ended needs no more: clips, what was fetched, what a failure has left."""
        folder = self.place(generation)
        shutil.rmtree(folder / "work", ignore_errors=True)
        unneeded = ("input*",) if state.status == "COMPLETED" else ("input*", "result.*")
        with suppress(OSError):
            for path in [each for pattern in unneeded for each in folder.glob(pattern)]:
                path.unlink(missing_ok=True)
            clear_all_leftovers(folder)

    def cancel(self, generation: str) -> State | None:
        """Ask for the end of a generation; at once if no worker has it. Return its state; None if it does not exist."""
        state = self.change(
            generation, lambda was: was if was.is_finished else was.model_copy(update={"is_cancel_asked": True})
        )
        if state is None or state.is_finished:
            return state
        with self.claim(generation) as is_free:
            return self.finish(generation, "CANCELED") if is_free else state

    def unfinished(self) -> Iterator[tuple[str, State]]:
        """Yield the generations that are not finished, oldest first."""
        for generation in reversed(self.ids()):
            state = None if generation in self._finished else self.state(generation)
            if state is None or state.is_finished:
                self._finished.add(generation)
            else:
                yield generation, state

    def remove_old(self, keep_seconds: float) -> None:
        """Remove what finished longer ago than that, uploads that no one needs, and what killed processes left.

        What the studio was sent, and found out about videos, is kept as long.
        """
        now, read = time.time(), set()
        for generation in self.ids():
            state, asked = self.state(generation), self.asked(generation)
            if state is None or asked is None:
                continue
            if not state.is_finished:
                read |= {path.parent for path in asked.files if path is not None}
                continue
            self._remove_unneeded(generation, state)  # of which a process that was killed may have left some
            is_old = state.finished_at is not None and now - state.finished_at.timestamp() > keep_seconds
            if is_old and not state.delivery.is_due:
                shutil.rmtree(self.place(generation), ignore_errors=True)
        for folder in (self.folder, self.uploads, *filter(Path.is_dir, (self.sent, self.looks))):
            for path in [*folder.iterdir()]:
                kept = STALE_SECONDS if path.name.startswith(UNFINISHED_PREFIX) else keep_seconds
                is_generation = folder == self.folder and not path.name.startswith(UNFINISHED_PREFIX)
                if not is_generation and path not in read and now - _modified(path) > kept:
                    _remove(path)


def new_id() -> str:
    """Return a UUID of version 7 (RFC 9562): later ones are greater."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    number = number & ~(0xF << 76) | (7 << 76)  # the version
    return str(uuid.UUID(int=number & ~(0b11 << 62) | (0b10 << 62)))  # the variant


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _modified(folder: Path) -> float:
    """Return when a folder, or anything in it, was written to last: of an upload that lasts hours, a moment ago."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:  # it is gone, or something in it is
        return time.time()


def _load(record: type[Record], path: Path) -> Record | None:
    try:
        return record.model_validate(read_json(path))
    except ValidationError:
        return None
