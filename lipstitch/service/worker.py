"""A worker: takes generations from the queue, fetches what they read, and renders each in a process of its own.

Whatever kills a worker, its processes end with it, and the next one continues: what was fetched and rendered is kept.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml

from lipstitch.progress import JsonLines, stage
from lipstitch.service.addresses import AddressRefused, AddressUnreachable, fetch
from lipstitch.service.build_job import build_job
from lipstitch.service.inputs import FORMATS, InputRefused, check_media, resolve_file
from lipstitch.service.run import Ended, read_ended
from lipstitch.service.settings import ServiceSettings
from lipstitch.service.store import EVENTS_NAME, Asked, State, Store
from media.base.errors import ConfigError, LipstitchError, MediaError
from media.base.files import atomic_file, disk_errors
from media.probe import probe_stated
from stitcher.assemble import MUXERS

JOB_NAME = "job.yaml"
WATCH_SECONDS = 0.2
"""How often it looks whether the end of a generation was asked for."""
END_SECONDS = 5.0
"""How long a job may take to end when it is asked to, which takes it two seconds at most."""
MOST_LOSSES = 20
"""A generation whose process was killed that often is given up: it may be what kills it."""
MOST_KILLS = 3
"""Likewise while the worker itself lived on: then memory ran out, most likely."""
BROKEN = "Its process failed in a way that was not foreseen. Its folder holds what it said, in errors.txt."
REFUSED_CODES = (ConfigError.exit_code, MediaError.exit_code)
"""Exit codes of jobs whose request cannot be done, however often it is tried."""
SOUND_ENDINGS = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".ogg", ".opus", ".wav")
KNOWN_ENDINGS = (*MUXERS, *SOUND_ENDINGS)


class Canceled(Exception):
    """The end of a generation was asked for."""


class Worker:
    """Works on generations, each in one of a number of equal shares of this machine's cores."""

    def __init__(self, settings: ServiceSettings, store: Store, num_jobs: int) -> None:
        """num_jobs: how many generations are rendered at a time, at most."""
        self._settings, self._store = settings, store
        self._shares: queue.SimpleQueue[Sequence[int]] = queue.SimpleQueue()
        for share in share_cores(num_jobs):
            self._shares.put(share)

    def work_on(self, generation: str) -> None:
        """Bring a generation to its end, unless another worker has it or it has ended."""
        with self._store.claim(generation) as is_mine:
            state = self._store.state(generation)
            asked = self._store.asked(generation)
            if not is_mine or state is None or asked is None or state.is_finished:
                return
            state = self._store.change(generation, _begin)
            if state is None:
                return
            if state.num_losses > MOST_LOSSES:
                self._store.finish(generation, "FAILED", error=_lost(MOST_LOSSES), error_code="lost")
                return
            try:
                self._work(asked)
            except Canceled:
                self._store.finish(generation, "CANCELED")
            except AddressUnreachable as exc:
                self._store.finish(generation, "FAILED", error=str(exc), error_code="unreachable")
            except (AddressRefused, InputRefused, ConfigError) as exc:
                self._store.finish(generation, "REJECTED", error=str(exc), error_code="refused")
            except LipstitchError as exc:
                self._store.finish(generation, "FAILED", error=str(exc), error_code=_code(exc.exit_code))

    def _work(self, asked: Asked) -> None:
        folder = self._store.place(asked.id)
        ended = read_ended(folder)  # by a job whose worker was killed before it could say so
        if ended is None:
            self._write_job(asked, folder)
            ended = self._render(asked.id, folder)
        self._finish(asked, folder, ended)

    def _write_job(self, asked: Asked, folder: Path) -> None:
        files, stated = [], []
        for number, part in enumerate(asked.request.input):
            name = part.url or f"assetId {part.asset_id}"
            file = asked.files[number]
            if file is None:
                file = self._fetch(asked, name, folder, number)
            elif part.url is not None:
                resolve_file(str(file), self._settings)  # a link may have been put there since
            files.append(file)
            stated.append(check_media(file, part.type, self._settings.limits, name))
        content = build_job(asked.request, files, stated, folder, self._settings.base_job)
        with atomic_file(folder / JOB_NAME) as partial:
            partial.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def _fetch(self, asked: Asked, address: str, folder: Path, number: int) -> Path:
        ending = PurePosixPath(unquote(urlsplit(address).path)).suffix.lower()
        target = folder / f"input{number}{ending if ending in KNOWN_ENDINGS else ''}"
        if target.exists():
            return target
        with (
            disk_errors(folder),
            (folder / EVENTS_NAME).open("a", encoding="utf-8") as file,
            stage(JsonLines(file), "fetch", 0, "bytes") as at,
        ):

            def advance(done: int) -> None:
                at.advance(done)
                self._raise_if_canceled(asked.id)

            fetch(address, target, self._settings.addresses, self._settings.limits.max_bytes, advance)
        return target

    def _raise_if_canceled(self, generation: str) -> None:
        state = self._store.state(generation)
        if state is None or state.is_cancel_asked:
            raise Canceled

    def _render(self, generation: str, folder: Path) -> Ended:
        """Run the job until it has ended, again if it was killed."""
        share = self._shares.get()
        try:
            for _ in range(MOST_KILLS):
                with disk_errors(folder):
                    code = self._run_process(generation, folder, share)
                ended = read_ended(folder)
                if ended is not None:
                    return ended
            was_killed = code < 0
            return Ended(exit_code=1, error=_lost(MOST_KILLS) if was_killed else BROKEN)
        finally:
            self._shares.put(share)

    def _run_process(self, generation: str, folder: Path, share: Sequence[int]) -> int:
        """Run the job's process to its end, and return its exit code, below 0 if it was killed.

        Raises Canceled, with the process ended, if that was asked for.
        """
        cores = ",".join(map(str, share))
        command = [sys.executable, "-m", "lipstitch", "run-generation", str(folder)]
        with (folder / EVENTS_NAME).open("ab") as events, (folder / "errors.txt").open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603
                [*command, "--worker", str(os.getpid()), "--cores", cores],
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=errors,
            )
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(WATCH_SECONDS)
                    self._raise_if_canceled(generation)
            finally:
                _end(process)

    def _finish(self, asked: Asked, folder: Path, ended: Ended) -> None:
        result = self._store.result(asked.id)
        if ended.exit_code not in (0, 10) or result is None:
            refused = ended.exit_code in REFUSED_CODES
            error = self._store.without_paths(ended.error or "The job ended without a result.")
            self._store.finish(
                asked.id, "REJECTED" if refused else "FAILED", error=error, error_code=_code(ended.exit_code)
            )
            return
        seconds = probe_stated(result, FORMATS).seconds
        self._store.finish(asked.id, "COMPLETED", output_seconds=seconds and round(float(seconds), 3))


def share_cores(num_jobs: int) -> list[Sequence[int]]:
    """Return which cores each of the jobs that run at a time may use; an empty list: all."""
    if num_jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [()] * num_jobs
    cores = sorted(os.sched_getaffinity(0))
    return [cores[number::num_jobs] or [cores[number % len(cores)]] for number in range(num_jobs)]


def _begin(state: State) -> State:
    """Note that a worker begins; one that finds a generation begun takes over from a worker that died."""
    losses = state.num_losses + (state.status == "PROCESSING")
    started = state.started_at or datetime.now(UTC)
    return state.model_copy(update={"status": "PROCESSING", "started_at": started, "num_losses": losses})


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _lost(times: int) -> str:
    return f"Its process was killed {times} times; too little memory, most likely. Try a smaller picture or fewer jobs."


def _code(exit_code: int) -> str:
    """Return what programs read of an exit code."""
    names = {2: "refused", 3: "input", 4: "weights", 5: "rendering", 6: "assembling", 7: "workspace"}
    return names.get(exit_code, "failed")
