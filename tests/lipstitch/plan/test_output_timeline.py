"""Which source frames the output shows, and when: ranges, and the video prolonged."""

from array import array
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.packets.frame_table import CleanCuts, FrameTable

TICK = Fraction(1, 1000)


@st.composite
def tables(draw):
    """Return a table of frames that are shown for varying times, from a start that need not be 0."""
    steps = draw(st.lists(st.integers(1, 120), min_size=1, max_size=12))
    start = draw(st.integers(-200, 200))
    return frame_table([start + sum(steps[:at]) for at in range(len(steps))], start + sum(steps))


def frame_table(pts, end_pts):
    ticks, flags = array("q", pts), bytes(len(pts))
    return FrameTable(TICK, ticks, ticks, array("q", range(len(pts))), flags, CleanCuts(flags, flags), end_pts)


def source_frames(timeline):
    """Return the source frame of each output frame; the runs must tile the output."""
    frames = []
    for run in timeline.runs:
        assert run.start_frame == len(frames) < run.stop_frame
        frames += run.source_frames(run.start_frame, run.stop_frame)
    assert len(frames) == len(timeline)
    return frames


def durations(timeline):
    return [b - a for a, b in pairwise([*timeline.pts, timeline.end_pts])]


@given(tables())
def test_the_whole_video_maps_onto_itself(table):
    timeline = identity_timeline(table)
    assert source_frames(timeline) == list(range(len(table)))
    assert (list(timeline.pts), timeline.end_pts, timeline.is_source) == (list(table.pts), table.end_pts, True)


@given(tables(), st.data())
def test_ranges_follow_each_other_from_0_on(table, data):
    borders = st.tuples(st.integers(0, len(table)), st.integers(0, len(table))).map(sorted)
    kept = data.draw(st.lists(borders.filter(lambda part: part[0] < part[1]), min_size=1, max_size=4))
    timeline = concat_ranges(table, [tuple(part) for part in kept])
    frames = [frame for start, stop in kept for frame in range(start, stop)]
    assert source_frames(timeline) == frames
    assert timeline.pts[0] == 0
    assert not timeline.is_source
    shown = durations(identity_timeline(table))
    assert durations(timeline) == [shown[frame] for frame in frames]


@given(tables(), st.fractions(0, 3), st.sampled_from(["freeze", "loop", "bounce"]))
def test_prolonged_videos(table, seconds, how):
    timeline = extend_timeline(identity_timeline(table), seconds, how)
    num_source = len(table)
    assert list(timeline.pts[:num_source]) == list(table.pts)
    assert min(durations(timeline)) > 0
    assert (timeline.end_pts - timeline.pts[0]) * TICK >= min(seconds, Fraction(3))
    frames = source_frames(timeline)
    assert frames[:num_source] == list(range(num_source))
    if table.seconds(num_source) >= seconds:
        assert len(frames) == num_source
    else:
        assert (timeline.pts[-1] - timeline.pts[0]) * TICK < seconds
    assert frames[num_source:] == [expected(how, num_source, at) for at in range(len(frames) - num_source)]
    if how != "freeze" and num_source > 1:
        shown = durations(identity_timeline(table))
        assert durations(timeline) == [shown[frame] for frame in frames]


def expected(how, num_source, at):
    """Return the source frame of the at-th appended frame, as the drawing in extend_timeline() shows it."""
    last = num_source - 1
    if how == "freeze" or num_source == 1:
        return last
    if how == "loop":
        return at % num_source
    period = [*range(last - 1, -1, -1), *range(1, num_source)]
    return period[at % len(period)]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("freeze", [0, 1, 2, 3, 3, 3, 3, 3]),
        ("loop", [0, 1, 2, 3, 0, 1, 2, 3]),
        ("bounce", [0, 1, 2, 3, 2, 1, 0, 1]),
    ],
)
def test_the_drawing(how, wanted):
    timeline = extend_timeline(identity_timeline(frame_table([0, 40, 80, 120], 160)), Fraction(320, 1000), how)
    assert source_frames(timeline) == wanted
    assert list(timeline.pts) == list(range(0, 320, 40))
    assert timeline.end_pts == 320


def test_a_bounce_goes_on_forwards():
    timeline = extend_timeline(identity_timeline(frame_table([0, 40, 80], 120)), Fraction(480, 1000), "bounce")
    assert source_frames(timeline) == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]


def test_a_held_frame_is_shown_for_the_typical_time():
    """Not for the last frame's own, which may be anything."""
    timeline = extend_timeline(identity_timeline(frame_table([0, 40, 80, 120], 1120)), Fraction(1200, 1000), "freeze")
    assert list(timeline.pts[4:]) == [1120, 1160]
    assert timeline.end_pts == 1200
