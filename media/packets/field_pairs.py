"""Both fields of a frame in one packet: PAFF codes each field of an H.264 frame as a picture of its own.

AVCHD camcorders and 1080i broadcasts write such streams. Demuxers give a packet for each field, decoders a frame for
each pair. Numbers of sections and names of fields are those of ITU-T H.264.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av

from media.bitstream.bits import BitReader, strip_emulation_prevention
from media.bitstream.units import (
    H264_PPS,
    H264_SPS,
    AnyPacket,
    length_prefix_size,
    new_extradata,
    parameter_sets,
    split_units,
    unit_type,
)

CHROMA_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
"""profile_idc of the profiles whose sequence parameter sets tell the chroma format (7.3.2.1.1)."""
HEADER_BYTES = 64
"""More than the part of a slice header that tells its field."""
HEAD_BYTES = 4096
"""More than what stands before the first slice of a packet: delimiters, parameter sets, messages."""
SLICES = (1, 2, 5)


class _Hidden:
    """Marks a packet of which nothing is shown, since the flag of a packet cannot be set.

    Each packet has a mark of its own: PyAV forgets a shared one with the first packet that goes.
    """


def join_fields(packets: Iterable[AnyPacket], index: int, codec: str, extradata: bytes) -> Iterator[AnyPacket]:
    """Yield packets as a demuxer gives them, but one a frame where the video's are one a field.

    index, codec, extradata: of the video stream. Packets of other streams, and of other codecs, pass as they are. A
    joined packet has the times and flags of its first field. A field whose other one is missing is yielded as it is.
    """
    if codec != "h264":
        yield from packets
        return
    pairs = FieldPairs(extradata)
    held: AnyPacket | None = None
    for packet in packets:
        if packet.stream_index != index or not packet.size:
            yield packet
            continue
        if (anew := new_extradata(packet)) is not None:
            pairs.take_sets(anew)
        is_second = pairs.is_second(packet)
        if held is not None:
            yield _joined(held, packet) if is_second else _hidden(held)
            held = None
        if pairs.is_waiting:
            held = packet
        elif not is_second:
            yield packet
    if held is not None:
        yield _hidden(held)


def is_hidden(packet: AnyPacket) -> bool:
    """Tell whether nothing is shown of a packet that join_fields gave.

    An edit list hides it, or it is half a frame, of which decoders show nothing.
    """
    return packet.is_discard or isinstance(packet.opaque, _Hidden)


def _hidden(packet: AnyPacket) -> AnyPacket:
    packet.opaque = _Hidden()
    return packet


def _joined(first: AnyPacket, second: AnyPacket) -> AnyPacket:
    packet: AnyPacket = av.Packet(bytes(first) + bytes(second))
    packet.stream, packet.time_base = first.stream, first.time_base
    packet.pts, packet.dts = first.pts, first.dts
    packet.duration = (first.duration or 0) + (second.duration or 0)
    packet.is_keyframe = first.is_keyframe
    for data in first.iter_sidedata():
        packet.set_sidedata(data)
    return _hidden(packet) if first.is_discard else packet


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a sequence parameter set says of slice headers."""

    frame_num_bits: int
    has_colour_planes: bool
    may_have_fields: bool


@dataclass(frozen=True, slots=True)
class _Field:
    """A picture that is one field."""

    frame_num: int
    is_bottom: bool
    is_reference: bool


class FieldPairs:
    """Follows the packets of an H.264 stream in decode order and tells which ones complete a frame."""

    def __init__(self, extradata: bytes) -> None:
        """extradata: of the stream, a configuration record or Annex B."""
        self._prefix_size = length_prefix_size("h264", extradata)
        self._sequences: dict[int, _Sequence] = {}
        self._may_have_fields = False
        """Whether any of them says so."""
        self._sequence_of_picture_set: dict[int, int] = {}
        self._first: _Field | None = None
        """The last packet, if it is a field whose pair has not come."""
        self.take_sets(extradata)

    def take_sets(self, extradata: bytes) -> None:
        """Take the parameter sets that the packets from now on need."""
        for unit in parameter_sets("h264", extradata) if extradata else ():
            self._take_set(unit)

    @property
    def is_waiting(self) -> bool:
        """Return whether the last packet was a first field, whose second one may come."""
        return self._first is not None

    def is_second(self, packet: AnyPacket) -> bool:
        """Tell whether a packet is the second field of the frame whose first field was the packet before it."""
        field = self._field_of(packet)
        first, self._first = self._first, field
        if (
            first is None
            or field is None
            or (field.frame_num, field.is_reference) != (first.frame_num, first.is_reference)
            or field.is_bottom == first.is_bottom
        ):
            return False
        self._first = None
        return True

    def _field_of(self, packet: AnyPacket) -> _Field | None:
        """Return the only field that a packet holds; None if it holds a whole frame, or cannot be read."""
        for unit in self._sets_ahead(memoryview(packet)):
            self._take_set(unit)
        if not self._may_have_fields:
            return None
        fields = set()
        for unit in split_units(bytes(packet), self._prefix_size):
            if unit_type("h264", unit) in SLICES:
                try:
                    fields.add(self._read_slice(unit[:HEADER_BYTES]))
                except ValueError:
                    return None
        return fields.pop() if len(fields) == 1 else None

    def _sets_ahead(self, packet: memoryview) -> Iterator[bytes]:
        """Yield the parameter sets before the first slice of a packet."""
        if not self._prefix_size:
            for unit in split_units(bytes(packet[:HEAD_BYTES]), 0):
                kind = unit_type("h264", unit)
                if kind in SLICES:
                    return
                if kind in (H264_SPS, H264_PPS):
                    yield unit
            return
        # Without copying other units: this is asked of each packet of hours.
        at, prefix = 0, self._prefix_size
        while at + prefix < len(packet):
            kind = packet[at + prefix] & 31
            if kind in SLICES:
                return
            start, at = at + prefix, at + prefix + int.from_bytes(packet[at : at + prefix], "big")
            if kind in (H264_SPS, H264_PPS):
                yield bytes(packet[start:at])

    def _read_slice(self, unit: bytes) -> _Field | None:
        """Read a slice header (7.3.3) as far as bottom_field_flag."""
        reader = _payload_reader(unit)
        reader.ue()  # first_mb_in_slice
        reader.ue()  # slice_type
        sequence = self._sequences.get(self._sequence_of_picture_set.get(reader.ue(), -1))
        if sequence is None or not sequence.may_have_fields:
            return None
        if sequence.has_colour_planes:
            reader.u(2)
        frame_num = reader.u(sequence.frame_num_bits)
        if not reader.u(1):  # field_pic_flag
            return None
        return _Field(frame_num, is_bottom=bool(reader.u(1)), is_reference=bool(unit[0] & 0x60))

    def _take_set(self, unit: bytes) -> None:
        try:
            if unit_type("h264", unit) == H264_SPS:
                number, sequence = _read_sequence(unit)
                self._sequences[number] = sequence
                self._may_have_fields = any(each.may_have_fields for each in self._sequences.values())
            else:
                reader = _payload_reader(unit)
                number = reader.ue()
                self._sequence_of_picture_set[number] = reader.ue()
        except ValueError:  # a damaged set, which no picture can refer to
            return


def _read_sequence(unit: bytes) -> tuple[int, _Sequence]:
    """Read a sequence parameter set (7.3.2.1.1) as far as frame_mbs_only_flag; return its id and what it says."""
    reader = _payload_reader(unit)
    profile = reader.u(8)
    reader.u(16)  # constraint flags, level
    number = reader.ue()
    has_colour_planes = False
    if profile in CHROMA_PROFILES:
        chroma_format = reader.ue()
        has_colour_planes = chroma_format == 3 and bool(reader.u(1))
        reader.ue(), reader.ue(), reader.u(1)  # bit depths, qpprime_y_zero_transform_bypass_flag
        if reader.u(1):  # seq_scaling_matrix_present_flag
            for matrix in range(8 if chroma_format != 3 else 12):
                if reader.u(1):
                    _skip_scaling_list(reader, 16 if matrix < 6 else 64)
    frame_num_bits = reader.ue() + 4
    order_type = reader.ue()
    if order_type == 0:
        reader.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        reader.u(1), reader.se(), reader.se()
        for _ in range(reader.ue()):
            reader.se()
    reader.ue(), reader.u(1)  # max_num_ref_frames, gaps_in_frame_num_value_allowed_flag
    reader.ue(), reader.ue()  # width and height in macroblocks
    return number, _Sequence(frame_num_bits, has_colour_planes, may_have_fields=not reader.u(1))


def _skip_scaling_list(reader: BitReader, size: int) -> None:
    """Read past a scaling list (7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + reader.se()) % 256
        last = following or last


def _payload_reader(unit: bytes) -> BitReader:
    """Return a reader that stands behind the header byte of a unit."""
    return BitReader(strip_emulation_prevention(unit[1:]))
