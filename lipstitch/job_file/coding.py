"""The stitcher section of a job file: how sound and frames are coded, and how the finished file is checked."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class AudioConfig(BaseModel, frozen=True, extra="forbid"):
    """How the soundtrack is encoded, where the dub's own packets cannot be copied."""

    codec: Literal["auto", "aac", "mp3", "ac3", "opus", "flac", "pcm_s16le", "pcm_s24le"] = Field(
        default="auto", description="auto: AAC where the container supports it."
    )
    bit_rate: int | None = Field(
        default=None, ge=16_000, le=1_536_000, description="Bits per second. Omitted: 192000 for two channels."
    )
    language: str | None = Field(
        default=None, pattern="^[a-z]{3}$", description="ISO 639-2 code of the dub, for example hin."
    )


class VideoConfig(BaseModel, frozen=True, extra="forbid"):
    """How frames are encoded, where packets cannot be copied."""

    crf: int = Field(
        default=13,
        ge=1,  # 0 would be lossless, which the profiles of sources do not allow
        le=40,
        description="Constant rate factor of x264 and x265; lower is better.",
    )
    preset: Literal["auto", "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = Field(
        default="auto",
        description="Preset of x264 and x265: slower ones make smaller files. auto: veryfast for H.264, ultrafast for"
        " HEVC, which cost about the same.",
    )


class StitcherConfig(BaseModel, frozen=True, extra="forbid"):
    """How the output is assembled and checked."""

    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    crossfade_seconds: float = Field(
        default=0.02, ge=0, le=1, description="Length of the cross-fade where sound is joined."
    )
    verify: Literal["packets", "full", "none"] = Field(
        default="packets",
        description="How the finished file is checked before it gets its name. packets: every packet, stream"
        " properties, and the pictures at beginning, seams and end. full: both videos are also decoded and compared.",
    )
