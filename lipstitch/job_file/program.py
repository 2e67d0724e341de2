"""The renderer.command section of a job file: another program that draws the mouths."""

from __future__ import annotations

import shlex
from string import Formatter
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from media.base.settings import FilePath

FIELDS = ("video", "audio", "output", "fps")
NEEDED = FIELDS[:3]


class CommandConfig(BaseModel, frozen=True, extra="forbid"):
    """Another program that draws the mouths; see docs/programs.md."""

    run: str = Field(
        description="Its command line, with {video}, {audio} and {output} where the names of files belong, and {fps}"
        " where it wants to know the rate. It is split into words once, as a shell would; no shell runs it."
    )
    folder: FilePath | None = Field(default=None, description="Folder to run it in. Omitted: the current one.")
    fps: float | None = Field(
        default=None,
        ge=1,
        le=240,
        description="Frames a second of the video that it is given. Omitted: the video's own rate. For programs that"
        " were made for one rate, such as 25.",
    )
    shown: Literal["face", "frame"] = Field(
        default="face", description="What it is shown. face: the face with its surroundings. frame: the whole picture."
    )
    piece_seconds: float = Field(
        default=20.0, ge=2, le=3600, description="Seconds that it is given at once, at most. Pieces overlap."
    )
    timeout_seconds: float = Field(
        default=3600.0, gt=0, le=1e6, description="Seconds after which it is ended, for each piece."
    )
    attempts: int = Field(default=2, ge=1, le=10, description="How often it is tried with a piece.")
    at_once: int = Field(default=1, ge=1, le=64, description="How many of it run at a time.")

    @field_validator("run")
    @classmethod
    def _check_run(cls, run: str) -> str:
        try:
            words = shlex.split(run)
            fields = [name for word in words for _, name, *_ in Formatter().parse(word) if name is not None]
        except ValueError as exc:
            raise ValueError(f"this is no command line ({exc})") from exc
        if unknown := [name for name in fields if name not in FIELDS]:
            raise ValueError(f"{{{unknown[0]}}} is unknown; there are {', '.join(f'{{{name}}}' for name in FIELDS)}")
        if missing := [name for name in NEEDED if name not in fields]:
            raise ValueError(f"{{{missing[0]}}} is missing; give it where the name of that file belongs")
        return run

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command line."""
        return tuple(shlex.split(self.run))

    @model_validator(mode="before")
    @classmethod
    def _take_text(cls, value: Any) -> Any:
        return {"run": value} if isinstance(value, str) else value
