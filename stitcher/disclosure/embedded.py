"""A disclosure in a file: where each format has a place for it, beside the packets."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

from media.probe import open_input
from stitcher.disclosure.statement import RANGES_TAG, SOURCE_TYPE, Disclosure

WITH_XMP: Final = ("mp4", "mov")
"""Muxers of files whose XMP packet is a box of its own."""
WITH_ANY_TAG: Final = ("matroska", "webm", "flv")
"""Muxers that write tags of any name."""
RIFF_FORM: Final = "ISRF"
"""RIFF's tag for the form of what a file was made from; AVI holds a fixed set of tags."""
XMP_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Of the box of an XMP packet (XMP specification part 3, MPEG-4)."""
BOX_HEAD, LARGE_BOX_HEAD, UUID_BYTES = 8, 16, 16
MOST_XMP_BYTES = 16 << 20
XMP_RANGE: Final = re.compile(rb"<xmpDM:startTime>(\d+)</xmpDM:startTime><xmpDM:duration>(\d+)</xmpDM:duration>")
XMP_RATE: Final = re.compile(rb"<xmpDM:frameRate>f(\d+)(?:s(\d+))?</xmpDM:frameRate>")
"""Ticks a second, as a whole number or as a ratio."""
TAG_RANGE: Final = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")


def can_hold(muxer: str) -> bool:
    """Tell whether files of a muxer have a place for a disclosure."""
    return muxer in (*WITH_XMP, *WITH_ANY_TAG, "avi")


def container_tags(muxer: str, disclosure: Disclosure) -> dict[str, str]:
    """Return the tags that a file of a muxer is given; empty where an XMP packet tells it, or nothing can."""
    if muxer in WITH_ANY_TAG:
        return disclosure.tags()
    return {RIFF_FORM: disclosure.sentence()} if muxer == "avi" else {}


def stated_ranges(path: Path) -> tuple[tuple[Fraction, Fraction], ...]:
    """Return what of a file is synthetic as it says itself, in seconds since its first frame, if this program wrote it.

    Empty where it says nothing. Raises MediaError where it cannot be opened.
    """
    with open_input(path) as container:
        names, tags = container.format.name.split(","), {key.upper(): text for key, text in container.metadata.items()}
    if set(WITH_XMP) & {*names}:
        with path.open("rb") as file:
            return tuple(part for packet in xmp_packets(file) for part in _ranges_of(packet))
    text = tags.get(RANGES_TAG) or tags.get(RIFF_FORM, "").rpartition("; ")[2]
    says = any(SOURCE_TYPE in value for value in tags.values())
    return tuple((Fraction(start), Fraction(stop)) for start, stop in TAG_RANGE.findall(text)) if says else ()


def _ranges_of(packet: bytes) -> Iterator[tuple[Fraction, Fraction]]:
    rate = XMP_RATE.search(packet)
    if rate and int(rate[1]) and SOURCE_TYPE.encode() in packet:
        tick = Fraction(int(rate[2] or 1), int(rate[1]))
        for start, length in XMP_RANGE.findall(packet):
            yield int(start) * tick, (int(start) + int(length)) * tick


def append_xmp(path: Path, packet: bytes) -> None:
    """Append an XMP packet to a finished MP4 or MOV file. No box before it moves. Raises OSError."""
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", BOX_HEAD + UUID_BYTES + len(packet), b"uuid") + XMP_UUID + packet)


def xmp_packets(file: BinaryIO) -> Iterator[bytes]:
    """Yield the XMP packets of an MP4 or MOV file that stand in boxes of their own; all else is passed over."""
    at = 0
    while len(head := file.read(LARGE_BOX_HEAD)) >= BOX_HEAD:
        size, kind = struct.unpack_from(">I4s", head)
        head_size = BOX_HEAD
        if size == 1 and len(head) == LARGE_BOX_HEAD:
            head_size, size = LARGE_BOX_HEAD, struct.unpack_from(">Q", head, BOX_HEAD)[0]
        if size < head_size:  # 0: up to the end of the file
            return
        if kind == b"uuid" and size - head_size <= MOST_XMP_BYTES:
            file.seek(at + head_size)
            content = file.read(size - head_size)
            if content.startswith(XMP_UUID):
                yield content[UUID_BYTES:]
        at += size
        file.seek(at)
