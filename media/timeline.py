"""Which source frame is shown as which output frame, and when.

The canonical coordinate is the frame index: 0-based, presentation order. Ranges are half-open, so that a clip's stop
*is* the next clip's start. Seconds are Fractions, derived through a FrameTable and never added up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from media.intervals import Interval, intersect, merge


@dataclass(frozen=True, slots=True)
class FrameRun:
    """Output frames that show consecutive source frames: forwards (step 1), backwards (-1) or one held (0)."""

    start_frame: int
    """First frame, as an index of the output."""
    stop_frame: int
    source_frame: int
    """Source frame shown first."""
    step: int

    def source_frames(self, start: int, stop: int) -> Sequence[int]:
        """Return the source frames of output frames [start, stop), which must lie inside the run."""
        first = self.source_frame + self.step * (start - self.start_frame)
        if self.step == 0:
            return (first,) * (stop - start)
        return range(first, first + self.step * (stop - start), self.step)

    def output_interval(self, start: int, stop: int) -> Interval:
        """Return the output frames of this run that show source frames [start, stop); may be empty."""
        if self.step == 0:
            return (self.start_frame, self.stop_frame if start <= self.source_frame < stop else self.start_frame)
        if self.step == 1:
            first, last = start - self.source_frame, stop - self.source_frame
        else:
            first, last = self.source_frame - stop + 1, self.source_frame - start + 1
        length = self.stop_frame - self.start_frame
        first, last = min(max(first, 0), length), min(max(last, 0), length)
        return (self.start_frame + first, self.start_frame + last)


@dataclass(frozen=True, slots=True)
class OutputTimeline:
    """Which source frame is shown as which output frame, and when.

    The whole video maps onto itself; an extraction skips frames; a policy that extends the video repeats some.
    """

    runs: tuple[FrameRun, ...]
    """In order, tiling the output."""
    pts: Sequence[int]
    """Presentation time of each output frame in ticks of the source's time base, strictly increasing."""
    end_pts: int
    """Time at which the last frame ends, in ticks."""
    time_base: Fraction
    is_source: bool
    """Whether output frame i is source frame i at its own time, as far as the source goes."""

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self, frame: int) -> Fraction:
        """Return the time of an output frame in seconds since the first one; frame == len gives the end."""
        ticks = self.end_pts if frame == len(self.pts) else self.pts[frame]
        return (ticks - self.pts[0]) * self.time_base

    def frame_at(self, seconds: Fraction) -> int:
        """Return the first output frame shown at or after a time; len after the last."""
        return bisect_left(self.pts, self.pts[0] + seconds / self.time_base)

    def source_of_each(self) -> NDArray[np.int64]:
        """Return which source frame is shown as each output frame."""
        runs = [np.asarray(run.source_frames(run.start_frame, run.stop_frame), np.int64) for run in self.runs]
        return np.concatenate(runs)

    def source_intervals(self, intervals: Sequence[Interval]) -> list[Interval]:
        """Return the source frames that are shown in intervals of the output."""
        shown = []
        for run in self.runs:
            for start, stop in intersect(intervals, [(run.start_frame, run.stop_frame)]):
                frames = run.source_frames(start, stop)
                shown.append((min(frames[0], frames[-1]), max(frames[0], frames[-1]) + 1))
        return merge(shown)
