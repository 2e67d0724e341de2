"""What a person has chosen in the studio, and the request that it comes to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from lipstitch.job_file.fields import parse_time
from lipstitch.service.request import AudioInput, GenerationRequest, Options, OwnOptions, VideoInput, describe_faults
from lipstitch.studio.look import Look
from media.base.errors import ConfigError

Method = Literal["auto", "footage", "network"]
MODEL = "lipstitch"
RANGE = re.compile(r"\s*(?P<start>[^-]+?)\s*-\s*(?P<stop>[^-]+?)\s*")


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is read: an upload, or one in a folder of the operator's."""

    asset_id: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen so far."""

    video: Source = Source()
    dub: Source = Source()
    look: Look | None = None
    """What the video holds, once it was looked at."""
    look_folder: str = ""
    """Where that was found out; its workspace knows the video."""
    person: int | None = None
    """None: the one who is mainly seen."""
    ranges: tuple[tuple[float, float], ...] = ()
    """In seconds; none: the whole video."""
    method: Method | None = None
    """None: what the operator's job file says."""
    generation: str = ""
    """Of the job that was started."""


def read_ranges(text: str) -> tuple[tuple[float, float], ...]:
    """Return ranges written as start-end, separated by commas; raise ConfigError for anything else."""
    ranges = []
    for part in filter(str.strip, text.split(",")):
        match = RANGE.fullmatch(part)
        try:
            if match is None:
                raise ValueError("no dash")
            start, stop = (float(parse_time(match[name])) for name in ("start", "stop"))
        except ValueError as exc:
            raise ConfigError(f"{part.strip()}: write a range as start-end, as in 1:05-1:30.") from exc
        ranges.append((start, stop))
    return tuple(sorted(ranges))


def write_ranges(ranges: tuple[tuple[float, float], ...]) -> str:
    """Return ranges as read_ranges takes them."""
    return ", ".join(f"{start:g}-{stop:g}" for start, stop in ranges)


def request_of(choices: Choices) -> GenerationRequest:
    """Return the request of what was chosen; raise ConfigError in one sentence for what cannot be asked."""
    try:
        return GenerationRequest(
            model=MODEL,
            input=(
                VideoInput(
                    type="video",
                    url=choices.video.path,
                    assetId=choices.video.asset_id,
                    segments_secs=choices.ranges or None,
                ),
                AudioInput(type="audio", url=choices.dub.path, assetId=choices.dub.asset_id),
            ),
            options=Options(lipstitch=OwnOptions(person=choices.person, method=choices.method)),
        )
    except ValidationError as exc:
        raise ConfigError(describe_faults(exc.errors(include_url=False))) from exc
