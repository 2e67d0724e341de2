"""PURE: spans, ranges and clean entry points to clips that tile the output."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from media.audio.buffer import sample_at
from media.audio.driving import DRIVING_RATE
from media.clips import Clip, Fade, Span
from media.intervals import Interval, complement, intersect, merge
from media.packets.frame_table import FrameTable
from media.timeline import FrameRun, OutputTimeline
from segmenter.people.identities import SAME_PLACE
from segmenter.smoothing import MOST_STEP_FRAMES, MOST_WINDOW_FRAMES, reach_of
from segmenter.spans.turns import Speaker, in_turns

PATH_MARGIN_FRAMES = reach_of(MOST_WINDOW_FRAMES) + MOST_STEP_FRAMES - 1
"""Frames around a clip in which its tracker may look."""

SEAM_REASON = "between a rendered span and the nearest point where packets can be copied"
HIDDEN_REASON = "coded from pictures that an edit list hides, which the output cannot hide"
FOREIGN_REASON = "coded with other parameter sets than the rest"
EXTENDED_REASON = "appended to reach the length of the sound"


def plan_clips(
    spans: Sequence[Span],
    table: FrameTable,
    timeline: OutputTimeline,
    *,
    driven: Sequence[Interval],
    driving_start: Fraction,
    reencode_reason: str,
    may_copy_whole: bool = True,
    may_hide: bool = True,
    max_clip_seconds: Fraction,
    speakers: Sequence[Speaker] = (),
    fade_seconds: Fraction = Fraction(0),
) -> tuple[Clip, ...]:
    """Cut the output into clips: rendered where a face span is driven by sound, copied where packets allow.

    spans: in source frames; those of several faces may overlap. driven: output frames, sorted and disjoint, for which
    there is driving sound, whose sample 0 is heard driving_start seconds after the first output frame. reencode_reason:
    why no packet may be copied beside coded ones; empty if packets may be. may_copy_whole: whether all of them may be
    where nothing is rendered. may_hide: whether the output's container hides packets before its first frame. speakers:
    of a dialogue, whose faces are rendered in their own turns alone. fade_seconds: how long a mouth takes to come and
    go where a rendered stretch begins or ends inside a shot.
    Face clips may be cut at any frame, copied clips only where packets can be copied; the frames left over join their
    neighbour and are re-encoded unchanged.

        face          [-----------)
        clean      |         |         |        |
        clips      [copy)[render......)[copy....)
    """
    shown = _Shown(_shown(spans, timeline, speakers))
    rendered = intersect(merge(interval for interval, _ in shown.shown), driven)
    if speakers:  # what is drawn in which frames is told apart, so that it can be checked whose mouth moved
        rendered = list(_split(rendered, sorted({edge for interval, _ in shown.shown for edge in interval})))
    if may_copy_whole and not rendered and timeline.is_source and len(timeline.runs) == 1:
        reencode_reason = ""
    fades = _fades(shown, timeline, driven, fade_seconds)
    clips: list[Clip] = []
    copying = _choose_copies(table, timeline, rendered, reencode_reason, may_hide=may_hide)
    for run, (start, stop), copied in copying.pieces:
        for first, last in [(start, stop)] if copied else _cut(timeline, start, stop, max_clip_seconds):
            inside = tuple(intersect(rendered, [(first, last)]))
            appended = timeline.is_source and first >= timeline.runs[0].stop_frame
            touched = shown.touched(inside)
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
                        reencode_reason=reencode_reason or copying.cause(table, run.source_frames(first, last), inside),
                    ),
                    source_frames=run.source_frames(first, last),
                    faces=_shortened(touched, run.source_frames(first, last)),
                    rendered=inside,
                    start_sample=sample_at(timeline.seconds(first) - driving_start, DRIVING_RATE),
                    stop_sample=sample_at(timeline.seconds(last) - driving_start, DRIVING_RATE),
                    fades=_fades_of(fades, touched, (first, last)),
                )
            )
    return tuple(clips)


def _shown(spans: Sequence[Span], timeline: OutputTimeline, speakers: Sequence[Speaker]) -> list[tuple[Interval, Span]]:
    """Return the output frames in which each face span is rendered, in order of the output.

    Spans of several people that are seen at once keep their order, so that in every clip their faces lie over each
    other the same way.
    """
    faces = [span for span in spans if span.kind == "face"]
    pairs = [pair for run in timeline.runs for face in faces for pair in in_turns(face, run, speakers)]
    return sorted((pair for pair in pairs if pair[0][0] < pair[0][1]), key=lambda pair: pair[0])


def _split(parts: Sequence[Interval], edges: Sequence[int]) -> Iterator[Interval]:
    """Cut intervals at all edges inside them; both sorted."""
    for start, stop in parts:
        inside = edges[bisect_right(edges, start) : bisect_left(edges, stop)]
        yield from pairwise([start, *inside, stop])


class _Shown:
    """The face spans by where the output shows them, with a look-up of those that touch an interval."""

    def __init__(self, shown: list[tuple[Interval, Span]]) -> None:
        self.shown = shown
        self._latest_stops = list(accumulate((stop for (_, stop), _ in shown), max))
        """For each span the latest end of it and all before: spans that overlap need not end in order."""

    def touching(self, part: Interval) -> Iterator[Span]:
        """Yield the spans that are seen in a part of the output, in order."""
        at = bisect_right(self._latest_stops, part[0])
        while at < len(self.shown) and self.shown[at][0][0] < part[1]:
            if self.shown[at][0][1] > part[0]:
                yield self.shown[at][1]
            at += 1

    def touched(self, parts: Sequence[Interval]) -> list[Span]:
        """Return the spans that are seen in some parts of the output, each once."""
        return list(dict.fromkeys(face for part in parts for face in self.touching(part)))


def _shortened(faces: Sequence[Span], source_frames: Sequence[int]) -> tuple[Span, ...]:
    """Return the face spans of a clip with no more of their paths than the clip needs.

    So a clip's key does not depend on where the face is minutes away, nor its size on the length of the shot.
    """
    first, last = min(source_frames[0], source_frames[-1]), max(source_frames[0], source_frames[-1])
    return tuple(face.shortened(first, last + 1, PATH_MARGIN_FRAMES) for face in faces)


def _fades(
    shown: _Shown, timeline: OutputTimeline, driven: Sequence[Interval], seconds: Fraction
) -> list[tuple[int, Span, float]]:
    """Return (output frame, span, strength) wherever the mouth of a face comes or goes, by frame.

    It does where the frame before or behind a rendered stretch is of the same shot and of the same run of the output,
    and the face is not drawn there by another span.

        cuts          |                            driven    ..[-----------)....
        span          [----------)                 span      [--------------)
        strength      1 1 1 1 .7 .3                strength    .3 .7 1 .7 .3      by time, not by number of frames
    """
    fades: dict[tuple[int, int], tuple[int, Span, float]] = {}
    starts = [run.start_frame for run in timeline.runs]
    parts = [
        (number, span, timeline.runs[bisect_right(starts, whole[0]) - 1], whole, part)
        for number, (whole, span) in enumerate(shown.shown)
        for part in intersect([whole], driven)
    ]
    starting: dict[int, list[Span]] = {}
    stopping: dict[int, list[Span]] = {}
    for _, span, _, _, (start, stop) in parts:
        starting.setdefault(start, []).append(span)
        stopping.setdefault(stop, []).append(span)
    for number, span, run, (first, last), (start, stop) in parts:
        ends = (span.fades_out, span.fades_in) if run.step == -1 else (span.fades_in, span.fades_out)
        found: dict[int, float] = {}
        if (
            start > run.start_frame
            and (start > first or ends[0])
            and not _goes_on(span, start, run, stopping.get(start, ()))
        ):
            found |= dict(_ramp(timeline, range(start, stop), start - 1, seconds))
        if stop < run.stop_frame and (stop < last or ends[1]) and not _goes_on(span, stop, run, starting.get(stop, ())):
            for frame, strength in _ramp(timeline, range(stop - 1, start - 1, -1), stop, seconds):
                found[frame] = min(strength, found.get(frame, 1.0))
        fades |= {(frame, number): (frame, span, strength) for frame, strength in found.items()}
    return [fades[place] for place in sorted(fades)]


def _goes_on(span: Span, border: int, run: FrameRun, beyond: Sequence[Span]) -> bool:
    """Tell whether one of the spans beyond a border draws the same face: then its mouth is new on both sides."""
    (frame,) = run.source_frames(border - 1, border)
    return any(
        span.path is not None
        and other.path is not None
        and span.path.box_at(frame).overlap(other.path.box_at(frame)) >= SAME_PLACE
        for other in beyond
    )


def _ramp(timeline: OutputTimeline, frames: range, outside: int, seconds: Fraction) -> Iterator[tuple[int, float]]:
    """Yield the frames, away from one outside, that are less than some time from it, with their share of that time."""
    for frame in frames:
        away = abs(timeline.seconds(frame) - timeline.seconds(outside))
        if away >= seconds:
            return
        yield frame, round(float(away / seconds), 4)


def _fades_of(fades: Sequence[tuple[int, Span, float]], faces: Sequence[Span], part: Interval) -> tuple[Fade, ...]:
    first, last = (bisect_left(fades, frame, key=lambda fade: fade[0]) for frame in part)
    return tuple(Fade(frame, faces.index(span), strength) for frame, span, strength in fades[first:last])


def _reason(*, copied: bool, rendered_whole: bool, appended: bool, reencode_reason: str) -> str:
    if copied:
        return "no face to render"
    if rendered_whole:
        return ""
    return EXTENDED_REASON if appended else reencode_reason


@dataclass(frozen=True, slots=True)
class _Copying:
    """Which parts of the output are copied from the source."""

    pieces: tuple[tuple[FrameRun, Interval, bool], ...]
    """(run, output interval, whether its packets are copied), tiling the output."""
    foreign: tuple[Interval, ...]
    """Source frames that need other parameter sets than those that are copied."""

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
        has_hidden = bisect_left(table.hidden, first) < bisect_right(table.hidden, last)
        return HIDDEN_REASON if has_hidden or (first == 0 and table.hidden_head != "none") else SEAM_REASON


def _choose_copies(
    table: FrameTable, timeline: OutputTimeline, rendered: Sequence[Interval], reencode_reason: str, *, may_hide: bool
) -> _Copying:
    """Return what is copied: where parameter sets change, the frames of those sets that allow most to be copied."""
    keeps_head = may_hide and timeline.is_source and table.hidden_head == "negative"
    begins_clean = keeps_head or table.hidden_head == "none"
    choices = []
    for extradata in dict.fromkeys([None, *(each.extradata for each in table.descriptions)]):
        foreign = tuple(table.foreign_to(extradata))
        pieces = _pieces(table, timeline, rendered, reencode_reason, foreign, begins_clean=begins_clean)
        choices.append(_Copying(tuple(pieces), foreign))
    return max(choices, key=lambda choice: choice.num_frames)


def _pieces(
    table: FrameTable,
    timeline: OutputTimeline,
    rendered: Sequence[Interval],
    reencode_reason: str,
    foreign: Sequence[Interval],
    *,
    begins_clean: bool,
) -> Iterator[tuple[FrameRun, Interval, bool]]:
    """Yield (run, output interval, whether its packets are copied), tiling the output."""
    for number, run in enumerate(timeline.runs):
        whole = (run.start_frame, run.stop_frame)
        may_copy = run.step == 1 and not reencode_reason and not (timeline.is_source and number)
        gaps = complement(intersect(rendered, [whole]), *whole) if may_copy else []
        copied = [part for gap in gaps for part in _copyable(table, run, gap, foreign, begins_clean=begins_clean)]
        both = [*((part, True) for part in copied), *((part, False) for part in complement(copied, *whole))]
        for part, is_copied in sorted(both):
            yield run, part, is_copied


def _copyable(
    table: FrameTable, run: FrameRun, gap: Interval, foreign: Sequence[Interval], *, begins_clean: bool
) -> Iterator[Interval]:
    """Yield the parts of a gap between rendered frames whose packets can be copied.

    gap, results: output frames. Copying begins at a clean entry and ends at a clean exit (or with the file), and leaves
    out packets that are hidden in its middle, and frames that are foreign. begins_clean: whether it may begin
    with the file in any case.

        gap           [---------------------------------)
        hidden                |              foreign  [------)
        clean entry     *     *     *        *
        copied          [-----)[--------------)
    """
    shift = run.source_frame - run.start_frame
    start, stop = gap[0] + shift, gap[1] + shift
    hidden = table.hidden[bisect_left(table.hidden, start + 1) : bisect_left(table.hidden, stop)]
    for first, last in complement(foreign, start, stop):
        for part in pairwise([first, *(slot for slot in dict.fromkeys(hidden) if first < slot < last), last]):
            entry = 0 if part[0] == 0 and begins_clean else table.clean_entry.find(1, *part)
            leave = table.clean_exit.rfind(1, 0, part[1] + 1)
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
