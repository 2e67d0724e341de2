"""What travels beside the picture of a packet, and does not depend on its pixels: transparency, captions, HDR by frame.

VP8 and VP9 carry transparency in Matroska's block additions, and VP9 HDR10+ too. In H.264 and HEVC, captions and
HDR10+ are messages (ITU-T T.35) in units before the slices, and Dolby Vision's are units of their own behind them; in
AV1 all are metadata units. A picture that is re-encoded gets those of the source's.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from av.packet import PacketSideData

from media.bitstream.sei import SEI_PREFIXES, T35, build_sei, read_messages
from media.bitstream.units import AV1_FRAME, AV1_FRAME_HEADER, AnyPacket, split_av1_units, split_units, unit_type

SIDE_KINDS = ("matroska_block_additional", "dynamic_hdr10_plus", "a53_cc")
"""Side data of packets, by FFmpeg's names, that go with a picture whatever its pixels are."""
COPIED_KINDS = (*SIDE_KINDS, "palette", "lcevc")
"""Side data of packets that are kept where the packet is."""
HEVC_DOLBY_VISION = (62, 63)
AV1_METADATA, AV1_T35 = 5, 4
ALPHA_ID = (1).to_bytes(8, "big")
"""What FFmpeg puts before a block addition that is an alpha channel (WebM container guidelines)."""
TRANSPARENCY, LAYERS, CAPTIONS = "transparency", "a second layer", "captions"


@dataclass(frozen=True, slots=True)
class Beside:
    """What travels beside one picture."""

    side: tuple[PacketSideData, ...] = ()
    before: tuple[bytes, ...] = ()
    """Units before the picture's."""
    behind: tuple[bytes, ...] = ()
    """Units behind the picture's."""

    @property
    def alpha(self) -> bytes | None:
        """The coded alpha channel, if there is one."""
        payloads = [bytes(data) for data in self.side if data.data_type == "matroska_block_additional"]
        return next((payload[8:] for payload in payloads if payload[:8] == ALPHA_ID), None)

    def digest(self) -> int:
        """Return a checksum; 0 if there is nothing."""
        found = 0
        for part in (*map(bytes, self.side), *self.before, *self.behind):
            found = zlib.crc32(part, found)
        return found


def read_beside(codec: str, packet: AnyPacket, prefix_size: int) -> Beside:
    """Return what travels beside the picture of a packet. prefix_size: as from length_prefix_size."""
    side = tuple(data for data in packet.iter_sidedata() if data.data_type in SIDE_KINDS)
    before: tuple[bytes, ...] = ()
    behind: tuple[bytes, ...] = ()
    if codec == "av1":
        before = tuple(
            head + payload for kind, head, payload in split_av1_units(bytes(packet)) if _is_av1(kind, payload)
        )
    elif codec in SEI_PREFIXES:
        units = list(split_units(bytes(packet), prefix_size))
        before = tuple(message for unit in units for message in _registered(codec, unit))
        behind = tuple(unit for unit in units if codec == "hevc" and unit_type(codec, unit) in HEVC_DOLBY_VISION)
    return Beside(side, before, behind)


def with_beside(codec: str, units: Iterable[bytes], beside: Beside) -> list[bytes]:
    """Return the units of a coded H.264 or HEVC picture with what belongs beside it, in place of what it has."""
    own = [unit for unit in units if not _registered(codec, unit)]
    return [*beside.before, *own, *beside.behind]


def with_av1_beside(packet: bytes, beside: Beside) -> bytes:
    """Return a coded AV1 picture with what belongs beside it, before its first frame."""
    if not beside.before:
        return packet
    parts: list[bytes] = []
    is_in = False
    for kind, head, payload in split_av1_units(packet):
        if kind in (AV1_FRAME, AV1_FRAME_HEADER) and not is_in:
            parts += beside.before
            is_in = True
        parts.append(head + payload)
    return b"".join(parts)


def is_alpha_key(codec: str, alpha: bytes) -> bool:
    """Tell whether a coded alpha channel is a keyframe of VP8 (RFC 6386 9.1) or VP9 (its specification, 6.2)."""
    if not alpha:
        return False
    if codec == "vp8":
        return not alpha[0] & 1
    has_reserved_bit = alpha[0] & 0x30 == 0x30
    return not (alpha[0] << has_reserved_bit) & 0x0C


def describe_beside(codec: str, packet: AnyPacket, prefix_size: int) -> tuple[str, ...]:
    """Return what travels beside the picture of a packet, in words."""
    beside = read_beside(codec, packet, prefix_size)
    units = split_units(bytes(packet), prefix_size) if codec == "hevc" else ()
    found = {
        TRANSPARENCY: beside.alpha is not None and codec in ("vp8", "vp9"),
        LAYERS: any(len(unit) > 1 and (unit[0] & 1 or unit[1] >> 3) and unit_type(codec, unit) < 32 for unit in units),
        "Dolby Vision": bool(beside.behind) or any(b"\xb5\x00\x3b" in unit for unit in beside.before),
        "HDR10+": any(b"\xb5\x00\x3c\x00\x01" in unit for unit in beside.before)
        or any(data.data_type == "dynamic_hdr10_plus" for data in beside.side),
        CAPTIONS: any(b"\xb5\x00\x31GA94" in unit for unit in beside.before),
    }
    return tuple(name for name, is_there in found.items() if is_there)


def _is_av1(kind: int, payload: bytes) -> bool:
    return kind == AV1_METADATA and payload[:1] == bytes([AV1_T35])


def _registered(codec: str, unit: bytes) -> list[bytes]:
    """Return the messages of a unit that are registered by T.35, each as a unit of its own."""
    return [build_sei(codec, [message]) for kind, message in read_messages(codec, unit) if kind == T35]
