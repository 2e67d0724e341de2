"""Files that a job writes beside its outputs where the command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lipstitch.interchange.write import ENDINGS, check_timeline, write_timeline
from lipstitch.job_file.config import JobConfig
from lipstitch.opened import OpenedJob
from lipstitch.plan.plan import Plan
from lipstitch.progress import Reporter, stage
from lipstitch.source.checks import check_comparison_video, check_side_file
from lipstitch.source.source import Source
from media.base.errors import ConfigError

if TYPE_CHECKING:
    from lipstitch.execution.write_output import WrittenOutput  # imports torch, which takes seconds


@dataclass(frozen=True, slots=True)
class SideFiles:
    """Where they are written; None: not at all."""

    comparison: Path | None = None
    """Source and result side by side, as a video."""
    spans: Path | None = None
    """What would be rendered, as a span file."""
    turns: Path | None = None
    """Who was found to speak when."""
    timeline: Path | None = None
    """What was rendered, for editing programs; of several outputs each has its own, named like the output."""

    def check_wanted(self, config: JobConfig) -> None:
        """Raise ConfigError if there will be no turns to write, because the job gives them itself."""
        if self.turns is not None and (config.input.speakers is None or not config.input.speakers.is_auto):
            raise ConfigError("--turns writes who is found to speak when. Set input.speakers: auto.")

    def check(self, job: OpenedJob, *, force: bool) -> tuple[Path, ...]:
        """Return the timeline of each output; raise ConfigError if a file cannot be written, or exists.

        force: existing files may be replaced. The comparison video is checked by itself.
        """
        for key, table in (("--spans", self.spans), ("--turns", self.turns)):
            if table is not None:
                check_side_file(job.config, key, table, (".csv",), force=force)
        timelines = check_timeline(job.config, self.timeline, job.specs, job.video) if self.timeline else []
        for path in timelines:
            check_side_file(job.config, "--timeline", path, ENDINGS, force=force)
        return tuple(timelines)

    def check_comparison(self, job: OpenedJob, *, force: bool) -> None:
        """Raise ConfigError if the comparison video cannot be written, or exists. force: it may be replaced."""
        if self.comparison is not None:
            outputs = [spec.output for spec in job.specs]
            check_comparison_video(job.config, self.comparison, outputs, force=force)


NO_SIDE_FILES = SideFiles()


def write_timelines(
    paths: Sequence[Path],
    config: JobConfig,
    source: Source,
    finished: Sequence[tuple[Plan, WrittenOutput]],
    reporter: Reporter,
) -> None:
    """Write the timeline of each finished output, if any is wanted. Raises WorkspaceError, or MediaError."""
    for path, (plan, output) in zip(paths, finished, strict=bool(paths)):
        write_timeline(path, config, source, plan, output.clips)
        reporter.info(f"Timeline: {path}")


def write_comparison(
    path: Path,
    source: Source,
    finished: Sequence[tuple[Plan, WrittenOutput]],
    excerpt_seconds: Fraction | None,
    reporter: Reporter,
) -> None:
    """Write source and result side by side, where something was rendered. Raises LipstitchError.

    excerpt_seconds: how much of each rendered part is shown at most; None: as a whole job is shown.
    """
    from lipstitch.report.comparison_video import write_comparison_video

    with stage(reporter, "comparison", 1, "videos"):
        shown = [(plan.spec, output.clips) for plan, output in finished]
        is_written = write_comparison_video(path, source, shown, excerpt_seconds=excerpt_seconds)
        reporter.advance(1)
    reporter.info(
        f"Comparison video: {path}" if is_written else "No comparison video was written, since nothing was rendered."
    )
