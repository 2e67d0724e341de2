"""run_job(): the story on one page.

job.yaml -> open_source -> scan_source -> choose_cast -> plan_edit (--plan stops here) -> produce -> output and report
"""

from __future__ import annotations

from pathlib import Path

from media.files import clear_leftovers
from media.timeline import merge
from pipeline.casting import choose_cast
from pipeline.config import JobConfig
from pipeline.inputs import check_reel, check_side_file, workspace_folder
from pipeline.plan import check_disk, describe_plan
from pipeline.prepare import open_source, plan_edit, scan_source, span_settings
from pipeline.progress import Reporter, stage
from pipeline.report import report_path
from pipeline.span_file import write_spans
from pipeline.workspace import Workspace
from segmenter.span_rows import rows_of

EXIT_COMPLETE, EXIT_FELL_BACK = 0, 10


def run_job(
    config: JobConfig,
    reporter: Reporter,
    *,
    plan_only: bool = False,
    force: bool = False,
    reel: Path | None = None,
    spans: Path | None = None,
) -> int:
    """Do a job and return the exit code: 0, or 10 if some clips fell back. Raises LipstitchError.

    plan_only: say what would be done and stop. force: existing outputs are replaced. reel: where to write a
    comparison reel. spans: where a plan writes the span file.
    """
    source, edits = open_source(config, reporter, plan_only=plan_only, force=force or plan_only)
    if reel is not None:
        check_reel(config, reel, [edit.output for edit in edits], force=force or plan_only)
    if spans is not None:
        check_side_file(config, "--spans", spans, (".csv",), force=force)
    if not plan_only:
        from pipeline.produce import check_renderer, produce  # imports torch: seconds that a plan does not need

        check_renderer(config, source)
    with Workspace(workspace_folder(config)) as workspace:
        workspace.clear_partial()
        for path in [*(edit.output for edit in edits), *([reel] if reel else [])]:
            clear_leftovers(path)
            clear_leftovers(report_path(path))
        shown = merge(part for edit in edits for part in edit.scanned)
        scan = scan_source(config, source, shown, workspace, reporter)
        casting = choose_cast(config, source, edits, scan, source.rows, workspace)
        plans = [plan_edit(config, source, edit, casting, workspace) for edit in edits]
        if plan_only:
            for plan in plans:
                reporter.say(describe_plan(plan))
            if spans is not None:
                found = casting.spoken(casting.spans(source.table, shown, span_settings(config)), edits)
                write_spans(rows_of(found), source.table, spans)
                reporter.say(f"Spans: {spans}")
            return EXIT_COMPLETE
        check_disk(plans, workspace)
        finished = [produce(config, source, plan, workspace, reporter) for plan in plans]
        if reel is not None:
            from pipeline.reel import write_reel  # likewise moviepy

            with stage(reporter, "reel", 1, "reels"):
                has_reel = write_reel(reel, source.info, source.table, list(zip(edits, finished, strict=True)))
                reporter.advance(1)
            reporter.say(f"Reel: {reel}" if has_reel else "There is no reel, since nothing was rendered.")
        workspace.tidy(config.execution.keep)
    fell_back = sum(clip.outcome == "fell_back" for clips in finished for clip in clips)
    if fell_back:
        reporter.warn(f"{fell_back} clips could not be rendered and keep their mouths; the report lists them.")
    return EXIT_FELL_BACK if fell_back else EXIT_COMPLETE
