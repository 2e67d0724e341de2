"""run_job(): the story on one page.

job.yaml -> open_source -> scan_source -> select_targets -> plan_output (--plan stops here) -> write_output
-> output and report
"""

from __future__ import annotations

from pathlib import Path

from base.files import clear_leftovers
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.span_file import write_spans
from lipstitch.plan.plan import check_disk, describe_plan
from lipstitch.plan.target import select_targets
from lipstitch.progress import Reporter, stage
from lipstitch.report.report import report_path
from lipstitch.source.checks import check_comparison_video, check_side_file, workspace_folder
from lipstitch.source.source import open_source, plan_output, scan_source, span_settings
from lipstitch.workspace import Workspace
from media.intervals import merge
from media.source_video import SourceVideo
from segmenter.spans.table import to_rows

EXIT_COMPLETE, EXIT_FELL_BACK = 0, 10


def run_job(
    config: JobConfig,
    reporter: Reporter,
    *,
    plan_only: bool = False,
    force: bool = False,
    comparison: Path | None = None,
    spans: Path | None = None,
) -> int:
    """Do a job and return the exit code: 0, or 10 if some clips fell back. Raises LipstitchError.

    plan_only: say what would be done and stop. force: existing outputs are replaced. comparison: where
    to write a comparison video. spans: where a plan writes the span file.
    """
    source, edits = open_source(config, reporter, plan_only=plan_only, force=force or plan_only)
    if comparison is not None:
        check_comparison_video(config, comparison, [edit.output for edit in edits], force=force or plan_only)
    if spans is not None:
        check_side_file(config, "--spans", spans, (".csv",), force=force)
    if not plan_only:
        from lipstitch.execution.write_output import check_renderer, write_output

        check_renderer(config, source)
    with Workspace(workspace_folder(config)) as workspace:
        workspace.clear_partial()
        for path in [*(edit.output for edit in edits), *([comparison] if comparison else [])]:
            clear_leftovers(path)
            clear_leftovers(report_path(path))
        shown = merge(part for edit in edits for part in edit.scanned)
        scan = scan_source(config, source, shown, workspace, reporter)
        casting = select_targets(config, source, edits, scan, source.rows, workspace)
        plans = [plan_output(config, source, edit, casting, workspace) for edit in edits]
        if plan_only:
            for plan in plans:
                reporter.info(describe_plan(plan))
            if spans is not None:
                found = casting.spoken(casting.spans(source.table, shown, span_settings(config)), edits)
                write_spans(to_rows(found), source.table, spans)
                reporter.info(f"Spans: {spans}")
            return EXIT_COMPLETE
        check_disk(plans, workspace)
        finished = [write_output(config, source, plan, workspace, reporter) for plan in plans]
        if comparison is not None:
            from lipstitch.report.comparison_video import write_comparison_video

            with stage(reporter, "comparison", 1, "videos"):
                outputs = list(zip(edits, finished, strict=True))
                is_written = write_comparison_video(comparison, SourceVideo(source.info, source.table), outputs)
                reporter.advance(1)
            reporter.info(
                f"Comparison video: {comparison}"
                if is_written
                else "No comparison video was written, since nothing was rendered."
            )
        workspace.tidy(config.execution.keep)
    fell_back = sum(clip.outcome == "fell_back" for clips in finished for clip in clips)
    if fell_back:
        reporter.warning(
            f"{fell_back} clips could not be rendered and fall back to the original frames; the report lists them."
        )
    return EXIT_FELL_BACK if fell_back else EXIT_COMPLETE
