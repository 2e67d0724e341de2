"""The little that must be known of H.264 and HEVC bitstreams: NAL units, parameter sets, kinds of keyframes.

Units stand either behind lengths (MP4, Matroska) or behind start codes (Annex B: transport streams). Numbers are
those of ITU-T H.264 table 7-1 and H.265 table 7-1; configuration records those of ISO/IEC 14496-15.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

H264_IDR, H264_SPS, H264_PPS = 5, 7, 8
HEVC_BLA_N_LP, HEVC_CRA = 18, 21
HEVC_IRAP = range(16, 24)
HEVC_PARAMETER_SETS = (32, 33, 34)
START_CODE = b"\0\0\0\1"


def length_prefix_size(codec: str, extradata: bytes) -> int:
    """Return the size in bytes of the length before each NAL unit; 0 for Annex B and for other codecs."""
    if extradata[:1] != b"\1":
        return 0
    if codec == "h264" and len(extradata) >= 7:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) >= 23:
        return (extradata[21] & 3) + 1
    return 0


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
    picture (a CRA must still be turned into a BLA when what came before it changed). Other codecs: every keyframe.
    """
    if codec == "h264":
        return any(unit_type(codec, unit) == H264_IDR for unit in split_units(packet, prefix_size))
    if codec == "hevc":
        return irap_type(packet, prefix_size) is not None
    return True


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
    """Return the least id above 0, at most 31 (H.264 7.4.2.1), that no given parameter set uses."""
    used = set()
    for unit in sets:
        kind = unit_type("h264", unit)
        if kind == H264_SPS:
            used.add(_exp_golomb(unit[4:]))
        elif kind == H264_PPS:
            used.add(_exp_golomb(unit[1:]))
    return next(number for number in range(1, 32) if number not in used)


def _exp_golomb(bits: bytes) -> int:
    """Read one ue(v) (H.264 9.1) from the start of a bit string; emulation prevention cannot occur this early."""
    value = int.from_bytes(bits[:8].ljust(8, b"\0"), "big")
    zeros = 64 - value.bit_length()
    return (value >> (63 - 2 * zeros)) - 1


def as_bla(packet: bytes, prefix_size: int) -> bytes:
    """Turn the slices of an HEVC CRA picture into BLA_N_LP: nothing before it is referred to, nothing leads it."""
    units = []
    for unit in split_units(packet, prefix_size):
        if unit_type("hevc", unit) == HEVC_CRA:
            unit = bytes([unit[0] & 0x81 | HEVC_BLA_N_LP << 1]) + unit[1:]
        units.append(unit)
    return join_units(units, prefix_size)
