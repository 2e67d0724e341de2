"""The values of a job file: times, paths, names of weights, whose face is meant. Each says what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urldefrag, urlsplit

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo

from media.base.settings import resolve_path
from segmenter.find_detector import AUTO, detector_names

TIME_TEXT = re.compile(r"-?(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)")
EXPONENT_TEXT = re.compile(r"-?\d+(?:\.\d+)?e-\d{1,2}", re.IGNORECASE)
"""As programs write numbers close to zero: 1e-05."""
MAX_TIME_TEXT = 40
"""Characters of a time: Python refuses to read numbers of thousands of digits."""
MAX_TIME_SECONDS = 1_000 * 3600
ADDRESS_TEXT = re.compile(r"https?://", re.IGNORECASE)
RATE_TEXT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?|\d{1,6}/(\d{1,4}))", re.ASCII)
LEAST_RATE, MOST_RATE = 1, 120
"""Frames a second."""
NEAR_NTSC = Fraction(2, 1000)
"""23.976, 29.97 and 59.94 are short for n * 1000 / 1001."""
MAX_OFFSET_MS = 10_000
"""A dub that lies further away is another take, or begins elsewhere: input.audio_start."""
MAX_PEOPLE = 1_000_000
PEOPLE = "the number of a person, {reference: photo.jpg} or {at: time, point: [x, y]}"


class FrameRate(Fraction):
    """Frames a second."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A person, by a photo."""

    reference: Path


@dataclass(frozen=True, slots=True)
class Address:
    """A file or a page on the web, or a part of it: https://host/talk.mp4#t=12:30,14:00.

    Parts are written as in W3C's Media Fragments URI 1.0, 4.2.1, as normal play time.
    """

    text: str
    """As it was written."""

    def __str__(self) -> str:
        return self.text

    @property
    def url(self) -> str:
        """Return what a server is asked for."""
        return urldefrag(self.text).url

    @property
    def part(self) -> tuple[Fraction, Fraction] | None:
        """Return start and end of the part that is meant, in seconds; None: all. Raises ValueError for other words."""
        name, found, times = urldefrag(self.text).fragment.partition("=")
        if name != "t" or not found:
            return None
        start, comma, end = times.removeprefix("npt:").partition(",")
        try:
            part = parse_time(start or 0), parse_time(end)
        except ValueError as exc:
            raise ValueError("write a part as #t=start,end, seconds or [hh:]mm:ss[.mmm]") from exc
        if not comma or part[1] <= part[0]:
            raise ValueError(f"#t={times} ends before it starts; write a part as #t=start,end")
        return part


@dataclass(frozen=True, slots=True)
class PointedAt:
    """A person, by a point that shows their face at some moment."""

    at: Fraction
    """Seconds since the first frame."""
    point: tuple[float, float]
    """Pixels of the upright picture, from the left and from the top."""


def parse_time(value: Any) -> Fraction:
    """Return a time in seconds, exactly; value: a number, or text [hh:]mm:ss[.mmm]. Raises ValueError otherwise.

    A comma is as good as a point: SRT and many spreadsheets write it.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("give seconds or [hh:]mm:ss[.mmm]")
    if isinstance(value, float):  # YAML reads 1:08.96 as 68.96000000000001, which would miss the frame at 68.96 s
        value = round(value, 6)
    if isinstance(value, int):  # Python refuses to write out numbers of thousands of digits
        value = min(max(value, -1), MAX_TIME_SECONDS + 1)
    text = str(value).strip().replace(",", ".", 1)
    match = TIME_TEXT.fullmatch(text)
    if len(text) > MAX_TIME_TEXT or (match is None and EXPONENT_TEXT.fullmatch(text) is None):
        raise ValueError("give seconds or [hh:]mm:ss[.mmm], not negative")
    hours, minutes, seconds = match.groups("0") if match else ("0", "0", text.lstrip("-"))
    if (text.count(":") == 2 and int(minutes) >= 60) or (":" in text and Fraction(seconds) >= 60):
        raise ValueError("give [hh:]mm:ss[.mmm] with minutes and seconds below 60")
    time = Fraction(int(hours) * 3600 + int(minutes) * 60) + Fraction(seconds)
    if time and text.startswith("-"):
        raise ValueError("give seconds or [hh:]mm:ss[.mmm], not negative")
    if time > MAX_TIME_SECONDS:
        raise ValueError("give a time below 1000 hours")
    return time


def _parse_audio_start(value: Any) -> str | Fraction:
    if value in ("auto", "video", "sound"):
        return str(value)
    text = str(round(value, 6) if isinstance(value, float) else value).strip()
    is_before = text.startswith("-") and isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        return -parse_time(text[1:]) if is_before else parse_time(value)
    except ValueError as exc:
        raise ValueError("give auto, video, sound, or seconds (or [hh:]mm:ss[.mmm]), negative for before it") from exc


def _parse_rate(value: Any) -> FrameRate:
    """Return frames a second; what is written as 29.97 is 30000/1001, as video has it."""
    match = RATE_TEXT.fullmatch(str(value)) if isinstance(value, int | float | str | Fraction) else None
    rate = Fraction(match[0]) if match and not (match[2] and int(match[2]) == 0) else Fraction(0)
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise ValueError(f"give frames a second, {LEAST_RATE} to {MOST_RATE}, as 25, 29.97 or 30000/1001")
    ntsc = Fraction(ceil(rate) * 1000, 1001)
    return FrameRate(ntsc if abs(rate - ntsc) < NEAR_NTSC else rate)


def _parse_media(value: Any, info: ValidationInfo) -> Path | Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str) or not ADDRESS_TEXT.match(value):
        return resolve_path(value, info)
    try:
        parts = urlsplit(value)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port in letters
        is_whole = False
    if not is_whole or not value.isprintable() or " " in value:
        raise ValueError("give a path, or an address such as https://host/talk.mp4")
    address = Address(value)
    _ = address.part  # which may be written wrongly
    return address


def _parse_audio_offset(value: Any) -> str | float:
    if value == "auto":
        return "auto"
    try:
        milliseconds = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        milliseconds = math.nan
    if not abs(milliseconds) <= MAX_OFFSET_MS:
        raise ValueError(f"give auto, or milliseconds from -{MAX_OFFSET_MS} to {MAX_OFFSET_MS}")
    return round(milliseconds, 6)


def _resolve_checkpoint(value: Any, info: ValidationInfo) -> str:
    """Names of the registry stay as they are; what looks like a path is resolved."""
    if not isinstance(value, str) or not value:
        raise ValueError("give a name of checkpoints/registry.toml or a path")
    path = str(resolve_path(value, info))
    return path if "/" in value or "\\" in value or Path(value).suffix else value


def _parse_detector(value: Any) -> str:
    known = (AUTO, *detector_names())
    if value not in known:
        raise ValueError(f"give {', '.join(known[:-1])} or {known[-1]}")
    return str(value)


def _parse_target(value: Any, info: ValidationInfo) -> Any:
    if value in ("main", "largest", "all", "speaker"):
        return value
    return _parse_person(value, info, allowed=f"main, largest, all, speaker, {PEOPLE}")


def _parse_turns(value: Any, info: ValidationInfo) -> str | Path:
    return "auto" if value == "auto" else resolve_path(value, info)


def _parse_person(value: Any, info: ValidationInfo, allowed: str = PEOPLE) -> int | Reference | PointedAt:
    if isinstance(value, Reference | PointedAt):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_PEOPLE:
            raise ValueError("people have numbers from 1 on; python main.py people shows them")
        return value
    if isinstance(value, Mapping) and value.keys() == {"reference"}:
        return Reference(resolve_path(value["reference"], info))
    if isinstance(value, Mapping) and value.keys() == {"at", "point"}:
        return PointedAt(parse_time(value["at"]), _parse_point(value["point"]))
    raise ValueError(f"give {allowed}")


def _parse_point(value: Any) -> tuple[float, float]:
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise ValueError("point is [x, y], in pixels of the video from its left and its top")
    x, y = (float(min(number, 1e9)) for number in numbers)
    if not (math.isfinite(x) and math.isfinite(y) and x >= 0 and y >= 0):
        raise ValueError("point is [x, y], in pixels of the video from its left and its top, not negative")
    return x, y


def _plain_target(target: Any) -> Any:
    if isinstance(target, Reference):
        return {"reference": str(target.reference)}
    if isinstance(target, PointedAt):
        return {"at": str(target.at), "point": list(target.point)}
    return target


Target = Annotated[
    Literal["main", "largest", "all", "speaker"] | int | Reference | PointedAt,
    PlainValidator(_parse_target),
    PlainSerializer(_plain_target),
]
Turns = Annotated[Literal["auto"] | Path, PlainValidator(_parse_turns), PlainSerializer(str)]
Person = Annotated[int | Reference | PointedAt, PlainValidator(_parse_person), PlainSerializer(_plain_target)]
Time = Annotated[Fraction, PlainValidator(parse_time), PlainSerializer(str)]
Media = Annotated[Path | Address, PlainValidator(_parse_media), PlainSerializer(str)]
Rate = Annotated[FrameRate, PlainValidator(_parse_rate), PlainSerializer(str)]
AudioStart = Annotated[
    Literal["auto", "video", "sound"] | Fraction, PlainValidator(_parse_audio_start), PlainSerializer(str)
]
AudioOffset = Annotated[Literal["auto"] | float, PlainValidator(_parse_audio_offset)]
Checkpoint = Annotated[str, PlainValidator(_resolve_checkpoint)]
Detector = Annotated[str, PlainValidator(_parse_detector)]
Pixels = Annotated[int, Field(ge=-4096, le=4096)]
