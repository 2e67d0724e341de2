"""The packets of a sound stream by number, and a copy of them in which some have new payloads."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av

from media.audio.buffer import named_layout, sample_at
from media.audio.reader import first_sample_time
from media.base.errors import UnsupportedMedia
from media.info import AudioInfo
from media.probe import open_input
from stitcher.audio.mix import SoundPlan
from stitcher.audio.soundtrack import AAC_FRAME_SAMPLES, sound_file

PCM_BYTES = {"pcm_s16le": 2, "pcm_s16be": 2, "pcm_s24le": 3, "pcm_s24be": 3}
"""Bytes of a sample, for the codecs whose samples a float holds exactly."""

_JITTER_SECONDS = Fraction(1, 1000)
"""How far packets' times may stray from the count: files that were remuxed from millisecond containers do so by one
sample or two. The same tolerance as after a seek in read_samples."""


@dataclass(frozen=True, slots=True)
class SoundPackets:
    """A stream's packets, numbered in order, without a gap between them."""

    path: str
    stream_index: int
    codec: str
    rate: int
    layout: str
    extradata: bytes
    pts: array[int]
    """Time of each packet in ticks of 1 / rate; one more entry for the end."""
    starts: array[int]
    """Output sample at which each packet begins, counted from the first one; one more entry for the end."""
    total: int
    """Samples of the output."""

    def __len__(self) -> int:
        return len(self.pts) - 1

    def start(self, index: int) -> int:
        """Return the output sample at which an AAC packet begins; the grid goes on beyond the first and the last."""
        return self.starts[0] + index * AAC_FRAME_SAMPLES

    def tick(self, index: int) -> int:
        """Return the time of a packet; behind the last one AAC's grid goes on."""
        return self.pts[index] if index < len(self.pts) else self.pts[-1] + (index - len(self)) * AAC_FRAME_SAMPLES

    def packets(self) -> Iterator[av.Packet[av.AudioStream]]:
        """Demux the packets in order."""
        with open_input(self.path) as container:
            stream = container.streams[self.stream_index]
            assert isinstance(stream, av.AudioStream)
            yield from islice((packet for packet in container.demux(stream) if packet.size), len(self))

    def payloads(self, start: int, stop: int) -> dict[int, bytes]:
        """Return the payloads of AAC packets [start, stop), as far as there are such, by number."""
        found: dict[int, bytes] = {}
        with open_input(self.path) as container:
            stream = container.streams[self.stream_index]
            container.seek(self.tick(max(start - 1, 0)), stream=stream)
            for packet in container.demux(stream):
                if not packet.size:
                    break
                index = round(Fraction((packet.pts or 0) - self.pts[0], AAC_FRAME_SAMPLES))
                if index >= min(stop, len(self)):
                    break
                found[index] = bytes(packet)
        return found


def scan_sound(plan: SoundPlan, path: str, audio: AudioInfo, anchor: Fraction) -> SoundPackets:
    """Number the packets; raise UnsupportedMedia unless each begins where the one before it ends.

    Packets that an edit list hides are priming if they lead, and are left away if they trail.
    """
    bytes_per_sample = PCM_BYTES.get(audio.codec, 0) * audio.num_channels
    jitter, trails = sample_at(_JITTER_SECONDS, audio.sample_rate), False
    pts, starts = array("q"), array("q")
    with open_input(path) as container:
        stream = container.streams[audio.index]
        assert isinstance(stream, av.AudioStream)
        extradata = bytes(stream.codec_context.extradata or b"")
        shift, end = sample_at(-anchor, audio.sample_rate), 0
        for packet in container.demux(stream):
            if not packet.size:
                continue
            trails |= packet.is_discard and packet.pts is not None and packet.pts >= 0
            if trails and packet.is_discard:
                continue
            start = (packet.pts or 0) + shift
            if trails or packet.pts is None or (starts and abs(start - end) > jitter):
                raise UnsupportedMedia(f"{path}: the sound cannot be spliced: it has holes or edits.")
            pts.append(packet.pts)
            starts.append(end if starts else start)
            end = starts[-1] + (packet.size // bytes_per_sample if bytes_per_sample else AAC_FRAME_SAMPLES)
    if not pts:
        raise UnsupportedMedia(f"{path}: the sound cannot be spliced: it holds no packet.")
    pts.append(pts[-1] + end - starts[-1])
    starts.append(end)
    # read_samples counts from the first packet that is heard.
    heard = bisect_right(pts, first_sample_time(path, audio.index) * audio.sample_rate) - 1
    late = pts[heard] + shift - starts[heard]
    starts = array("q", (start + late for start in starts))
    layout, total = named_layout(audio.layout, audio.num_channels), sample_at(plan.duration, audio.sample_rate)
    return SoundPackets(path, audio.index, audio.codec, audio.sample_rate, layout, extradata, pts, starts, total)


@dataclass(frozen=True, slots=True)
class Replacement:
    """New payloads for packets [start, stop); `stop` may lie behind the source's last packet."""

    start: int
    stop: int
    payloads: Iterable[bytes]
    is_last: bool
    """Whether the output's sound ends with them: what the source has after them is dropped."""


def write_replaced(track: SoundPackets, replacements: Iterable[Replacement], path: Path) -> None:
    """Copy the packets, some with new payloads. Times are the source's; on AAC's grid where the source has ended.

    replacements: in order, disjoint. Raises WorkspaceError if the file cannot be written.
    """
    muxer = "mp4" if track.codec == "aac" else "mov"
    # The edit list of a stream that begins late counts in this; in milliseconds if nothing is said.
    options = {"movie_timescale": str(track.rate)}
    with (
        sound_file(path) as partial,
        open_input(track.path) as source,
        av.open(f"file:{partial}", "w", format=muxer, container_options=options) as container,
    ):
        stream = container.add_stream_from_template(source.streams[track.stream_index], opaque=True)
        packets = track.packets()

        def mux(packet: av.Packet[Any]) -> None:
            packet.stream = stream
            container.mux_one(packet)

        done, ended = 0, False
        for replacement in replacements:
            for packet in islice(packets, replacement.start - done):
                mux(packet)
            for index, payload in enumerate(replacement.payloads, replacement.start):
                next(packets, None)
                mux(_stamped(track, index, payload))
            done, ended = replacement.stop, replacement.is_last
        for packet in () if ended else packets:
            mux(packet)


def _stamped(track: SoundPackets, index: int, payload: bytes) -> av.Packet[Any]:
    packet: av.Packet[Any] = av.Packet(payload)
    packet.time_base = Fraction(1, track.rate)
    packet.pts = packet.dts = track.tick(index)
    packet.duration = track.tick(index + 1) - track.tick(index)
    packet.is_keyframe = True
    return packet


def build_encoder(track: SoundPackets) -> av.AudioCodecContext:
    """Return an encoder of the track's codec, rate and layout, not yet opened."""
    encoder = av.CodecContext.create(track.codec, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    formats = encoder.codec.audio_formats
    assert formats, "encoders say what they take"
    encoder.sample_rate, encoder.time_base = track.rate, Fraction(1, track.rate)
    encoder.layout, encoder.format = track.layout, formats[0]
    return encoder
