"""The parts of a report, as report.json holds them. Fields with a default are missing in reports of older versions."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

from media.clips import Kind, Method, Outcome, Quality
from media.coding.encoder_options import CODED_PSNR
from media.intervals import Interval
from segmenter.spans.changes import Change, Keep
from stitcher.verify.provenance import ReencodedSpan

OutcomeName = Literal["rendered", "copied", "coded_again", "fell_back"]
OUTCOME_NAMES: dict[Outcome, OutcomeName] = {
    "rendered": "rendered",
    "copied": "copied",
    "reencoded": "coded_again",
    "fell_back": "fell_back",
}
"""What the report calls an outcome; its names stay the same in all versions."""
DisclosureKind = Literal["none", "metadata", "c2pa"]
Box = tuple[int, int, int, int]
"""A rectangle as the report holds it: x, y, width, height. Everywhere else it is left, top, right, bottom."""


class Record(BaseModel):
    """A part of the report."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class SourceRecord(Record):
    """The video that was re-synced."""

    path: str
    codec: str
    """FFmpeg's decoder name."""
    width: int
    """Of the stored picture, in pixels."""
    height: int
    orientation: str = "upright"
    """How players turn and mirror the stored picture."""
    num_frames: int
    size_bytes: int | None = None
    """Of the whole file; None in reports of earlier versions."""


class OutputRecord(Record):
    """The file that was written."""

    path: str
    num_frames: int
    seconds: float
    size_bytes: int | None = None
    """Of the whole file; None in reports of earlier versions."""
    dropped_streams: tuple[str, ...]
    """What the output cannot hold of the source, a sentence each: streams, tags, chapters, side data."""
    dropped_stream_indexes: tuple[int, ...] | None = None
    """Which streams of the source are among them."""

    @property
    def lost_streams(self) -> tuple[int, ...]:
        """The indexes of the source's streams that are not in the output."""
        if self.dropped_stream_indexes is not None:
            return self.dropped_stream_indexes
        found = (re.match(r"stream (\d+) ", text) for text in self.dropped_streams)  # a report of an earlier version
        return tuple(int(match[1]) for match in found if match)


class OffsetRecord(Record):
    """How the source's own sound lies against its picture, and what was done about it."""

    moved_ms: float
    """By how many milliseconds later the dub, and the own sound where it is learned from, were taken."""
    found_ms: int | None = None
    """By how many the own sound would have to be heard later to fit its lips best; null if that was not measured."""
    certainty: float | None = None
    """How sure that is: from 1 on, the sound is moved."""
    seconds: float | None = None
    """Of faces that were looked at."""


class TargetRecord(Record):
    """Whose lips were re-synced."""

    target: str
    """In the words of the job file."""
    chosen: str
    """Who that is in this video."""
    people: tuple[int, ...]
    """Numbers of the people that were chosen."""
    num_people: int
    """People in the video."""
    note: str


class SpeakerRecord(Record):
    """A speaker of a dialogue."""

    name: str
    people: tuple[int, ...]
    """Numbers of the people in the video that this speaker is."""
    voice: Literal["dub", "stem"]
    """What drives the lips: the whole dub, or a file of this voice alone."""
    turns: tuple[tuple[float, float], ...]
    """Start and end of each turn, in seconds of the output."""
    spoken_seconds: float
    rendered_seconds: float


class FurtherRecord(Record):
    """Footage that was taken from a further video (input.footage)."""

    path: str
    person: int
    """Number of the person in the job's video."""
    seconds: float


class SpanRecord(Record):
    """Frames of the source that show a face to render, or do not."""

    start_frame: int
    stop_frame: int
    """Exclusive."""
    kind: Kind
    person: int | None = None
    """Number of the person whose face it is; null where people are not recognised."""
    reason: str
    """Why there is no face to render; empty for a face."""
    method: Method | None = None
    """Where the face's new mouths come from: footage of the same person, or a network; null if there is no face."""
    method_reason: str = ""
    """Why not from footage; empty where that needs no reason."""
    strength: float | None = None
    """How far the sound moves the mouth, where that is said for these frames; missing where it is as the job says."""
    quality: Quality | None = None
    """With what care the mouth is made, likewise."""


class ChangeRecord(Record):
    """What the user wanted otherwise of frames of the source, by --redo."""

    start_frame: int
    stop_frame: int
    """Exclusive."""
    person: int | None = None
    """Of whose face; null: of every face there."""
    method: Method | Keep | None = None
    """Where its mouths come from; null, as of the others: as the job says."""
    strength: float | None = None
    quality: Quality | None = None

    @classmethod
    def of(cls, change: Change) -> ChangeRecord:
        """Return the record of a change."""
        return cls(**{name: getattr(change, name) for name in cls.model_fields})

    def change(self) -> Change:
        """Return the change."""
        return Change(**{name: getattr(self, name) for name in type(self).model_fields})


class ClipRecord(Record):
    """A clip of the output and what was done with it."""

    index: int
    start_frame: int
    """Frame of the output."""
    stop_frame: int
    """Exclusive."""
    start_seconds: float
    outcome: OutcomeName
    """coded_again: re-encoded without a new mouth; fell_back: rendering failed, so the original frames are shown."""
    reason: str
    rendered: tuple[Interval, ...]
    """Frames of the output with a new mouth, as half-open intervals."""
    seconds: float
    """Wall time of the work; 0 if it is reused."""
    reused: bool
    """Whether an earlier run made it."""
    frame_hashes: tuple[int, ...] = ()
    """CRC-32 of the planes of each frame as given to the encoder; missing unless the job asks for it."""


class VideoRecord(Record):
    """How the video was encoded."""

    codec: str
    """FFmpeg's decoder name of what was written."""
    note: str
    """Why the whole video was re-encoded; empty if it was not."""


class SoundtrackRecord(Record):
    """How the soundtrack was made."""

    kind: Literal["source", "copied", "encoded", "spliced"]
    note: str
    notes: tuple[str, ...] = ()
    """Where the sounds begin and why, what is wrong with them, and what else is heard."""


class CheckRecord(Record):
    """A promise of the contract, and what was found in the output."""

    promise: str
    found: str


class Hashes(Record):
    """Hashes of the inputs."""

    source: str
    """Of the video, as the job computes it to recognise a video."""
    checkpoint: str
    """SHA-256 of the network's weights."""
    job: str = ""
    """Content key of the job file, without its section execution."""


class ReencodedRecord(Record):
    """Frames of the output that were re-encoded without a new mouth."""

    start: int
    end: int
    """Exclusive."""
    reason: str
    psnr: float = CODED_PSNR
    """Decibels of the worst frame; missing where all frames reach the default."""

    @classmethod
    def of(cls, span: ReencodedSpan) -> ReencodedRecord:
        """Return the record of a span."""
        if span.least_psnr >= CODED_PSNR:
            return cls(start=span.start_frame, end=span.stop_frame, reason=span.reason)
        psnr = round(span.least_psnr, 3)
        return cls(start=span.start_frame, end=span.stop_frame, reason=span.reason, psnr=psnr)


class DisclosureRecord(Record):
    """What the output says of its own making."""

    kind: DisclosureKind
    """Where: in its metadata, and in a signed C2PA manifest as well; or not at all."""
    note: str
    """In words; for none, why not."""


class MeasuresRecord(Record):
    """Figures of the picture, as `score` measured them."""

    clip: int | None = None
    """Index of the clip; null for the whole output."""
    figures: dict[str, float]
    """By the names of docs/measures.md; what could not be measured is missing."""
