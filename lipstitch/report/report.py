"""report.json: what was done with every clip, what was checked, and what lets anyone check the output from outside.

`python -m lipstitch.report.report > docs/report.schema.json` writes its JSON schema. Fields with a default are missing
in reports of earlier versions, or where their docstring says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lipstitch.report.records import (
    Box,
    ChangeRecord,
    CheckRecord,
    ClipRecord,
    DisclosureRecord,
    FurtherRecord,
    Hashes,
    MeasuresRecord,
    OffsetRecord,
    OutcomeName,
    OutputRecord,
    Record,
    ReencodedRecord,
    SoundtrackRecord,
    SourceRecord,
    SpanRecord,
    SpeakerRecord,
    TargetRecord,
    VideoRecord,
)
from media.base.files import atomic_file
from media.clips import RenderedClip
from media.coding.encoder_options import CODED_PSNR
from media.intervals import Interval, merge
from media.orientation import Rectangle
from stitcher.verify.provenance import FrameProvenance, reencoded_spans, rendered_parts


class ProvenanceRecord(Record):
    """What was done with which frames of the output. Frames that are not named hold the source's own packets."""

    spans: tuple[Interval, ...]
    """Frames with a new mouth, or enhanced as a whole, as half-open intervals."""
    boxes: tuple[Box | None, ...]
    """For each of them the x, y, width and height, in pixels of the stored picture, of the box outside which nothing
    changed; null if nothing changed at all."""
    reencoded: tuple[ReencodedRecord, ...]

    @classmethod
    def of(cls, clips: Sequence[RenderedClip], enhanced: Rectangle | None = None) -> ProvenanceRecord:
        """Return what was done with the frames of finished clips. enhanced: as of reencoded_spans."""
        parts = rendered_parts(clips, enhanced)
        return cls(
            spans=tuple(interval for interval, _ in parts),
            boxes=tuple(_to_box(rectangle) for _, rectangle in parts),
            reencoded=tuple(ReencodedRecord.of(span) for span in reencoded_spans(clips, enhanced)),
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
    enhance: str = ""
    """What enhanced whole frames, with the licence of its weights; empty if nothing did."""
    program: str = ""
    """The command line of the program that drew mouths in a network's place; empty if none did."""
    further_footage: tuple[FurtherRecord, ...] = ()
    """What mouths of further videos could be shown."""
    spans: tuple[SpanRecord, ...]
    redone: tuple[ChangeRecord, ...] = ()
    """What was made again in another way, by --redo; the spans say it as well."""
    clips: tuple[ClipRecord, ...]
    num_clips: dict[OutcomeName, int]
    """Clips by their outcome."""
    num_rendered_frames: int
    damaged_frames: tuple[int, ...] = ()
    """Frames of the source that could not be decoded, or not without guessing."""
    video: VideoRecord | None = None
    soundtrack: SoundtrackRecord
    audio_offset: OffsetRecord | None = None
    """None unless the job asks for it."""
    checks: tuple[CheckRecord, ...]
    seconds: dict[str, float]
    """Wall time by stage."""
    hashes: Hashes
    versions: dict[str, str]
    """Versions of Python and of the libraries that decide what an output looks like."""
    check: ProvenanceRecord
    disclosure: DisclosureRecord | None = None
    """How the output says that it is partly synthetic; missing in reports of earlier versions."""
    measures: tuple[MeasuresRecord, ...] = ()
    """Of the whole output, then of its clips; empty until `score` has measured them."""


def report_path(output: Path) -> Path:
    """Return the path of an output's report, beside the output."""
    return output.with_name(f"{output.name}.report.json")


def page_path(output: Path) -> Path:
    """Return the path of the page that shows an output's report, beside the output."""
    return output.with_name(f"{output.name}.report.html")


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
