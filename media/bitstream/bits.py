"""Bits of coded units: numbers of the kinds that H.264 and HEVC use, and emulation prevention.

Sections are those of ITU-T H.264; those of H.265 say the same.
"""

from __future__ import annotations

MAX_LEADING_ZEROS = 31
"""Of an Exp-Golomb code: what standards allow stays below 2^32 - 1 (9.1)."""


class BitReader:
    """Reads numbers from a payload, most significant bit first."""

    def __init__(self, payload: bytes) -> None:
        """payload: without emulation prevention."""
        self._value = int.from_bytes(payload, "big")
        self._size = 8 * len(payload)
        self.at = 0
        """Bits read so far."""

    def u(self, size: int) -> int:
        """Read an unsigned number of `size` bits; raise ValueError if there are fewer."""
        self.at += size
        if self.at > self._size:
            raise ValueError("the payload ends inside a number")
        return self._value >> (self._size - self.at) & ((1 << size) - 1)

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb code (9.1); raise ValueError if the bits here are not one."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > MAX_LEADING_ZEROS:
                raise ValueError("not an Exp-Golomb code")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Read a signed Exp-Golomb code (9.1.1); raise ValueError if the bits here are not one."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def replace_exp_golomb(payload: bytes, part: tuple[int, int], number: int, *, end: int | None = None) -> bytes:
    """Return a payload whose bits [start, stop) are replaced by an Exp-Golomb code, up to the 1 that ends it.

    payload: without emulation prevention. part: (start, stop). end: where the 1 stands that ends the payload; None: it
    is the last 1.
    """
    start, stop = part
    bits = format(int.from_bytes(b"\1" + payload, "big"), "b")[1:]
    code = format(number + 1, "b").rjust(2 * (number + 1).bit_length() - 1, "0")
    end = bits.rindex("1") if end is None else end
    changed = bits[:start] + code + bits[stop:end] + "1"
    changed += "0" * (-len(changed) % 8)
    return int(changed, 2).to_bytes(len(changed) // 8, "big")


def add_emulation_prevention(payload: bytes) -> bytes:
    """Return a payload in which two zeros are never followed by a byte below 4 (7.4.1)."""
    out = bytearray()
    for byte in payload:
        if byte < 4 and out[-2:] == b"\0\0":
            out.append(3)
        out.append(byte)
    return bytes(out)


def strip_emulation_prevention(coded: bytes) -> bytes:
    """Return a payload without emulation prevention (7.4.1)."""
    return coded.replace(b"\0\0\3", b"\0\0")
