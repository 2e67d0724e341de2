"""Another program that draws lips: how it is called, and what is said when it fails. No shell takes part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Final

from lipstitch.job_file.program import CommandConfig
from lipstitch.programs import watched
from media.base.errors import ConfigError, RenderError
from media.base.files import disk_errors

POLL_SECONDS: Final = 0.1
TAIL_BYTES, TAIL_CHARACTERS = 4000, 300
"""Of what a program says, that is read and told when it fails."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and how it is called."""

    settings: CommandConfig

    def check(self) -> None:
        """Raise ConfigError if the program, or the folder to run it in, is not there."""
        folder, name = self.settings.folder, self.settings.words[0]
        if folder and not folder.is_dir():
            raise ConfigError(f"renderer.command.folder: {folder} is not a folder.")
        beside = (folder or Path.cwd()) / name
        is_there = beside.is_file() and os.access(beside, os.X_OK) if os.sep in name else which(name) is not None
        if not is_there:
            raise ConfigError(
                f"renderer.command.run: {name} is not found, or may not be executed. Give its path, from"
                " renderer.command.folder on, or a name on PATH."
            )

    def run(self, given: Given, is_stopped: Callable[[], bool]) -> None:
        """Run it to its end. Raises RenderError if it fails, or takes too long, or writes nothing.

        is_stopped: asked again and again; if it says so, the program is ended.
        """
        words = [word.format(**given.words) for word in self.settings.words]
        with disk_errors(given.log):
            log = given.log.open("wb")
        with log:
            try:
                process = subprocess.Popen(  # noqa: S603 - what the job file says, as a list of words
                    [sys.executable, watched.__file__, str(os.getpid()), *words],
                    cwd=self.settings.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as exc:
                raise RenderError(f"{words[0]} could not be started ({exc.strerror}).") from exc
            try:
                code = _wait(process, self.settings.timeout_seconds, is_stopped)
            finally:
                _end(process)
        if code is None:
            raise RenderError(f"{words[0]} was ended after {self.settings.timeout_seconds:g} s.")
        if code:
            raise RenderError(f"{words[0]} failed with exit code {code}{_said(given.log)}.")
        if not given.output.is_file() or not given.output.stat().st_size:
            raise RenderError(f"{words[0]} ended well but wrote no {given.output.name}{_said(given.log)}.")


@dataclass(frozen=True, slots=True)
class Given:
    """The files of one call."""

    video: Path
    audio: Path
    output: Path
    log: Path
    rate: str
    """Frames a second of the video: 25, or 30000/1001."""

    @classmethod
    def within(cls, folder: Path, rate: str) -> Given:
        """Return the files of a call in a folder of its own."""
        video, audio, output, log = (folder / name for name in ("video.mp4", "audio.wav", "output.mp4", "log.txt"))
        return cls(video, audio, output, log, rate)

    @property
    def words(self) -> dict[str, str]:
        """What stands for the fields of a template."""
        paths = {name: str(getattr(self, name).absolute()) for name in ("video", "audio", "output")}
        return {**paths, "fps": self.rate}


def _wait(process: subprocess.Popen[bytes], seconds: float, is_stopped: Callable[[], bool]) -> int | None:
    """Return the exit code; None if the program took longer than some seconds, or this run was stopped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_stopped():
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it has started, which may still run where it has ended itself."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _said(log: Path) -> str:
    """Return the last line of what a program said, as the end of a sentence; empty if it said nothing."""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - TAIL_BYTES, 0))
        lines = file.read().decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {said[-TAIL_CHARACTERS:].rstrip('.')}" if said else ""
