"""The form of pixels, written into a finished Matroska or WebM file, since PyAV cannot hand it to FFmpeg's muxer.

    Segment > Tracks > TrackEntry > Name    title, RESERVE     becomes    title
                                  > Video   PixelWidth, ...               PixelWidth, ..., DisplayWidth, DisplayHeight
                                                                  Void    what is left of RESERVE

Nothing before or behind the track's entry moves. Numbers of elements are those of RFC 9559, section 5.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

RESERVE = "\u2007" * 16
"""Put behind the title of the video's track, to be taken away again: room for the elements that are added."""
SEGMENT, TRACKS, TRACK_ENTRY, NAME, VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x536E, 0xE0
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
VOID, CRC_32 = 0xEC, 0xBF
HEAD_BYTES = 1 << 24
"""Within which the tracks are described: fonts and covers stand behind them."""

Element = tuple[int, int, int, int]
"""Number, offset of the element, offset of its payload, offset behind it."""


def display_size(width: int, height: int, sample_aspect: Fraction) -> tuple[int, int]:
    """Return the size in square pixels that has exactly the aspect of a picture, as near to its size as may be."""
    aspect = width * sample_aspect / height
    if height % aspect.denominator == 0:
        return int(height * aspect), height
    if width % aspect.numerator == 0:
        return width, int(width / aspect)
    times = max(round(height / aspect.denominator), 1)
    return times * aspect.numerator, times * aspect.denominator


def write_display_size(path: Path, track: int, size: tuple[int, int]) -> None:
    """Write in what size a track is shown; its title ends in RESERVE. track: its place among the tracks, from 0.

    Raises OSError where the file cannot be written, ValueError if it is not as the muxer leaves it.
    """
    with path.open("r+b") as file:
        head = bytearray(file.read(HEAD_BYTES))
        segment = _find(head, SEGMENT, 0, len(head))
        tracks = _find(head, TRACKS, segment[2], len(head))
        entries = [entry for entry in _elements(head, tracks[2], tracks[3]) if entry[0] == TRACK_ENTRY]
        _, _, start, stop = entries[track]
        entry = b"".join(_changed(head, element, size) for element in _elements(head, start, stop))
        head[start:stop] = entry + _void(stop - start - len(entry))
        checked = next(_elements(head, tracks[2], tracks[3]))
        if checked[0] == CRC_32:
            head[checked[2] : checked[3]] = zlib.crc32(head[checked[3] : tracks[3]]).to_bytes(4, "little")
        file.seek(tracks[1])
        file.write(head[tracks[1] : tracks[3]])


def _changed(head: bytearray, element: Element, size: tuple[int, int]) -> bytes:
    number, start, payload, stop = element
    if number == NAME:
        title = bytes(head[payload:stop]).rstrip(b"\0").removesuffix(RESERVE.encode())
        return _element(NAME, title) if title else b""
    if number != VIDEO:
        return bytes(head[start:stop])
    told = (DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT)
    kept = (bytes(head[at:end]) for part, at, _, end in _elements(head, payload, stop) if part not in told)
    width, height = (number.to_bytes(4, "big") for number in size)
    return _element(VIDEO, b"".join([*kept, _element(DISPLAY_WIDTH, width), _element(DISPLAY_HEIGHT, height)]))


def _find(head: bytearray, number: int, start: int, stop: int) -> Element:
    return next(element for element in _elements(head, start, stop) if element[0] == number)


def _elements(head: bytearray, start: int, stop: int) -> Iterator[Element]:
    """Yield the elements between two offsets; a size that is not known yet ends with the bytes that were read."""
    at = start
    while at < stop:
        number_size = 9 - head[at].bit_length()
        length_size = 9 - head[at + number_size].bit_length()
        payload = at + number_size + length_size
        length = int.from_bytes(head[at + number_size : payload], "big") - (1 << 7 * length_size)
        end = stop if length == (1 << 7 * length_size) - 1 else payload + length
        yield int.from_bytes(head[at : at + number_size], "big"), at, payload, end
        at = end


def _element(number: int, payload: bytes) -> bytes:
    length = (len(payload) | 1 << 28).to_bytes(4, "big")
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + length + payload


def _void(size: int) -> bytes:
    """Return an element without a meaning that takes so many bytes."""
    if size == 0:
        return b""
    if size < 9:
        return bytes([VOID, 0x80 | size - 2]) + bytes(size - 2)
    return bytes([VOID, 0x01]) + (size - 9).to_bytes(7, "big") + bytes(size - 9)
