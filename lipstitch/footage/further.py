"""Footage of further videos that the job names: who of the job is in them, and which of their frames are read.

further video --scan--> people --by their embeddings--> people of the job --> stretches in conformed frames
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from lipstitch.footage.conform import GAP_FRAMES, ConformedVideo
from lipstitch.footage.subjects import Stretch, Subject, choose_stretches
from lipstitch.source.source import Source
from media.clips import FaceSpan
from media.identity import EmbedderSettings, Vector
from media.intervals import Interval
from media.packets.frame_table import FrameTable
from media.picture import bytes_per_pixel
from media.source_video import SourceVideo
from segmenter.people.identities import Identities, find_people, similarity
from segmenter.people.targets import ChosenPeople
from segmenter.scan import Scan
from segmenter.spans.find import find_target_spans
from segmenter.spans.presence import SpanRule, SpanSettings

SCANNED_SECONDS: Final = Fraction(600)
"""Of a further video that are looked at: all of it, or pieces spread evenly over it."""
PIECE_SECONDS: Final = Fraction(10)
LEAST_SCALED, MOST_SCALED = 0.1, 1.6
"""How far faces of a further video are scaled at most. Enlarged further, they would be blurred beside the job's own."""


@dataclass(frozen=True, slots=True)
class FurtherUse:
    """What was taken from a further video."""

    path: Path
    person: int
    """Of the job."""
    seconds: float

    def describe(self) -> str:
        """Return in one line what was taken."""
        return f"{self.seconds:.1f} s of person {self.person} in {self.path}"


def frames_to_scan(table: FrameTable) -> list[Interval]:
    """Return the frames of a further video that are looked at: sorted, disjoint."""
    total = table.seconds(len(table))
    if total <= SCANNED_SECONDS:
        return [(0, len(table))]
    num_pieces = int(SCANNED_SECONDS / PIECE_SECONDS)
    starts = [number * (total - PIECE_SECONDS) / (num_pieces - 1) for number in range(num_pieces)]
    return [(table.frame_at(start), min(table.frame_at(start + PIECE_SECONDS), len(table))) for start in starts]


def first_numbers(own: SourceVideo, further: Sequence[SourceVideo]) -> list[int]:
    """Return the number of the first conformed frame of each further video."""
    numbers, number = [], len(own.table) + GAP_FRAMES
    for video in further:
        numbers.append(number)
        number += int(video.table.seconds(len(video.table)) * own.frame_rate) + GAP_FRAMES
    return numbers


@dataclass(frozen=True, slots=True)
class FurtherVideo:
    """A further video that was looked through."""

    source: Source
    first_number: int
    scan: Scan
    people: Identities
    """Whose numbers are not the job's."""
    settings: EmbedderSettings

    @classmethod
    def of(cls, source: Source, first_number: int, scan: Scan, settings: EmbedderSettings) -> FurtherVideo:
        """Find the people of a scan of frames_to_scan."""
        people = find_people(scan, source.table, frames_to_scan(source.table), settings)
        return cls(source, first_number, scan, people, settings)

    def matched(self, known: dict[int, Vector]) -> dict[int, tuple[int, ...]]:
        """Return, by the numbers of people of the job, the numbers here of those who look most like them.

        known: who of the job is looked for.
        """
        found: dict[int, tuple[int, ...]] = {}
        for person in self.people.people:
            likeness, number = max((similarity(person, vector), number) for number, vector in known.items())
            if likeness >= self.settings.border:
                found[number] = (*found.get(number, ()), person.number)
        return found

    def stretches(
        self, numbers: tuple[int, ...], subject: Subject, own: SourceVideo, rule: SpanSettings, most_seconds: float
    ) -> tuple[Stretch, ...]:
        """Return the stretches that are read of a subject, whose numbers here are given; none if it is too small."""
        wanted = SpanRule(self.source.table, rule, ChosenPeople(numbers))
        spans = find_target_spans(self.people, frames_to_scan(self.source.table), wanted)
        here = Subject(tuple(span for span in spans if isinstance(span, FaceSpan)))
        if not here.spans:
            return ()
        scale = round(subject.median_height / here.median_height, 3)
        if not LEAST_SCALED <= scale <= MOST_SCALED:
            return ()
        video = ConformedVideo(self.source, own, self.first_number, scale)
        pixel_bytes = bytes_per_pixel(own.video.pixel_format) * scale**2
        chosen = choose_stretches(here, self.scan, self.source.table, pixel_bytes, most_seconds)
        told = [(video.interval(stretch.frames), video.path(stretch.path)) for stretch in chosen]
        return tuple(Stretch(frames, path, video) for frames, path in told if frames[0] < frames[1])


def uses_of(subject: Subject, stretches: Sequence[Stretch]) -> list[FurtherUse]:
    """Return what some stretches of further videos are, for each of these videos."""
    person, seconds = subject.spans[0].person, dict[Path, float]()
    for stretch in stretches:
        assert stretch.video is not None
        path = Path(stretch.video.source.info.path)
        frames = stretch.frames[1] - stretch.frames[0]
        seconds[path] = seconds.get(path, 0.0) + float(frames / stretch.video.like.frame_rate)
    return [FurtherUse(path, person or 0, found) for path, found in seconds.items()]


def vectors_of(identities: Identities, subjects: Sequence[Subject]) -> dict[int, Vector]:
    """Return what the people of some subjects look like, by their numbers."""
    wanted = {subject.spans[0].person for subject in subjects}
    return {
        person.number: np.asarray(person.vector, np.float32) for person in identities.people if person.number in wanted
    }
