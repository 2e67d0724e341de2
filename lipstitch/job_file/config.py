"""The job file: JobConfig and load_job(). All that a user can ask for, checked before any work.

Unknown keys are refused. Times are seconds, or text like 01:05.2 or 00:01:05.200. Relative paths are relative to the
folder of the job file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lipstitch.job_file.coding import StitcherConfig
from lipstitch.job_file.execution import ExecutionConfig
from lipstitch.job_file.fields import Address, AudioOffset, AudioStart, FrameRate, Media, Rate, Reference, Time
from lipstitch.job_file.renderer import RendererConfig
from lipstitch.job_file.segmenter import SegmenterConfig
from lipstitch.job_file.speakers import SpeakersConfig
from media.base.errors import ConfigError
from media.base.settings import FilePath, FilePaths, check_settings, load_settings, set_key
from media.clips import Quality
from segmenter.find_detector import has_landmarks, names_with_landmarks


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class InputConfig(_Model):
    """The video and its sound."""

    video: Media = Field(
        description="The video. Any file FFmpeg reads; its address (http, https), or that of a page that shows it, with"
        " #t=start,end behind it for a part, whose first frame is then second 0; or a"
        " picture (PNG, JPEG, WebP, TIFF, BMP), of which a video as long as the dub is made."
    )
    audio: Media | None = Field(
        default=None, description="The dub: any audio or video file, or its address. Omitted: the video's own sound."
    )
    footage: FilePaths = Field(
        default=(),
        description="Further videos of the people whose lips move (an interview, a trailer): mouths from there are"
        " shown, too, where mouths come from footage (renderer.method: auto or footage). Who is who is told by their"
        " faces. One path or a list.",
    )
    drive_audio: FilePath | None = Field(
        default=None, description="A clean voice, as long as `audio`, that drives the lips; `audio` is what is heard."
    )
    speakers: SpeakersConfig | None = Field(
        default=None,
        description="A dialogue: who speaks when, and who that is in the video. auto: told by the picture and the"
        " video's own sound.",
    )
    audio_start: AudioStart = Field(
        default="auto",
        description="Where second 0 of the dub (and of drive_audio, stems and turns) lies. video: at the first frame."
        " sound: where the video's own sound begins, as in a dub made from extracted sound. A time: seconds after the"
        " first frame, negative for before it. auto: decided by the dub's length, with a warning if that is ambiguous."
        " Sound in a video file always counts from that video's first frame.",
    )
    still_fps: Rate = Field(
        default=FrameRate(25),
        description="Frames a second of the video that is made of a picture, 1 to 120: a number, or text like"
        " 30000/1001.",
    )
    audio_offset: AudioOffset = Field(
        default=0.0,
        description="Milliseconds by which the dub (with drive_audio, stems and turns) is heard later than it lies;"
        " negative: earlier. The video's own sound is moved alike where it teaches, and where it tells who"
        " speaks; in the output it stays. auto: measured by the video's own lips and sound, applied only if certain.",
    )
    accept_damaged: bool = Field(
        default=False,
        description="Use the readable part of a truncated file; otherwise such a file is refused.",
    )
    length_policy: Literal["video", "cut", "error", "freeze", "loop", "bounce"] = Field(
        default="video",
        description="When dub and video differ in length. video: the video's length; a longer dub is trimmed only if"
        " the rest is silent. cut: a longer dub is always trimmed. error: more than one frame is an error. freeze,"
        " loop, bounce: the video is prolonged.",
    )

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        if isinstance(self.audio, Address) and self.audio.part is not None:
            raise ValueError("audio: a part (#t=) can only be taken of a video; leave it out, and give audio_start")
        return self

    @property
    def video_file(self) -> Path:
        """The file of the video; that of an address once it was fetched (lipstitch.source.fetch)."""
        assert isinstance(self.video, Path), "addresses are fetched before files are opened"
        return self.video

    @property
    def audio_file(self) -> Path | None:
        """The file of the dub, likewise."""
        assert self.audio is None or isinstance(self.audio, Path), "addresses are fetched before files are opened"
        return self.audio


RANGE_NAME: Final = r"^[\w][\w .-]{0,99}$"


class RangeConfig(_Model):
    """A time range of the video."""

    start: Time = Field(description="Seconds or [hh:]mm:ss[.mmm] since the first frame; the range begins here.")
    end: Time = Field(description="Seconds or [hh:]mm:ss[.mmm]; the range ends before this.")
    audio: FilePath | None = Field(
        default=None, description="The dub of this range. Omitted: the same time of input.audio."
    )
    audio_start: Time = Field(
        default=Fraction(0), description="Where in `audio` the range begins, seconds or [hh:]mm:ss[.mmm]."
    )
    name: str | None = Field(
        default=None, pattern=RANGE_NAME, description="Name of the extracted file. Omitted: its times."
    )

    @model_validator(mode="after")
    def _check(self) -> RangeConfig:
        if self.end <= self.start:
            raise ValueError(f"end ({float(self.end):g} s) must lie after start ({float(self.start):g} s)")
        return self


class RangesFile(_Model):
    """A timeline of an editing program that tells the ranges: OpenTimelineIO or EDL."""

    file: FilePath = Field(description="An .otio or .edl (CMX 3600) file.")
    track: str | None = Field(default=None, description="Name of the video track that counts. Omitted: all of them.")
    marker: str | None = Field(
        default=None,
        min_length=1,
        description="What markers with this name cover of the video is a range; `*`: any marker. Omitted: each clip"
        " that shows the video is one.",
    )
    start_timecode: str | None = Field(
        default=None,
        pattern=r"^\d\d:\d\d:\d\d[:;]\d\d$",
        description="What the timeline calls the first frame of the video, hh:mm:ss:ff. Omitted: what the timeline says"
        " of the video's file, or else the video's own timecode.",
    )

    @property
    def is_edl(self) -> bool:
        """Whether the file is an EDL."""
        return self.file.suffix.lower() == ".edl"

    @field_validator("file")
    @classmethod
    def _check_ending(cls, file: Path) -> Path:
        if file.suffix.lower() not in (".otio", ".edl"):
            raise ValueError("give a file that ends in .otio or .edl")
        return file


class ExtractConfig(_Model):
    """How ranges are extracted."""

    join: bool = Field(
        default=False, description="Write one file with all ranges in order, instead of one file per range."
    )


class JobConfig(_Model):
    """One job, checked and complete."""

    input: InputConfig
    output: FilePath = Field(description="The file to write; its ending chooses the container.")
    mode: Literal["patch", "extract"] = Field(
        default="patch", description="patch: the whole video, re-synced inside the ranges. extract: only the ranges."
    )
    ranges: tuple[RangeConfig, ...] | None = Field(
        default=None,
        description="Time ranges to re-sync or extract. Omitted: the whole video. A path instead of a list is short for"
        " ranges_from.",
    )
    ranges_from: RangesFile | None = Field(
        default=None, description="In place of `ranges`: a timeline that tells them. A path is short for {file: path}."
    )
    extract: ExtractConfig = ExtractConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    renderer: RendererConfig = RendererConfig()
    stitcher: StitcherConfig = StitcherConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @model_validator(mode="before")
    @classmethod
    def _spell_out_files(cls, content: Any) -> Any:
        """Write out the short forms of ranges_from."""
        if not isinstance(content, dict):
            return content
        if isinstance(content.get("ranges"), str):
            if content.get("ranges_from") is not None:
                raise ValueError("ranges and ranges_from both tell the ranges: leave out one")
            content = {
                **{key: value for key, value in content.items() if key != "ranges"},
                "ranges_from": content["ranges"],
            }
        if isinstance(content.get("ranges_from"), str):
            content = {**content, "ranges_from": {"file": content["ranges_from"]}}
        return content

    @model_validator(mode="after")
    def _check(self) -> JobConfig:
        if self.ranges is not None and self.ranges_from is not None:
            raise ValueError("ranges and ranges_from both tell the ranges: leave out one")
        if self.mode == "extract" and not self.ranges and not self.ranges_from:
            raise ValueError("mode extract needs ranges: list at least one {start, end}")
        if self.ranges == ():
            raise ValueError("ranges is empty: list at least one {start, end}, or leave it out for the whole video")
        if self.input.speakers is not None:
            self._check_speakers()
        if self.needs_further_footage:
            self._check_tells_people("input.footage shows people of other videos")
        if (self.ranges or self.ranges_from) and self.input.length_policy in ("freeze", "loop", "bounce"):
            raise ValueError(f"length_policy {self.input.length_policy} prolongs the whole video; leave out ranges")
        if self.mode == "patch":
            ordered = sorted(self.ranges or (), key=lambda part: part.start)
            for one, two in pairwise(ordered):
                if two.start < one.end:
                    raise ValueError(f"ranges overlap at {float(two.start):g} s; in mode patch they must not")
        return self

    def with_ranges(self, ranges: tuple[RangeConfig, ...]) -> JobConfig:
        """Return the job with the ranges that its file tells: disjoint in mode patch."""
        return self.model_copy(update={"ranges": ranges})

    def _check_speakers(self) -> None:
        if self.segmenter.target != "main":
            raise ValueError("input.speakers says whose lips move; leave out segmenter.target")
        self._check_tells_people("input.speakers names people")
        if any(part.audio for part in self.ranges or ()):
            raise ValueError("turns of input.speakers are times of input.audio; leave out the audio of ranges")

    def _check_tells_people(self, what: str) -> None:
        if self.segmenter.embedder == "none" or not has_landmarks(self.segmenter.detector):
            raise ValueError(f"{what}; they are told apart by detector {names_with_landmarks()} and an embedder")

    @property
    def needs_people(self) -> bool:
        """Whether the job makes sense only where people are told apart."""
        speakers = self.input.speakers.cast.values() if self.input.speakers else ()
        by_number = self.input.speakers is not None and not self.input.speakers.cast
        named = by_number or any(speaker.person is not None for speaker in speakers)
        return self.segmenter.needs_people or named or self.needs_further_footage

    @property
    def judges_speakers(self) -> bool:
        """Whether faces are judged against the video's own sound: who of them speaks."""
        is_auto = self.input.speakers is not None and self.input.speakers.is_auto
        return is_auto or self.segmenter.target == "speaker"

    @property
    def needs_further_footage(self) -> bool:
        """Whether mouths of further videos may be shown."""
        return bool(self.input.footage) and self.renderer.method != "network"

    def with_quality(self, word: Quality | None) -> JobConfig:
        """Return the job as it is for frames of which the user wants another quality; None: as it is."""
        if word is None:
            return self
        return self.model_copy(update={"renderer": self.renderer.with_quality(word)})

    @property
    def references(self) -> dict[str, Path]:
        """Return the photos by which the job names people, each with its key path."""
        keyed = {"segmenter.target": self.segmenter.target}
        for name, speaker in (self.input.speakers.cast if self.input.speakers else {}).items():
            keyed[f"input.speakers.cast.{name}.person"] = speaker.person  # type: ignore[assignment]
        return {f"{key}.reference": person.reference for key, person in keyed.items() if isinstance(person, Reference)}


def load_job(path: Path, overrides: Sequence[str] = (), *, output: Path | None = None) -> JobConfig:
    """Read and check a job file; raise ConfigError with key path, value and what is allowed.

    overrides: key=value with a dotted key path and a YAML value, as --set takes them. output: used if the job file
    omits its own, as it may where nothing is rendered; None: it may not.
    """
    omitted = {} if output is None else {"output": str(output.absolute())}
    return load_settings(JobConfig, path, overrides, what="job file", omitted=omitted)


def build_job(content: Mapping[str, Any], settings: Mapping[str, Any], *, folder: Path) -> JobConfig:
    """Return a checked job from what a job file would hold; raise ConfigError with key path, value and what is allowed.

    settings: further values by dotted key path; none may be in the content already. folder: where relative paths start.
    """
    whole: dict[str, Any] = copy.deepcopy(dict(content))
    for path, value in settings.items():
        keys = path.split(".")
        section: Any = whole
        for key in keys:
            section = section.get(key) if isinstance(section, dict) else None
        if section is not None:
            raise ConfigError(f"{path} is given twice: as a setting, and by an argument of its own.")
        set_key(whole, keys, value, path)
    return check_settings(JobConfig, whole, folder=folder)
