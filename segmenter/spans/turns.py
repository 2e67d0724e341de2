"""PURE: a dialogue. Whose mouth moves when, and to which sound: face spans cut to the turns of whoever they show.

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
from itertools import pairwise

from media.clips import Span
from media.faces import FacePath
from media.intervals import Interval, complement, contains, intersect, merge
from media.timeline import FrameRun, OutputTimeline
from segmenter.spans.find import join_no_face

ANOTHER_TURN = "another speaker's turn"
NO_TURN = "no turn"
LONGEST_PAUSE_SECONDS = Fraction(1, 2)
"""Between two turns of a speaker, nobody else speaking: what is shorter belongs to the turns, lest a mouth flickers
between old and new. Long enough for a breath, too short for somebody to look at a mouth that stays still."""

Stretch = tuple[Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody who speaks, and when."""

    name: str
    voice: int
    """What drives their lips: 0 the dub, n the n-th stem."""
    turns: tuple[Interval, ...]
    """Output frames: sorted, disjoint."""
    people: tuple[int, ...]
    """The numbers that they have in the picture; none for a speaker who is not seen."""


def join_turns(own: Sequence[Stretch], others: Sequence[Stretch]) -> list[Stretch]:
    """Return a speaker's turns, pauses shorter than LONGEST_PAUSE_SECONDS closed where nobody else speaks in them.

    own: sorted by start; those that overlap or touch become one, as subtitles and diarizers mean them. others:
    everybody else's turns, sorted by start.
    """
    starts = [start for start, _ in others]
    latest: list[Fraction] = []
    for _, stop in others:
        latest.append(max(stop, latest[-1]) if latest else stop)
    joined = list(own[:1])
    for start, stop in own[1:]:
        pause = joined[-1][1], start
        before = bisect_left(starts, pause[1])  # those that begin before the pause is over
        is_quiet = before == 0 or latest[before - 1] <= pause[0]
        if pause[1] <= pause[0] or (pause[1] - pause[0] < LONGEST_PAUSE_SECONDS and is_quiet):
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def in_turns(face: Span, run: FrameRun, speakers: Sequence[Speaker]) -> Iterator[tuple[Interval, Span]]:
    """Yield the output frames of a run in which a face span is rendered, each with the span cut to them.

    A face that is no speaker's is rendered wherever it is shown, and driven by the dub.
    """
    shown = run.output_interval(face.start_frame, face.stop_frame)
    speaker = next((speaker for speaker in speakers if face.person in speaker.people), None)
    if speaker is None:
        yield shown, face
        return
    for part in _inside(speaker.turns, shown):
        frames = run.source_frames(*part)
        first, last = min(frames[0], frames[-1]), max(frames[0], frames[-1])
        yield part, replace(_cut(face, first, last + 1), voice=speaker.voice)


def _inside(turns: Sequence[Interval], shown: Interval) -> Iterator[Interval]:
    """Yield the parts of an interval that lie in turns; an empty one has none."""
    at = bisect_right(turns, shown[0], key=lambda turn: turn[1])
    while shown[0] < shown[1] and at < len(turns) and turns[at][0] < shown[1]:
        yield max(turns[at][0], shown[0]), min(turns[at][1], shown[1])
        at += 1


def _cut(face: Span, start: int, stop: int) -> Span:
    """Return a part of a face span with the boxes within it and the nearest one beyond each end.

    Where it ends inside the span, the mouth fades.
    """
    assert face.path is not None
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

    What is taken from them becomes no-face spans that say why.
    """
    faces = [span for span in spans if span.kind == "face"]
    kept = [part for face in faces for part in _rendered(face, dialogues)]
    seen = merge((face.start_frame, face.stop_frame) for face in faces)
    left = merge((part.start_frame, part.stop_frame) for part in kept)
    taken = intersect(seen, complement(left, seen[0][0], seen[-1][1])) if seen else []
    spoken = merge(
        part
        for timeline, speakers in dialogues
        for part in timeline.source_intervals(merge(turn for speaker in speakers for turn in speaker.turns))
    )
    reasons = [span for gap in taken for span in _why(gap, spoken)]
    others = [span for span in spans if span.kind != "face"]
    ordered = sorted([*others, *kept, *reasons], key=lambda span: (span.start_frame, span.person or 0))
    return tuple(join_no_face(ordered))


def _rendered(face: Span, dialogues: Sequence[tuple[OutputTimeline, Sequence[Speaker]]]) -> list[Span]:
    if not any(face.person in speaker.people for _, speakers in dialogues for speaker in speakers):
        return [face]
    parts = [
        cut
        for timeline, speakers in dialogues
        for run in timeline.runs
        for part, cut in in_turns(face, run, speakers)
        if part[0] < part[1]
    ]
    frames = merge((part.start_frame, part.stop_frame) for part in parts)
    return [replace(_cut(face, start, stop), voice=parts[0].voice) for start, stop in frames]


def _why(gap: Interval, spoken: Sequence[Interval]) -> Iterator[Span]:
    edges = {edge for part in _inside(spoken, gap) for edge in part}
    for start, stop in pairwise(sorted({*gap, *edges})):
        yield Span(start, stop, "no_face", ANOTHER_TURN if contains(spoken, start) else NO_TURN)
