"""The little that must be known of bitstreams: units, parameter sets, kinds of keyframes. Mostly H.264 and HEVC.

Units stand either behind lengths (MP4, Matroska) or behind start codes (Annex B: transport streams). Numbers are
those of ITU-T H.264 table 7-1 and H.265 table 7-1; configuration records those of ISO/IEC 14496-15.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import av

from media.base.errors import UnsupportedMedia
from media.bitstream.bits import BitReader

H264_IDR, H264_SPS, H264_PPS = 5, 7, 8
HEVC_BLA_N_LP, HEVC_CRA = 18, 21
AnyPacket: TypeAlias = "av.Packet[Any]"
HEVC_IRAP = range(16, 24)
HEVC_PARAMETER_SETS = (32, 33, 34)
HEVC_SPS = 33
START_CODE = b"\0\0\0\1"
MPEG_SEQUENCE_HEADER, MPEG_SEQUENCE_EXTENSION = b"\0\0\1\xb3", b"\0\0\1\xb5"
"""ISO/IEC 13818-2 table 6-1; 11172-2 has the former."""
AV1_SEQUENCE_HEADER, AV1_TEMPORAL_DELIMITER, AV1_FRAME_HEADER, AV1_FRAME = 1, 2, 3, 6
"""Numbers of the AV1 specification, 6.2.2."""


def length_prefix_size(codec: str, extradata: bytes) -> int:
    """Return the size in bytes of the length before each NAL unit; 0 for Annex B and for other codecs."""
    if extradata[:1] != b"\1":
        return 0
    if codec == "h264" and len(extradata) >= 7:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) >= 23:
        return (extradata[21] & 3) + 1
    return 0


def new_extradata(packet: AnyPacket) -> bytes | None:
    """Return the parameter sets that a container tells anew from a packet on; None if it tells nothing."""
    # Asked of each packet of hours: to look through its side data is faster than to ask for a kind by its name.
    for data in packet.iter_sidedata():
        if data.data_type == "new_extradata":
            return bytes(data)
    return None


def split_units(packet: bytes, prefix_size: int) -> Iterator[bytes]:
    """Yield the NAL units of an access unit; prefix_size as from length_prefix_size."""
    if prefix_size:
        at = 0
        while at + prefix_size <= len(packet):
            size = int.from_bytes(packet[at : at + prefix_size], "big")
            at += prefix_size
            yield packet[at : at + size]
            at += size
        return
    start = packet.find(b"\0\0\1")
    while start >= 0:
        stop = packet.find(b"\0\0\1", start + 3)
        unit = packet[start + 3 : stop if stop >= 0 else len(packet)]
        # A start code may have a leading zero, and units may be padded with trailing ones; payload never ends in 0.
        yield unit.rstrip(b"\0")
        start = stop


def join_units(units: Iterable[bytes], prefix_size: int) -> bytes:
    """Return an access unit made of NAL units; Annex B if prefix_size is 0."""
    if prefix_size:
        return b"".join(len(unit).to_bytes(prefix_size, "big") + unit for unit in units)
    return b"".join(START_CODE + unit for unit in units)


def unit_type(codec: str, unit: bytes) -> int:
    """Return nal_unit_type of a NAL unit; -1 if it is empty."""
    if not unit:
        return -1
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def is_clean_keyframe(codec: str, packet: bytes, prefix_size: int) -> bool:
    """Tell whether a keyframe is of a kind that trailing pictures cannot reach back over.

    H.264: IDR only (an I picture with a recovery point leaves the reference pictures standing). HEVC: any IRAP
    picture (a CRA must still be turned into a BLA when what came before it changed). MPEG-1 and MPEG-2: an I picture
    with a sequence header, which brings back the quantiser matrices. AV1: a shown key frame with a sequence header.
    Other codecs: every keyframe.
    """
    if codec == "h264":
        return any(unit_type(codec, unit) == H264_IDR for unit in split_units(packet, prefix_size))
    if codec == "hevc":
        return irap_type(packet, prefix_size) is not None
    if codec in ("mpeg1video", "mpeg2video"):
        return MPEG_SEQUENCE_HEADER in packet
    if codec == "av1":
        return _begins_av1_sequence(packet)
    return True


def sequence_sets(codec: str, packet: bytes, prefix_size: int) -> tuple[bytes, ...]:
    """Return what a keyframe says of the form of all pictures from it on; empty if it says nothing.

    H.264 and HEVC: sequence parameter sets. MPEG-1 and MPEG-2: size, aspect and rate. AV1: its sequence header.
    """
    if codec in ("h264", "hevc"):
        wanted = H264_SPS if codec == "h264" else HEVC_SPS
        return tuple(unit for unit in split_units(packet, prefix_size) if unit_type(codec, unit) == wanted)
    if codec in ("mpeg1video", "mpeg2video"):
        at = packet.find(MPEG_SEQUENCE_HEADER)
        return (packet[at + 4 : at + 8],) if at >= 0 else ()
    if codec == "av1":
        return tuple(payload for kind, _, payload in split_av1_units(packet) if kind == AV1_SEQUENCE_HEADER)
    return ()


def irap_type(packet: bytes, prefix_size: int) -> int | None:
    """Return nal_unit_type of an HEVC access unit's slices if it is an IRAP picture, else None."""
    for unit in split_units(packet, prefix_size):
        kind = unit_type("hevc", unit)
        if kind < 32:
            return kind if kind in HEVC_IRAP else None
    return None


def parameter_sets(codec: str, extradata: bytes) -> list[bytes]:
    """Return the parameter sets of a configuration record (avcC, hvcC) or of Annex B extradata."""
    if not length_prefix_size(codec, extradata):
        wanted = (H264_SPS, H264_PPS) if codec == "h264" else HEVC_PARAMETER_SETS
        return [unit for unit in split_units(extradata, 0) if unit_type(codec, unit) in wanted]
    if codec == "h264":
        sps, at = _counted_units(extradata, 6, extradata[5] & 31)
        pps, _ = _counted_units(extradata, at + 1, extradata[at])
        return sps + pps
    sets: list[bytes] = []
    at = 23
    for _ in range(extradata[22]):
        kind, count = extradata[at] & 63, int.from_bytes(extradata[at + 1 : at + 3], "big")
        units, at = _counted_units(extradata, at + 3, count)
        sets += units if kind in HEVC_PARAMETER_SETS else []
    return sets


def _counted_units(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """Read units behind 16-bit lengths; return them and the offset behind the last."""
    units = []
    for _ in range(count):
        size = int.from_bytes(record[at : at + 2], "big")
        units.append(record[at + 2 : at + 2 + size])
        at += 2 + size
    return units, at


def add_h264_sets(record: bytes, sets: Iterable[bytes]) -> bytes:
    """Return an avcC record that also holds further parameter sets.

    Both sets in the record keep copied packets byte-identical and every seek right; ISO/IEC 14496-15 5.3.3.1 allows
    any number with different ids.
    """
    old = parameter_sets("h264", record)
    units = [*old, *(unit for unit in sets if unit not in old)]
    sps = [unit for unit in units if unit_type("h264", unit) == H264_SPS]
    pps = [unit for unit in units if unit_type("h264", unit) == H264_PPS]
    _, at = _counted_units(record, 6, record[5] & 31)
    _, at = _counted_units(record, at + 1, record[at])

    def counted(some: list[bytes]) -> bytes:
        return b"".join(len(unit).to_bytes(2, "big") + unit for unit in some)

    return record[:5] + bytes([0xE0 | len(sps)]) + counted(sps) + bytes([len(pps)]) + counted(pps) + record[at:]


def free_h264_id(sets: Iterable[bytes]) -> int:
    """Return the greatest id, at most 31 (H.264 7.4.2.1), that no given parameter set uses.

    Encoders count ids from 0, so what a source brings later, inside the stream, does not collide either. Raises
    UnsupportedMedia if all are in use.
    """
    used = set()
    for unit in sets:
        at = {H264_SPS: 4, H264_PPS: 1}.get(unit_type("h264", unit))  # where the id of a set stands
        if at:
            with suppress(ValueError):  # a damaged set, which no picture can refer to
                used.add(BitReader(unit[at:]).ue())
    free = next((number for number in range(31, 0, -1) if number not in used), None)
    if free is None:
        raise UnsupportedMedia("the video uses every H.264 parameter set id. Convert it first.")
    return free


def as_bla(packet: bytes, prefix_size: int) -> bytes:
    """Turn the slices of an HEVC CRA picture into BLA_N_LP: nothing before it is referred to, nothing leads it."""
    units = []
    for unit in split_units(packet, prefix_size):
        if unit_type("hevc", unit) == HEVC_CRA:
            unit = bytes([unit[0] & 0x81 | HEVC_BLA_N_LP << 1]) + unit[1:]
        units.append(unit)
    return join_units(units, prefix_size)


def split_av1_units(packet: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (type, header and size, payload) of each unit of an AV1 temporal unit (AV1 5.3, low-overhead format)."""
    at = 0
    while at < len(packet):
        start = at
        header = packet[at]
        at += 2 if header & 4 else 1
        size = len(packet) - at
        if header & 2:
            size, shift = 0, 0
            while at < len(packet):
                byte = packet[at]
                size |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
        yield header >> 3 & 15, packet[start:at], packet[at : at + size]
        at += size


def without_av1_delimiters(packet: bytes) -> bytes:
    """Return an AV1 temporal unit as containers store it: without the delimiters between temporal units."""
    return b"".join(
        header + payload for kind, header, payload in split_av1_units(packet) if kind != AV1_TEMPORAL_DELIMITER
    )


def _begins_av1_sequence(packet: bytes) -> bool:
    """Tell whether a temporal unit holds a sequence header and its first frame is a key frame that is shown.

    A frame header begins with show_existing_frame (1 bit), frame_type (2, key is 0) and show_frame (1): AV1 5.9.2.
    """
    has_header = False
    for kind, _, payload in split_av1_units(packet):
        has_header |= kind == AV1_SEQUENCE_HEADER
        if kind in (AV1_FRAME_HEADER, AV1_FRAME):
            return has_header and payload[:1] != b"" and payload[0] >> 4 == 1
    return False
