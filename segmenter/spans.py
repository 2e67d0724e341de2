"""PURE: turn face samples into spans. Which face, seen when, and why not elsewhere."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from media.timeline import Face, FacePath, FaceSample, FrameTable, Interval, Span
from segmenter.tracks import Track, choose_target, estimate_yaw

if TYPE_CHECKING:
    from segmenter.scanner import Scan


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """When a face counts as seen."""

    onset: float = 0.6
    """Detector score in [0, 1] at which a face begins to count."""
    offset: float = 0.4
    """Score below which it no longer counts; at most the onset."""
    min_on_seconds: float = 0.4
    """A face seen for less time is left alone, unless it may be seen for longer beyond the interval's border."""
    min_off_seconds: float = 0.4
    """Gaps shorter than this inside a shot are filled."""
    min_face_px: float = 64
    """Height of the smallest face, forehead to chin, in pixels of the upright picture: two thirds of what the network
    draws, which is 96."""
    max_yaw_degrees: float = 60
    """Faces turned further to a side are left alone; not applied where a detector gives no landmarks."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Frames of a shot in one state; reason is empty while the face counts."""

    start: int
    stop: int
    reason: str


def find_spans(
    scan: Scan, table: FrameTable, intervals: Sequence[Interval], settings: SpanSettings
) -> tuple[Span, ...]:
    """Tile each interval with spans; face spans lie inside one shot and carry the path of one target face.

    cuts               |                    |
    target     .. ######|####..##....#####   |
    spans      [-)[----)[-------)[--)[-----)[--       the gap of 2 is filled, that of 4 is not
               no  face    face   no  face   no

    intervals: sorted, disjoint, in frames. Neighbouring no-face spans of one reason are joined, across cuts too.
    """
    spans: list[Span] = []
    for start, stop in intervals:
        cuts = [cut for cut in scan.cuts if start < cut < stop]
        for shot in zip([start, *cuts], [*cuts, stop], strict=True):
            samples = _within(scan.samples, shot)
            target = choose_target(samples, scan.upright_size)
            runs = _runs(samples, target, shot, settings)
            runs = _fill_gaps(runs, table, settings.min_off_seconds)
            runs = _drop_short(runs, table, (start, stop), settings.min_on_seconds)
            spans += (_span(run, target) for run in runs)
    return tuple(_join_no_face(spans))


def _within(samples: Sequence[FaceSample], shot: Interval) -> Sequence[FaceSample]:
    first, last = (bisect_left(samples, frame, key=lambda sample: sample.frame) for frame in shot)
    return samples[first:last]


def _runs(samples: Sequence[FaceSample], target: Track, shot: Interval, settings: SpanSettings) -> list[_Run]:
    """Tile a shot with runs of one state. Where the state changes between two samples, half way is the border.

    samples    #     #     .     .
    runs       [--------)[---------
    """
    if not samples:
        return [_Run(*shot, "no frame scanned")]
    states = list(_states(samples, target, settings))
    runs: list[_Run] = []
    start = shot[0]
    for (frame, reason), (later, later_reason) in pairwise(states):
        if reason != later_reason:
            border = (frame + later + 1) // 2
            runs.append(_Run(start, border, reason))
            start = border
    return [*runs, _Run(start, shot[1], states[-1][1])]


def _states(samples: Sequence[FaceSample], target: Track, settings: SpanSettings) -> Iterator[tuple[int, str]]:
    """Yield (frame, reason) for each sample, with hysteresis in the score; no reason where the face counts."""
    on = False
    for sample in samples:
        face = target.get(sample.frame)
        threshold = settings.offset if on else settings.onset
        reason = "no face" if face is None or face.score < threshold else _unfit(face, settings)
        on = not reason
        yield sample.frame, reason


def _unfit(face: Face, settings: SpanSettings) -> str:
    if face.box.height < settings.min_face_px:
        return f"face smaller than {settings.min_face_px:g} px"
    yaw = estimate_yaw(face)
    return "face turned away" if yaw is not None and yaw > settings.max_yaw_degrees else ""


def _fill_gaps(runs: list[_Run], table: FrameTable, min_off_seconds: float) -> list[_Run]:
    """Turn short stretches without the face, between two with it, into face.

    ####..####      ->  ##########
    ####......####  ->  ####......####      gaps at the edges of the shot stay
    """
    seen = [at for at, run in enumerate(runs) if not run.reason]
    filled = list(runs)
    for before, after in pairwise(seen):
        if _seconds(runs[before].stop, runs[after].start, table) < min_off_seconds:
            filled[before + 1 : after] = [replace(run, reason="") for run in runs[before + 1 : after]]
    return _joined(filled)


def _drop_short(runs: list[_Run], table: FrameTable, interval: Interval, min_on_seconds: float) -> list[_Run]:
    """Give up stretches in which the face is seen too briefly, unless they touch a border of the interval.

    ..##..####  ->  ......####
    """
    reason = f"face seen for less than {min_on_seconds:g} s"
    kept = [
        replace(run, reason=reason)
        if not run.reason
        and interval[0] < run.start
        and run.stop < interval[1]
        and _seconds(run.start, run.stop, table) < min_on_seconds
        else run
        for run in runs
    ]
    return _joined(kept)


def _joined(runs: list[_Run]) -> list[_Run]:
    groups = (list(group) for _, group in groupby(runs, key=lambda run: run.reason))
    return [_Run(group[0].start, group[-1].stop, group[0].reason) for group in groups]


def _seconds(start: int, stop: int, table: FrameTable) -> float:
    return float(table.seconds(stop) - table.seconds(start))


def _span(run: _Run, target: Track) -> Span:
    """Make a span of a run; a face span gets the target's boxes within it and the nearest one beyond each end."""
    if run.reason:
        return Span(run.start, run.stop, "no_face", run.reason)
    inside = [frame for frame in target if run.start <= frame < run.stop]
    before = [frame for frame in target if frame < run.start][-1:]
    after = [frame for frame in target if frame >= run.stop][:1]
    frames = (*before, *inside, *after)
    path = FacePath(frames, tuple(target[frame].box for frame in frames))
    return Span(run.start, run.stop, "face", path=path)


def _join_no_face(spans: Iterable[Span]) -> Iterator[Span]:
    last: Span | None = None
    for span in spans:
        if last is None:
            last = span
        elif last.reason and last.reason == span.reason and last.stop_frame == span.start_frame:
            last = replace(last, stop_frame=span.stop_frame)
        else:
            yield last
            last = span
    if last is not None:
        yield last
