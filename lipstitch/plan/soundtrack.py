"""How an output's soundtrack is made: kept, copied from the dub, spliced into the source's, or encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lipstitch.job_file.coding import AudioConfig
from lipstitch.plan.outputs.spec import OutputSpec
from media.info import MediaInfo
from media.probe import probe
from stitcher.audio.soundtrack import can_copy, default_codec
from stitcher.audio.splice import can_splice

ENCODE_TIMES_REALTIME = 120.0
"""Seconds of stereo sound that AAC encoding gets through in a second."""


@dataclass(frozen=True, slots=True)
class SoundtrackChoice:
    """How a soundtrack is made."""

    kind: Literal["source", "copied", "spliced", "encoded"]
    """source: the source's own stays. copied: the dub's own packets. spliced: the source's packets but for ranges."""
    codec: str = ""
    """What is encoded, as in a job file; for a spliced one, if splicing fails. Empty where packets are copied."""
    bit_rate: int | None = None
    """Bits per second; None: the codec's default."""
    seconds: Fraction = Fraction(0)
    """Length of what is encoded once."""

    def describe(self) -> str:
        """Return the choice in one line."""
        if self.kind == "source":
            return "the source's own, copied"
        if self.kind == "copied":
            return "the dub's own packets, copied"
        if self.kind == "spliced":
            return "the source's packets, copied; only the ranges are encoded"
        return f"encoded once as {self.codec}, about {float(self.seconds) / ENCODE_TIMES_REALTIME:.0f} s"


def decide_soundtrack(spec: OutputSpec, source: MediaInfo, config: AudioConfig) -> SoundtrackChoice:
    """Decide how the soundtrack of an output is made: with as little encoding as container and job file allow."""
    plan = spec.soundtrack
    if plan is None:
        return SoundtrackChoice("source")
    is_free = config.codec == "auto"
    if is_free and len(plan.pieces) == 1 and can_copy(plan, probe(plan.pieces[0].path), spec.muxer) is None:
        return SoundtrackChoice("copied")
    codec = default_codec(spec.muxer) if is_free else config.codec
    is_patch = bool(spec.patched_seconds and source.audio)
    if is_free and is_patch and can_splice(source.audio[0], source.container) is None:
        return SoundtrackChoice("spliced", codec, config.bit_rate)
    return SoundtrackChoice("encoded", codec, config.bit_rate, plan.duration)
