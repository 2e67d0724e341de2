"""The stitcher section of a job file: how sound and frames are coded, and how the finished file is checked."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, model_validator

from lipstitch.job_file.fields import Checkpoint
from media.base.settings import FilePath
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


class SigningConfig(BaseModel, frozen=True, extra="forbid"):
    """What a C2PA manifest is signed with."""

    certificate: FilePath = Field(
        description="PEM file: your certificate for signing content, then those that lead to its root."
    )
    key: FilePath = Field(description="PEM file (PKCS #8): its private key, without a password.")
    algorithm: Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = Field(
        default="es256", description="The algorithm of the key, by its name in C2PA."
    )
    timestamp_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="Address of who certifies the time of signing (RFC 3161). Omitted: no one does, and nothing is sent"
        " anywhere.",
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
    provenance: Literal["metadata", "c2pa", "none"] = Field(
        default="metadata",
        description="How the output says that it is partly synthetic, where it is. metadata: IPTC's digital source"
        " type, the program and the times of new mouths, in an XMP packet or in tags. c2pa: that, and a C2PA manifest"
        " signed with `signing` (.mp4, .m4v, .mov). none: not at all; the report says so.",
    )
    signing: SigningConfig | None = Field(
        default=None, description="With what outputs are signed, for provenance: c2pa."
    )

    @model_validator(mode="after")
    def _check(self) -> StitcherConfig:
        if self.provenance == "c2pa" and self.signing is None:
            raise ValueError("provenance c2pa signs the output: give signing: {certificate, key}")
        return self
