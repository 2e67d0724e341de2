"""The contract, checked on the file that was written: at packet level, without decoding."""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from media.bitstream import length_prefix_size
from media.errors import ContractBroken
from media.probe import MediaInfo, VideoInfo, open_input, probe
from media.timeline import OutputTimeline
from stitcher.assemble import Assembled

SOUND_TOLERANCE_SAMPLES = 4096
"""An encoded track may be longer than what is heard by its last, padded packets (AAC: 1024 samples each)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, found kept."""

    promise: str
    found: str


@dataclass(frozen=True, slots=True)
class _Packets:
    pts: array[int]
    dts: array[int]
    payloads: array[int]
    time_base: Fraction


def verify_packets(
    written: Path, source: MediaInfo, timeline: OutputTimeline, assembled: Assembled, sound_seconds: Fraction | None
) -> tuple[Check, ...]:
    """Check a finished file and return what was found; raise ContractBroken, naming the promise, if one is broken.

    Every frame stands at its time, decode times increase, every packet is the one that was given to the muxer, and the
    soundtrack has its length. sound_seconds: the length it must have; None if the source's own was kept.
    """
    info = probe(written)
    video = info.require_video()
    packets = _read(written, video)
    checks = [_check_times(packets, timeline)]
    if not info.container.startswith("matroska"):  # which stores none: what is read there is a guess
        checks.append(_check_decode_times(packets))
    if _keeps_payload(source.require_video(), video):
        checks.append(_check_payloads(packets, assembled))
    if sound_seconds is not None:
        checks.append(_check_sound(written, info, sound_seconds))
    return tuple(checks)


def _read(path: Path, video: VideoInfo) -> _Packets:
    packets = _Packets(array("q"), array("q"), array("L"), video.time_base)
    with open_input(path) as container:
        for packet in container.demux(container.streams[video.index]):
            if packet.size and not packet.is_discard and packet.pts is not None:
                packets.pts.append(packet.pts)
                if packet.dts is not None:
                    packets.dts.append(packet.dts)
                packets.payloads.append(zlib.crc32(bytes(packet)))
    return packets


def _check_times(packets: _Packets, timeline: OutputTimeline) -> Check:
    wanted, got = len(timeline), len(packets.pts)
    if wanted != got:
        raise ContractBroken(f"Same frames: the output has {got} frames instead of {wanted}. Please report this.")
    # A container with a coarser clock than the source's (Matroska's milliseconds) rounds; nothing else may.
    tolerance = packets.time_base / 2 if packets.time_base > timeline.time_base else Fraction(0)
    for frame, (ticks, written) in enumerate(zip(timeline.pts, sorted(packets.pts), strict=True)):
        if abs(written * packets.time_base - ticks * timeline.time_base) > tolerance:
            raise ContractBroken(
                f"Same frames: frame {frame} is shown at {float(written * packets.time_base):.6f} s instead of"
                f" {float(ticks * timeline.time_base):.6f} s. Please report this."
            )
    return Check("same frames", f"{got} frames, each at its time")


def _check_decode_times(packets: _Packets) -> Check:
    for number in range(1, len(packets.dts)):
        if packets.dts[number] <= packets.dts[number - 1]:
            raise ContractBroken(f"Same frames: decode times do not increase at packet {number}. Please report this.")
    return Check("decode times", "increasing")


def _keeps_payload(source: VideoInfo, written: VideoInfo) -> bool:
    """Tell whether the muxer writes packets as it gets them: not between Annex B and length prefixes."""
    if source.codec not in ("h264", "hevc"):
        return True
    return bool(length_prefix_size(source.codec, source.extradata)) == bool(
        length_prefix_size(written.codec, written.extradata)
    ) and bool(length_prefix_size(source.codec, source.extradata))


def _check_payloads(packets: _Packets, assembled: Assembled) -> Check:
    for number, (wanted, got) in enumerate(zip(assembled.payloads, packets.payloads, strict=True)):
        if wanted != got:
            raise ContractBroken(f"Untouched: packet {number} is not the one that was written. Check the disk.")
    return Check("untouched packets", f"{len(packets.payloads)} packets as given to the muxer")


def _check_sound(path: Path, info: MediaInfo, seconds: Fraction) -> Check:
    audio = info.require_audio()
    start: Fraction | None = None
    end = Fraction(0)
    with open_input(path) as container:
        for packet in container.demux(container.streams[audio.index]):
            if packet.size and packet.pts is not None:
                start = packet.pts * audio.time_base if start is None else start
                end = (packet.pts + (packet.duration or 0)) * audio.time_base
    length = end - (start or 0)
    tolerance = Fraction(SOUND_TOLERANCE_SAMPLES, audio.sample_rate) + Fraction(1, 500)
    if not -tolerance <= length - seconds <= 2 * tolerance:
        raise ContractBroken(
            f"The dub is whole: the soundtrack lasts {float(length):.3f} s instead of {float(seconds):.3f} s."
            " Please report this."
        )
    return Check("the dub is whole", f"{float(length):.3f} s of sound")
