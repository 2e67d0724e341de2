"""PURE: spans as rows that a user may correct, and corrected rows as spans.

spans --to_rows--> rows --the user--> rows --from_rows--> spans
                                       ^ the identities say where faces are, the rows which of them are rendered
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from media.clips import DRAWN, FaceSpan, Gap, Kind, Method, MouthSource, Quality, Span, in_time_order
from media.intervals import Interval, complement, merge
from segmenter.people.identities import SAME_PLACE, Identities, Shot
from segmenter.people.targets import ByPlace, ChosenPeople, Everyone, joined
from segmenter.spans.changes import Change, Changes
from segmenter.spans.find import face_span, join_gaps, shots_within, split_track, track_spans
from segmenter.spans.presence import SpanRule
from segmenter.tracks import Track

NOT_LISTED = "not in the span file"
NOT_SEEN = "the span file asks for a face, but the scan saw none in this shot"
LEFT_OUT = "left out by the span file"


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One row of a span file."""

    line: int
    """Its line in the file."""
    start_frame: int
    stop_frame: int
    person: int | None
    """Whose face; None: whatever segmenter.target means, or else a face chosen by its position."""
    kind: Kind
    reason: str
    """Why nothing is rendered, or why a face's mouths are not from footage."""
    method: Method | None = None
    """Where the face's mouths come from; None: as the job says, and for rows without a face."""
    strength: float | None = None
    """How far the sound opens and moves them, in [0, 2]; None likewise."""
    quality: Quality | None = None
    """With what care they are made; None likewise."""
    changes: tuple[Change, ...] = ()
    """What is wanted otherwise of some of its frames, in order of the file. The spans are as if it were not."""


def to_rows(spans: Sequence[Span]) -> list[SpanRow]:
    """Return spans as rows, in order. Faces of unidentified people that overlap become one row."""
    unknown = [span for span in spans if isinstance(span, FaceSpan) and span.person is None]
    known = [span for span in spans if isinstance(span, Gap) or span.person is not None]
    rows = [_row_of(span) for span in known]
    rows += _joined_overlaps(unknown)
    ordered = sorted(rows, key=lambda row: (row.start_frame, row.person or 0, row.stop_frame))
    return [replace(row, line=line) for line, row in enumerate(ordered, start=2)]


def with_changes(rows: Sequence[SpanRow], changes: Changes) -> list[SpanRow]:
    """Return rows with what is changed in each."""
    return [
        replace(row, changes=tuple(filter(None, (each.within(_frames(row), row.person) for each in changes.every))))
        if row.kind == FaceSpan.kind
        else row
        for row in rows
    ]


def _joined_overlaps(spans: Sequence[FaceSpan]) -> list[SpanRow]:
    """Return the rows of unidentified faces; those that overlap as one, those that only touch as two."""
    rows: list[SpanRow] = []
    for span in sorted(spans, key=_frames):
        if rows and span.start_frame < rows[-1].stop_frame:
            row = _row_of(span)
            rows[-1] = replace(
                rows[-1],
                stop_frame=max(rows[-1].stop_frame, span.stop_frame),
                method=rows[-1].method if rows[-1].method == row.method else None,
                strength=rows[-1].strength if rows[-1].strength == row.strength else None,
                quality=rows[-1].quality if rows[-1].quality == row.quality else None,
            )
        else:
            rows.append(_row_of(span))
    return rows


def _row_of(span: Span) -> SpanRow:
    source = span.source if isinstance(span, FaceSpan) else DRAWN
    told = _reason_of(span), _method_of(span)
    return SpanRow(0, *_frames(span), span.person, span.kind, *told, strength=source.strength, quality=source.quality)


def _frames(span: Span | SpanRow) -> Interval:
    return span.start_frame, span.stop_frame


def _reason_of(span: Span) -> str:
    return span.source.reason if isinstance(span, FaceSpan) else span.reason


def _method_of(span: Span) -> Method | None:
    is_told = isinstance(span, FaceSpan) and replace(span.source, strength=None, quality=None) != DRAWN
    return span.source.method if isinstance(span, FaceSpan) and is_told else None


def from_rows(
    rows: Sequence[SpanRow], identities: Identities, intervals: Sequence[Interval], rule: SpanRule
) -> tuple[Span, ...]:
    """Return the spans that rows ask for; they cover each interval, and face spans lie inside one shot.

    Rows alone decide: no threshold is applied. In each shot of a face row the box comes from where the scan saw that
    face in the shot, held before the first and after the last such place; a shot in which it saw none is left
    unchanged. So are frames that no row names. If rows name one face twice, it is rendered once.

    The choice of the rule says what rows without a person mean: chosen people where they are seen in the row, else a
    face chosen by its position; with everyone, the unidentified faces that pass the thresholds, or all of them if none
    does.
    """
    ordered = sorted(rows, key=lambda row: row.start_frame)
    latest_stops = list(accumulate((row.stop_frame for row in ordered), max))
    spans: list[Span] = []
    for interval in intervals:
        for shot in shots_within(identities, interval):
            first = bisect_right(latest_stops, shot.start)
            last = bisect_left(ordered, shot.stop, key=lambda row: row.start_frame)
            spans += _ShotRows(shot, interval, rule).spans_of(ordered[first:last])
    return tuple(join_gaps(spans))


@dataclass(frozen=True, slots=True)
class _ShotRows:
    """Turns rows into the spans of one shot."""

    shot: Shot
    interval: Interval
    """The frames of the job around the shot."""
    rule: SpanRule

    def spans_of(self, rows: Sequence[SpanRow]) -> list[Span]:
        """Cover the shot with the spans that rows ask for."""
        shot = self.shot
        cut_rows = [
            replace(row, start_frame=max(row.start_frame, shot.start), stop_frame=min(row.stop_frame, shot.stop))
            for row in rows
            if row.start_frame < shot.stop and shot.start < row.stop_frame
        ]
        faces = _each_once(
            replace(
                span,
                person=row.person if row.person is not None else span.person,
                source=replace(
                    MouthSource(row.method, row.reason, is_asked=True) if row.method else span.source,
                    strength=row.strength,
                    quality=row.quality,
                ),
            )
            for row in cut_rows
            if row.kind == FaceSpan.kind
            for span in self._faces_of(row)
        )
        rendered = merge((face.start_frame, face.stop_frame) for face in faces)
        gaps = (
            gap
            for start, stop in complement(rendered, shot.start, shot.stop)
            for gap in _gaps_within((start, stop), cut_rows)
        )
        return in_time_order([*faces, *gaps])

    def _faces_of(self, row: SpanRow) -> list[FaceSpan]:
        """Return what a face row, cut to the shot, renders there."""
        shot, choice = self.shot, self.rule.choice
        if row.person is not None:
            return self._cut([joined(shot, row.person)], row)
        if isinstance(choice, Everyone):
            return self._unidentified(row)
        tracks = choice.tracks_in(shot)
        if isinstance(choice, ChosenPeople):
            seen = [track for track in tracks if _inside(shot.seen(track), row)]
            tracks = seen or ByPlace().tracks_in(shot)
        return self._cut(tracks, row)

    def _cut(self, tracks: Sequence[Track], row: SpanRow) -> list[FaceSpan]:
        return [
            face_span(self.shot, face, (max(start, row.start_frame), min(stop, row.stop_frame)), self.interval)
            for track in tracks
            if track
            for face, (start, stop) in split_track(self.shot, track)
            if start < row.stop_frame and row.start_frame < stop
        ]

    def _unidentified(self, row: SpanRow) -> list[FaceSpan]:
        """Return the unidentified faces that pass the thresholds in a row; if none does, all that are seen in it."""
        passing, seen = [], []
        for track in self.shot.unidentified_tracks():
            spans, _ = track_spans(self.shot, track, self.interval, self.rule)
            parts = _inside([(span.start_frame, span.stop_frame) for span in spans], row)
            passing += [face_span(self.shot, track, part, self.interval) for part in parts]
            if whole := _inside(self.shot.seen(track), row):
                seen.append(face_span(self.shot, track, (whole[0][0], whole[-1][1]), self.interval))
        return passing or seen


def _inside(intervals: Sequence[Interval], row: SpanRow) -> list[Interval]:
    cut = [(max(start, row.start_frame), min(stop, row.stop_frame)) for start, stop in intervals]
    return [(start, stop) for start, stop in cut if start < stop]


def _each_once(spans: Iterable[FaceSpan]) -> list[FaceSpan]:
    """Return face spans by their start, without the frames in which an earlier one renders the same face."""
    kept: list[FaceSpan] = []
    for span in sorted(spans, key=lambda span: (span.start_frame, span.person is None)):
        start = max((earlier.stop_frame for earlier in kept if _is_same(earlier, span)), default=span.start_frame)
        if start < span.stop_frame:
            kept.append(replace(span, start_frame=max(start, span.start_frame)))
    return kept


def _is_same(earlier: FaceSpan, span: FaceSpan) -> bool:
    frame = span.start_frame
    overlap = earlier.path.box_at(frame).overlap(span.path.box_at(frame))
    return earlier.stop_frame > frame and overlap >= SAME_PLACE


def _gaps_within(interval: Interval, rows: Sequence[SpanRow]) -> list[Gap]:
    """Cover frames without a rendered face with gaps; each has the reason of the first row that names it."""
    start, stop = interval
    named = sorted((max(row.start_frame, start), min(row.stop_frame, stop), _reason(row)) for row in rows)
    gaps: list[Gap] = []
    for first, last, reason in named:
        first = max(first, gaps[-1].stop_frame if gaps else start)
        if first < last:
            gaps.append(Gap(first, last, reason))
    unnamed = complement([(gap.start_frame, gap.stop_frame) for gap in gaps], start, stop)
    return [*gaps, *(Gap(first, last, NOT_LISTED) for first, last in unnamed)]


def _reason(row: SpanRow) -> str:
    return NOT_SEEN if row.kind == FaceSpan.kind else row.reason or LEFT_OUT
