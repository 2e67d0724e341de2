"""PURE: spans as rows that a user may correct, and corrected rows as spans.

spans --rows_of--> rows --the user--> rows --spans_of_rows--> spans
                                       ^ the cast says where the faces are, the rows which of them are rendered
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from media.timeline import Interval, Kind, Span, complement, merge
from segmenter.people import Cast, Shot
from segmenter.spans import face_span, join_faces, join_no_face, shots_within, split_lane
from segmenter.targets import BY_PLACE, Choice, joined, lanes_of

NOT_LISTED = "not in the span file"
NOT_SEEN = "the span file asks for a face, but the scan saw none in this shot"
LEFT_OUT = "left out by the span file"


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One row of a span file."""

    line: int
    """Where it stands in the file."""
    start_frame: int
    stop_frame: int
    person: int | None
    """Whose face; None for the one that segmenter.target finds by its place."""
    kind: Kind
    reason: str


def rows_of(spans: Sequence[Span]) -> list[SpanRow]:
    """Return spans as rows, in order. Faces of unknown people that overlap become one row."""
    known = [span for span in spans if span.kind != "face" or span.person is not None]
    unknown = [span for span in spans if span.kind == "face" and span.person is None]
    rows = [(span.start_frame, span.stop_frame, span.person, span.kind, span.reason) for span in known]
    rows += [(start, stop, None, "face", "") for start, stop in _disjoint(unknown)]
    return [
        SpanRow(line, *row)
        for line, row in enumerate(sorted(rows, key=lambda row: (row[0], row[2] or 0, row[1])), start=2)
    ]


def _disjoint(spans: Sequence[Span]) -> list[Interval]:
    """Return the frames of spans; those that overlap as one interval, those that only touch apart."""
    out: list[Interval] = []
    for span in sorted(spans, key=lambda span: (span.start_frame, span.stop_frame)):
        if out and span.start_frame < out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], span.stop_frame)
        else:
            out.append((span.start_frame, span.stop_frame))
    return out


def spans_of_rows(
    rows: Sequence[SpanRow],
    cast: Cast,
    upright_size: tuple[int, int],
    intervals: Sequence[Interval],
    choice: Choice,
) -> tuple[Span, ...]:
    """Return the spans that rows ask for; they cover each interval, and face spans lie inside one shot.

    Rows decide alone: no threshold is applied. In each shot of a face row the box comes from where the scan saw that
    face in the shot, held before the first and behind the last such place; a shot in which it saw none is left as it
    is. Frames that no row names are left as they are, too. choice: whom rows without a person mean, if that is decided
    by place (it is the face near the centre, else).
    """
    place = choice if choice.kind in ("centre", "largest", "all", "track") else BY_PLACE
    ordered = sorted(rows, key=lambda row: row.start_frame)
    latest_stops = list(accumulate((row.stop_frame for row in ordered), max))
    spans: list[Span] = []
    for interval in intervals:
        for shot in shots_within(cast, interval):
            first = bisect_right(latest_stops, shot.start)
            last = bisect_left(ordered, shot.stop, key=lambda row: row.start_frame)
            spans += _spans_of(shot, ordered[first:last], upright_size, place, interval)
    return tuple(join_no_face(join_faces(spans)))


def _spans_of(
    shot: Shot, rows: Sequence[SpanRow], upright_size: tuple[int, int], place: Choice, interval: Interval
) -> list[Span]:
    own = [
        replace(row, start_frame=max(row.start_frame, shot.start), stop_frame=min(row.stop_frame, shot.stop))
        for row in rows
        if row.start_frame < shot.stop and shot.start < row.stop_frame
    ]
    faces = [
        replace(span, person=row.person if row.person is not None else span.person)
        for row in own
        if row.kind == "face"
        for span in _faces_of(shot, row, upright_size, place, interval)
    ]
    spans = list(faces)
    for start, stop in complement(merge((face.start_frame, face.stop_frame) for face in faces), shot.start, shot.stop):
        said = [(max(row.start_frame, start), min(row.stop_frame, stop), _reason(row)) for row in own]
        named = [Span(a, b, "no_face", reason) for a, b, reason in sorted(said) if a < b]
        gaps = complement(merge((span.start_frame, span.stop_frame) for span in named), start, stop)
        spans += _first_said(named)
        spans += (Span(a, b, "no_face", NOT_LISTED) for a, b in gaps)
    return sorted(spans, key=lambda span: (span.start_frame, span.person or 0))


def _first_said(spans: Sequence[Span]) -> list[Span]:
    """Return spans without overlaps: of two face rows that find no face, the one that begins first gives the reason."""
    out: list[Span] = []
    for span in spans:
        start = max(span.start_frame, out[-1].stop_frame if out else 0)
        if start < span.stop_frame:
            out.append(replace(span, start_frame=start))
    return out


def _reason(row: SpanRow) -> str:
    return NOT_SEEN if row.kind == "face" else row.reason or LEFT_OUT


def _faces_of(shot: Shot, row: SpanRow, upright_size: tuple[int, int], place: Choice, interval: Interval) -> list[Span]:
    """Return what a face row, cut to a shot, renders there."""
    if row.person is not None:
        lanes = [joined(shot, row.person)]
    elif place.kind == "all":
        return _everybody_else(shot, row, interval)
    else:
        lanes = lanes_of(shot, place, upright_size)
    return [
        face_span(shot, face, (max(start, row.start_frame), min(stop, row.stop_frame)), interval)
        for lane in lanes
        if lane
        for face, (start, stop) in split_lane(shot, lane)
        if start < row.stop_frame and row.start_frame < stop
    ]


def _everybody_else(shot: Shot, row: SpanRow, interval: Interval) -> list[Span]:
    """Return the faces that belong to nobody, each from where it is first seen in the row to where it is last seen."""
    spans = []
    for track, person in zip(shot.tracks, shot.people, strict=True):
        seen = _inside(shot.seen(track), row) if person is None else []
        if seen:
            spans.append(face_span(shot, track, (seen[0][0], seen[-1][1]), interval))
    return spans


def _inside(intervals: Sequence[Interval], row: SpanRow) -> list[Interval]:
    cut = [(max(start, row.start_frame), min(stop, row.stop_frame)) for start, stop in intervals]
    return [(start, stop) for start, stop in cut if start < stop]
