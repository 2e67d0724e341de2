"""PURE: cut the output into clips, from face spans and the points where packets can be copied."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from media.clips import Clip, FaceSpan, Fade, Span
from media.intervals import Interval, complement, intersect, merge
from media.packets.frame_table import FrameTable
from media.timeline import FrameRun, OutputTimeline
from segmenter.people.identities import SAME_PLACE
from segmenter.smoothing import MOST_STEP_FRAMES, MOST_WINDOW_FRAMES, reach_of
from segmenter.spans.changes import KEPT, NO_CHANGES, Changes
from segmenter.spans.shown import ShownFaces, shown_faces
from segmenter.spans.turns import Speaker

MASK_REACH_FRAMES = 2
"""Frames around a frame that a mask of its face depends on, as the renderer makes them."""
PATH_MARGIN_FRAMES = reach_of(MOST_WINDOW_FRAMES) + MOST_STEP_FRAMES - 1 + MASK_REACH_FRAMES
"""Frames around a clip that its tracker may need."""

SEAM_REASON = "between a rendered span and the nearest point where packets can be copied"
HIDDEN_REASON = "coded from pictures that an edit list hides, which the output cannot hide"
FOREIGN_REASON = "coded with other parameter sets than the rest"
EXTENDED_REASON = "appended to reach the length of the sound"


@dataclass(frozen=True, slots=True)
class CopyRule:
    """Which packets of the source may be copied."""

    reencode_reason: str = ""
    """Why no packet may be copied beside re-encoded ones; empty if packets may be."""
    may_copy_whole: bool = True
    """Whether all packets may be copied where nothing is rendered."""
    may_hide: bool = True
    """Whether the output's container can hide packets before its first frame."""


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How clips are cut and faded."""

    max_seconds: Fraction = Fraction(10)
    """Longest clip that is not copied."""
    fade_seconds: Fraction = Fraction(0)
    """How long a new mouth takes to come or go where rendering begins or ends inside a shot."""
    changes: Changes = NO_CHANGES
    """What the user wants otherwise of some frames. Clips that show none of them are as if nothing were changed."""


def plan_clips(
    spans: Sequence[Span],
    table: FrameTable,
    timeline: OutputTimeline,
    *,
    driven: Sequence[Interval],
    speakers: Sequence[Speaker] = (),
    copying: CopyRule,
    settings: ClipSettings,
) -> tuple[Clip, ...]:
    """Cut the output into clips: rendered where a face span is driven by sound, copied where packets allow.

    spans: in source frames; those of several faces may overlap. driven: output frames for which there is driving sound,
    sorted and disjoint. speakers: of a dialogue, whose faces are rendered in their own turns alone.
    Face clips may be cut at any frame, copied clips only where packets can be copied; the frames left over join their
    neighbour and are re-encoded unchanged.

        face          [-----------)
        clean      |         |         |        |
        clips      [copy)[render......)[copy....)
    """
    changes = settings.changes
    shown = ShownFaces(shown_faces(spans, timeline, speakers), timeline, changes, settings.fade_seconds)
    rendered = intersect(merge(part for parts in shown.visible for part in parts), driven)
    if speakers:  # cut wherever the set of rendered faces changes, so that it can be checked whose mouth moved
        rendered = list(_split(rendered, sorted({edge for interval, _ in shown.faces for edge in interval})))
    if copying.may_copy_whole and not rendered and timeline.is_source and len(timeline.runs) == 1:
        copying = replace(copying, reencode_reason="")
    fades = _find_fades(shown, timeline, driven, settings.fade_seconds)
    clips: list[Clip] = []
    copies = _choose_copies(table, timeline, rendered, copying)
    # Clips begin and end where they would if nothing were changed, and at changes.
    usual = _choose_copies(table, timeline, intersect(shown.wholes, driven), copying) if shown.kept else copies
    pieces = (part for _, part, copied in usual.pieces if not copied)
    edges = {edge for part in pieces for clip in _cut(timeline, *part, settings.max_seconds) for edge in clip}
    edges_in_order = sorted(edges | shown.edges)
    for run, part, copied in copies.pieces:
        for first, last in [part] if copied else _split([part], edges_in_order):
            inside = tuple(intersect(rendered, [(first, last)]))
            source_frames = run.source_frames(first, last)
            faces = shown.seen_in(inside)
            appended = timeline.is_source and first >= timeline.runs[0].stop_frame
            clips.append(
                Clip(
                    index=len(clips),
                    start_frame=first,
                    stop_frame=last,
                    action="copy" if copied else "render" if inside else "reencode",
                    reason=_reason(
                        copied=copied,
                        rendered_whole=merge(inside) == [(first, last)],
                        appended=appended,
                        reencode_reason=copying.reencode_reason or copies.cause(table, source_frames, inside),
                    )
                    if inside or not intersect(shown.kept, [(first, last)])
                    else KEPT,
                    source_frames=source_frames,
                    faces=_shortened(faces, source_frames, changes),
                    rendered=inside,
                    fades=_fades_of(fades, faces, (first, last)),
                )
            )
    return tuple(clips)


def _split(parts: Sequence[Interval], edges: Sequence[int]) -> Iterator[Interval]:
    """Cut intervals at all edges inside them; both sorted."""
    for start, stop in parts:
        inside = edges[bisect_right(edges, start) : bisect_left(edges, stop)]
        yield from pairwise([start, *inside, stop])


def _shortened(faces: Sequence[FaceSpan], source_frames: Sequence[int], changes: Changes) -> tuple[FaceSpan, ...]:
    """Return the face spans of a clip as the user wants them there, with no more of their paths than the clip needs.

    So a clip's key does not depend on where the face is minutes away, nor its size on the length of the shot.
    """
    first, last = min(source_frames[0], source_frames[-1]), max(source_frames[0], source_frames[-1])
    return tuple(
        replace(face, source=changes.source_from(face, first)).shortened(first, last + 1, PATH_MARGIN_FRAMES)
        for face in faces
    )


_Fade = tuple[int, FaceSpan, float]
"""Output frame, face span, strength of its new mouth."""


def _find_fades(
    shown: ShownFaces, timeline: OutputTimeline, driven: Sequence[Interval], seconds: Fraction
) -> list[_Fade]:
    """Return the fades, by frame, wherever the new mouth of a face comes or goes.

    It does where the frame before or behind a rendered stretch is of the same shot and of the same run of the output,
    and no other span renders the face there.

        cuts          |                            driven    ..[-----------)....
        span          [----------)                 span      [--------------)
        strength      1 1 1 1 .7 .3                strength    .3 .7 1 .7 .3      by time, not by number of frames
    """
    fades: dict[tuple[int, int], _Fade] = {}
    run_starts = [run.start_frame for run in timeline.runs]
    parts = [
        (number, span, timeline.runs[bisect_right(run_starts, whole[0]) - 1], whole, part)
        for number, (whole, span) in enumerate(shown.faces)
        for part in intersect(shown.visible[number], driven)
    ]
    starting: dict[int, list[FaceSpan]] = {}
    stopping: dict[int, list[FaceSpan]] = {}
    for _, span, _, _, (start, stop) in parts:
        starting.setdefault(start, []).append(span)
        stopping.setdefault(stop, []).append(span)
    for number, span, run, (first, last), (start, stop) in parts:
        # A run that plays backwards shows the end of the span first.
        fades_in, fades_out = (span.fades_out, span.fades_in) if run.step == -1 else (span.fades_in, span.fades_out)
        strengths: dict[int, float] = {}
        # Where driving sound begins or ends inside the span (start > first, stop < last), the shot goes on in any case.
        comes = start > run.start_frame and (start > first or fades_in)
        goes = stop < run.stop_frame and (stop < last or fades_out)
        if comes and not _goes_on(span, start, run, stopping.get(start, ())):
            strengths |= dict(_ramp(timeline, range(start, stop), start - 1, seconds))
        if goes and not _goes_on(span, stop, run, starting.get(stop, ())):
            for frame, strength in _ramp(timeline, range(stop - 1, start - 1, -1), stop, seconds):
                strengths[frame] = min(strength, strengths.get(frame, 1.0))
        fades |= {(frame, number): (frame, span, strength) for frame, strength in strengths.items()}
    return [fades[key] for key in sorted(fades)]


def _goes_on(span: FaceSpan, border: int, run: FrameRun, beyond: Sequence[FaceSpan]) -> bool:
    """Tell whether one of the spans beyond a border renders the same face: then its mouth is new on both sides."""
    (frame,) = run.source_frames(border - 1, border)
    box = span.path.box_at(frame)
    return any(box.overlap(neighbour.path.box_at(frame)) >= SAME_PLACE for neighbour in beyond)


def _ramp(timeline: OutputTimeline, frames: range, outside: int, seconds: Fraction) -> Iterator[tuple[int, float]]:
    """Yield the frames that are less than some time away from one outside, with their share of that time."""
    for frame in frames:
        away = abs(timeline.seconds(frame) - timeline.seconds(outside))
        if away >= seconds:
            return
        yield frame, round(float(away / seconds), 4)


def _fades_of(fades: Sequence[_Fade], faces: Sequence[FaceSpan], interval: Interval) -> tuple[Fade, ...]:
    first, last = (bisect_left(fades, frame, key=lambda fade: fade[0]) for frame in interval)
    return tuple(Fade(frame, faces.index(span), strength) for frame, span, strength in fades[first:last])


def _reason(*, copied: bool, rendered_whole: bool, appended: bool, reencode_reason: str) -> str:
    if copied:
        return "no face to render"
    if rendered_whole:
        return ""
    return EXTENDED_REASON if appended else reencode_reason


@dataclass(frozen=True, slots=True)
class _Copies:
    """Which parts of the output are copied from the source."""

    pieces: tuple[tuple[FrameRun, Interval, bool], ...]
    """(run, output interval, whether its packets are copied), tiling the output."""
    foreign: tuple[Interval, ...]
    """Source frames that need other parameter sets than the copied ones."""

    @property
    def num_frames(self) -> int:
        """Return how many frames are copied."""
        return sum(stop - start for _, (start, stop), copied in self.pieces if copied)

    def cause(self, table: FrameTable, source_frames: Sequence[int], rendered: Sequence[Interval]) -> str:
        """Return why frames of a clip are re-encoded unchanged."""
        first, last = min(source_frames[0], source_frames[-1]), max(source_frames[0], source_frames[-1])
        if intersect(self.foreign, [(first, last + 1)]):
            return FOREIGN_REASON
        if rendered:
            return SEAM_REASON
        has_hidden = bisect_left(table.hidden.slots, first) < bisect_right(table.hidden.slots, last)
        return HIDDEN_REASON if has_hidden or (first == 0 and table.hidden.head != "none") else SEAM_REASON


def _choose_copies(
    table: FrameTable, timeline: OutputTimeline, rendered: Sequence[Interval], rule: CopyRule
) -> _Copies:
    """Return what is copied: if parameter sets change, the frames of those sets that allow most to be copied."""
    keeps_head = rule.may_hide and timeline.is_source and table.hidden.head == "negative"
    begins_clean = keeps_head or table.hidden.head == "none"
    encoded = rendered if not rule.reencode_reason else [(0, len(timeline))]
    candidates = []
    for extradata in dict.fromkeys([None, *(description.extradata for description in table.changes.descriptions)]):
        foreign = tuple(table.foreign_to(extradata))
        pieces = _pieces(table, timeline, encoded, foreign, begins_clean=begins_clean)
        candidates.append(_Copies(tuple(pieces), foreign))
    return max(candidates, key=lambda copies: copies.num_frames)


def _pieces(
    table: FrameTable,
    timeline: OutputTimeline,
    encoded: Sequence[Interval],
    foreign: Sequence[Interval],
    *,
    begins_clean: bool,
) -> Iterator[tuple[FrameRun, Interval, bool]]:
    """Yield (run, output interval, whether its packets are copied), tiling the output.

    encoded: output frames that must not be copied.
    """
    for number, run in enumerate(timeline.runs):
        whole = (run.start_frame, run.stop_frame)
        may_copy = run.step == 1 and not (timeline.is_source and number)
        gaps = complement(intersect(encoded, [whole]), *whole) if may_copy else []
        copied = [part for gap in gaps for part in _copyable(table, run, gap, foreign, begins_clean=begins_clean)]
        both = [*((part, True) for part in copied), *((part, False) for part in complement(copied, *whole))]
        for part, is_copied in sorted(both):
            yield run, part, is_copied


def _copyable(
    table: FrameTable, run: FrameRun, gap: Interval, foreign: Sequence[Interval], *, begins_clean: bool
) -> Iterator[Interval]:
    """Yield the parts of a gap between rendered frames whose packets can be copied.

    gap, results: output frames. Copying begins at a clean entry and ends at a clean exit (or with the file); it leaves
    out hidden packets in the middle of the gap, and foreign frames. begins_clean: whether it may begin with the file in
    any case.

        gap           [---------------------------------)
        hidden                |              foreign  [------)
        clean entry     *     *     *        *
        copied          [-----)[--------------)
    """
    shift = run.source_frame - run.start_frame
    start, stop = gap[0] + shift, gap[1] + shift
    hidden = table.hidden.slots[bisect_left(table.hidden.slots, start + 1) : bisect_left(table.hidden.slots, stop)]
    for first, last in complement(foreign, start, stop):
        for part in pairwise([first, *(slot for slot in dict.fromkeys(hidden) if first < slot < last), last]):
            entry = 0 if part[0] == 0 and begins_clean else table.clean.entry.find(1, *part)
            leave = table.clean.exit.rfind(1, 0, part[1] + 1)
            if 0 <= entry < leave:
                yield (entry - shift, leave - shift)


def _cut(timeline: OutputTimeline, start: int, stop: int, longest: Fraction) -> Iterator[Interval]:
    """Cut [start, stop) into the fewest pieces of about equal time: at most `longest`, rounded up to whole frames."""
    first, last = timeline.seconds(start), timeline.seconds(stop)
    num_pieces = max(1, -((first - last) // longest))
    border = start
    for piece in range(1, num_pieces + 1):
        ticks = timeline.pts[0] + (first + (last - first) * piece / num_pieces) / timeline.time_base
        after = stop if piece == num_pieces else bisect_left(timeline.pts, ticks, border, stop)
        if after > border:
            yield (border, after)
        border = after
