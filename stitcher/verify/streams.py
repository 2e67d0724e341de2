"""The contract on what a file holds besides pictures: copied packets, other streams, tags and chapters."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from media.base.errors import ContractBroken
from media.bitstream.side_data import read_beside
from media.bitstream.units import HEVC_BLA_N_LP, HEVC_CRA, length_prefix_size, split_units, unit_type
from media.info import MediaInfo, VideoInfo
from media.orientation import PLAIN
from media.packets.field_pairs import is_hidden, join_fields
from media.packets.frame_table import FrameTable
from media.picture import unranged
from media.probe import open_input
from media.timeline import OutputTimeline
from stitcher.streams import named_keys
from stitcher.verify.pixels import source_frames
from stitcher.verify.provenance import FrameProvenance

CHECKED_TAGS = ("title", "artist", "album", "comment", "copyright", "date", "description", "genre", "language")
"""Tags that containers keep; others may be the muxer's own."""
CHAPTER_TOLERANCE = Fraction(1, 100)
"""Seconds by which a container may round the borders of chapters."""


@dataclass(slots=True)
class _Stream:
    """A stream that is neither the main video nor the soundtrack."""

    kind: str
    codec: str
    language: str
    num_packets: int = 0
    digest: int = 0
    """CRC-32 of all packets."""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.codec, self.language)))


@dataclass(slots=True)
class Inventory:
    """What a file holds, read in one pass without decoding."""

    container: str
    codec: str
    pictures: dict[int, int] = field(default_factory=dict)
    """CRC-32 of each displayed video packet's coded picture, by presentation time in ticks."""
    beside: dict[int, int] = field(default_factory=dict)
    """Checksum of what travels beside each picture, by presentation time in ticks; for those that have something."""
    others: dict[int, _Stream] = field(default_factory=dict)
    """By stream index."""
    tags: dict[str, str] = field(default_factory=dict)
    chapters: list[tuple[Fraction, str]] = field(default_factory=list)
    """Start in seconds and title of each."""


def list_streams(info: MediaInfo, *, without: int | None) -> Inventory:
    """Return streams, tags and chapters of a file, but none of its packets; without: as for take_inventory."""
    video = info.require_video()
    found = Inventory(info.container, video.codec)
    with open_input(info.path) as container:
        found.tags = _kept_tags(container.metadata)
        found.chapters = [
            (Fraction(chapter["start"]) * (chapter["time_base"] or 0), chapter["metadata"].get("title", ""))
            for chapter in container.chapters()
        ]
        for stream in container.streams:
            if stream.index not in (video.index, without):
                codec = stream.codec_context.name if stream.codec_context else ""
                found.others[stream.index] = _Stream(stream.type, codec, stream.metadata.get("language", ""))
    return found


def take_inventory(info: MediaInfo, *, without: int | None) -> Inventory:
    """Read a file; without: index of the stream that is the soundtrack, None to include every stream.

    Of a long video some twenty bytes a frame are held.
    """
    video = info.require_video()
    prefix = length_prefix_size(video.codec, video.coded.extradata)
    found = list_streams(info, without=without)
    with open_input(info.path) as container:
        for packet in join_fields(container.demux(), video.index, video.codec, video.coded.extradata):
            if packet.size and packet.stream_index == video.index:
                if packet.pts is not None and not is_hidden(packet):
                    found.pictures[packet.pts] = _picture(video, bytes(packet), prefix)
                    if beside := read_beside(video.codec, packet, prefix).digest():
                        found.beside[packet.pts] = beside
            elif packet.size and packet.stream_index in found.others:
                other = found.others[packet.stream_index]
                other.num_packets += 1
                other.digest = zlib.crc32(bytes(packet), other.digest)
    return found


def _kept_tags(metadata: dict[str, str]) -> dict[str, str]:
    named = {key.lower() for key in named_keys(metadata)}
    return {key.lower(): value for key, value in metadata.items() if key.lower() in {*CHECKED_TAGS, *named}}


def _picture(video: VideoInfo, packet: bytes, prefix_size: int) -> int:
    """Return a checksum of what is coded of a picture; how containers wrap H.264 and HEVC does not count.

    Nor does the type of an HEVC picture that follows coded ones: it was turned from CRA to BLA to say so.
    """
    if video.codec not in ("h264", "hevc"):
        return zlib.crc32(packet)
    digest = 0
    for unit in split_units(packet, prefix_size):
        kind = unit_type(video.codec, unit)
        if video.codec == "h264" and 1 <= kind <= 5:
            digest = zlib.crc32(unit, digest)
        elif video.codec == "hevc" and 0 <= kind < 32:
            header = bytes([unit[0] & 0x81]) if kind in (HEVC_CRA, HEVC_BLA_N_LP) else unit[:1]
            digest = zlib.crc32(unit[1:], zlib.crc32(header, digest))
    return digest


def verify_copies(
    source: Inventory, table: FrameTable, timeline: OutputTimeline, written: Inventory, marks: FrameProvenance
) -> int:
    """Return how many frames were copied; raise ContractBroken if one's coded picture is not the source's."""
    pts = array("q", sorted(written.pictures))
    copied = 0
    same_kind = (source.container, source.codec) == (written.container, written.codec)
    last = timeline.runs[0].stop_frame if timeline.is_source else len(timeline)
    for frame, source_frame in enumerate(source_frames(timeline)):
        # What is appended has nothing beside it; other codecs and containers have other ways to tell it, or none.
        beside = source.beside.get(table.pts[source_frame], 0) if frame < last and same_kind else 0
        if beside and written.beside.get(pts[frame]) != beside:
            raise ContractBroken(
                f"Untouched packets: frame {frame} lost what source frame {source_frame} has beside its picture"
                " (transparency, captions or HDR metadata). Please report this."
            )
        if marks.is_copied(frame):
            copied += 1
            if written.pictures[pts[frame]] != source.pictures[table.pts[source_frame]]:
                raise ContractBroken(
                    f"Untouched packets: frame {frame} is not the packet of source frame {source_frame}."
                    " Please report this."
                )
    return copied


def verify_streams(
    source: Inventory, written: Inventory, dropped: Sequence[int], *, is_whole: bool
) -> tuple[int, int, int]:
    """Return the numbers of other streams, tags and chapters; raise ContractBroken if one is lost or changed.

    dropped: indexes of the source's streams that the report says are gone. is_whole: all of the source is shown, so
    that other streams must hold the same packets, and chapters are kept.
    """
    same_kind = source.container == written.container
    left = [*written.others.values()]
    wanted = [stream for index, stream in source.others.items() if index not in dropped and not _is_remade(stream)]
    for stream in wanted:
        match = next((other for other in left if _is_same(stream, other)), None)
        if match is None:
            raise ContractBroken(f"Streams: the source's {stream} is not in the output. Please report this.")
        left.remove(match)
        changed = (match.num_packets, match.digest) != (stream.num_packets, stream.digest)
        if changed and is_whole and same_kind:
            raise ContractBroken(f"Streams: packets of the source's {stream} are changed. Please report this.")
    tags = source.tags if same_kind else {}
    for key, value in tags.items():
        if written.tags.get(key) != value:
            raise ContractBroken(f"Tags: {key} is {written.tags.get(key)!r} instead of {value!r}. Please report this.")
    chapters = source.chapters if is_whole and same_kind else []
    if chapters:
        _verify_chapters(chapters, written.chapters)
    return len(wanted), len(tags), len(chapters)


def _is_remade(stream: _Stream) -> bool:
    """Tell whether muxers write a stream anew: titles of chapters and timecode stand in data streams."""
    return stream.kind == "data"


def _is_same(stream: _Stream, other: _Stream) -> bool:
    languages = {stream.language or "und", other.language or "und"}
    return (stream.kind, stream.codec) == (other.kind, other.codec) and len(languages) == 1


def _verify_chapters(source: Sequence[tuple[Fraction, str]], written: Sequence[tuple[Fraction, str]]) -> None:
    same = len(source) == len(written) and all(
        title == other and abs(start - at) <= CHAPTER_TOLERANCE
        for (start, title), (at, other) in zip(source, written, strict=True)
    )
    if not same:
        raise ContractBroken(f"Chapters: {len(written)} are not the source's {len(source)}. Please report this.")


def verify_format(source: VideoInfo, written: VideoInfo, codec: str) -> None:
    """Raise ContractBroken if size, pixel format, colour, orientation or aspect are not the source's.

    codec: what is expected instead of the source's. A range that is not told is the limited one, and where the codec
    is another, a format's name need not tell the full one. Where pictures alone tell the orientation, they need not all
    do so, and take it along.
    """
    expected, found = _described(source) | {"codec": codec}, _described(written)
    if source.display.matrix == PLAIN and codec == source.codec:
        found["orientation"] = expected["orientation"]
    for values in (expected, found):
        values["color range"] = values["color range"] or 1
        if codec != source.codec:
            values["pixel format"] = unranged(values["pixel format"])
    for name, wanted in expected.items():
        if found[name] != wanted:
            raise ContractBroken(
                f"Tags: the {name} of the video is {found[name]} instead of {wanted}. Please report this."
            )


def _described(video: VideoInfo) -> dict[str, Any]:
    """Return what players are told of a video, by its name in messages."""
    return {
        "codec": video.codec,
        "width": video.width,
        "height": video.height,
        "pixel format": video.pixel_format,
        "color range": video.colour.range,
        "color matrix": video.colour.matrix,
        "color primaries": video.colour.primaries,
        "color transfer": video.colour.transfer,
        "orientation": video.orientation,
        "sample aspect": video.display.sample_aspect,
    }


def verify_fields(source: VideoInfo, written: VideoInfo) -> None:
    """Raise ContractBroken if the order of fields at the beginning of a video is not the source's."""
    if source.fields != written.fields:
        raise ContractBroken(f"Tags: the video is {written.fields} instead of {source.fields}. Please report this.")
