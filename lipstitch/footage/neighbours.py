"""Footage around the ranges of a job: its faces are scanned by themselves, and matched with those of the ranges.

    video    ....|--- near ---|--- range ---|--- near ---|........................
                 NEAR_SECONDS                NEAR_SECONDS    nothing is decoded here

Who is who in the ranges, and by which number, stays as the job's own scan has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from lipstitch.footage.subjects import Subject
from media.clips import FaceSpan
from media.faces import FaceBox
from media.identity import EmbedderSettings
from media.intervals import Interval, complement, contains, intersect, merge
from media.packets.frame_table import FrameTable
from segmenter.cuts import CutDetector
from segmenter.people.identities import Identities, find_people
from segmenter.people.targets import ChosenPeople
from segmenter.scan import Scan
from segmenter.spans.find import find_target_spans, track_spans
from segmenter.spans.presence import SpanRule

NEAR_SECONDS: Final = Fraction(30)
"""On either side of a range: with it, a minute of the person or less."""
OVERLAP_FRAMES: Final = 2 * CutDetector.LAG_FRAMES + 1
"""Frames of a range that are scanned again with what lies around it: a cut at its border shows in both."""


def frames_near(shown: Sequence[Interval], table: FrameTable) -> list[Interval]:
    """Return the frames around some intervals, and a few of theirs; none if they are the whole video.

    shown: sorted, disjoint.
    """
    wide = merge(
        (
            table.frame_at(max(table.seconds(start) - NEAR_SECONDS, Fraction(0))),
            min(table.frame_at(table.seconds(stop) + NEAR_SECONDS), len(table)),
        )
        for start, stop in shown
    )
    beside = [part for start, stop in wide for part in complement(intersect(shown, [(start, stop)]), start, stop)]
    return merge((max(start - OVERLAP_FRAMES, 0), min(stop + OVERLAP_FRAMES, len(table))) for start, stop in beside)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The frames of a job and those near them, as one scan."""

    scan: Scan
    frames: tuple[Interval, ...]
    identities: Identities
    """Who is who in all of them; the numbers are not those of the job."""

    @classmethod
    def of(
        cls, own: Scan, near: Scan, shown: Sequence[Interval], table: FrameTable, settings: EmbedderSettings
    ) -> Neighbourhood:
        """Join the scans of a job's frames and of those near them. shown: the job's."""
        beyond = [sample for sample in near.samples if not contains(shown, sample.frame)]
        samples = sorted([*own.samples, *beyond], key=lambda sample: sample.frame)
        scan = replace(own, samples=tuple(samples), cuts=tuple(sorted({*own.cuts, *near.cuts})))
        frames = merge([*shown, *frames_near(shown, table)])
        return cls(scan, tuple(frames), find_people(scan, table, frames, settings))

    def widened(self, subject: Subject, rule: SpanRule) -> Subject:
        """Return a subject with all the spans of the neighbourhood that show the same face."""
        votes = Counter(
            place
            for span in subject.spans
            for frame, box in zip(span.path.frames, span.path.boxes, strict=True)
            if (place := self._place_of(frame, box)) is not None
        )
        if not votes:
            return subject
        shot_number, track_number = votes.most_common(1)[0][0]
        shot = self.identities.shots[shot_number]
        person = shot.people[track_number]
        if person is not None:
            wanted = replace(rule, choice=ChosenPeople((person,)))
            spans = find_target_spans(self.identities, self.frames, wanted)
        else:
            around = next(part for part in self.frames if part[0] <= shot.start < part[1])
            spans = tuple(track_spans(shot, shot.tracks[track_number], around, rule)[0])
        number = subject.spans[0].person
        found = [replace(span, person=number) for span in spans if isinstance(span, FaceSpan)]
        return Subject(tuple(found)) if found else subject

    def _place_of(self, frame: int, box: FaceBox) -> tuple[int, int] | None:
        """Return the numbers of the shot and of the track that hold a face."""
        for shot_number, shot in enumerate(self.identities.shots):
            if shot.start <= frame < shot.stop:
                for track_number, track in enumerate(shot.tracks):
                    if frame in track and track[frame].box == box:
                        return shot_number, track_number
        return None
