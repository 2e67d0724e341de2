"""Truncated files are found: what a container says of its own size is compared with the file's."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from media.base.errors import UnreadableMedia
from media.info import MediaInfo

UNKNOWN_SIZE = 0x7FFFF000
"""What programs that write WAV to a pipe give as its size, or more: the true one came too late."""
WAV_HEADER_BYTES = 1 << 16
"""Where the samples of a WAV file begin at the latest, to be looked for."""
MATROSKA_HEADER, MATROSKA_SEGMENT = 0x1A45DFA3, 0x18538067
"""Element ids of RFC 8794 and RFC 9559."""


def check_complete(info: MediaInfo, *, advice: str | None = None) -> None:
    """Raise UnreadableMedia if a file ends before its container says it does.

    MP4 and MOV (boxes), Matroska and WebM (elements), AVI and WAV (RIFF chunks) and FLV (tags) tell how much belongs
    to them. Transport and program streams promise nothing, nor does a live recording. Only headers are read. advice:
    what to do other than copying the file again.
    """
    path = Path(info.path)
    if info.container == "wav":
        _check_wav(info)
    with path.open("rb") as file:
        stops = _READERS.get(info.container.split(",")[0], _nothing)(file, info.size_bytes)
        missing = max(stops, default=0) - info.size_bytes
    if missing > 0:
        raise UnreadableMedia(
            f"{info.path}: the file is cut off, {missing} bytes are missing at its end."
            f" Copy it again{f', or {advice}' if advice else ''}."
        )


def _check_wav(info: MediaInfo) -> None:
    """Raise UnreadableMedia if samples go on behind the place where a WAV file's header says that they end.

    A recorder that was stopped leaves such a header, and so does a program that wrote more than it had announced.
    """
    with Path(info.path).open("rb") as file:
        head = file.read(WAV_HEADER_BYTES)
        at = 12
        while head[at : at + 4] != b"data":
            if head[:4] != b"RIFF" or at + 8 > len(head):
                return
            length = int.from_bytes(head[at + 4 : at + 8], "little")
            at += 8 + length + length % 2
        length = int.from_bytes(head[at + 4 : at + 8], "little")
        file.seek(at + 8 + length + length % 2)
        behind = file.read(WAV_HEADER_BYTES)
    # Behind them stand chunks, whose names are four letters, tags, or padding.
    if 0 < length < UNKNOWN_SIZE and len(behind) == WAV_HEADER_BYTES and any(behind):
        name, size = behind[:4], int.from_bytes(behind[4:8], "little")
        path, again = Path(info.path), ["ffmpeg", "-ignore_length", "1", "-i", info.path, "-c", "copy"]
        if not (name.isascii() and name.decode().isprintable() and size < info.size_bytes):
            raise UnreadableMedia(
                f"{info.path}: its header tells of {length} bytes of sound, but more follow. Write it anew:"
                f" {shlex.join([*again, f'{path.stem}.whole.wav'])}"
            )


def _nothing(file: BinaryIO, size: int) -> Iterator[int]:
    yield from ()


def _boxes(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield where each box of an MP4 file ends (ISO/IEC 14496-12 4.2)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not header[4:8].isalnum():  # 0: up to the end of the file; otherwise padding behind the boxes
            return
        at += length
        yield at


def _elements(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield where the segment of a Matroska file ends (RFC 8794 section 4); nothing if its size is unknown."""
    at = 0
    while at < size:
        file.seek(at)
        header = file.read(16)
        id_length = 9 - header[0].bit_length() if header[0] else 9
        size_length = 9 - header[id_length].bit_length() if len(header) > id_length and header[id_length] else 9
        if id_length > 4 or size_length > 8 or len(header) < id_length + size_length:
            return
        length = int.from_bytes(header[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
        at += id_length + size_length + length
        identifier = int.from_bytes(header[:id_length], "big")
        if identifier == MATROSKA_SEGMENT and length != (1 << 7 * size_length) - 1:
            yield at
        if identifier != MATROSKA_HEADER:
            return


def _chunks(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield where each RIFF chunk of an AVI or WAV file ends (a long AVI has several)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return
        length = int.from_bytes(header[4:], "little")
        if length >= UNKNOWN_SIZE:
            return
        at += 8 + length
        yield at


def _tags(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield where each tag of an FLV file ends (Adobe's FLV specification 10.1, annex E)."""
    at = 9 + 4
    while at + 11 <= size:
        file.seek(at)
        header = file.read(11)
        if header[0] & 31 not in (8, 9, 18):
            return
        at += 11 + int.from_bytes(header[1:4], "big") + 4
        yield at


_READERS = {"mov": _boxes, "matroska": _elements, "avi": _chunks, "wav": _chunks, "flv": _tags}
