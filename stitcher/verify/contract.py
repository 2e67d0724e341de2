"""The contract, checked on the file that was written: its packets and samples of its pictures, or in full."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.stream import Stream

from media.base.errors import ContractBroken, MediaError
from media.bitstream.units import AnyPacket, length_prefix_size
from media.info import MediaInfo, VideoInfo
from media.packets.frame_table import FrameTable
from media.packets.scan import scan_packets
from media.probe import open_input, probe
from media.source_video import SourceVideo
from media.timeline import OutputTimeline
from stitcher.assemble import Assembled
from stitcher.audio.mix import SoundPlan
from stitcher.disclosure.statement import Disclosure
from stitcher.disclosure.verify import verify_disclosure
from stitcher.verify.audio import verify_sound
from stitcher.verify.pixels import PixelsFound, verify_pixels
from stitcher.verify.provenance import FrameProvenance
from stitcher.verify.sampling import Sampling, choose_frames
from stitcher.verify.streams import (
    list_streams,
    take_inventory,
    verify_copies,
    verify_fields,
    verify_format,
    verify_streams,
)

SOUND_TOLERANCE_SAMPLES = 4096
"""An encoded track may be longer than what is heard by its last, padded packets (AAC: 1024 samples each)."""
END_SECONDS = 10
"""How long before its end a soundtrack is read on."""
DISCLOSED = "disclosed"


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and what was found."""

    promise: str
    found: str
    is_kept: bool = True


@dataclass(frozen=True, slots=True)
class Contract:
    """What a finished file has to be."""

    source: SourceVideo
    timeline: OutputTimeline
    heard: SoundPlan | None
    """What its soundtrack was made from; None if the source's own sound was kept."""
    marks: FrameProvenance
    dropped: tuple[int, ...]
    """Indexes of the source's streams that the container does not take."""
    codec: str = ""
    """FFmpeg's decoder name of the video if it is transcoded; empty: the source's."""
    quality_allowance_db: float = 0.0
    """Decibels by which the user asked for a lower quality of rendered frames than the default."""
    disclosure: Disclosure | None = None
    """What the file has to say of its own making; None: nothing of that is checked."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The finished file, as its packets tell it."""

    video: SourceVideo
    dts: array[int]
    """Decode times in ticks of the packets that have one."""
    payloads: array[int]
    """CRC-32 of each displayed packet, in decode order."""


def verify_packets(
    written: Path,
    promised: Contract,
    assembled: Assembled,
    sound_seconds: Fraction | None,
    sampling: Sampling | None = None,
) -> tuple[Check, ...]:
    """Check a finished file and return what was found; raise ContractBroken, naming the promise, if one is broken.

    The video is what players must be told, every frame stands at its time, decode times increase, every packet is the
    one that was given to the muxer, the soundtrack has its length, and no stream or tag is lost. sound_seconds: the
    length the soundtrack must have; None if the source's own was kept. sampling: where pictures are decoded and
    compared with the source's; None: nowhere.
    """
    file = _open(written, promised)
    info, video = file.video.info, file.video.video
    checks = [_check_times(file.video.table, promised.timeline)]
    # Matroska stores no decode times and program streams few: what is read there is a guess.
    if not info.container.startswith(("matroska", "mpeg,")) and info.container != "mpeg":
        checks.append(_check_decode_times(file.dts))
    if _keeps_payload(assembled, video):
        checks.append(_check_payloads(file.payloads, assembled))
    if sound_seconds is not None:
        first_frame = promised.timeline.pts[0] * promised.timeline.time_base
        checks.append(_check_sound(written, info, sound_seconds, first_frame))
    checks.append(_check_streams(info, promised))
    if promised.disclosure:
        checks.append(Check(DISCLOSED, verify_disclosure(written, promised.disclosure)))
    if sampling is not None:
        checks.append(_check_samples(file, promised, sampling))
    return tuple(checks)


def _open(path: Path, promised: Contract) -> _Written:
    """Read a finished file; raise ContractBroken if a player would not see the video that was promised."""
    dts, payloads = array("q"), array("L")

    def note(packet: AnyPacket) -> None:
        if packet.dts is not None:
            dts.append(packet.dts)
        payloads.append(zlib.crc32(bytes(packet)))

    try:
        info = probe(path)
        table = scan_packets(info, note)
    except MediaError as exc:
        raise ContractBroken(f"Same frames: {exc}") from exc
    source = promised.source.video
    verify_format(source, info.require_video(), promised.codec or source.codec)
    if promised.timeline.is_source:  # other frames of the source may differ from its first ones
        verify_fields(source, info.require_video())
    return _Written(SourceVideo(info, table), dts, payloads)


def _check_streams(info: MediaInfo, promised: Contract) -> Check:
    source, written = (
        list_streams(each, without=_soundtrack_of(each, promised)) for each in (promised.source.info, info)
    )
    streams, tags, chapters = verify_streams(source, written, promised.dropped, is_whole=promised.timeline.is_source)
    return Check("streams and tags", f"{streams} other streams, {tags} tags, {chapters} chapters")


def _soundtrack_of(info: MediaInfo, promised: Contract) -> int | None:
    return info.audio[0].index if promised.heard and info.audio else None


def _check_samples(file: _Written, promised: Contract, sampling: Sampling) -> Check:
    frames = choose_frames(file.video.table, promised.source.table, promised.timeline, promised.marks, sampling)
    found = verify_pixels(
        promised.source,
        promised.timeline,
        file.video,
        promised.marks,
        quality_allowance_db=promised.quality_allowance_db,
        frames=frames,
    )
    return Check("untouched pixels", f"{len(frames)} frames decoded: {_describe_pixels(found)}")


def _describe_pixels(found: PixelsFound) -> str:
    parts = [f"{found.num_copied} copied frames bit-identical"]
    if found.num_reencoded:
        parts.append(f"{found.num_reencoded} re-encoded {found.worst_coded:.1f} dB or more")
    if found.num_rendered:
        parts.append(f"{found.num_rendered} rendered, outside the boxes {found.worst_rendered:.1f} dB or more")
    if found.num_uncertain:
        parts.append(f"{found.num_uncertain} differ near damage of the source, which decoders guess")
    return "; ".join(parts)


def verify_full(
    written: Path, promised: Contract, on_progress: Callable[[int], None] = lambda num_frames: None
) -> tuple[Check, ...]:
    """Check all promises on a finished file, decoding it and its source; return every one, kept or broken.

    Memory is that of two decoders and some bytes a frame. on_progress: called with the number of frames compared.
    Raises MediaError where the source cannot be read any more.
    """
    checks: list[Check] = []

    def check(promise: str, find: Callable[[], str]) -> bool:
        try:
            checks.append(Check(promise, find()))
        except ContractBroken as exc:
            checks.append(Check(promise, str(exc), is_kept=False))
        return checks[-1].is_kept

    full = _Full(written, promised)
    if not check("same frames", full.frames):
        return tuple(checks)  # what follows counts on them
    check("untouched packets", full.packets)
    check("untouched pixels", lambda: full.pixels(on_progress))
    check("the dub is whole", full.sound)
    check("streams and tags", full.streams)
    if disclosure := promised.disclosure:
        check(DISCLOSED, lambda: verify_disclosure(written, disclosure))
    return tuple(checks)


class _Full:
    """One finished file, opened for all checks."""

    def __init__(self, written: Path, promised: Contract) -> None:
        self._path, self._promised = written, promised
        self._video = promised.source

    def frames(self) -> str:
        """Check count and times of the frames, and what players are told of them."""
        file = _open(self._path, self._promised)
        self._video = file.video
        return _check_times(file.video.table, self._promised.timeline).found

    def packets(self) -> str:
        """Check that copied packets are the source's."""
        promised = self._promised
        self._before = take_inventory(promised.source.info, without=_soundtrack_of(promised.source.info, promised))
        self._after = take_inventory(self._video.info, without=_soundtrack_of(self._video.info, promised))
        count = verify_copies(self._before, promised.source.table, promised.timeline, self._after, promised.marks)
        codec = self._video.video.codec
        transcoded = f": transcoded to {codec}" if codec != promised.source.video.codec else ""
        return f"{count} of {len(promised.timeline)} frames are the source's own packets{transcoded}"

    def pixels(self, on_progress: Callable[[int], None]) -> str:
        """Compare the pictures."""
        promised = self._promised
        found = verify_pixels(
            promised.source,
            promised.timeline,
            self._video,
            promised.marks,
            on_progress,
            quality_allowance_db=promised.quality_allowance_db,
        )
        return _describe_pixels(found)

    def sound(self) -> str:
        """Compare the soundtrack with the mix of the plan."""
        heard = self._promised.heard
        if heard is None:
            return "the source's own sound, packet by packet"
        if not self._video.info.audio:
            raise ContractBroken("The dub is whole: the output has no sound. Please report this.")
        first_frame = self._video.table.pts[0] * self._video.video.clock.time_base
        found = verify_sound(self._path, self._video.info.audio[0], heard, first_frame)
        offset, drift = (round(1000 * seconds, 2) + 0.0 for seconds in (found.offset_seconds, found.drift_seconds))
        return (
            f"{found.num_seconds} s compared: {offset:+.2f} ms off at most, drift {drift:+.2f} ms,"
            f" correlation {found.correlation:.3f}"
        )

    def streams(self) -> str:
        """Check everything else."""
        promised = self._promised
        streams, tags, chapters = verify_streams(
            self._before, self._after, promised.dropped, is_whole=promised.timeline.is_source
        )
        return f"{streams} other streams, {tags} tags, {chapters} chapters"


def _check_times(table: FrameTable, timeline: OutputTimeline) -> Check:
    wanted, got = len(timeline), len(table)
    if wanted != got:
        raise ContractBroken(f"Same frames: the output has {got} frames instead of {wanted}. Please report this.")
    # In whole numbers, since this is done for every frame: times in units of 1 / (both denominators).
    tick = table.time_base.numerator * timeline.time_base.denominator
    wanted_tick = timeline.time_base.numerator * table.time_base.denominator
    # A container with a coarser clock than the source's (Matroska's milliseconds) rounds; nothing else may.
    tolerance = tick if tick > wanted_tick else 0
    for frame, (ticks, written) in enumerate(zip(timeline.pts, table.pts, strict=True)):
        if 2 * abs(written * tick - ticks * wanted_tick) > tolerance:
            raise ContractBroken(
                f"Same frames: frame {frame} is shown at {float(written * table.time_base):.6f} s instead of"
                f" {float(ticks * timeline.time_base):.6f} s. Please report this."
            )
    return Check("same frames", f"{got} frames, each at its time")


def _check_decode_times(dts: array[int]) -> Check:
    for number in range(1, len(dts)):
        if dts[number] <= dts[number - 1]:
            raise ContractBroken(f"Same frames: decode times do not increase at packet {number}. Please report this.")
    return Check("decode times", "increasing")


def _keeps_payload(assembled: Assembled, written: VideoInfo) -> bool:
    """Tell whether the muxer writes packets as it gets them: not between Annex B and length prefixes."""
    if written.codec not in ("h264", "hevc"):
        return True
    return assembled.has_lengths and bool(length_prefix_size(written.codec, written.coded.extradata))


def _check_payloads(payloads: array[int], assembled: Assembled) -> Check:
    for number, (wanted, got) in enumerate(zip(assembled.payloads, payloads, strict=True)):
        if wanted != got:
            raise ContractBroken(f"Untouched: packet {number} is not the one that was written. Check the disk.")
    return Check("untouched packets", f"{len(payloads)} packets as given to the muxer")


def _sound_ends(path: Path, info: MediaInfo, seconds: Fraction) -> tuple[int, int]:
    """Return when the soundtrack of a finished file begins and ends, in ticks. seconds: how long it should be.

    MP4 and MOV say where each packet lies: what is in between is not read.
    """
    audio = info.require_audio()
    with open_input(path) as container:
        stream = container.streams[audio.index]
        begin, end = next(_times(container, stream), (0, 0))
        if info.container.startswith("mov,"):
            container.seek(begin + max(int((seconds - END_SECONDS) / audio.time_base), 0), stream=stream)
        for _, end in _times(container, stream):  # noqa: B007 - the last one is wanted
            pass
    return begin, end


def _times(container: InputContainer, stream: Stream) -> Iterator[tuple[int, int]]:
    """Yield the begin and the end of each packet of a stream that has a time, in ticks."""
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            yield packet.pts, packet.pts + (packet.duration or 0)


def _check_sound(path: Path, info: MediaInfo, seconds: Fraction, first_frame: Fraction) -> Check:
    audio = info.require_audio()
    begin, end = _sound_ends(path, info, seconds)
    start = begin * audio.time_base
    if info.container == "avi":
        start = first_frame  # silence stands before it
    length = end * audio.time_base - start
    tolerance = Fraction(SOUND_TOLERANCE_SAMPLES, audio.sample_rate) + Fraction(1, 500)
    if not -tolerance <= length - seconds <= 2 * tolerance:
        raise ContractBroken(
            f"The dub is whole: the soundtrack lasts {float(length):.3f} s instead of {float(seconds):.3f} s."
            " Please report this."
        )
    return Check("the dub is whole", f"{float(length):.3f} s of sound")
