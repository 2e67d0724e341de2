"""Other ids for the parameter sets of HEVC, in the sets and in the slices that name them.

An MP4 track of the kind hvc1 holds its parameter sets outside of the stream, so those of two encoders must not have the
same ids; and x265 gives 0 to all of its own. The syntax is that of ITU-T H.265 7.3.2 and 7.3.6.1. What is read is what
x265 writes with the options of media.coding.encoder_options: one layer, P and I slices, references told by each slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from media.base.errors import StitchError, UnsupportedMedia
from media.bitstream.bits import BitReader, add_emulation_prevention, replace_exp_golomb, strip_emulation_prevention
from media.bitstream.units import HEVC_IRAP, unit_type

VPS, SPS, PPS = 32, 33, 34
IDR = (19, 20)
B_SLICE, P_SLICE = 0, 1
IDS = range(1, 16)
"""Ids to choose from; short ones, since every slice tells one. Encoders count from 0."""
SPS_ID_AT, LEVEL_BYTE = 104, 12
"""Bits before the id of a sequence parameter set without sub-layers, and the byte before it that tells the level."""
HEADER_BYTES = 4096
"""More than a slice's header takes: it holds an offset of 4 bytes at most for each row of blocks."""


@contextmanager
def _known_syntax() -> Iterator[None]:
    """Turn the end of the bits inside a header into StitchError."""
    try:
        yield
    except ValueError as exc:
        raise StitchError("a coded HEVC picture ends in its header. Please report this.") from exc


class RenumberedSets:
    """An encoder's parameter sets under ids that the source's do not have."""

    @_known_syntax()
    def __init__(self, coded: Sequence[bytes], source: Iterable[bytes]) -> None:
        """coded: one set of each kind. Raises UnsupportedMedia if the source uses every id."""
        used = {kind: {_id(unit) for unit in source if unit_type("hevc", unit) == kind} for kind in (VPS, SPS, PPS)}
        self._ids = {kind: min({*IDS} - used[kind], default=0) for kind in used}
        if not all(self._ids.values()):
            raise UnsupportedMedia("the video uses every HEVC parameter set id. Convert it first.")
        by_kind = {unit_type("hevc", unit): unit for unit in coded}
        self._read_sps(BitReader(_payload(by_kind[SPS])))
        self._read_pps(BitReader(_payload(by_kind[PPS])))
        self.sets = [self._renumbered(kind, by_kind[kind]) for kind in (VPS, SPS, PPS)]
        """VPS, SPS and PPS."""

    def _renumbered(self, kind: int, unit: bytes) -> bytes:
        payload = _payload(unit)
        if kind in (VPS, SPS):  # both begin with the id of the former in 4 bits
            payload = bytes([payload[0] & 15 | self._ids[VPS] << 4]) + payload[1:]
        bits = BitReader(payload)
        if kind == SPS:
            bits.at = SPS_ID_AT
        if kind != VPS:
            start = bits.at
            bits.ue()
            payload = replace_exp_golomb(payload, (start, bits.at), self._ids[kind])
        if kind == PPS:
            bits = BitReader(payload)
            bits.ue()
            start = bits.at
            bits.ue()
            payload = replace_exp_golomb(payload, (start, bits.at), self._ids[SPS])
        return unit[:2] + add_emulation_prevention(payload)

    def _read_sps(self, bits: BitReader) -> None:
        bits.at = SPS_ID_AT
        _skip(bits, 1)
        chroma_format = bits.ue()
        self._planes = bits.u(1) if chroma_format == 3 else 0
        self._has_chroma = chroma_format != 0 and not self._planes
        self._size = (bits.ue(), bits.ue())
        _skip(bits, 4 if bits.u(1) else 0)
        _skip(bits, 2)
        self._order_bits = bits.ue() + 4
        bits.u(1)
        _skip(bits, 3)
        self._block_bits = bits.ue() + 3 + bits.ue()
        _skip(bits, 4)
        if bits.u(1):
            _refuse(bits, "scaling lists")
        bits.u(1)
        self._has_sao = bits.u(1)
        _refuse(bits, "PCM blocks")
        self._num_reference_sets = bits.ue()
        if self._num_reference_sets:
            raise StitchError("a coded HEVC stream lists its references. Please report this.")
        _refuse(bits, "long-term references")
        self._has_motion = bits.u(1)

    def _read_pps(self, bits: BitReader) -> None:
        _skip(bits, 2)
        self._has_dependent, self._tells_output, self._extra_bits = bits.u(1), bits.u(1), bits.u(3)
        bits.u(1)
        self._chooses_cabac = bits.u(1)
        self._num_references = bits.ue() + 1
        _skip(bits, 2)
        bits.u(2)
        _skip(bits, 1 if bits.u(1) else 0)
        _skip(bits, 2)
        self._offsets_chroma, self._weighs = bits.u(1), bits.u(1)
        bits.u(2)
        _refuse(bits, "tiles")
        self._has_rows, self._filters_across = bits.u(1), bits.u(1)
        self._overrides_deblocking = self._is_not_deblocked = 0
        if bits.u(1):
            self._overrides_deblocking, self._is_not_deblocked = bits.u(1), bits.u(1)
            _skip(bits, 0 if self._is_not_deblocked else 2)
        _refuse(bits, "scaling lists")
        _refuse(bits, "lists of references")
        _skip(bits, 1)
        self._is_extended = bits.u(1)
        _refuse(bits, "an extension")

    @_known_syntax()
    def slice(self, unit: bytes) -> bytes:
        """Return a coded slice that names the new picture parameter set; its data stay as they are, byte for byte.

        The header ends in a byte that is not 0, so emulation prevention behind it does not depend on it.
        """
        coded = unit[2 : 2 + HEADER_BYTES]
        payload = strip_emulation_prevention(coded)
        bits = BitReader(payload)
        start, stop = self._read_header(bits, unit_type("hevc", unit))
        end = bits.at
        if not bits.u(1) or bits.u(-bits.at % 8):
            raise StitchError("a coded HEVC picture has a header that is not known. Please report this.")
        header = replace_exp_golomb(payload, (start, stop), self._ids[PPS], end=end)
        return unit[:2] + add_emulation_prevention(header) + unit[2 + _coded_size(coded, bits.at // 8) :]

    def _read_header(self, bits: BitReader, kind: int) -> tuple[int, int]:
        """Read a slice's header up to its last bits; return where the id of its picture parameter set stands."""
        is_first = bits.u(1)
        if kind in HEVC_IRAP:
            bits.u(1)
        start = bits.at
        bits.ue()
        stop = bits.at
        is_dependent = 0
        if not is_first:
            is_dependent = bits.u(1) if self._has_dependent else 0
            across, down = (-(-size >> self._block_bits) for size in self._size)
            bits.u((across * down - 1).bit_length())
        if not is_dependent:
            self._read_slice(bits, kind)
        if self._has_rows and (rows := bits.ue()):
            size = bits.ue() + 1
            for _ in range(rows):
                bits.u(size)
        if self._is_extended:
            for _ in range(bits.ue()):
                bits.u(8)
        return start, stop

    def _read_slice(self, bits: BitReader, kind: int) -> None:
        bits.u(self._extra_bits)
        slice_type = bits.ue()
        bits.u(self._tells_output + 2 * self._planes)
        uses_motion = 0
        if kind not in IDR:
            bits.u(self._order_bits)
            if not bits.u(1):
                self._read_references(bits)
            uses_motion = bits.u(self._has_motion)
        sao = bits.u(self._has_sao * (2 if self._has_chroma else 1))
        if slice_type == B_SLICE:
            raise StitchError("a coded HEVC picture is predicted from both sides. Please report this.")
        if slice_type == P_SLICE:
            count = bits.ue() + 1 if bits.u(1) else self._num_references
            bits.u(self._chooses_cabac)
            _skip(bits, 1 if uses_motion and count > 1 else 0)
            if self._weighs:
                self._read_weights(bits, count)
            _skip(bits, 1)
        _skip(bits, 1 + 2 * self._offsets_chroma)
        is_not_deblocked = self._is_not_deblocked
        if self._overrides_deblocking and bits.u(1):
            is_not_deblocked = bits.u(1)
            _skip(bits, 0 if is_not_deblocked else 2)
        bits.u(1 if self._filters_across and (sao or not is_not_deblocked) else 0)

    def _read_references(self, bits: BitReader) -> None:
        for _ in range(bits.ue() + bits.ue()):
            bits.ue()
            bits.u(1)

    def _read_weights(self, bits: BitReader, count: int) -> None:
        _skip(bits, 2 if self._has_chroma else 1)
        luma = [bits.u(1) for _ in range(count)]
        chroma = [bits.u(1) if self._has_chroma else 0 for _ in range(count)]
        _skip(bits, 2 * sum(luma) + 4 * sum(chroma))


def add_hevc_sets(record: bytes, sets: Sequence[bytes]) -> bytes:
    """Return an hvcC record that also holds further parameter sets, and tells the higher level of both."""
    level = max([record[12], *(_payload(unit)[LEVEL_BYTE] for unit in sets if unit_type("hevc", unit) == SPS)])
    arrays: list[tuple[int, list[bytes]]] = []
    at = 23
    for _ in range(record[22]):
        head, count = record[at], int.from_bytes(record[at + 1 : at + 3], "big")
        at += 3
        units = []
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            units.append(record[at + 2 : at + 2 + size])
            at += 2 + size
        arrays.append((head, units + [unit for unit in sets if unit_type("hevc", unit) == head & 63]))
    out = record[:12] + bytes([level]) + record[13:23]
    for head, units in arrays:
        out += bytes([head]) + len(units).to_bytes(2, "big")
        out += b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
    return out


def _skip(bits: BitReader, codes: int) -> None:
    """Read past so many Exp-Golomb codes, unsigned or signed: they are equally long."""
    for _ in range(codes):
        bits.ue()


def _refuse(bits: BitReader, what: str) -> None:
    """Read a flag that is not expected to be set; raise StitchError if it is."""
    if bits.u(1):
        raise StitchError(f"a coded HEVC picture has {what}. Please report this.")


def _id(unit: bytes) -> int:
    """Return the id of a parameter set; -1 for one with sub-layers, whose id stands farther behind."""
    bits = BitReader(_payload(unit))
    kind = unit_type("hevc", unit)
    if kind == VPS:
        return bits.u(4)
    if kind == SPS:
        bits.u(4)
        if bits.u(3):
            return -1
        bits.at = SPS_ID_AT
    return bits.ue()


def _payload(unit: bytes) -> bytes:
    return strip_emulation_prevention(unit[2:])


def _coded_size(coded: bytes, size: int) -> int:
    """Return how many bytes, with emulation prevention, hold the first `size` bytes of a payload."""
    stop = size
    while len(strip_emulation_prevention(coded[:stop])) < size:
        stop += 1
    return stop
