"""Files that say how their picture is shown: by patched matrices of MP4, or by messages in their pictures."""

import struct
from pathlib import Path

import av

from media.bitstream.sei import SEI_PREFIXES
from media.bitstream.units import join_units, length_prefix_size, split_units

OFFSETS = {b"tkhd": {0: 40, 1: 52}, b"mvhd": {0: 36, 1: 48}}
"""Bytes from the version of a box to its matrix, by version: ISO/IEC 14496-12 8.2.2 and 8.3.2."""


def patch_matrix(path, matrix, box=b"tkhd"):
    """Write numbers a, b, c, d, and perhaps x, y, u, v, into the first box of a kind; return the path."""
    a, b, c, d, x, y, u, v = (*matrix, *(0,) * (8 - len(matrix)))
    data = bytearray(Path(path).read_bytes())
    start = data.index(box, data.rindex(b"moov")) + 4
    places = [round(number * 2**16) for number in (a, b, c, d, x, y)]
    shares = [round(number * 2**30) for number in (u, v)]
    numbers = [*places[:2], shares[0], *places[2:4], shares[1], *places[4:], 1 << 30]
    struct.pack_into(">9i", data, start + OFFSETS[box][data[start]], *numbers)
    Path(path).write_bytes(data)
    return path


def message(degrees, *, sides=0, top=0, ends=0):
    """Return the SEI message on display orientation: ends an earlier one, swaps sides, swaps top and bottom, turns."""
    bits = ends << 23 | sides << 22 | top << 21 | round(degrees * 65536 / 360) % 65536 << 5 | 0b01000
    return b"\x2f\x03" + bits.to_bytes(3, "big")


LONG = b"\x05\xff\x10" + bytes(range(1, 256)) + bytes(16)
"""Words of an encoder on itself, which stand in front."""


def with_message(path, told, target, *, everywhere=True):
    """Write a copy of an H.264 or HEVC video with a message in its first key picture, or in all; return its path."""
    with av.open(str(path)) as reader, av.open(str(target), "w") as writer:
        source = reader.streams.video[0]
        codec, prefix_size = (
            source.codec.canonical_name,
            length_prefix_size(source.codec.canonical_name, source.codec_context.extradata),
        )
        stream = writer.add_stream_from_template(source, opaque=True)
        for packet in reader.demux(source):
            if not packet.size:
                continue
            units = list(split_units(bytes(packet), prefix_size))
            if packet.is_keyframe and (everywhere or not packet.pts):
                sei = SEI_PREFIXES[codec] + LONG.replace(b"\0\0\0", b"\0\0\3\0") + told + b"\x80"
                units = [sei, *units]
            copy = av.Packet(join_units(units, prefix_size))
            copy.stream, copy.pts, copy.dts, copy.time_base = stream, packet.pts, packet.dts, packet.time_base
            copy.is_keyframe = packet.is_keyframe
            writer.mux_one(copy)
    return target
