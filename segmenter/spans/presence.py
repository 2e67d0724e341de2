"""PURE: when a face counts as seen, and why not: thresholds with hysteresis, gaps, what is too short to show."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from media.faces import Face, FacePath
from media.intervals import Interval
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Shot
from segmenter.tracks import SAME_FACE, Track, box_distance, estimate_yaw

NO_FACE = "no face"
NOT_SCANNED = "no frame scanned"
MOUTH_MARGIN = 0.06
"""Distance, as a share of the face's height, that the corners of the mouth keep from the picture's border: of pictures
that were cut off at the mouth, detectors place it up to 0.05 inside."""
SLACK = 0.85
"""A face that counts does so until it misses a threshold (other than the score's, which are two) by more than this."""


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
    min_sharpness: float = 0.04
    """Faces less sharp (segmenter.appearance) are left alone: blurred by a sigma of about 3 % of their height."""
    min_light: float = 0.07
    """Faces whose mean luma is lower, 0 being black and 1 white, are left alone."""


@dataclass(frozen=True, slots=True)
class PresenceInterval:
    """Frames of a shot in one state; reason is empty while the face counts."""

    start: int
    stop: int
    reason: str


def find_presence(
    shot: Shot,
    face: Track,
    own: Interval,
    table: FrameTable,
    interval: Interval,
    settings: SpanSettings,
    other: str,
    upright_size: tuple[int, int],
) -> list[PresenceInterval]:
    """Tile the frames of a shot that are a face's own with runs in which it counts or, for one reason, does not.

    interval: what the job renders; other: the reason where somebody else is seen alone.
    """
    runs = _runs(shot.within(*own), face, settings, other, upright_size)
    runs = _fill_gaps(shot, face, runs, table, settings.min_off_seconds)
    return _drop_short(runs, table, interval, settings.min_on_seconds)


def why_not(all_runs: Sequence[Sequence[PresenceInterval]], start: int, stop: int) -> list[PresenceInterval]:
    """Return why no lane counts in [start, stop); a face that is there and unfit says more than none."""
    edges = {edge for runs in all_runs for run in runs for edge in (run.start, run.stop) if start < edge < stop}
    parts = pairwise([start, *sorted(edges), stop])
    said = []
    for first, last in parts:
        reasons = [run.reason for runs in all_runs for run in runs if run.start <= first < run.stop]
        said.append(PresenceInterval(first, last, min(reasons, key=lambda reason: reason == NO_FACE)))
    return _joined(said)


def _runs(
    shot: Shot, target: Track, settings: SpanSettings, other: str, upright_size: tuple[int, int]
) -> list[PresenceInterval]:
    """Tile a shot with runs of one state. Where the state changes between two samples, half way is the border.

    samples    #     #     .     .
    runs       [--------)[---------
    """
    if not shot.samples:
        return [PresenceInterval(shot.start, shot.stop, NOT_SCANNED)]
    states = list(_states(shot, target, settings, other, upright_size))
    runs: list[PresenceInterval] = []
    start = shot.start
    for (frame, reason), (later, later_reason) in pairwise(states):
        if reason != later_reason:
            border = (frame + later + 1) // 2
            runs.append(PresenceInterval(start, border, reason))
            start = border
    return [*runs, PresenceInterval(start, shot.stop, states[-1][1])]


def _states(
    shot: Shot, target: Track, settings: SpanSettings, other: str, upright_size: tuple[int, int]
) -> Iterator[tuple[int, str]]:
    """Yield (frame, reason) for each sample, with hysteresis; no reason where the face counts."""
    on = False
    others = _faces_of(shot)
    for sample in shot.samples:
        face = target.get(sample.frame)
        threshold = settings.offset if on else settings.onset
        if face is None:
            reason = _why_another(others.get(sample.frame, []), settings, other, upright_size)
        else:
            reason = NO_FACE if face.score < threshold else _unfit(face, settings, upright_size, SLACK if on else 1.0)
        on = not reason
        yield sample.frame, reason


def _faces_of(shot: Shot) -> dict[int, list[Face]]:
    """Return the faces of each sample."""
    faces: dict[int, list[Face]] = {}
    for track in shot.tracks:
        for frame, face in track.items():
            faces.setdefault(frame, []).append(face)
    return faces


def _why_another(faces: Sequence[Face], settings: SpanSettings, other: str, upright_size: tuple[int, int]) -> str:
    """Return why nothing is rendered where the target is not seen: nobody is there, or somebody else."""
    is_seen = any(face.score >= settings.onset and not _unfit(face, settings, upright_size) for face in faces)
    return other if is_seen else NO_FACE


def _unfit(face: Face, settings: SpanSettings, upright_size: tuple[int, int], slack: float = 1.0) -> str:
    """Return why a face that is there is not rendered; empty if it is. slack: in (0, 1], 1 for none.

    What a hand or a microphone hides is not among the reasons: the detector invents the mouth behind them, and is as
    sure of the face as before (0.92 and more, of 1.00).
    """
    if face.box.height < slack * settings.min_face_px:
        return f"face smaller than {settings.min_face_px:g} px"
    yaw = estimate_yaw(face)
    if yaw is not None and slack * yaw > settings.max_yaw_degrees:
        return "face turned away"
    if _is_mouth_outside(face, upright_size, slack * MOUTH_MARGIN):
        return "mouth outside the picture"
    if face.light is not None and face.light < slack * settings.min_light:
        return "face too dark"
    is_blurred = face.sharpness is not None and face.sharpness < slack * settings.min_sharpness
    return "face too blurred" if is_blurred else ""


def _is_mouth_outside(face: Face, upright_size: tuple[int, int], margin: float) -> bool:
    """Tell whether a corner of the mouth lies beyond the picture or nearer to its border than a share of the face."""
    if face.landmarks is None:
        return False
    (width, height), least = upright_size, margin * face.box.height
    return any(min(x, width - x, y, height - y) < least for x, y in face.landmarks[3:])


def _fill_gaps(
    shot: Shot, target: Track, runs: list[PresenceInterval], table: FrameTable, min_off_seconds: float
) -> list[PresenceInterval]:
    """Turn short stretches without the face, between two with it, into face, unless somebody else is in its place.

    ####..####      ->  ##########
    ####......####  ->  ####......####      gaps at the edges of the shot stay
    ####BB####      ->  ####BB####          who walks past keeps their own mouth
    """
    seen = [at for at, run in enumerate(runs) if not run.reason]
    filled = list(runs)
    path = FacePath(tuple(target), tuple(face.box for face in target.values()))
    for before, after in pairwise(seen):
        gap = runs[before].stop, runs[after].start
        if _seconds(*gap, table) < min_off_seconds and not _is_taken(shot, path, gap):
            filled[before + 1 : after] = [replace(run, reason="") for run in runs[before + 1 : after]]
    return _joined(filled)


def _is_taken(shot: Shot, path: FacePath, gap: Interval) -> bool:
    """Tell whether, while the face of a path is not seen, another one is where it would be looked for."""
    first, last = (bisect_left(shot.samples, frame, key=lambda sample: sample.frame) for frame in gap)
    seen = path.frames[bisect_left(path.frames, gap[0]) : bisect_left(path.frames, gap[1])]
    return any(
        box_distance(face.box, path.box_at(sample.frame)) <= SAME_FACE
        for sample in shot.samples[first:last]
        if sample.frame not in seen
        for face in sample.faces
    )


def _drop_short(
    runs: list[PresenceInterval], table: FrameTable, interval: Interval, min_on_seconds: float
) -> list[PresenceInterval]:
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


def _joined(runs: list[PresenceInterval]) -> list[PresenceInterval]:
    groups = (list(group) for _, group in groupby(runs, key=lambda run: run.reason))
    return [PresenceInterval(group[0].start, group[-1].stop, group[0].reason) for group in groups]


def _seconds(start: int, stop: int, table: FrameTable) -> float:
    return float(table.seconds(stop) - table.seconds(start))
