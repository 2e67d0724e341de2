"""Clips of random videos: they tile the output, copy only what packets allow and as much as they allow."""

from array import array
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.clips import FaceSpan
from media.faces import FaceBox, FacePath
from media.info import CodedForm, ColourTags, DisplayTags, VideoClock, VideoInfo
from media.intervals import complement, merge
from media.orientation import PLAIN
from media.packets.frame_table import build_frame_table
from media.packets.packet_index import PacketIndex
from segmenter.planner import EXTENDED_REASON, SEAM_REASON, ClipSettings, CopyRule, plan_clips
from stitcher.bitstream_joins import copied_order, decode_slots

TICK = Fraction(1, 1000)
VIDEO = VideoInfo(
    index=0,
    codec="h264",
    width=64,
    height=64,
    pixel_format="yuv420p",
    colour=ColourTags(range=1, matrix=1, primaries=1, transfer=1),
    display=DisplayTags(PLAIN, sample_aspect=Fraction(1)),
    clock=VideoClock(TICK, average_rate=Fraction(25), start_seconds=Fraction(0)),
    coded=CodedForm(profile="High", extradata=b""),
)


def table_of(groups, steps, codec="h264", start=0, slack=None):
    """Return the table of a video made of groups: an anchor and the pictures shown before it but decoded after it.

    groups: (permutation of the pictures that lead the anchor, whether it is a keyframe, whether it is of the clean
    kind). steps: ticks for which each frame is shown. slack: ticks by which decoding is earlier than it must be; None
    if the container tells no decode times.

        groups  ([], key)  ([0, 1], no)      decode order  0 | 3 1 2
    """
    order, flags = [], bytearray()
    for leading, is_key, is_clean in groups:
        first = len(order)
        order += [first + len(leading), *(first + frame for frame in leading)]
        flags += bytes([is_key | is_clean << 1]) + bytes(len(leading))
    shown = [start + sum(steps[:at]) for at in range(len(order))]
    late = max(shown[slot] - shown[frame] for slot, frame in enumerate(order))
    packets = PacketIndex(
        pts=array("q", [shown[frame] for frame in order]),
        dts=array("q", [ticks - late - (slack or 0) for ticks in shown]),
        has_dts=slack is not None,
        flags=flags,
        end_pts=start + sum(steps[: len(order)]),
    )
    return build_frame_table("v", replace(VIDEO, codec=codec), packets)


@st.composite
def tables(draw):
    # An edit list may hide the first packets, those that the first displayed ones refer to among them.
    hidden_head = draw(st.booleans())
    groups = [(draw(st.permutations(range(3))), False, False) if hidden_head else ([], True, True)]
    for _ in range(draw(st.integers(0, 14))):
        leading = draw(st.permutations(range(draw(st.integers(0, 4)))))
        is_key = draw(st.booleans())
        groups.append((leading, is_key, is_key and draw(st.booleans())))
    num_frames = sum(1 + len(leading) for leading, _, _ in groups)
    steps = draw(st.lists(st.integers(1, 90), min_size=num_frames, max_size=num_frames))
    return table_of(
        groups,
        steps,
        draw(st.sampled_from(["h264", "hevc", "mpeg2video"])),
        draw(st.integers(-100, 300)),
        draw(st.sampled_from([None, 0, 35])),
    )


def intervals_in(draw, stop, most=4):
    part = st.tuples(st.integers(0, stop), st.integers(0, stop)).map(sorted).map(tuple)
    return merge(draw(st.lists(part, max_size=most)))


def faces_of(intervals, person=None):
    return [FaceSpan(a, b, FacePath((a,), (FaceBox(0, 0, 9, 9),)), person=person) for a, b in intervals]


@st.composite
def cases(draw):
    """Return (table, timeline, spans, driven, longest) as a job may have them."""
    table = draw(tables())
    kind = draw(st.sampled_from(["whole", "ranges", "freeze", "loop", "bounce"]))
    timeline = identity_timeline(table)
    if kind == "ranges":
        part = st.tuples(st.integers(0, len(table)), st.integers(0, len(table))).map(sorted).map(tuple)
        kept = draw(st.lists(part.filter(lambda part: part[0] < part[1]), min_size=1, max_size=3))
        timeline = concat_ranges(table, kept)
    elif kind != "whole":
        timeline = extend_timeline(timeline, timeline.seconds(len(table)) * draw(st.integers(1, 3)), kind)
    spans = []
    for start, stop in intervals_in(draw, len(table)):
        cut = draw(st.integers(start, stop))  # a cut between two face spans that touch
        spans += faces_of([part for part in [(start, cut), (cut, stop)] if part[0] < part[1]])
    if draw(st.booleans()):  # another person, who may be seen at the same time
        spans += faces_of(intervals_in(draw, len(table)), person=2)
    longest = Fraction(draw(st.integers(40, 2000)), 1000)
    return table, timeline, spans, intervals_in(draw, len(timeline)), longest


def plan(table, timeline, spans, driven, longest=Fraction(10), reencode_reason=""):
    copying, settings = CopyRule(reencode_reason), ClipSettings(longest)
    return plan_clips(spans, table, timeline, driven=driven, copying=copying, settings=settings)


def shown_frames(timeline):
    return [frame for run in timeline.runs for frame in run.source_frames(run.start_frame, run.stop_frame)]


def members(intervals):
    return {value for start, stop in intervals for value in range(start, stop)}


def face_frames(spans):
    return members((span.start_frame, span.stop_frame) for span in spans)


# Properties


@given(cases())
def test_clips_tile_the_output(case):
    timeline = case[1]
    clips = plan(*case)
    assert [clip.index for clip in clips] == list(range(len(clips)))
    assert clips[0].start_frame == 0
    assert clips[-1].stop_frame == len(timeline)
    assert all(a.stop_frame == b.start_frame for a, b in pairwise(clips))
    assert all(len(clip) > 0 for clip in clips)
    frames = [frame for clip in clips for frame in clip.source_frames]
    assert frames == shown_frames(timeline)


@given(cases())
def test_faces_that_are_driven_are_rendered_and_nothing_else(case):
    _, timeline, spans, driven, _ = case
    faces = face_frames(spans)
    wanted = {frame for frame, source in enumerate(shown_frames(timeline)) if source in faces} & members(driven)
    clips = plan(*case)
    assert members(part for clip in clips for part in clip.rendered) == wanted
    for clip in clips:
        assert (clip.action == "render") == bool(clip.rendered)
        assert all(clip.start_frame <= start < stop <= clip.stop_frame for start, stop in clip.rendered)
        assert clip.rendered == tuple(merge(clip.rendered))
        # A clip's spans are those that its rendered frames lie in, whole.
        sources = {clip.source_frames[frame - clip.start_frame] for frame in members(clip.rendered)}
        assert {span for span in spans if face_frames([span]) & sources} == set(clip.faces)


@given(cases())
def test_copied_clips_are_all_that_packets_allow(case):
    """For each gap between rendered frames: from its first clean entry (or the file's head) to its last clean exit."""
    table, timeline, *_ = case
    clips = plan(*case)
    copied = members((clip.start_frame, clip.stop_frame) for clip in clips if clip.action == "copy")
    rendered = merge(part for clip in clips for part in clip.rendered)
    wanted = set()
    for run in timeline.runs:
        if run.step != 1 or (timeline.is_source and run.start_frame):
            continue
        shift = run.source_frame - run.start_frame
        for start, stop in complement(rendered, 0, len(timeline)):
            start, stop = max(start, run.start_frame), min(stop, run.stop_frame)
            if start >= stop:
                continue
            entries = [f for f in range(start, stop) if f + shift == 0 or table.clean.entry[f + shift]]
            exits = [f for f in range(start, stop + 1) if table.clean.exit[f + shift]]
            wanted |= members([(entries[0], exits[-1])] if entries and exits else [])
    assert copied == wanted


@given(cases(), st.sampled_from(["", "packets of this codec are not spliced"]))
def test_every_frame_that_is_neither_rendered_nor_copied_has_a_reason(case, reencode_reason):
    table, timeline, *_ = case
    clips = plan(*case, reencode_reason=reencode_reason)
    untouched = timeline.is_source and len(timeline.runs) == 1 and not any(clip.rendered for clip in clips)
    for clip in clips:
        if clip.action == "copy":
            assert not reencode_reason or untouched
            continue
        whole = members(clip.rendered) == set(range(clip.start_frame, clip.stop_frame))
        appended = timeline.is_source and clip.start_frame >= len(table)
        assert clip.reason == ("" if whole else EXTENDED_REASON if appended else reencode_reason or SEAM_REASON)


@given(cases())
def test_no_clip_lasts_longer_than_allowed(case):
    """But for one whose only frame is shown longer than that, and by the frame that straddles the limit."""
    _, timeline, _, _, longest = case
    encoded = [clip for clip in plan(*case) if clip.action != "copy"]
    assume(encoded)
    for clip in encoded:
        seconds = timeline.seconds(clip.stop_frame) - timeline.seconds(clip.start_frame)
        straddling = max(
            timeline.seconds(frame + 1) - timeline.seconds(frame) for frame in range(clip.start_frame, clip.stop_frame)
        )
        assert seconds <= longest + straddling


@settings(max_examples=200)
@given(cases())
def test_decode_times_increase_and_are_never_late(case):
    table, timeline, *_ = case
    clips = plan(*case)
    slots = decode_slots(table, timeline, clips)
    carried = []
    for clip in clips:
        if clip.action == "copy":
            shift = clip.start_frame - clip.source_frames[0]
            order = copied_order(table, clip)
            assert sorted(order) == list(clip.source_frames)
            carried += [frame + shift for frame in order]
        else:
            carried += range(clip.start_frame, clip.stop_frame)
    assert sorted(carried) == list(range(len(timeline)))
    assert len(slots) == len(timeline)
    assert all(a < b for a, b in pairwise(slots))
    assert all(slot <= timeline.pts[frame] for slot, frame in zip(slots, carried, strict=True))


@given(cases())
def test_the_head_of_a_copied_clip_needs_nothing_before_it(case):
    """In decode order its first packet is its first frame, a keyframe of the clean kind, or the file begins there."""
    table, timeline, spans, driven, longest = case
    first = faces_of([(0, 1)], person=3)  # so that most copies begin inside the file
    clips = plan(table, timeline, [*first, *spans[:1]], [(0, 1), *driven[1:]], longest)
    copied = [clip for clip in clips if clip.action == "copy" and clip.source_frames[0] != 0]
    assume(copied)
    for clip in copied:
        order = copied_order(table, clip)
        assert order[0] == clip.source_frames[0]
        assert table.keyframe[order[0]]
        assert table.clean.entry[order[0]]


# Known cases

CLOSED = [*[([], True, True), ([1, 0], False, False), ([1, 0], False, False), ([], False, False)] * 4]
"""Four GOPs of 8: frames 0, 8, 16 and 24 begin them, and each ends with a P picture of its own."""
OPEN = [([], True, True), *[([1, 0], False, False), ([1, 0], True, True)] * 4]
"""GOPs of 6 with leading pictures: keyframes 0, 6, 12, 18, 24, led by two frames each."""


def actions(clips):
    return [(clip.start_frame, clip.stop_frame, clip.action) for clip in clips]


def whole_plan(groups, faces, codec="h264", **kwargs):
    table = table_of(groups, [40] * 40, codec)
    timeline = identity_timeline(table)
    return plan(table, timeline, faces_of(faces), [(0, len(timeline))], **kwargs)


def test_the_drawing():
    assert actions(whole_plan(CLOSED, [(10, 14)])) == [(0, 9, "copy"), (9, 16, "render"), (16, 32, "copy")]
    assert whole_plan(CLOSED, [(10, 14)])[1].rendered == ((10, 14),)


def test_a_head_of_a_gop_is_copied_as_far_as_its_frames_are_complete():
    assert actions(whole_plan(CLOSED, [(13, 14)])) == [(0, 12, "copy"), (12, 16, "render"), (16, 32, "copy")]


def test_leading_pictures_stop_h264_but_not_hevc():
    faces = [(8, 9)]
    assert actions(whole_plan(OPEN, faces)) == [(0, 7, "copy"), (7, 25, "render")]
    assert actions(whole_plan(OPEN, faces, "hevc")) == [(0, 7, "copy"), (7, 12, "render"), (12, 25, "copy")]


def test_no_face_at_all_is_one_copy():
    (clip,) = whole_plan(CLOSED, [])
    assert (clip.action, clip.reason, clip.faces) == ("copy", "no face to render", ())


def test_what_is_not_driven_is_copied():
    table = table_of(CLOSED, [40] * 32)
    clips = plan(table, identity_timeline(table), faces_of([(0, 32)]), [(0, 10)])
    assert actions(clips) == [(0, 16, "render"), (16, 32, "copy")]
    assert clips[0].rendered == ((0, 10),)


def test_long_spans_are_cut_evenly():
    clips = whole_plan(CLOSED, [(0, 32)], longest=Fraction(1, 2))
    assert actions(clips) == [(0, 11, "render"), (11, 22, "render"), (22, 32, "render")]
    assert all(clip.faces[0].stop_frame == 32 for clip in clips)


def test_an_extraction_begins_at_any_frame():
    table = table_of(CLOSED, [40] * 32)
    timeline = concat_ranges(table, [(3, 20), (8, 16)])
    clips = plan(table, timeline, [], [])
    assert actions(clips) == [(0, 5, "reencode"), (5, 17, "copy"), (17, 25, "copy")]
    assert [clip.source_frames[0] for clip in clips] == [3, 8, 8]
    assert clips[0].reason == SEAM_REASON


def test_appended_frames_are_coded():
    table = table_of(CLOSED, [40] * 32)
    clips = plan(
        table, extend_timeline(identity_timeline(table), Fraction(2), "bounce"), faces_of([(30, 32)]), [(0, 99)]
    )
    assert actions(clips) == [(0, 28, "copy"), (28, 32, "render"), (32, 50, "render")]
    assert list(clips[2].source_frames) == list(range(30, 12, -1))
    assert clips[2].reason == EXTENDED_REASON
    assert clips[2].rendered == ((32, 33),)


def test_codecs_that_are_not_spliced_are_coded_as_a_whole():
    clips = whole_plan(CLOSED, [(10, 14)], reencode_reason="packets of vp9 are not spliced", longest=Fraction(1, 2))
    assert {clip.action for clip in clips} == {"reencode", "render"}
    assert next(clip.reason for clip in clips if clip.action == "reencode") == "packets of vp9 are not spliced"


@pytest.mark.parametrize("span", [(0, 32), (0, 1), (31, 32)])
def test_faces_at_the_ends(span):
    clips = whole_plan(CLOSED, [span])
    assert members(part for clip in clips for part in clip.rendered) == members([span])
