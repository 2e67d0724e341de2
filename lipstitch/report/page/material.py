"""What a page shows beside its report: where things lie in the source, and what a span file of the job holds.

It travels inside the page, so that the page can be written anew when its report has more to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from lipstitch.job_file.span_file import format_time
from lipstitch.report.records import ChangeRecord, Record, SpanRecord
from media.clips import Kind, Method, Quality
from media.intervals import Interval
from media.packets.frame_table import FrameTable
from segmenter.spans.table import SpanRow


class RowRecord(Record):
    """A row of the span file that says what the job did."""

    start_frame: int
    stop_frame: int
    person: int | None
    kind: Kind
    method: Method | None
    strength: float | None = None
    quality: Quality | None = None
    reason: str
    changes: tuple[ChangeRecord, ...] = ()

    @classmethod
    def of(cls, row: SpanRow) -> RowRecord:
        """Return the record of a row."""
        own = {name: getattr(row, name) for name in cls.model_fields if name != "changes"}
        changes = (ChangeRecord.of(change) for change in row.changes if not change.is_empty)
        return cls(**own, changes=tuple(changes))


class TurnsRecord(Record):
    """When a speaker of a dialogue speaks."""

    name: str
    frames: tuple[Interval, ...]


class Lanes(Record):
    """What lies where. All frames are those of the source."""

    clips: tuple[Interval, ...]
    """The frames that each clip of the output shows, by its index."""
    shots: tuple[Interval, ...]
    ranges: tuple[Interval, ...] = ()
    """Empty where the job has no ranges."""
    speakers: tuple[TurnsRecord, ...] = ()


class PageMaterial(Record):
    """What a page shows beside its report."""

    rows: tuple[RowRecord, ...]
    """Of all outputs of the job: a span file covers them all."""
    lanes: Lanes
    times: dict[int, str]
    """The time of each frame at which something begins or ends, as a span file writes it; with the end of the video."""
    num_frames: int
    keeps_clips: bool
    """Whether finished clips stay in the workspace, so that a later run renders only what changes."""

    def seconds(self, frame: int) -> float:
        """Return the time of a frame at which something begins or ends."""
        return float(self.times[frame])


def build_material(
    rows: Sequence[SpanRow], lanes: Lanes, spans: Sequence[SpanRecord], table: FrameTable, *, keeps_clips: bool
) -> PageMaterial:
    """Return the material of a page. spans: of its report; table: of the source."""
    records = tuple(map(RowRecord.of, rows))
    parts: Iterable[Interval] = chain(
        ((row.start_frame, row.stop_frame) for row in records),
        ((change.start_frame, change.stop_frame) for row in records for change in row.changes),
        ((span.start_frame, span.stop_frame) for span in spans),
        lanes.clips,
        lanes.shots,
        lanes.ranges,
        *(speaker.frames for speaker in lanes.speakers),
    )
    frames = sorted({0, len(table), *chain.from_iterable(parts)})
    return PageMaterial(
        rows=records,
        lanes=lanes,
        times={frame: format_time(frame, table) for frame in frames},
        num_frames=len(table),
        keeps_clips=keeps_clips,
    )
