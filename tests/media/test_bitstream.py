"""NAL units, parameter sets and kinds of keyframes, on made-up and on real bitstreams."""

import re

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.base.errors import UnsupportedMedia
from media.bitstream.sei import lasting_sei
from media.bitstream.units import (
    H264_IDR,
    HEVC_BLA_N_LP,
    HEVC_CRA,
    HEVC_IRAP,
    add_h264_sets,
    as_bla,
    free_h264_id,
    irap_type,
    is_clean_keyframe,
    join_units,
    length_prefix_size,
    parameter_sets,
    split_av1_units,
    split_units,
    unit_type,
    without_av1_delimiters,
)
from tests.support.synthetic import independent_packets, make_video, read_stamp


def extradata(path):
    with av.open(str(path)) as container:
        return bytes(container.streams.video[0].codec_context.extradata)


@pytest.fixture(scope="module")
def h264(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("h264") / "a.mp4", 30, gop=10)


@pytest.fixture(scope="module")
def hevc(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("hevc") / "a.mp4", 30, gop=10, codec="libx265", open_gop=True)


# Units


@st.composite
def nal_units(draw):
    """Bytes that may stand in a NAL unit: no start code inside, no zero at the end (7.4.1 of H.264)."""
    header, body = draw(st.integers(1, 255)), draw(st.lists(st.sampled_from([0, 0, 1, 2, 3, 4, 128, 255]), max_size=60))
    unit = bytearray([header])
    for value in body:
        if unit[-2:] == b"\0\0" and value <= 3:
            unit.append(3)
        unit.append(value)
    return bytes(unit) if unit[-1] else bytes(unit) + b"\x80"


@given(st.lists(nal_units(), max_size=6), st.sampled_from([0, 2, 4]))
def test_units_survive_being_joined_and_split(units, prefix_size):
    assert list(split_units(join_units(units, prefix_size), prefix_size)) == units


@given(st.lists(nal_units(), min_size=1, max_size=6), st.data())
def test_start_codes_of_any_length_and_padding(units, data):
    stream = b""
    for unit in units:
        stream += data.draw(st.sampled_from([b"\0\0\1", b"\0\0\0\1"])) + unit
        stream += bytes(data.draw(st.integers(0, 3)))
    assert list(split_units(stream, 0)) == units


def test_a_packet_cut_short_ends_quietly():
    assert list(split_units(b"\0\0\0\5ab", 4)) == [b"ab"]
    assert list(split_units(b"", 4)) == list(split_units(b"no start code", 0)) == []
    assert unit_type("h264", b"") == -1


def test_length_prefixes(h264, hevc, tmp_path):
    assert length_prefix_size("h264", extradata(h264)) == 4
    assert length_prefix_size("hevc", extradata(hevc)) == 4
    assert length_prefix_size("vp9", extradata(h264)) == 0
    assert length_prefix_size("h264", b"") == 0
    assert length_prefix_size("h264", extradata(make_video(tmp_path / "a.ts", 5))) == 0
    shortened = bytearray(extradata(h264))
    shortened[4] = 0xFC | 1
    assert length_prefix_size("h264", bytes(shortened)) == 2


# Parameter sets


def test_parameter_sets_of_both_forms_are_the_same(h264, hevc):
    for codec, path, kinds in (("h264", h264, [7, 8]), ("hevc", hevc, [32, 33, 34])):
        sets = parameter_sets(codec, extradata(path))
        assert [unit_type(codec, unit) for unit in sets] == kinds
        assert parameter_sets(codec, join_units([b"\x0c\x01\x80", *sets], 0)) == sets


@pytest.mark.parametrize(("pixel_format", "profile"), [("yuv420p", 100), ("yuv420p", 66), ("yuv422p", 122)])
def test_records_take_further_sets(tmp_path, pixel_format, profile):
    options = {"profile": "baseline"} if profile == 66 else {}
    path = make_video(tmp_path / "a.mp4", 2, b_frames=0, pixel_format=pixel_format, options=options)
    record = extradata(path)
    assert record[1] == profile
    own = parameter_sets("h264", record)
    others = [b"\x67\x64\x00\x0a\x30\x11", b"\x68\x70\x11", b"\x68\x30\x12"]
    both = add_h264_sets(record, [*others, own[0]])
    assert parameter_sets("h264", both) == [own[0], others[0], own[1], *others[1:]]
    assert both[:5] == record[:5]
    length = 8 + len(own[0]) + 3 + len(own[1])
    assert both[len(both) - len(record) + length :] == record[length:]
    assert add_h264_sets(record, []) == add_h264_sets(record, own) == record


def test_a_decoder_takes_the_record_with_both_sets(h264, tmp_path):
    """Packets of two encoders, distinguished only by the ids of their sets."""
    other = make_video(tmp_path / "b.mp4", 10, options={"x264-params": "sps-id=7:bframes=0", "crf": "30"})
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = add_h264_sets(extradata(h264), parameter_sets("h264", extradata(other)))
    payloads = [packet.payload for path in (h264, other, h264) for packet in independent_packets(path)]
    frames = [frame for payload in payloads for frame in decoder.decode(av.Packet(payload))] + decoder.decode(None)
    assert [read_stamp(frame) for frame in frames] == [*range(30), *range(10), *range(30)]


def ue(value):
    """Return the bits of ue(v), H.264 9.1."""
    bits = bin(value + 1)[2:]
    return "0" * (len(bits) - 1) + bits


def with_id(header, value):
    bits = ue(value) + "1"
    bits += "0" * (-len(bits) % 8)
    return header + int(bits, 2).to_bytes(len(bits) // 8, "big")


@given(st.sets(st.integers(1, 31), max_size=28), st.sets(st.integers(0, 30)))
def test_the_greatest_free_id(sequence_ids, picture_ids):
    sets = [with_id(b"\x67\x64\x00\x1f", value) for value in sequence_ids]
    sets += [with_id(b"\x68", value) for value in picture_ids]
    free = set(range(1, 32)) - sequence_ids - picture_ids
    if free:
        assert free_h264_id(sets) == max(free)


def test_no_id_is_free():
    with pytest.raises(UnsupportedMedia, match=r"every H\.264 parameter set id"):
        free_h264_id([with_id(b"\x67\x64\x00\x1f", value) for value in range(32)])


@pytest.mark.parametrize("bits", [b"", bytes(8), bytes(4) + b"\x01"])
def test_a_damaged_parameter_set_takes_no_id(bits):
    assert free_h264_id([b"\x67\x64\x00\x1f" + bits, b"\x68" + bits]) == 31


@given(st.integers(1, 31))
def test_an_id_in_use_is_seen(value):
    taken = [with_id(b"\x67\x64\x00\x1f", other) for other in range(value + 1, 32)]
    assert free_h264_id(taken) == value


@pytest.mark.parametrize("number", [0, 1, 5, 31])
def test_ids_of_a_real_encoder(tmp_path, number):
    path = make_video(tmp_path / "a.mp4", 2, options={"x264-params": f"sps-id={number}"})
    assert free_h264_id(parameter_sets("h264", extradata(path))) == (30 if number == 31 else 31)


# Keyframes


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_h264_keyframes(tmp_path, name):
    """Of an open GOP's I pictures only the first and those forced are IDR."""
    path = make_video(tmp_path / name, 30, gop=10, open_gop=True, idr=(20,))
    prefix = 4 if name == "a.mkv" else 0
    keyframes = [packet.payload for packet in independent_packets(path) if packet.is_keyframe]
    assert [is_clean_keyframe("h264", packet, prefix) for packet in keyframes] == [True, False, True]
    kinds = [{unit_type("h264", unit) for unit in split_units(packet, prefix)} for packet in keyframes]
    assert [H264_IDR in kind for kind in kinds] == [True, False, True]


def test_hevc_keyframes(hevc):
    packets = independent_packets(hevc)
    kinds = [irap_type(packet.payload, 4) for packet in packets]
    assert [kind in HEVC_IRAP for kind in kinds if kind] == [
        packet.is_keyframe for packet in packets if packet.is_keyframe
    ]
    assert [kind for kind in kinds if kind][1:] == [HEVC_CRA, HEVC_CRA]
    assert [is_clean_keyframe("hevc", packet.payload, 4) for packet in packets] == [p.is_keyframe for p in packets]


def test_an_hevc_packet_without_a_picture_is_no_keyframe():
    """Parameter sets (32 to 34) and messages (39) may come in packets of their own."""
    alone = b"".join(b"\0\0\0\1" + bytes([kind << 1, 1, 128]) for kind in (32, 33, 34, 39))
    assert irap_type(alone, 0) is None
    assert not is_clean_keyframe("hevc", alone, 0)


def test_other_keyframes_are_clean():
    assert is_clean_keyframe("vp9", b"\x82\x49", 0)


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_an_mpeg_keyframe_needs_a_sequence_header(codec):
    picture = b"\0\0\1\0\x10\0\0\1\1\x80"
    assert is_clean_keyframe(codec, b"\0\0\1\xb3\x14\0\0" + picture, 0)
    assert not is_clean_keyframe(codec, b"\0\0\1\xb8\x14\0\0" + picture, 0)


# AV1

DELIMITER, SEQUENCE = b"\x12\0", b"\x0a\x02\xaa\xbb"
KEY_FRAME, INTER_FRAME, SHOWN_AGAIN = b"\x32\x02\x10\0", b"\x32\x02\x30\0", b"\x1a\x01\x80"
LONG_UNIT = b"\x2e\0\xc8\x01" + bytes(200)
"""Metadata with an extension header and a size of two bytes."""


def test_av1_units_are_split():
    packet = DELIMITER + SEQUENCE + LONG_UNIT + KEY_FRAME
    units = list(split_av1_units(packet))
    assert [(kind, len(payload)) for kind, _, payload in units] == [(2, 0), (1, 2), (5, 200), (6, 2)]
    assert b"".join(header + payload for _, header, payload in units) == packet
    assert list(split_av1_units(b"\x30\x10\x20")) == [(6, b"\x30", b"\x10\x20")]  # without a size: to the end
    assert without_av1_delimiters(packet) == SEQUENCE + LONG_UNIT + KEY_FRAME
    assert without_av1_delimiters(KEY_FRAME) == KEY_FRAME


@given(st.binary(max_size=40))
def test_any_bytes_are_split_without_loss(packet):
    assert b"".join(header + payload for _, header, payload in split_av1_units(packet)) == packet


@pytest.mark.parametrize(
    ("packet", "is_clean"),
    [
        (DELIMITER + SEQUENCE + KEY_FRAME, True),
        (SEQUENCE + KEY_FRAME, True),
        (KEY_FRAME, False),
        (SEQUENCE + INTER_FRAME, False),
        (SEQUENCE + SHOWN_AGAIN, False),
        (SEQUENCE + b"\x32\x02\x00\0", False),  # a key frame that is shown later
        (SEQUENCE, False),
        (b"", False),
    ],
)
def test_av1_keyframes(packet, is_clean):
    assert is_clean_keyframe("av1", packet, 0) is is_clean


# Words on HDR

LIGHT_LEVEL = b"\x90\x04\x03\xe8\x01\x90"
MASTERING = b"\x89\x18" + bytes(range(20)) + b"\0\0\x01\x02"
BUFFERING = b"\x00\x02\xaa\xbb"


def protected(payload):
    return re.sub(rb"\0\0(?=[\0-\3])", lambda match: b"\0\0\3", payload)


@pytest.mark.parametrize(("codec", "header"), [("h264", b"\x06"), ("hevc", b"\x4e\x01")])
@pytest.mark.parametrize("prefix", [0, 4])
def test_messages_on_hdr_are_found_among_others(codec, header, prefix):
    both = header + protected(BUFFERING + MASTERING + LIGHT_LEVEL) + b"\x80"
    slice_unit = b"\x65\x88\x84" if codec == "h264" else b"\x26\x01\xaf"
    packet = join_units([both, header + b"\x05\x01\xff\x80", slice_unit], prefix)
    assert lasting_sei(codec, packet, prefix) == [
        header + protected(MASTERING) + b"\x80",
        header + protected(LIGHT_LEVEL) + b"\x80",
    ]
    assert lasting_sei(codec, join_units([slice_unit], prefix), prefix) == []
    assert lasting_sei("vp9", packet, prefix) == []


def test_messages_of_long_types_and_sizes_are_left_alone():
    assert lasting_sei("h264", join_units([b"\x06\xff\x01\x02\xaa\xbb\x80"], 0), 0) == []
    assert lasting_sei("h264", join_units([b"\x06\x04\xff\x10" + bytes(range(1, 20))], 0), 0) == []


def test_a_cra_becomes_a_bla(hevc):
    packets = independent_packets(hevc)
    cra = next(packet for packet in packets[1:] if packet.is_keyframe)
    bla = as_bla(cra.payload, 4)
    assert irap_type(bla, 4) == HEVC_BLA_N_LP
    assert len(bla) == len(cra.payload)
    changed = [at for at, (old, new) in enumerate(zip(cra.payload, bla, strict=True)) if old != new]
    slices = sum(unit_type("hevc", unit) == HEVC_CRA for unit in split_units(cra.payload, 4))
    assert len(changed) == slices >= 1
    inter = next(packet.payload for packet in packets if not packet.is_keyframe)
    assert as_bla(inter, 4) == inter


def test_a_bla_cuts_what_leads_it_off(hevc):
    """Behind other pictures, frames 10 to 19 decode from the BLA with the stamps they have, and nothing else does."""
    packets = independent_packets(hevc)
    at = next(number for number, packet in enumerate(packets) if number and packet.is_keyframe)
    second = next(number for number, packet in enumerate(packets) if number > at and packet.is_keyframe)
    kept = [packet.payload for packet in packets[at + 1 : second] if packet.pts > packets[at].pts]
    decoder = av.CodecContext.create("hevc", "r")
    decoder.extradata = extradata(hevc)
    stream = [packets[0].payload, as_bla(packets[at].payload, 4), *kept]
    frames = [frame for payload in stream for frame in decoder.decode(av.Packet(payload))] + decoder.decode(None)
    numbers = [read_stamp(frame) for frame in frames]
    assert numbers[:3] == [0, 10, 11]
    assert numbers == sorted(numbers)
