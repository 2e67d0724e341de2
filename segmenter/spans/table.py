"""PURE: spans as rows that a user may correct, and corrected rows as spans.

spans --to_rows--> rows --the user--> rows --from_rows--> spans
                                       ^ the cast says where the faces are, the rows which of them are rendered
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from media.clips import Kind, Span
from media.intervals import Interval, complement, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import SAME_PLACE, Identities, Shot
from segmenter.people.targets import BY_PLACE, Choice, joined, lanes_of
from segmenter.spans.find import face_span, join_no_face, lane_spans, shots_within, split_lane
from segmenter.spans.presence import SpanSettings
from segmenter.tracks import Track

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
    """Whose face; None for whom segmenter.target means, or else the face that is found by its place."""
    kind: Kind
    reason: str


def to_rows(spans: Sequence[Span]) -> list[SpanRow]:
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


def from_rows(
    rows: Sequence[SpanRow],
    cast: Identities,
    upright_size: tuple[int, int],
    table: FrameTable,
    intervals: Sequence[Interval],
    settings: SpanSettings,
    choice: Choice,
) -> tuple[Span, ...]:
    """Return the spans that rows ask for; they cover each interval, and face spans lie inside one shot.

    Rows decide alone: no threshold is applied. In each shot of a face row the box comes from where the scan saw that
    face in the shot, held before the first and behind the last such place; a shot in which it saw none is left as it
    is. Frames that no row names are left as they are, too, and where rows mean one face twice it is drawn once.

    choice: whom rows without a person mean: certain people where they are seen in the row, else the face that it
    finds by its place; of everybody those whom nobody knows, as settings let them count, and all if none does.
    """
    ordered = sorted(rows, key=lambda row: row.start_frame)
    latest_stops = list(accumulate((row.stop_frame for row in ordered), max))
    spans: list[Span] = []
    for interval in intervals:
        for shot in shots_within(cast, interval):
            first = bisect_right(latest_stops, shot.start)
            last = bisect_left(ordered, shot.stop, key=lambda row: row.start_frame)
            finder = _Finder(shot, upright_size, table, interval, settings, choice)
            spans += _spans_of(shot, ordered[first:last], finder)
    return tuple(join_no_face(spans))


def _spans_of(shot: Shot, rows: Sequence[SpanRow], finder: _Finder) -> list[Span]:
    own = [
        replace(row, start_frame=max(row.start_frame, shot.start), stop_frame=min(row.stop_frame, shot.stop))
        for row in rows
        if row.start_frame < shot.stop and shot.start < row.stop_frame
    ]
    faces = _each_once(
        replace(span, person=row.person if row.person is not None else span.person)
        for row in own
        if row.kind == "face"
        for span in finder.faces_of(row)
    )
    spans = list(faces)
    for start, stop in complement(merge((face.start_frame, face.stop_frame) for face in faces), shot.start, shot.stop):
        said = [(max(row.start_frame, start), min(row.stop_frame, stop), _reason(row)) for row in own]
        named = [Span(a, b, "no_face", reason) for a, b, reason in sorted(said) if a < b]
        gaps = complement(merge((span.start_frame, span.stop_frame) for span in named), start, stop)
        spans += _first_said(named)
        spans += (Span(a, b, "no_face", NOT_LISTED) for a, b in gaps)
    return sorted(spans, key=lambda span: (span.start_frame, span.person or 0))


def _each_once(spans: Iterable[Span]) -> list[Span]:
    """Return face spans by their start, without what an earlier one draws of the same face."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start_frame, span.person is None)):
        start = max((one.stop_frame for one in kept if _is_same(one, span)), default=span.start_frame)
        if start < span.stop_frame:
            kept.append(replace(span, start_frame=max(start, span.start_frame)))
    return kept


def _is_same(earlier: Span, span: Span) -> bool:
    if earlier.path is None or span.path is None or earlier.stop_frame <= span.start_frame:
        return False
    at = span.start_frame
    return earlier.path.box_at(at).overlap(span.path.box_at(at)) >= SAME_PLACE


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


@dataclass(frozen=True, slots=True)
class _Finder:
    """Finds the faces that rows mean in one shot."""

    shot: Shot
    upright_size: tuple[int, int]
    table: FrameTable
    interval: Interval
    settings: SpanSettings
    choice: Choice

    def faces_of(self, row: SpanRow) -> list[Span]:
        """Return what a face row, cut to the shot, renders there."""
        shot = self.shot
        if row.person is not None:
            return self._cut([joined(shot, row.person)], row)
        if self.choice.kind == "all":
            return self._unknown(row)
        if self.choice.kind != "people":
            return self._cut(lanes_of(shot, self.choice, self.upright_size), row)
        meant = [lane for lane in lanes_of(shot, self.choice, self.upright_size) if _inside(shot.seen(lane), row)]
        return self._cut(meant or lanes_of(shot, BY_PLACE, self.upright_size), row)

    def _cut(self, lanes: Sequence[Track], row: SpanRow) -> list[Span]:
        return [
            face_span(self.shot, face, (max(start, row.start_frame), min(stop, row.stop_frame)), self.interval)
            for lane in lanes
            if lane
            for face, (start, stop) in split_lane(self.shot, lane)
            if start < row.stop_frame and row.start_frame < stop
        ]

    def _unknown(self, row: SpanRow) -> list[Span]:
        """Return the faces that belong to nobody; those that do not count are meant only where no other one does."""
        tracks = [track for track, who in zip(self.shot.tracks, self.shot.people, strict=True) if who is None]
        counted, seen = [], []
        for track in tracks:
            spans, _ = lane_spans(
                self.shot, track, self.table, self.interval, self.settings, self.choice.other, self.upright_size
            )
            parts = _inside([(span.start_frame, span.stop_frame) for span in spans], row)
            counted += [face_span(self.shot, track, part, self.interval) for part in parts]
            if whole := _inside(self.shot.seen(track), row):
                seen.append(face_span(self.shot, track, (whole[0][0], whole[-1][1]), self.interval))
        return counted or seen


def _inside(intervals: Sequence[Interval], row: SpanRow) -> list[Interval]:
    cut = [(max(start, row.start_frame), min(stop, row.stop_frame)) for start, stop in intervals]
    return [(start, stop) for start, stop in cut if start < stop]
