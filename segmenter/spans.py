"""PURE: turn face samples into spans. Which face, seen when, and why not elsewhere."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from media.identity import EmbedderSettings
from media.timeline import Face, FacePath, FrameTable, Interval, Rest, Span, complement, merge
from segmenter.people import Cast, Shot, find_people
from segmenter.targets import BY_PLACE, Choice, lanes_of, person_in
from segmenter.tracks import SAME_FACE, Track, box_distance, estimate_yaw

if TYPE_CHECKING:
    from segmenter.scanner import Scan

NO_FACE = "no face"
REST_FRAMES = 1500
"""A mouth at rest is looked for once in so many frames, a minute: after that light and head may be others."""
SHUT_SHARE = 1.15
"""How much more open than ever a mouth may look that is taken for shut; what it is in each frame is seen when it is
drawn (renderer.silence)."""
SHUT_FRAMES = 15
"""How long it must stay so, 0.6 s at 25 frames a second: in speech lips meet for 0.1 to 0.3 s."""
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
class _Run:
    """Frames of a shot in one state; reason is empty while the face counts."""

    start: int
    stop: int
    reason: str


def find_spans(
    scan: Scan, table: FrameTable, intervals: Sequence[Interval], settings: SpanSettings
) -> tuple[Span, ...]:
    """Return the spans of the face of each shot that is large and near the centre, whoever it is; see cast_spans."""
    cast = find_people(scan, table, intervals, EmbedderSettings())
    return cast_spans(cast, scan.upright_size, table, intervals, settings, BY_PLACE)


def cast_spans(
    cast: Cast,
    upright_size: tuple[int, int],
    table: FrameTable,
    intervals: Sequence[Interval],
    settings: SpanSettings,
    choice: Choice,
) -> tuple[Span, ...]:
    """Cover each interval with spans; face spans lie inside one shot and carry the path of one face.

    cuts               |                    |
    target     .. ######|####..##....#####   |
    spans      [-)[----)[-------)[--)[-----)[--       the gap of 2 is filled, that of 4 is not
               no  face    face   no  face   no

    intervals: sorted, disjoint, in frames. choice: whose faces. Those of several people may overlap in time; all other
    spans are disjoint. Neighbouring no-face spans of one reason are joined, across cuts too.
    """
    spans: list[Span] = []
    for interval in intervals:
        for shot in shots_within(cast, interval):
            lanes = lanes_of(shot, choice, upright_size)
            spans += _spans_of(shot, lanes, table, interval, settings, choice.other, upright_size)
    return tuple(join_no_face(spans))


def shots_within(cast: Cast, interval: Interval) -> Iterator[Shot]:
    """Yield the parts of the shots in an interval."""
    for shot in cast.shots:
        if shot.start < interval[1] and interval[0] < shot.stop:
            yield shot.within(*interval)


def _spans_of(
    shot: Shot,
    lanes: Sequence[Track],
    table: FrameTable,
    interval: Interval,
    settings: SpanSettings,
    other: str,
    upright_size: tuple[int, int],
) -> list[Span]:
    """Cover a shot with the face spans of every lane, and say of the other frames why nothing is rendered there."""
    found = [lane_spans(shot, lane, table, interval, settings, other, upright_size) for lane in lanes]
    spans = [span for faces, _ in found for span in faces]
    all_runs = [runs for _, runs in found]
    faces = merge((span.start_frame, span.stop_frame) for span in spans)
    for start, stop in complement(faces, shot.start, shot.stop):
        spans += (Span(run.start, run.stop, "no_face", run.reason) for run in _reasons(all_runs, start, stop))
    return sorted(spans, key=lambda span: (span.start_frame, span.person or 0))


def lane_spans(
    shot: Shot,
    lane: Track,
    table: FrameTable,
    interval: Interval,
    settings: SpanSettings,
    other: str,
    upright_size: tuple[int, int],
) -> tuple[list[Span], list[_Run]]:
    """Return the face spans of a lane, and the runs that tile the shot, with the reasons for what lies between."""
    spans: list[Span] = []
    all_runs: list[_Run] = []
    for face, own in split_lane(shot, lane):
        runs = _runs(shot.within(*own), face, settings, other, upright_size)
        runs = _fill_gaps(shot, face, runs, table, settings.min_off_seconds)
        runs = _drop_short(runs, table, interval, settings.min_on_seconds)
        spans += (face_span(shot, face, (run.start, run.stop), interval) for run in runs if not run.reason)
        all_runs += runs
    return spans, all_runs


def _reasons(all_runs: Sequence[Sequence[_Run]], start: int, stop: int) -> list[_Run]:
    """Return why no lane counts in [start, stop); a face that is there and unfit says more than none."""
    edges = {edge for runs in all_runs for run in runs for edge in (run.start, run.stop) if start < edge < stop}
    parts = pairwise([start, *sorted(edges), stop])
    said = []
    for first, last in parts:
        reasons = [run.reason for runs in all_runs for run in runs if run.start <= first < run.stop]
        said.append(_Run(first, last, min(reasons, key=lambda reason: reason == NO_FACE)))
    return _joined(said)


def _runs(shot: Shot, target: Track, settings: SpanSettings, other: str, upright_size: tuple[int, int]) -> list[_Run]:
    """Tile a shot with runs of one state. Where the state changes between two samples, half way is the border.

    samples    #     #     .     .
    runs       [--------)[---------
    """
    if not shot.samples:
        return [_Run(shot.start, shot.stop, NOT_SCANNED)]
    states = list(_states(shot, target, settings, other, upright_size))
    runs: list[_Run] = []
    start = shot.start
    for (frame, reason), (later, later_reason) in pairwise(states):
        if reason != later_reason:
            border = (frame + later + 1) // 2
            runs.append(_Run(start, border, reason))
            start = border
    return [*runs, _Run(start, shot.stop, states[-1][1])]


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


def _fill_gaps(shot: Shot, target: Track, runs: list[_Run], table: FrameTable, min_off_seconds: float) -> list[_Run]:
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


def split_lane(shot: Shot, lane: Track) -> list[tuple[Track, Interval]]:
    """Cut a lane where one face takes another one's place; return each face with the frames that are its own.

    lane       A A A A B B B        no path leads from A's place to B's, nor is B's mouth at rest lent to A
    frames     [------)[----)       they tile the shot; half way between the two is the border
    """
    track_of = {id(face): at for at, track in enumerate(shot.tracks) for face in track.values()}

    def is_another(face: Face, last: Face) -> bool:
        """Two tracks may be one face all the same: a second box around it, or one that was lost for a while."""
        old, new = track_of.get(id(last)), track_of.get(id(face))
        if old == new:
            return False
        people = {person for at in (old, new) if at is not None and (person := shot.people[at]) is not None}
        return len(people) > 1 or box_distance(last.box, face.box) > SAME_FACE

    faces: list[Track] = [{}]
    for frame, face in lane.items():
        if faces[-1] and is_another(face, next(reversed(faces[-1].values()))):
            faces.append({})
        faces[-1][frame] = face
    borders = [(next(reversed(one)) + next(iter(two)) + 1) // 2 for one, two in pairwise(faces)]
    return list(zip(faces, pairwise([shot.start, *borders, shot.stop]), strict=True))


def face_span(shot: Shot, track: Track, frames: Interval, interval: Interval) -> Span:
    """Return a face span of a shot with the face's boxes within it and the nearest one beyond each end.

    It fades where the shot goes on. At the borders of what was scanned nobody saw whether it does; there it fades, too.

    cuts        |          |
    span        [-----)----|     fades out, not in
    """
    start, stop = frames
    inside = [frame for frame in track if start <= frame < stop]
    before = [frame for frame in track if frame < start][-1:]
    after = [frame for frame in track if frame >= stop][:1]
    seen = (*before, *inside, *after)
    return Span(
        start,
        stop,
        "face",
        path=FacePath(seen, tuple(track[frame].box for frame in seen)),
        person=person_in(shot, track, inside or seen),
        fades_in=start > shot.start or start == interval[0],
        fades_out=stop < shot.stop or stop == interval[1],
        rests=_rests(track, inside),
        shut=_shut(track, inside),
    )


def _shut(track: Track, frames: Sequence[int]) -> tuple[Interval, ...]:
    """Return where the mouth looks nearly as shut as it ever does, for SHUT_FRAMES at least, by every look in between.

    Lips that only meet in speech part again sooner. To show the source's own mouth so briefly would flicker.
    """
    looks = {frame: openness for frame in frames if (openness := track[frame].openness) is not None}
    most = SHUT_SHARE * min(looks.values(), default=0.0)
    stretches = []
    for is_shut, group in groupby(looks, key=lambda frame: looks[frame] <= most):
        first, *rest = group
        last = rest[-1] if rest else first
        if is_shut and last - first >= SHUT_FRAMES:
            stretches.append((first, last + 1))
    return tuple(stretches)


def _rests(track: Track, frames: Sequence[int]) -> tuple[Rest, ...]:
    """Return where the mouth looks most shut, once in every REST_FRAMES frames of the video."""
    looked = [(frame, openness) for frame in frames if (openness := track[frame].openness) is not None]
    blocks = (list(block) for _, block in groupby(looked, key=lambda each: each[0] // REST_FRAMES))
    best = (min(block, key=lambda each: each[1])[0] for block in blocks)
    return tuple(Rest(frame, replace(track[frame], embedding=b"")) for frame in best)


def join_no_face(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans in order, neighbouring no-face spans of one reason as one."""
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
