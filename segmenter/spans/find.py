"""PURE: turn face samples into spans: which face is rendered when, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from media.clips import FaceSpan, Gap, Span, in_time_order
from media.faces import Face, FacePath
from media.identity import EmbedderSettings
from media.intervals import Interval, complement, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, Shot, find_people
from segmenter.people.targets import ByPlace, person_in
from segmenter.scan import Scan
from segmenter.spans.neutral_face import find_closed_mouth, find_neutral_faces
from segmenter.spans.presence import PresenceInterval, SpanRule, SpanSettings, explain_gap
from segmenter.tracks import SAME_FACE, Track, box_distance


def find_spans(
    scan: Scan, table: FrameTable, intervals: Sequence[Interval], settings: SpanSettings
) -> tuple[Span, ...]:
    """Return the spans of one face in each shot, chosen by its position: large and near the centre."""
    identities = find_people(scan, table, intervals, EmbedderSettings())
    return find_target_spans(identities, intervals, SpanRule(table, settings, ByPlace()))


def find_target_spans(identities: Identities, intervals: Sequence[Interval], rule: SpanRule) -> tuple[Span, ...]:
    """Cover each interval with spans; face spans lie inside one shot and carry the path of one face.

    cuts               |                    |
    target     .. ######|####..##....#####   |
    spans      [-)[----)[-------)[--)[-----)[--       the gap of 2 is filled, that of 4 is not
               no  face    face   no  face   no

    intervals: sorted, disjoint, in frames. Face spans of several people may overlap in time; all other spans are
    disjoint. Neighbouring gaps with the same reason are joined, across cuts too.
    """
    spans: list[Span] = []
    for interval in intervals:
        for shot in shots_within(identities, interval):
            spans += _spans_of(shot, interval, rule)
    return tuple(join_gaps(spans))


def shots_within(identities: Identities, interval: Interval) -> Iterator[Shot]:
    """Yield the parts of the shots in an interval."""
    for shot in identities.shots:
        if shot.start < interval[1] and interval[0] < shot.stop:
            yield shot.within(*interval)


def _spans_of(shot: Shot, interval: Interval, rule: SpanRule) -> list[Span]:
    """Cover a shot with the face spans of its targets, and say why nothing is rendered in the other frames."""
    found = [track_spans(shot, track, interval, rule) for track in rule.choice.tracks_in(shot)]
    faces = [span for spans, _ in found for span in spans]
    presences = [presence for _, presence in found]
    rendered = merge((span.start_frame, span.stop_frame) for span in faces)
    gaps = (
        Gap(part.start, part.stop, part.reason)
        for start, stop in complement(rendered, shot.start, shot.stop)
        for part in explain_gap(presences, start, stop)
    )
    return in_time_order([*faces, *gaps])


def track_spans(
    shot: Shot, target: Track, interval: Interval, rule: SpanRule
) -> tuple[list[FaceSpan], list[PresenceInterval]]:
    """Return the face spans of a target track, and the presence intervals that tile the shot.

    interval: the frames of the job around the shot.
    """
    spans: list[FaceSpan] = []
    presence: list[PresenceInterval] = []
    for face, frames in split_track(shot, target):
        parts = rule.find_presence(shot, face, frames, interval)
        spans += (face_span(shot, face, (part.start, part.stop), interval) for part in parts if not part.reason)
        presence += parts
    return spans, presence


def split_track(shot: Shot, target: Track) -> list[tuple[Track, Interval]]:
    """Cut a target track where one face takes another one's place; return each face with its frames.

    target     A A A A B B B        no path leads from A's place to B's, and B gets no neutral face of A
    frames     [------)[----)       they tile the shot; the border lies half way between the two
    """
    track_of = {id(face): index for index, track in enumerate(shot.tracks) for face in track.values()}

    def is_another(face: Face, last: Face) -> bool:
        """Two tracks may be one face all the same: a second box around it, or one that was lost for a while."""
        old, new = track_of.get(id(last)), track_of.get(id(face))
        if old == new:
            return False
        people = {person for index in (old, new) if index is not None and (person := shot.people[index]) is not None}
        return len(people) > 1 or box_distance(last.box, face.box) > SAME_FACE

    faces: list[Track] = [{}]
    for frame, face in target.items():
        if faces[-1] and is_another(face, next(reversed(faces[-1].values()))):
            faces.append({})
        faces[-1][frame] = face
    borders = [(next(reversed(before)) + next(iter(after)) + 1) // 2 for before, after in pairwise(faces)]
    return list(zip(faces, pairwise([shot.start, *borders, shot.stop]), strict=True))


def face_span(shot: Shot, track: Track, frames: Interval, interval: Interval) -> FaceSpan:
    """Return a face span of a shot with the face's boxes within it and the nearest one beyond each end.

    It fades where the shot goes on. The scan does not tell whether the shot goes on beyond the border of the frames of
    the job (interval); there it fades, too.

    cuts        |          |
    span        [-----)----|     fades out, not in
    """
    start, stop = frames
    inside = [frame for frame in track if start <= frame < stop]
    before = [frame for frame in track if frame < start][-1:]
    after = [frame for frame in track if frame >= stop][:1]
    seen = (*before, *inside, *after)
    return FaceSpan(
        start,
        stop,
        FacePath(seen, tuple(track[frame].box for frame in seen)),
        person=person_in(shot, track, inside or seen),
        fades_in=start > shot.start or start == interval[0],
        fades_out=stop < shot.stop or stop == interval[1],
        neutral_faces=find_neutral_faces(track, inside),
        closed_mouth=find_closed_mouth(track, inside),
    )


def join_gaps(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans in order, neighbouring gaps with the same reason as one."""
    last: Span | None = None
    for span in spans:
        if last is None:
            last = span
        elif isinstance(last, Gap) and last.reason == span.reason and last.stop_frame == span.start_frame:
            last = replace(last, stop_frame=span.stop_frame)
        else:
            yield last
            last = span
    if last is not None:
        yield last
