"""The stitcher section of a job file: how sound and frames are coded, and how the finished file is checked."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from lipstitch.job_file.fields import Checkpoint
from media.coding.encoder_options import CODED_PSNR


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


ORDINARY_CRF: Final = 13
"""A rate factor at which rendered frames keep 40 dB outside the mouth: what is coarser on request is allowed less."""

LEAST_PSNR: Final = 40.0
"""Decibels below which a trained eye begins to see coding beside the source's own frames."""


class VideoConfig(BaseModel, frozen=True, extra="forbid"):
    """How frames are encoded, where packets cannot be copied."""

    crf: Annotated[int, Field(ge=1, le=40)] | Literal["auto"] = Field(  # 0 would be lossless, which profiles forbid
        default="auto",
        description="auto: as coarse as frames that should look unchanged allow, which keep `psnr`; found for each"
        " clip, whatever the codec. A number, 1 to 40: the rate factor of x264 and x265, lower is better; such frames"
        " are coded more finely where they fall short of 45 dB.",
    )
    psnr: float = Field(
        default=CODED_PSNR,
        ge=LEAST_PSNR,
        le=50,
        description="Decibels that each re-encoded frame keeps at least with crf: auto. At 45 a careful eye sees no"
        " difference, and re-encoded stretches are about as large as the source's; 40 makes them a third smaller, 50"
        " three times as large.",
    )
    preset: Literal["auto", "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = Field(
        default="auto",
        description="Preset of x264 and x265: slower ones make smaller files. auto: veryfast for H.264, with less"
        " search, and ultrafast for HEVC.",
    )


class EnhanceConfig(BaseModel, frozen=True, extra="forbid"):
    """A network that makes whole frames finer. With it, what is not copied no longer equals the source."""

    model: Checkpoint = Field(
        description="Its weights: realesrgan_x2plus, or a file of ESRGAN and its kin (spandrel), or of ONNX."
    )
    strength: float = Field(default=1.0, ge=0, le=1, description="How much of what it changes is seen.")
    frames: Literal["reencoded", "all"] = Field(
        default="reencoded",
        description="reencoded: frames that are re-encoded anyway; where they meet copied ones, the picture's look"
        " changes. all: every frame, and no packet of the source is copied.",
    )


class StitcherConfig(BaseModel, frozen=True, extra="forbid"):
    """How the output is assembled and checked."""

    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    enhance: EnhanceConfig | None = Field(
        default=None, description="Whole frames made finer by a network, at their own size. Omitted: none."
    )
    crossfade_seconds: float = Field(
        default=0.02, ge=0, le=1, description="Length of the cross-fade where sound is joined."
    )
    verify: Literal["packets", "full", "none"] = Field(
        default="packets",
        description="How the finished file is checked before it gets its name. packets: every packet, stream"
        " properties, and the pictures at beginning, seams and end. full: both videos are also decoded and compared.",
    )
    report: Literal["html", "json", "none"] = Field(
        default="html",
        description="What is written beside the output. json: `<output>.report.json`, what was done with every clip,"
        " for programs. html: that, and `<output>.report.html`, a page to look at. none: neither; then lipstitch verify"
        " cannot check the output later, since it needs the JSON.",
    )
