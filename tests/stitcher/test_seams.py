"""Where copied and coded packets meet: decode times of random videos, and the form of packets on either side."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipstitch.plan.output_timeline import concat_ranges, identity_timeline
from media.bitstream.units import HEVC_BLA_N_LP, HEVC_CRA, irap_type, join_units, parameter_sets, split_units
from media.probe import probe
from stitcher.bitstream_joins import Bitstream, copied_order, decode_slots
from tests.segmenter.test_planner import CLOSED, VIDEO, cases, faces_of, plan, table_of
from tests.support.synthetic import independent_packets, make_video
from tests.support.videos import changed

# Decode times


def carried(table, clips):
    """Return the output frame of each packet, in decode order."""
    frames = []
    for clip in clips:
        shift = clip.start_frame - clip.source_frames[0]
        own = range(clip.start_frame, clip.stop_frame)
        frames += [frame + shift for frame in copied_order(table, clip)] if clip.action == "copy" else own
    return frames


@settings(max_examples=200)
@given(cases())
def test_slots_are_inherited_where_the_output_is_the_source(case):
    """Each packet of the source, copied or replaced, gives its place in the file to one of the output."""
    table, timeline, *_ = case
    clips = plan(*case)
    slots = decode_slots(table, timeline, clips)
    if timeline.is_source:
        assert slots[: len(table)] == table.dts
        lags = {timeline.pts[at] - slots[at] for at in range(len(table), len(timeline))}
        assert len(lags) <= 1  # all that is appended is decoded as long before it is shown as the source's last packet


@settings(max_examples=200)
@given(cases())
def test_slots_of_an_extraction_are_as_late_as_they_may_be(case):
    """They follow the times of the frames by a constant, the least that no packet is late by."""
    table, timeline, *_ = case
    if timeline.is_source:
        return
    clips = plan(*case)
    slots = decode_slots(table, timeline, clips)
    delays = {ticks - slot for ticks, slot in zip(timeline.pts, slots, strict=True)}
    assert len(delays) == 1
    spare = [timeline.pts[frame] - slot for slot, frame in zip(slots, carried(table, clips), strict=True)]
    assert min(spare) == 0


@given(cases())
def test_a_copied_clip_keeps_the_order_of_the_source(case):
    table = case[0]
    place = {frame: at for at, frame in enumerate(table.decode_order)}
    for clip in plan(*case):
        if clip.action == "copy":
            order = copied_order(table, clip)
            assert [place[frame] for frame in order] == sorted(place[frame] for frame in clip.source_frames)
            # What stands between its packets in the file leads its first picture, and is re-encoded.
            between = set(table.decode_order[place[order[0]] : place[order[-1]] + 1]) - set(order)
            assert all(frame < clip.source_frames[0] for frame in between)


@given(st.permutations(range(4)), st.integers(1, 90))
def test_a_head_that_an_edit_list_cut_is_copied_whole(leading, step):
    """Its first displayed packets may be led by others, since the keyframe before them is hidden."""
    table = table_of([(leading, False, False), *CLOSED[:4]], [step] * 20)
    timeline = identity_timeline(table)
    (clip,) = plan(table, timeline, [], [])
    assert copied_order(table, clip) == list(table.decode_order)
    assert decode_slots(table, timeline, [clip]) == table.dts


def test_joined_ranges_never_step_back():
    """Two ranges out of order: the source's own slots would cross where they meet."""
    table = table_of(CLOSED, [40] * 32, slack=35)
    timeline = concat_ranges(table, [(16, 32), (0, 16)])
    clips = plan(table, timeline, faces_of([(18, 20)]), [(0, 32)])
    slots = decode_slots(table, timeline, clips)
    assert all(a < b for a, b in pairwise(slots))


# The form of packets

CODED_SETS = [b"\x67\x64\x00\x1f\x05\xaa", b"\x68\x33\xbb"]
IDR, INTER = b"\x65\x88\x84\x11", b"\x41\x9a\x22"
LIGHT_LEVEL = b"\x06\x90\x04\x03\xe8\x01\x90\x80"


@pytest.fixture(scope="module")
def h264(tmp_path_factory):
    return probe(make_video(tmp_path_factory.mktemp("h264") / "a.mp4", 5)).require_video()


@pytest.fixture(scope="module")
def hevc(tmp_path_factory):
    path = make_video(tmp_path_factory.mktemp("hevc") / "a.mp4", 30, codec="libx265", gop=10, open_gop=True)
    return probe(path).require_video(), [packet.payload for packet in independent_packets(path)]


def test_h264_behind_lengths_has_both_sets_in_its_record(h264):
    bits = Bitstream(h264, join_units(CODED_SETS, 0), any_copied=True)
    assert set(parameter_sets("h264", bits.extradata)) == {*parameter_sets("h264", h264.coded.extradata), *CODED_SETS}
    assert bits.coded(join_units([IDR], 0), keyframe=True) == join_units([IDR], 4)
    assert bits.copied(join_units([INTER], 4), keyframe=True, breaks=True) == join_units([INTER], 4)


def test_h264_behind_start_codes_has_its_sets_in_front(h264):
    video = changed(h264, extradata=join_units(parameter_sets("h264", h264.coded.extradata), 0))
    bits = Bitstream(video, join_units(CODED_SETS, 0), any_copied=True)
    assert bits.extradata == video.coded.extradata
    assert bits.coded(join_units([IDR], 0), keyframe=True) == join_units([*CODED_SETS, IDR], 0)
    assert bits.coded(join_units([INTER], 0), keyframe=False) == join_units([INTER], 0)


@pytest.mark.parametrize("prefix", [0, 4])
def test_words_on_hdr_stand_in_front_of_coded_keyframes(h264, prefix):
    own = join_units(parameter_sets("h264", h264.coded.extradata), 0)
    video = changed(h264, lasting_sei=(LIGHT_LEVEL,), extradata=h264.coded.extradata if prefix else own)
    bits = Bitstream(video, join_units(CODED_SETS, 0), any_copied=True)
    units = list(split_units(bits.coded(join_units([IDR], 0), keyframe=True), prefix))
    assert units == [*([] if prefix else CODED_SETS), LIGHT_LEVEL, IDR]
    assert list(split_units(bits.coded(join_units([INTER], 0), keyframe=False), prefix)) == [INTER]


def test_hevc_has_sets_in_front_of_every_keyframe(hevc):
    video, packets = hevc
    own = parameter_sets("hevc", video.coded.extradata)
    coded = [b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc1"]
    bits = Bitstream(video, join_units(coded, 0), any_copied=True)
    cra = next(packet for packet in packets[1:] if irap_type(packet, 4) == HEVC_CRA)
    assert irap_type(bits.copied(cra, keyframe=True, breaks=False), 4) == HEVC_CRA
    bla = bits.copied(cra, keyframe=True, breaks=True)
    assert irap_type(bla, 4) == HEVC_BLA_N_LP
    assert list(split_units(bla, 4))[: len(own)] == own
    inter = next(packet for packet in packets if irap_type(packet, 4) is None)
    assert bits.copied(inter, keyframe=True, breaks=False) == inter
    assert list(split_units(bits.coded(join_units([b"\x26\x01\xaf"], 0), keyframe=True), 4))[:3] == coded


def test_hevc_that_is_only_copied_stays_as_it_is(hevc):
    video, packets = hevc
    bits = Bitstream(video, None, any_copied=True)
    assert bits.extradata == video.coded.extradata
    assert [bits.copied(packet, keyframe=True, breaks=False) for packet in packets] == packets


def test_other_codecs_pass_through():
    video = changed(VIDEO, codec="mpeg4", extradata=b"own")
    assert Bitstream(video, b"coded", any_copied=False).extradata == b"coded"
    assert Bitstream(video, b"coded", any_copied=True).extradata == b"own"
    assert Bitstream(video, b"coded", any_copied=True).coded(b"packet", keyframe=True) == b"packet"
    delimited = b"\x12\0" + b"\x32\x02\x10\0"
    assert Bitstream(replace(video, codec="av1"), b"", any_copied=True).coded(delimited, keyframe=True) == delimited[2:]
