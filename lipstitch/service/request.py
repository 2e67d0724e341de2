"""What a client asks for, in the shape of sync.so's public API (https://sync.so/docs/api-reference), checked.

Keys are written as clients write them. What cannot be done here is refused with a sentence, not ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from media.base.text import brief

MAX_ADDRESS = 2048
"""Characters of an address."""
MAX_SEGMENTS = 1000
MAX_AUDIOS = 100
MAX_FRAME = 10**9
MAX_FAULTS = 3
"""Faults that one answer names."""

Seconds = Annotated[float, Field(ge=0, le=1_000 * 3600, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_ADDRESS)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class VideoInput(_Asked):
    """The video."""

    type: Literal["video"]
    url: Text | None = Field(default=None, description="An address, or the path of a file that the service may read.")
    asset_id: Text | None = Field(default=None, alias="assetId", description="Instead: what was uploaded.")
    segments_secs: tuple[tuple[Seconds, Seconds], ...] | None = Field(
        default=None, max_length=MAX_SEGMENTS, description="Start and end, in seconds, of what is re-synced."
    )

    @model_validator(mode="after")
    def _check(self) -> VideoInput:
        _require_one(self.url, self.asset_id)
        _check_segments(self.segments_secs or ())
        return self


class AudioInput(_Asked):
    """A sound: the dub."""

    type: Literal["audio"]
    url: Text | None = Field(default=None, description="An address, or the path of a file that the service may read.")
    asset_id: Text | None = Field(default=None, alias="assetId", description="Instead: what was uploaded.")
    ref_id: Text | None = Field(default=None, alias="refId", description="By what name segments call it.")

    @model_validator(mode="after")
    def _check(self) -> AudioInput:
        _require_one(self.url, self.asset_id)
        return self


class ActiveSpeaker(_Asked):
    """Whose lips move."""

    auto_detect: bool = Field(default=False, description="Those who are seen to speak.")
    frame_number: Annotated[int, Field(ge=0, le=MAX_FRAME)] | None = Field(
        default=None, description="A frame, and in it:"
    )
    coordinates: tuple[Seconds, Seconds] | None = Field(default=None, description="a point [x, y] on a face.")

    @model_validator(mode="after")
    def _check(self) -> ActiveSpeaker:
        if (self.frame_number is None) != (self.coordinates is None):
            raise ValueError("frame_number and coordinates belong together")
        if self.auto_detect and self.coordinates is not None:
            raise ValueError("give auto_detect or coordinates, one of the two")
        return self


class OwnOptions(_Asked):
    """What this program can do beyond sync.so's words."""

    person: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Whose lips move: a person's number, as `lipstitch people` lists them."
    )
    method: Literal["auto", "footage", "network"] | None = Field(
        default=None, description="Where new mouths come from (renderer.method)."
    )


class Options(_Asked):
    """How it is done."""

    sync_mode: Literal["cut_off", "loop", "bounce", "silence", "remap"] | None = Field(
        default=None, description="When video and sound differ in length."
    )
    temperature: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="How far mouths move; 0.5 is as the sound asks for."
    )
    active_speaker_detection: ActiveSpeaker | None = Field(default=None, description="Whose lips move.")
    occlusion_detection_enabled: bool | None = Field(
        default=None, description="Whether what is before a mouth, a hand say, stays there."
    )
    lipstitch: OwnOptions = OwnOptions()

    @field_validator("sync_mode")
    @classmethod
    def _check(cls, mode: str | None) -> str | None:
        if mode == "remap":
            raise ValueError("remap would stretch the video, whose frames keep their times here; use another mode")
        return mode


class SegmentAudio(_Asked):
    """The sound of a segment."""

    ref_id: Text = Field(alias="refId", description="The refId of an audio input.")
    start_time: Seconds | None = Field(default=None, alias="startTime", description="Where in it the segment begins.")
    end_time: Seconds | None = Field(default=None, alias="endTime", description="Where in it the segment ends.")


class Segment(_Asked):
    """A part of the video, with a sound of its own."""

    start_time: Seconds = Field(alias="startTime", description="Seconds of the video.")
    end_time: Seconds = Field(alias="endTime", description="Seconds of the video.")
    audio_input: SegmentAudio = Field(alias="audioInput")

    @model_validator(mode="after")
    def _check(self) -> Segment:
        audio = self.audio_input
        if audio.start_time is not None and audio.end_time is not None:
            lacking = (self.end_time - self.start_time) - (audio.end_time - audio.start_time)
            if lacking > LEAST_LACKING_SECONDS:
                raise ValueError(f"the sound is {lacking:g} s shorter than the segment; make both equally long")
        return self


LEAST_LACKING_SECONDS = 0.1
"""By how much a segment's sound may be too short: a few frames, as times are rounded."""

Input = Annotated[VideoInput | AudioInput, Field(discriminator="type")]


class GenerationRequest(_Asked):
    """What POST /v2/generate takes."""

    model: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="Any name: what renders is the operator's choice."
    )
    input: Annotated[tuple[Input, ...], Field(min_length=1, max_length=1 + MAX_AUDIOS)]
    options: Options | None = None
    segments: Annotated[tuple[Segment, ...], Field(min_length=1, max_length=MAX_SEGMENTS)] | None = None
    webhook_url: Text | None = Field(default=None, alias="webhookUrl", description="Is told of the end, signed.")
    output_file_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,200}$")] | None = Field(
        default=None, alias="outputFileName", description="Name of the result, without ending."
    )

    @model_validator(mode="after")
    def _check(self) -> GenerationRequest:
        if sum(part.type == "video" for part in self.input) != 1:
            raise ValueError("input: give one video")
        names = [audio.ref_id for audio in self.audios]
        if not self.segments:
            if len(names) != 1:
                raise ValueError("input: give one audio, or segments that say which is heard when")
            return self
        if self.video.segments_secs is not None:
            raise ValueError("give segments or segments_secs, one of the two")
        if self.options is not None and self.options.sync_mode not in (None, "cut_off", "silence"):
            raise ValueError("options.sync_mode: segments leave the video's length as it is; leave it out")
        if None in names or len({*names}) != len(names):
            raise ValueError("input: with segments, each audio needs a refId of its own")
        for segment in self.segments:
            if segment.audio_input.ref_id not in names:
                raise ValueError(f"segments: no audio input has the refId {brief(segment.audio_input.ref_id)}")
        _check_segments([(segment.start_time, segment.end_time) for segment in self.segments])
        return self

    @property
    def video(self) -> VideoInput:
        """The input that is the video."""
        return next(part for part in self.input if isinstance(part, VideoInput))

    @property
    def audios(self) -> tuple[AudioInput, ...]:
        """The inputs that are sounds."""
        return tuple(part for part in self.input if isinstance(part, AudioInput))


def _require_one(url: str | None, asset_id: str | None) -> None:
    if (url is None) == (asset_id is None):
        raise ValueError("give url or assetId, one of the two")


def _check_segments(segments: Sequence[tuple[float, float]]) -> None:
    for start, end in segments:
        if end <= start:
            raise ValueError(f"segments: the end ({end:g} s) must lie after the start ({start:g} s)")
    for one, two in pairwise(sorted(segments)):
        if two[0] < one[1]:
            raise ValueError(f"segments overlap at {two[0]:g} s")


def describe_faults(faults: Sequence[Any]) -> str:
    """Return one sentence for what is wrong with a request: key path and what is allowed, of the first few faults.

    faults: as the errors of pydantic's ValidationError list them.
    """
    named = [_describe(fault) for fault in faults[:MAX_FAULTS]]
    more = f"; and {len(faults) - MAX_FAULTS} faults more" if len(faults) > MAX_FAULTS else ""
    return f"{'; '.join(dict.fromkeys(named))}{more}."


def _describe(fault: Mapping[str, Any]) -> str:
    where = ".".join(brief(str(part)) for part in fault["loc"] if part not in ("video", "audio"))
    said = fault["msg"].removeprefix("Value error, ")
    said = {"extra_forbidden": "unknown here", "missing": "this key is needed"}.get(fault["type"], said)
    return f"{where}: {said[:1].lower()}{said[1:]}" if where else said
