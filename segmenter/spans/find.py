"""PURE: turn face samples into spans. Which face, seen when, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from media.clips import Span
from media.faces import Face, FacePath
from media.identity import EmbedderSettings
from media.intervals import Interval, complement, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, Shot, find_people
from segmenter.people.targets import BY_PLACE, Choice, lanes_of, person_in
from segmenter.spans.neutral_face import find_closed_mouth, find_neutral_faces
from segmenter.spans.presence import PresenceInterval, SpanSettings, find_presence, why_not
from segmenter.tracks import SAME_FACE, Track, box_distance

if TYPE_CHECKING:
    from segmenter.scan import Scan


def find_spans(
    scan: Scan, table: FrameTable, intervals: Sequence[Interval], settings: SpanSettings
) -> tuple[Span, ...]:
    """Return the spans of the face of each shot that is large and near the centre, whoever it is."""
    cast = find_people(scan, table, intervals, EmbedderSettings())
    return find_target_spans(cast, scan.upright_size, table, intervals, settings, BY_PLACE)


def find_target_spans(
    cast: Identities,
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


def shots_within(cast: Identities, interval: Interval) -> Iterator[Shot]:
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
        spans += (Span(run.start, run.stop, "no_face", run.reason) for run in why_not(all_runs, start, stop))
    return sorted(spans, key=lambda span: (span.start_frame, span.person or 0))


def lane_spans(
    shot: Shot,
    lane: Track,
    table: FrameTable,
    interval: Interval,
    settings: SpanSettings,
    other: str,
    upright_size: tuple[int, int],
) -> tuple[list[Span], list[PresenceInterval]]:
    """Return the face spans of a lane, and the runs that tile the shot, with the reasons for what lies between."""
    spans: list[Span] = []
    all_runs: list[PresenceInterval] = []
    for face, own in split_lane(shot, lane):
        runs = find_presence(shot, face, own, table, interval, settings, other, upright_size)
        spans += (face_span(shot, face, (run.start, run.stop), interval) for run in runs if not run.reason)
        all_runs += runs
    return spans, all_runs


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
        rests=find_neutral_faces(track, inside),
        shut=find_closed_mouth(track, inside),
    )


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
