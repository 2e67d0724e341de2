"""PURE: which face spans the frames of an output show."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

from media.clips import FaceSpan, Span
from media.intervals import Interval, complement, intersect, merge
from media.timeline import OutputTimeline
from segmenter.spans.changes import Changes
from segmenter.spans.turns import Speaker, in_turns


def shown_faces(
    spans: Sequence[Span], timeline: OutputTimeline, speakers: Sequence[Speaker]
) -> list[tuple[Interval, FaceSpan]]:
    """Return the output frames in which each face span is rendered, in order of the output.

    Spans of several people that are seen at once keep their order, so that in every clip their faces lie over each
    other the same way.
    """
    faces = [span for span in spans if isinstance(span, FaceSpan)]
    shown = [pair for run in timeline.runs for face in faces for pair in in_turns(face, run, speakers)]
    return sorted((pair for pair in shown if pair[0][0] < pair[0][1]), key=lambda pair: pair[0])


class ShownFaces:
    """The face spans by where the output shows them, with a look-up of those that an interval shows."""

    def __init__(
        self,
        faces: Sequence[tuple[Interval, FaceSpan]],
        timeline: OutputTimeline,
        changes: Changes,
        fade_seconds: Fraction,
    ) -> None:
        """faces: as of shown_faces. fade_seconds: how long a new mouth takes to come or go."""
        hidden = [changes.hidden(face, whole, timeline, fade_seconds) for whole, face in faces]
        self.faces = faces
        self.wholes = merge(whole for whole, _ in faces)
        """The frames that show a face."""
        self.visible = [complement(parts, *whole) for (whole, _), parts in zip(faces, hidden, strict=True)]
        """Of each face, the frames that show its new mouth."""
        self.kept = merge(part for parts in hidden for part in parts)
        """Frames in which nothing of some new mouth is seen, as the user wishes."""
        self.edges = {
            *(edge for parts in hidden for part in parts for edge in part),
            *(edge for whole, face in faces if face.source.quality for edge in whole),
            *(edge for whole, face in faces if changes.concern(face) for edge in changes.edges(face, whole, timeline)),
        }
        """Where something else is wanted from there on, so that no clip shows both."""
        self._latest_stops = list(accumulate((stop for (_, stop), _ in faces), max))
        """For each span the latest end of it and all before: spans that overlap need not end in order."""

    def _overlapping(self, interval: Interval) -> Iterator[FaceSpan]:
        index = bisect_right(self._latest_stops, interval[0])
        while index < len(self.faces) and self.faces[index][0][0] < interval[1]:
            if intersect(self.visible[index], [interval]):
                yield self.faces[index][1]
            index += 1

    def seen_in(self, intervals: Sequence[Interval]) -> list[FaceSpan]:
        """Return the spans that some intervals of the output show, in order, each once."""
        return list(dict.fromkeys(face for interval in intervals for face in self._overlapping(interval)))
