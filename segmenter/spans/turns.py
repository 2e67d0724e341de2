"""PURE: a dialogue: face spans cut to the turns of the speakers they show, each driven by its speaker's sound.

faces of anna    [-------------------------------------)
faces of ben            [------------------------------)
turns            a a a a a . . b b b b b b . a a a . .
spans            [-- anna -)   [--- ben --)  [anna)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise

from media.clips import FaceSpan, Gap, Span, in_time_order
from media.faces import FacePath
from media.intervals import Interval, complement, contains, intersect, merge
from media.timeline import FrameRun, OutputTimeline
from segmenter.spans.find import join_gaps

ANOTHER_TURN = "another speaker's turn"
NO_TURN = "no turn"
LONGEST_PAUSE_SECONDS = Fraction(1, 2)
"""A shorter pause between two turns of a speaker belongs to the turns if no one else speaks in it, so that the mouth
does not flicker between old and new. Long enough for a breath, too short to notice that the mouth moves."""

TimeRange = tuple[Fraction, Fraction]
"""Start and stop in seconds."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A speaker of a dialogue."""

    name: str
    drive_index: int
    """Which sound drives the speaker's lips: 0 the dub, n the n-th stem."""
    turns: tuple[Interval, ...]
    """Output frames: sorted, disjoint."""
    people: tuple[int, ...]
    """The numbers under which the speaker was identified in the picture; empty for a speaker who is not seen."""


def join_turns(turns: Sequence[TimeRange], other_turns: Sequence[TimeRange]) -> list[TimeRange]:
    """Return a speaker's turns, without pauses below LONGEST_PAUSE_SECONDS in which no one else speaks.

    turns: sorted by start; turns that overlap or touch become one, as subtitles and diarizers mean them. other_turns:
    those of all other speakers, sorted by start.
    """
    starts = [start for start, _ in other_turns]
    latest_stops = list(accumulate((stop for _, stop in other_turns), max))
    joined = list(turns[:1])
    for start, stop in turns[1:]:
        pause = joined[-1][1], start
        before = bisect_left(starts, pause[1])  # those that begin before the pause is over
        is_quiet = before == 0 or latest_stops[before - 1] <= pause[0]
        if pause[1] <= pause[0] or (pause[1] - pause[0] < LONGEST_PAUSE_SECONDS and is_quiet):
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def in_turns(face: FaceSpan, run: FrameRun, speakers: Sequence[Speaker]) -> Iterator[tuple[Interval, FaceSpan]]:
    """Yield the output frames of a run in which a face span is rendered, each with the span cut to them.

    A face that does not belong to a speaker is rendered wherever it is shown, and driven by the dub.
    """
    shown = run.output_interval(face.start_frame, face.stop_frame)
    speaker = next((speaker for speaker in speakers if face.person in speaker.people), None)
    if speaker is None:
        yield shown, face
        return
    for part in _inside(speaker.turns, shown):
        frames = run.source_frames(*part)
        first, last = min(frames[0], frames[-1]), max(frames[0], frames[-1])
        yield part, replace(_cut(face, first, last + 1), drive_index=speaker.drive_index)


def _inside(turns: Sequence[Interval], shown: Interval) -> Iterator[Interval]:
    """Yield the parts of an interval that lie in turns; an empty interval has none."""
    index = bisect_right(turns, shown[0], key=lambda turn: turn[1])
    while shown[0] < shown[1] and index < len(turns) and turns[index][0] < shown[1]:
        yield max(turns[index][0], shown[0]), min(turns[index][1], shown[1])
        index += 1


def _cut(face: FaceSpan, start: int, stop: int) -> FaceSpan:
    """Return a part of a face span with the boxes within it and the nearest one beyond each end.

    The mouth fades where the part ends inside the span.
    """
    frames, boxes = face.path.frames, face.path.boxes
    first = max(bisect_left(frames, start) - 1, 0)
    last = bisect_left(frames, stop) + 1
    return replace(
        face,
        start_frame=start,
        stop_frame=stop,
        path=FacePath(frames[first:last], boxes[first:last]),
        fades_in=face.fades_in or start > face.start_frame,
        fades_out=face.fades_out or stop < face.stop_frame,
    )


def cut_to_turns(
    spans: Sequence[Span], dialogues: Sequence[tuple[OutputTimeline, Sequence[Speaker]]]
) -> tuple[Span, ...]:
    """Return spans of the source with those of speakers cut to their turns, in any of the outputs that show them.

    The frames cut away become gaps that say why.
    """
    faces = [span for span in spans if isinstance(span, FaceSpan)]
    kept = [part for face in faces for part in _rendered(face, dialogues)]
    seen = merge((face.start_frame, face.stop_frame) for face in faces)
    still_rendered = merge((part.start_frame, part.stop_frame) for part in kept)
    cut_away = intersect(seen, complement(still_rendered, seen[0][0], seen[-1][1])) if seen else []
    spoken = merge(
        part
        for timeline, speakers in dialogues
        for part in timeline.source_intervals(merge(turn for speaker in speakers for turn in speaker.turns))
    )
    new_gaps = [gap for interval in cut_away for gap in _gaps_within(interval, spoken)]
    gaps = [span for span in spans if isinstance(span, Gap)]
    return tuple(join_gaps(in_time_order([*gaps, *kept, *new_gaps])))


def _rendered(face: FaceSpan, dialogues: Sequence[tuple[OutputTimeline, Sequence[Speaker]]]) -> list[FaceSpan]:
    if not any(face.person in speaker.people for _, speakers in dialogues for speaker in speakers):
        return [face]
    parts = [
        part
        for timeline, speakers in dialogues
        for run in timeline.runs
        for shown, part in in_turns(face, run, speakers)
        if shown[0] < shown[1]
    ]
    frames = merge((part.start_frame, part.stop_frame) for part in parts)
    return [replace(_cut(face, start, stop), drive_index=parts[0].drive_index) for start, stop in frames]


def _gaps_within(interval: Interval, spoken: Sequence[Interval]) -> Iterator[Gap]:
    edges = {edge for part in _inside(spoken, interval) for edge in part}
    for start, stop in pairwise(sorted({*interval, *edges})):
        yield Gap(start, stop, ANOTHER_TURN if contains(spoken, start) else NO_TURN)
