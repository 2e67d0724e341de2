"""PURE: which source frames the output shows, and when: the whole video, ranges of it, or the video prolonged."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from media.intervals import Interval
from media.packets.frame_table import FrameTable
from media.timeline import FrameRun, OutputTimeline

Extension = Literal["freeze", "loop", "bounce"]


def identity_timeline(table: FrameTable) -> OutputTimeline:
    """Return the timeline of an output that shows every source frame at its own time."""
    runs = (FrameRun(0, len(table), 0, 1),)
    return OutputTimeline(runs, table.pts, table.end_pts, table.time_base, is_source=True)


def concat_ranges(table: FrameTable, kept: Sequence[Interval], *, start: int = 0) -> OutputTimeline:
    """Return the timeline of an output that shows ranges of the source one after the other.

    kept: half-open frame intervals in the order in which they are shown. Each range keeps the distances between its
    frames; the next one starts where the last frame of the range before it stops being shown. start: when the first
    frame is shown, in ticks.
    """
    runs: list[FrameRun] = []
    pts = array("q")
    clock = start
    for start, stop in kept:
        runs.append(FrameRun(len(pts), len(pts) + stop - start, start, 1))
        offset = clock - table.pts[start]
        pts.extend(ticks + offset for ticks in table.pts[start:stop])
        clock = (table.end_pts if stop == len(table) else table.pts[stop]) + offset
    return OutputTimeline(tuple(runs), pts, clock, table.time_base, is_source=False)


def extend_timeline(timeline: OutputTimeline, seconds: Fraction, how: Extension) -> OutputTimeline:
    """Return a timeline of the whole video that lasts at least `seconds`, frames appended after its end.

    freeze: the last frame is held; loop: the video starts again; bounce: it runs backwards, then forwards, and so on.

        source  0 1 2 3      freeze  0 1 2 3 3 3 3 3     loop  0 1 2 3 0 1 2 3     bounce  0 1 2 3 2 1 0 1
    """
    num_source = len(timeline)
    spans = [timeline.pts[i + 1] - timeline.pts[i] for i in range(num_source - 1)]
    spans.append(timeline.end_pts - timeline.pts[-1])
    typical = sorted(spans)[len(spans) // 2]
    pts, runs = array("q", timeline.pts), list(timeline.runs)
    clock, wanted = timeline.end_pts, timeline.pts[0] + seconds / timeline.time_base
    for first, step, longest in _appended_runs(num_source, how):
        start = len(pts)
        while clock < wanted and len(pts) - start < longest:
            pts.append(clock)
            clock += typical if step == 0 else spans[first + step * (len(pts) - 1 - start)]
        if len(pts) > start:
            runs.append(FrameRun(start, len(pts), first, step))
        if clock >= wanted:
            break
    return OutputTimeline(tuple(runs), pts, clock, timeline.time_base, is_source=True)


def _appended_runs(num_source: int, how: Extension) -> Iterator[tuple[int, int, int]]:
    """Yield (first source frame, step, longest length) of the runs to append, without end."""
    while True:
        if how == "freeze" or num_source == 1:
            yield num_source - 1, 0, 1 << 62
        elif how == "loop":
            yield 0, 1, num_source
        else:
            yield num_source - 2, -1, num_source - 1
            yield 1, 1, num_source - 1


def split_held(timeline: OutputTimeline, borders: Sequence[int]) -> OutputTimeline:
    """Return a timeline whose held runs end wherever a turn begins or ends (output frames, sorted).

    All frames of such a run are one frame of the source, which cannot tell by itself whose turn it is.
    """
    runs: list[FrameRun] = []
    for run in timeline.runs:
        inside = borders[bisect_right(borders, run.start_frame) : bisect_left(borders, run.stop_frame)]
        edges = [run.start_frame, *(inside if run.step == 0 else ()), run.stop_frame]
        runs += (FrameRun(start, stop, run.source_frame, run.step) for start, stop in pairwise(edges))
    return replace(timeline, runs=tuple(runs))
