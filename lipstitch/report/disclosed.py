"""What an output says of its own making: decided when it is known what became of its frames, and read from reports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.report.records import DisclosureKind
from lipstitch.report.report import Report
from media.intervals import Interval, merge
from media.source_video import SourceVideo
from media.timeline import OutputTimeline
from stitcher.disclosure.embedded import can_hold, stated_ranges
from stitcher.disclosure.statement import DECIMALS, Disclosure
from stitcher.verify.provenance import FrameProvenance

PROGRAM = "lipstitch"


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What an output says, and how."""

    kind: DisclosureKind
    note: str
    """In words; where nothing is said, why not."""
    statement: Disclosure | None
    """None where nothing is said."""
    is_missing: bool = False
    """Whether something would have to be said that the file cannot hold."""


def decide_disclosure(
    config: JobConfig, source: SourceVideo, spec: OutputSpec, provenance: FrameProvenance, version: str
) -> Disclosed:
    """Return what an output says of its frames. version: of lipstitch. Raises MediaError."""
    kind = config.stitcher.provenance
    statement = Disclosure.of(f"{PROGRAM} {version}", _synthetic(source, provenance, spec.timeline), spec.timeline)
    if statement is None:
        return Disclosed("none", "nothing in it is synthetic", None)
    count = len(statement.ranges)
    ranges = f"partly synthetic in {count} range{'' if count == 1 else 's'}"
    if kind == "none":
        return Disclosed("none", f"{ranges}, which it does not say, as stitcher.provenance asks", None)
    if not can_hold(spec.muxer):
        why = f"{spec.output.suffix} files have no place for that"
        return Disclosed("none", f"{ranges}, which it does not say: {why}", None, is_missing=True)
    if kind == "metadata":
        return Disclosed(kind, f"{ranges}, as its metadata says", statement)
    return Disclosed(kind, f"{ranges}, as a signed C2PA manifest says", replace(statement, is_signed=True))


def recorded_disclosure(report: Report, source: SourceVideo, timeline: OutputTimeline) -> Disclosure | None:
    """Return what a finished output has to say, as its report records it; None if it need not say anything."""
    if report.disclosure is None or report.disclosure.kind == "none":
        return None
    synthetic = _synthetic(source, report.check.provenance(), timeline)
    statement = Disclosure.of(f"{PROGRAM} {report.lipstitch}", synthetic, timeline)
    return statement and replace(statement, is_signed=report.disclosure.kind == "c2pa")


def _synthetic(source: SourceVideo, provenance: FrameProvenance, timeline: OutputTimeline) -> list[Interval]:
    """Return the frames of an output that are synthetic: made anew, or already so in a source that says it."""
    table, tick = source.table, Fraction(1, 10**DECIMALS)  # by which a text rounds times
    stated = [
        (table.frame_at(start - tick), table.frame_at(stop - tick))
        for start, stop in stated_ranges(Path(source.info.path))
    ]
    shown = (run.output_interval(*frames) for frames in stated for run in timeline.runs)
    return merge([*provenance.synthetic, *((start, stop) for start, stop in shown if start < stop)])
