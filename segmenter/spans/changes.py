"""PURE: what a user changes about some frames of a face, while all its other frames stay as they are.

The face is followed, and its mouths are chosen, as if nothing were changed. Clips are cut where a change begins or
ends, and only those between are made in another way:

    face       [-----------------------------)
    changes          [-1.3-)     [--keep--)
    clips      [-----)[----)[----)[)[    )[)[)     a mouth that is kept fades inside the change
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from media.clips import FaceSpan, Gap, Method, MouthSource, Quality, Span, in_time_order
from media.intervals import Interval, complement, merge
from media.timeline import OutputTimeline

Keep = Literal["keep"]
KEPT = "kept by the user"


@dataclass(frozen=True, slots=True)
class Change:
    """What is wanted of some frames of the source; what is None stays as it is. With nothing, they are made again."""

    start_frame: int
    stop_frame: int
    person: int | None = None
    """Whose face; None: every face there."""
    method: Method | Keep | None = None
    """Where its mouths come from; keep: the frames stay as they are."""
    strength: float | None = None
    quality: Quality | None = None

    @property
    def frames(self) -> Interval:
        """Return the frames of the source."""
        return self.start_frame, self.stop_frame

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be otherwise."""
        return self.method is None and self.strength is None and self.quality is None

    def within(self, frames: Interval, person: int | None) -> Change | None:
        """Return what it says of some frames of a person's face; None if it does not concern them."""
        start, stop = max(self.start_frame, frames[0]), min(self.stop_frame, frames[1])
        if start >= stop or self.person not in (None, person):
            return None
        return replace(self, start_frame=start, stop_frame=stop, person=person)

    def concerns(self, face: FaceSpan) -> bool:
        """Tell whether some frames of a face are among its own."""
        return self.within((face.start_frame, face.stop_frame), face.person) is not None


@dataclass(frozen=True, slots=True)
class Changes:
    """All that is changed; of changes that overlap, the later one wins, field by field."""

    every: tuple[Change, ...] = ()

    def concern(self, face: FaceSpan) -> bool:
        """Tell whether something of a face is changed, or made again."""
        return any(change.concerns(face) for change in self.every)

    def source_from(self, face: FaceSpan, frame: int) -> MouthSource:
        """Return where the new mouths of a face come from, and how they are made, from a frame on."""
        return self._source_and_kept(face, max(frame, face.start_frame))[0]

    def _source_and_kept(self, face: FaceSpan, frame: int) -> tuple[MouthSource, bool]:
        source, is_kept = face.source, False
        for change in self.every:
            if not (change.concerns(face) and change.start_frame <= frame < change.stop_frame):
                continue
            if change.method:
                is_kept = change.method == "keep"
            if change.method in ("footage", "network") and change.method != source.method:
                source = replace(source, method=change.method, reason="", is_asked=True)
            if change.strength is not None:
                source = replace(source, strength=change.strength)
            if change.quality:
                source = replace(source, quality=change.quality)
        return source, is_kept

    def parts(self, face: FaceSpan) -> list[tuple[Interval, MouthSource | None]]:
        """Return the frames of a face in parts that differ, with where their mouths come from; None: they are kept."""
        start, stop = face.start_frame, face.stop_frame
        inner = {edge for each in self.every if each.concerns(face) for edge in each.frames if start < edge < stop}
        found: list[tuple[Interval, MouthSource | None]] = []
        for first, last in pairwise([start, *sorted(inner), stop]):
            source, is_kept = self._source_and_kept(face, first)
            made = None if is_kept else source
            if found and found[-1][1] == made:
                first = found.pop()[0][0]
            found.append(((first, last), made))
        return found

    def cut(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Return spans in the parts that are made alike, and as gaps where no mouth is changed any more."""
        if not self.every:
            return tuple(spans)
        faces: list[Span] = []
        kept: list[Interval] = []
        for span in spans:
            for (start, stop), source in self.parts(span) if isinstance(span, FaceSpan) else ():
                if source is None:
                    kept.append((start, stop))
                else:
                    assert isinstance(span, FaceSpan)
                    faces.append(replace(span, start_frame=start, stop_frame=stop, source=source))
        shown = merge((face.start_frame, face.stop_frame) for face in faces)
        gaps = [Gap(*part, KEPT) for start, stop in merge(kept) for part in complement(shown, start, stop)]
        return tuple(in_time_order([*faces, *gaps, *(span for span in spans if isinstance(span, Gap))]))

    def edges(self, face: FaceSpan, shown: Interval, timeline: OutputTimeline) -> Iterator[int]:
        """Yield the output frames, inside those that show a face, where a change of it begins or ends."""
        for part, _ in self.parts(face):
            yield from (edge for edge in _shown_part(part, shown, timeline) if shown[0] < edge < shown[1])

    def hidden(
        self, face: FaceSpan, shown: Interval, timeline: OutputTimeline, fade_seconds: Fraction
    ) -> list[Interval]:
        """Return the output frames in which nothing of a face's new mouth is seen, as the user wishes.

        shown: those that show the face, in one run of the output. The fades lie inside the change, unless it is too
        short for them.
        """
        kept = merge(_shown_part(part, shown, timeline) for part, source in self.parts(face) if source is None)
        return [_without_fades(part, shown, timeline, fade_seconds) for part in kept]

    def makes_again(self, frames: Iterable[int]) -> bool:
        """Tell whether frames of the source are to be made again though nothing of them is changed."""
        again = [change for change in self.every if change.is_empty]
        return any(change.start_frame <= frame < change.stop_frame for change in again for frame in frames)


NO_CHANGES = Changes()


def _shown_part(part: Interval, shown: Interval, timeline: OutputTimeline) -> Interval:
    """Return which of some output frames, in one run, show frames of the source; may be empty."""
    (run,) = (run for run in timeline.runs if run.start_frame <= shown[0] < run.stop_frame)
    start, stop = run.output_interval(*part)
    return max(start, shown[0]), min(stop, shown[1])


def _without_fades(kept: Interval, shown: Interval, timeline: OutputTimeline, fade_seconds: Fraction) -> Interval:
    """Return frames without those, at either end, in which the mouth of the frame beyond is still fading."""
    start, stop = kept
    if start > shown[0]:
        before = timeline.seconds(start - 1)
        while start < stop and timeline.seconds(start) - before < fade_seconds:
            start += 1
    if stop < shown[1]:
        behind = timeline.seconds(stop)
        while start < stop and behind - timeline.seconds(stop - 1) < fade_seconds:
            stop -= 1
    return (start, stop) if start < stop else kept
