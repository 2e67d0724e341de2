"""Interval algebra against sets of integers, and the arithmetic of frames, runs and boxes."""

from array import array
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.faces import FaceBox, FacePath
from media.intervals import complement, contains, even_pieces, intersect, merge
from media.packets.frame_table import CleanCuts, FrameTable
from media.timeline import FrameRun, OutputTimeline

messy = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)
"""Intervals in any order, touching, overlapping, empty, inverted."""


def members(intervals):
    return {value for start, stop in intervals for value in range(start, stop)}


def is_tidy(intervals):
    borders = [border for interval in intervals for border in interval]
    return all(a < b for a, b in pairwise(borders))


# Intervals


@given(messy)
def test_merge(intervals):
    merged = merge(iter(intervals))
    assert members(merged) == members(intervals)
    assert is_tidy(merged)


@given(messy, messy)
def test_intersect(a, b):
    a, b = merge(a), merge(b)
    shared = intersect(a, b)
    assert members(shared) == members(a) & members(b)
    assert is_tidy(shared)
    assert shared == intersect(b, a)


@given(messy, st.integers(0, 60), st.integers(0, 60))
def test_complement(intervals, start, stop):
    intervals = merge(intervals)
    gaps = complement(intervals, start, stop)
    assert members(gaps) == set(range(start, stop)) - members(intervals)
    assert is_tidy(gaps)


@given(messy, st.integers(-2, 62))
def test_contains(intervals, value):
    assert contains(merge(intervals), value) is (value in members(intervals))


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 60))
def test_even_pieces(start, length, longest):
    pieces = list(even_pieces(start, start + length, longest))
    assert len(pieces) == -(-length // longest)
    assert [at for piece in pieces for at in range(*piece)] == list(range(start, start + length))
    lengths = [stop - first for first, stop in pieces]
    assert max(lengths, default=0) <= longest
    assert max(lengths, default=0) - min(lengths, default=0) <= 1


# Frames


def frame_table(pts, keyframes=(), end=None):
    flags = bytes(frame in keyframes for frame in range(len(pts)))
    ticks = array("q", pts)
    order = array("q", range(len(pts)))
    return FrameTable(
        Fraction(1, 30000), ticks, ticks, order, flags, CleanCuts(flags, bytes(len(pts) + 1)), end or pts[-1] + 1001
    )


def test_seconds_count_from_the_first_frame():
    table = frame_table([500, 1501, 2502])
    assert [table.seconds(frame) for frame in range(4)] == [Fraction(1001 * frame, 30000) for frame in range(4)]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(-50, 50), st.fractions(-1, 1))
def test_frame_at_is_the_first_not_before(steps, start, seconds):
    pts = [start + sum(steps[:at]) for at in range(len(steps))]
    table = frame_table(pts)
    seconds /= 100
    timeline = OutputTimeline((FrameRun(0, len(pts), 0, 1),), table.pts, table.end_pts, table.time_base, is_source=True)
    wanted = [frame for frame in range(len(pts)) if table.seconds(frame) >= seconds]
    assert table.frame_at(seconds) == timeline.frame_at(seconds) == (wanted[0] if wanted else len(pts))
    assert [timeline.seconds(frame) for frame in range(len(pts) + 1)] == [
        table.seconds(frame) for frame in range(len(pts) + 1)
    ]


def test_frame_of_a_time():
    table = frame_table([-10, 0, 7, 30])
    assert [table.frame_of(ticks) for ticks in (-10, 0, 7, 30)] == [0, 1, 2, 3]
    assert [table.frame_of(ticks) for ticks in (-11, 1, 29, 31)] == [None] * 4


def test_keyframe_before():
    table = frame_table(range(10), keyframes=(0, 4, 7))
    assert [table.keyframe_before(frame) for frame in range(10)] == [0, 0, 0, 0, 4, 4, 4, 7, 7, 7]
    assert frame_table(range(5), keyframes=(3,)).keyframe_before(2) == 0


# Runs


@given(
    st.integers(0, 20),
    st.integers(1, 30),
    st.integers(0, 20),
    st.sampled_from([1, 0, -1]),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_runs_show_what_they_say(output, length, source, step, start, stop):
    if step == -1:
        source += length - 1
    run = FrameRun(output, output + length, source, step)
    shown = [source + step * at for at in range(length)]
    assert list(run.source_frames(output, output + length)) == shown
    middle = output + length // 2
    assert [*run.source_frames(output, middle), *run.source_frames(middle, output + length)] == shown
    first, last = run.output_interval(start, stop)
    assert list(range(first, last)) == [output + at for at, frame in enumerate(shown) if start <= frame < stop]


# Boxes

edges = st.floats(-50, 50)
boxes = st.builds(lambda x, y, w, h: FaceBox(x, y, x + w, y + h), edges, edges, st.floats(0.1, 60), st.floats(0.1, 60))


@given(boxes, boxes)
def test_overlap_is_a_share(a, b):
    assert 0 <= a.overlap(b) <= 1 + 1e-9
    assert a.overlap(b) == pytest.approx(b.overlap(a))
    assert a.overlap(a) == pytest.approx(1)


def test_overlap_of_known_boxes():
    a = FaceBox(0, 0, 10, 10)
    assert a.overlap(FaceBox(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert a.overlap(FaceBox(10, 0, 20, 10)) == 0
    assert FaceBox(5, 5, 3, 9).area == 0


def test_a_path_is_interpolated_and_held():
    path = FacePath((10, 20, 24), (FaceBox(0, 0, 10, 10), FaceBox(10, 20, 30, 40), FaceBox(0, 0, 0, 0)))
    assert path.box_at(3) == path.box_at(10) == path.boxes[0]
    assert path.box_at(15) == FaceBox(5, 10, 20, 25)
    assert path.box_at(20) == path.boxes[1]
    assert path.box_at(24) == path.box_at(1000) == path.boxes[2]
