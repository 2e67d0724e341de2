"""Steps of 1/25 s, whatever the frame rate, and frames whose sound is there."""

from array import array
from fractions import Fraction

import pytest

from lipstitch.training.dataset.grid import grid_segments, within_sound
from media.packets.frame_table import CleanCuts, FrameTable


def table_of(times):
    """Return the table of a video with frames at times in units of 1/3000 s."""
    pts = array("q", times)
    ones = bytes([1] * len(pts))
    return FrameTable(
        Fraction(1, 3000),
        pts,
        pts,
        array("q", range(len(pts))),
        ones,
        CleanCuts(ones, ones + b"\1"),
        2 * pts[-1] - pts[-2],
    )


def regular(rate, count):
    return table_of([3000 * number // rate for number in range(count)])


@pytest.mark.parametrize(("rate", "count"), [(24, 48), (25, 50), (30, 60), (50, 100), (60, 120)])
def test_two_seconds_are_fifty_steps_each_with_the_nearest_frame(rate, count):
    table = regular(rate, count)
    (segment,) = grid_segments(table, (0, count))
    assert len(segment) == 50
    for step, frame in enumerate(segment):
        nearest = min(range(count), key=lambda each: abs(table.seconds(each) - Fraction(step, 25)))
        assert abs(table.seconds(frame) - Fraction(step, 25)) == abs(table.seconds(nearest) - Fraction(step, 25))


def test_the_grid_begins_with_the_span_and_stays_inside():
    (segment,) = grid_segments(regular(50, 100), (11, 61))
    assert segment == tuple(range(11, 61, 2))


def test_a_hole_ends_a_segment_and_a_slow_video_has_none_of_use():
    table = table_of([*range(0, 3000, 120), *range(6000, 9000, 120)])
    first, second = grid_segments(table, (0, 50))
    assert first == tuple(range(25))
    assert second == tuple(range(25, 50))
    assert max(map(len, grid_segments(regular(8, 40), (0, 40)))) <= 3


def test_single_frames_dropped_from_thirty_a_second_leave_a_whole_segment():
    table = table_of([100 * number for number in range(90) if number % 4 != 1])
    assert [len(segment) for segment in grid_segments(table, (0, len(table)))] == [75]


def test_frames_without_their_whole_mel_window_are_left_out():
    table = regular(25, 50)
    frames = tuple(range(50))
    # Frame 30 is shown at 1.2 s: its window is columns 96 to 111.
    assert within_sound(table, frames, sound_start=Fraction(0), num_columns=112) == tuple(range(31))
    assert within_sound(table, frames, sound_start=Fraction(1, 5), num_columns=112) == tuple(range(5, 31))
    assert within_sound(table, frames, sound_start=Fraction(0), num_columns=1000) == frames
