"""MP4 files whose display matrices are patched: of the movie as a whole, and of its first track."""

import struct
from pathlib import Path

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
