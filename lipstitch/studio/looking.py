"""Looking at a video in a process of its own, for the studio: started, followed, and ended with the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lipstitch.service.api.routes import Service
from lipstitch.service.build_job import build_job
from lipstitch.service.inputs import check_media
from lipstitch.service.request import GenerationRequest
from lipstitch.service.store import new_id
from lipstitch.studio.look import LOOK_NAME, Look
from media.base.errors import MediaError
from media.base.files import read_json, write_json

POLL_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    """How far a job, or a look, is."""

    stage: str
    share: float | None
    """Done, in [0, 1]; None where that is unknown."""


def look_folder(service: Service) -> Path:
    """Return a new folder for a look; it is kept as long as results are (Store.remove_old)."""
    folder = service.store.looks / new_id()
    folder.mkdir(parents=True)
    return folder


def look(service: Service, request: GenerationRequest, folder: Path) -> Iterator[Step | Look]:
    """Look at the video of a request: yield how far it is, and at last what was seen.

    folder: of this look; the scan in it is reused. Raises LipstitchError. Closing the generator ends the process.
    """
    files = [path for path in service.check_inputs(request) if path is not None]
    stated = [
        check_media(path, part.type, service.settings.limits, path.name)
        for path, part in zip(files, request.input, strict=True)
    ]
    job = build_job(request, files, stated, folder, service.settings.base_job)
    write_json(folder / "job.json", job)
    (folder / LOOK_NAME).unlink(missing_ok=True)
    command = [sys.executable, "-m", "lipstitch", "look", str(folder), "--parent", str(os.getpid())]
    with (folder / "events.jsonl").open("wb") as events, (folder / "errors.txt").open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=events, stderr=errors)  # noqa: S603
    try:
        while process.poll() is None:
            yield last_step(folder / "events.jsonl") or Step("opening", None)
            time.sleep(POLL_SECONDS)
    finally:
        process.terminate()
        process.wait()
    try:
        yield Look.model_validate(read_json(folder / LOOK_NAME))
    except ValidationError as exc:
        said = (folder / "errors.txt").read_text(errors="replace").strip().splitlines()
        sentence = said[-1].removeprefix("Error: ") if said else "The video could not be looked at."
        raise MediaError(sentence.replace(f"{folder}{os.sep}", "")) from exc


def last_step(events: Path, num_bytes: int = 1 << 14) -> Step | None:
    """Return the step that a job was at last, from the lines of its progress; None before the first."""
    try:
        with events.open("rb") as file:
            file.seek(max(0, events.stat().st_size - num_bytes))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return next(filter(None, map(_step_of, reversed(lines))), None)


def _step_of(line: str) -> Step | None:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    if event.get("event") == "begin":
        return Step(event["stage"], None)
    if event.get("event") != "advance":
        return None
    return Step(event["stage"], event["done"] / event["total"] if event["total"] else None)
