"""SEI messages of H.264 and HEVC: units that speak of the pictures beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from media.bitstream.bits import add_emulation_prevention, strip_emulation_prevention
from media.bitstream.units import join_units, split_units
from media.orientation import DisplayMatrix, build_matrix

SEI_PREFIXES = {"h264": b"\6", "hevc": b"\x4e\1"}
"""How units of SEI messages begin that stand before a picture."""
T35, DISPLAY_ORIENTATION = 4, 47
"""Types of messages: those registered by ITU-T T.35, and display orientation (H.264 D.1, H.265 D.2)."""
LASTING_SEI = (DISPLAY_ORIENTATION, 137, 144, 147, 148)
"""Display orientation, mastering display, content light level, preferred transfer, ambient viewing (H.265 table D.1,
H.264 has the same)."""


def read_messages(codec: str, unit: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, message with its header) for each message of a unit; nothing if it is not a unit of SEI messages.

    The bytes are without emulation prevention. A message that is cut off is left out.
    """
    prefix = SEI_PREFIXES.get(codec)
    if prefix is None or not unit.startswith(prefix):
        return
    payload = strip_emulation_prevention(unit[len(prefix) :])
    at = 0
    while at + 2 < len(payload):
        start, numbers = at, [0, 0]
        for which in (0, 1):  # its type and its size, each a sum of bytes of which the last is below 255
            while payload[at : at + 1] == b"\xff":
                numbers[which], at = numbers[which] + 255, at + 1
            numbers[which], at = numbers[which] + int.from_bytes(payload[at : at + 1], "big"), at + 1
        at += numbers[1]
        if at <= len(payload):
            yield numbers[0], payload[start:at]


def build_sei(codec: str, messages: Iterable[bytes]) -> bytes:
    """Return a unit with messages, each with its header, as from read_messages."""
    return SEI_PREFIXES[codec] + add_emulation_prevention(b"".join(messages)) + b"\x80"


def lasting_sei(codec: str, packet: bytes, prefix_size: int) -> list[bytes]:
    """Return units with the messages of a key picture that speak of the whole video; empty for other codecs.

    They say how HDR is to be shown and how pictures are turned, and an encoder that is given frames alone omits them.
    """
    return [
        build_sei(codec, [message])
        for unit in (split_units(packet, prefix_size) if codec in SEI_PREFIXES else ())
        for kind, message in read_messages(codec, unit)
        if kind in LASTING_SEI
    ]


def display_orientation(codec: str, sei: Iterable[bytes]) -> DisplayMatrix | None:
    """Return how H.264 or HEVC pictures ask to be shown, by units as from lasting_sei; None if they do not.

    The message (H.264 D.2.31, H.265 D.3.17) begins with whether it ends an earlier one, whether sides are swapped,
    whether top and bottom are, and by how much the picture is turned then, anticlockwise, in 2^-16 of a full turn.
    """
    for unit in sei:
        ((kind, message),) = read_messages(codec, unit)
        bits = int.from_bytes(message[2:5].ljust(3, b"\0"), "big")
        if kind == DISPLAY_ORIENTATION and not bits >> 23:
            anticlockwise = (bits >> 5 & 0xFFFF) * 360 / (1 << 16)
            return build_matrix(anticlockwise, flips_sides=bool(bits >> 22 & 1), flips_top=bool(bits >> 21 & 1))
    return None


def without_display_orientation(codec: str, packet: bytes, prefix_size: int) -> bytes:
    """Return an access unit without SEI messages on display orientation; other codecs' as they are."""
    prefix = SEI_PREFIXES.get(codec, b"")
    if all(unit[len(prefix)] != DISPLAY_ORIENTATION for unit in lasting_sei(codec, packet, prefix_size)):
        return packet
    units = []
    for unit in split_units(packet, prefix_size):
        if unit.startswith(prefix):
            kept = [message for kind, message in read_messages(codec, unit) if kind != DISPLAY_ORIENTATION]
            unit = build_sei(codec, kept) if kept else b""
        units += [unit] if unit else []
    return join_units(units, prefix_size)
