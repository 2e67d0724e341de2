"""PURE: the frames of a face span on a grid of 25 a second, whatever the video's own rate.

    24/s      |   |   |   |   |   |   |   |   |   |        a frame may stand for two steps of the grid
    grid      |  |  |  |  |  |  |  |  |  |  |  |  |
    30/s      | | | x | | | | x | | | | x | | | | |        frames between two steps (x) are left out

The sync expert looks at five frames and the 0.2 s of sound that belong to them, as Wav2Lip does at 25 frames a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil

from media.intervals import Interval
from media.packets.frame_table import FrameTable
from renderer.mel import WINDOW_COLUMNS, window_start

STEPS_PER_SECOND = 25
FARTHEST_SECONDS = Fraction(7, 200)
"""A frame farther from its step does not stand for it: half the time between frames at 14/s. A video of 30/s in which
single frames were dropped still gives whole tracks."""


def grid_segments(table: FrameTable, span: Interval) -> Iterator[tuple[int, ...]]:
    """Yield stretches of a span as the frames nearest to consecutive steps of 1/25 s, counted from its first frame.

    Frames are in order; one may come twice. A stretch ends where no frame is near enough to a step.
    """
    start, stop = span
    origin = table.seconds(start)
    segment: list[int] = []
    for step in range(ceil((table.seconds(stop) - origin) * STEPS_PER_SECOND)):
        wanted = origin + Fraction(step, STEPS_PER_SECOND)
        after = min(table.frame_at(wanted), stop - 1)
        frame = min((max(after - 1, start), after), key=lambda index: abs(table.seconds(index) - wanted))
        if abs(table.seconds(frame) - wanted) <= FARTHEST_SECONDS:
            segment.append(frame)
        elif segment:
            yield tuple(segment)
            segment = []
    if segment:
        yield tuple(segment)


def within_sound(
    table: FrameTable, frames: tuple[int, ...], *, sound_start: Fraction, num_columns: int
) -> tuple[int, ...]:
    """Return the frames whose mel window lies wholly inside the sound.

    sound_start: seconds from the first frame to the first sample. num_columns: columns of the track's spectrogram.
    """
    return tuple(
        frame
        for frame in frames
        if table.seconds(frame) >= sound_start and window_start(table.seconds(frame)) + WINDOW_COLUMNS <= num_columns
    )
