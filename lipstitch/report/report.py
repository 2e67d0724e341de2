"""report.json: what was done with every clip, what was checked, and what lets anyone check the output from outside.

`python -m lipstitch.report.report > docs/report.schema.json` writes its JSON schema. Fields with a default are missing
in reports of earlier versions, or where their docstring says so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from base.files import atomic_file
from media.clips import Kind, Method, Outcome, RenderedClip
from media.coding.encoder_options import CODED_PSNR
from media.intervals import Interval, merge
from media.orientation import Rectangle
from stitcher.verify.provenance import FrameProvenance, ReencodedSpan, reencoded_spans, rendered_parts

OutcomeName = Literal["rendered", "copied", "coded_again", "fell_back"]
OUTCOME_NAMES: dict[Outcome, OutcomeName] = {
    "rendered": "rendered",
    "copied": "copied",
    "reencoded": "coded_again",
    "fell_back": "fell_back",
}
"""What the report calls an outcome; its names stay the same in all versions."""
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


class ProvenanceRecord(Record):
    """What was done with which frames of the output. Frames that are not named hold the source's own packets."""

    spans: tuple[Interval, ...]
    """Frames with a new mouth, as half-open intervals."""
    boxes: tuple[Box | None, ...]
    """For each of them the x, y, width and height, in pixels of the stored picture, of the box outside which nothing
    changed; null if nothing changed at all."""
    reencoded: tuple[ReencodedRecord, ...]

    @classmethod
    def of(cls, clips: Sequence[RenderedClip]) -> ProvenanceRecord:
        """Return what was done with the frames of finished clips."""
        parts = rendered_parts(clips)
        return cls(
            spans=tuple(interval for interval, _ in parts),
            boxes=tuple(_to_box(rectangle) for _, rectangle in parts),
            reencoded=tuple(ReencodedRecord.of(span) for span in reencoded_spans(clips)),
        )

    def provenance(self) -> FrameProvenance:
        """Return the same as a value; raise ValueError unless every span has a box."""
        rendered = zip(self.spans, map(_to_rectangle, self.boxes), strict=True)
        coarse = [((span.start, span.end), span.psnr) for span in self.reencoded if span.psnr < CODED_PSNR]
        return FrameProvenance(
            rendered=tuple(sorted(rendered, key=lambda part: part[0])),
            coded=tuple(merge((span.start, span.end) for span in self.reencoded)),
            coarse=tuple(sorted(coarse)),
        )


def _to_box(rectangle: Rectangle | None) -> Box | None:
    if rectangle is None:
        return None
    left, top, right, bottom = rectangle
    return left, top, right - left, bottom - top


def _to_rectangle(box: Box | None) -> Rectangle | None:
    if box is None:
        return None
    left, top, width, height = box
    return left, top, left + width, top + height


class Report(Record):
    """What a job did. Frames are numbered from 0 in the order in which they are shown."""

    lipstitch: str
    """Version of lipstitch."""
    source: SourceRecord
    output: OutputRecord
    detector: str
    align: str = ""
    """How faces were cropped for the network."""
    target: TargetRecord | None = None
    speakers: tuple[SpeakerRecord, ...] = ()
    """Empty unless the job is a dialogue."""
    silence: str = ""
    """What mouths do while no one speaks."""
    restore: str = ""
    """What restored the faces that a network drew, with the licence of its weights; empty if nothing did."""
    masks: tuple[str, ...] = ()
    """Names of the networks that told which pixels of a face may change; empty for the fixed mask."""
    program: str = ""
    """The command line of the program that drew mouths in a network's place; empty if none did."""
    further_footage: tuple[FurtherRecord, ...] = ()
    """What mouths of further videos could be shown."""
    spans: tuple[SpanRecord, ...]
    clips: tuple[ClipRecord, ...]
    num_clips: dict[OutcomeName, int]
    """Clips by their outcome."""
    num_rendered_frames: int
    damaged_frames: tuple[int, ...] = ()
    """Frames of the source that could not be decoded, or not without guessing."""
    video: VideoRecord | None = None
    soundtrack: SoundtrackRecord
    checks: tuple[CheckRecord, ...]
    seconds: dict[str, float]
    """Wall time by stage."""
    hashes: Hashes
    versions: dict[str, str]
    """Versions of Python and of the libraries that decide what an output looks like."""
    check: ProvenanceRecord


def report_path(output: Path) -> Path:
    """Return the path of an output's report, beside the output."""
    return output.with_name(f"{output.name}.report.json")


def write_report(report: Report, path: Path) -> None:
    """Write a report atomically, indented for reading."""
    # Not model_dump_json: names of files need not be UTF-8, and json escapes what pydantic refuses.
    content = report.model_dump(exclude_unset=True)
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_report(path: Path) -> Report:
    """Read a report, of this version or an earlier one. Raises OSError, or ValueError if the file is not a report."""
    report = Report.model_validate(json.loads(path.read_text(encoding="utf-8")))
    report.check.provenance()
    return report


if __name__ == "__main__":
    json.dump(Report.model_json_schema(), sys.stdout, indent=1)
    sys.stdout.write("\n")
