"""The pages of a job's reports, written once its outputs are complete: each from the report beside its output."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lipstitch.execution.seals import load_strip
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.methods import FaceSelection
from lipstitch.plan.outputs.ranges import frames_to_scan
from lipstitch.plan.plan import Plan
from lipstitch.progress import Reporter, stage
from lipstitch.report.page.material import Lanes, TurnsRecord, build_material
from lipstitch.report.page.page import write_page
from lipstitch.report.report import load_report, page_path, report_path
from media.base.errors import WorkspaceError
from media.clips import RenderedClip
from media.intervals import Interval
from media.source_video import SourceVideo


def write_pages(
    config: JobConfig,
    source: SourceVideo,
    faces: FaceSelection,
    finished: Sequence[tuple[Plan, Sequence[RenderedClip]]],
    reporter: Reporter,
) -> None:
    """Write the page of each output. finished: plans of outputs that are complete under their names, with their clips.

    The job is done by now: what goes wrong here is a warning. A bug is one, too, and is told with its traceback.
    """
    keeps_clips = config.execution.keep in ("clips", "all")
    with stage(reporter, "pages", len(finished), "pages"):
        for number, (plan, clips) in enumerate(finished, start=1):
            path, json_path = page_path(plan.spec.output), report_path(plan.spec.output)
            try:
                rows = faces.to_rows([plan.spec for plan, _ in finished])
                report, lanes = load_report(json_path), _lanes(config, source, plan, clips)
                material = build_material(rows, lanes, report.spans, source.table, keeps_clips=keeps_clips)
                files = {clip.clip.index: Path(clip.path) for clip in clips if clip.path and clip.outcome == "rendered"}
                write_page(report, material, path, [*files], partial(_load, files))
            except WorkspaceError as exc:
                reporter.warning(f"{exc} The output and {json_path} are complete.")
            except Exception:
                reporter.warning(
                    f"{path} was not written, because of an error in lipstitch; please report it. The output and"
                    f" {json_path} are complete.\n{traceback.format_exc()}"
                )
            else:
                reporter.info(f"Report to look at: {path}")
            reporter.advance(number)


def _load(files: dict[int, Path], clip: int) -> bytes:
    return load_strip(files[clip])


def _lanes(config: JobConfig, source: SourceVideo, plan: Plan, clips: Sequence[RenderedClip]) -> Lanes:
    timeline, shots = plan.spec.timeline, plan.target.identities.shots
    return Lanes(
        clips=tuple(_shown(clip.clip.source_frames) for clip in clips),
        shots=tuple((shot.start, shot.stop) for shot in shots),
        ranges=tuple(frames_to_scan(config, source)) if config.ranges else (),
        speakers=tuple(
            TurnsRecord(name=speaker.name, frames=tuple(timeline.source_intervals(speaker.turns)))
            for speaker in plan.target.speakers(plan.spec)
        ),
    )


def _shown(frames: Sequence[int]) -> Interval:
    """Return the source frames that a clip shows; it runs one way through the source."""
    return min(frames[0], frames[-1]), max(frames[0], frames[-1]) + 1
