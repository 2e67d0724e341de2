"""Many jobs, one after another, in one process: networks stay loaded, and a job that fails stops no other.

A job whose outputs an earlier run has finished is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lipstitch.intake.job_list import ListedJob
from lipstitch.interchange.read import with_ranges
from lipstitch.job import EXIT_COMPLETE, EXIT_FELL_BACK, run_job
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.ranges import output_paths
from lipstitch.progress import JobOutcome, JobsReporter
from lipstitch.report.report import load_report, report_path
from lipstitch.source.checks import input_files
from lipstitch.source.fetch import local_inputs
from lipstitch.source.source import open_source
from lipstitch.tools import DEFAULT_TOOLS, Tools
from lipstitch.workspace import job_key, workspace_folder
from media.base.errors import Cancelled, LipstitchError


def run_jobs(
    jobs: Sequence[ListedJob],
    reporter: JobsReporter,
    *,
    plan_only: bool = False,
    force: bool = False,
    tools: Tools = DEFAULT_TOOLS,
) -> int:
    """Do jobs and return an exit code: that of the first one that failed, else 10 if clips fell back, else 0.

    plan_only: say what would be done in each. force: do finished jobs again, and replace what exists.
    tools: as of run_job.
    Raises Cancelled where the reporter does.
    """

    def do(job: JobConfig) -> int:
        return run_job(job, reporter, plan_only=plan_only, force=force, tools=tools).exit_code

    outcomes = []
    for number, listed in enumerate(jobs, start=1):
        output = "" if isinstance(listed.job, LipstitchError) else str(listed.job.output)
        reporter.begin_job(number, len(jobs), listed.where, output)
        outcome = _attempt(listed, output, do, skips_finished=not (plan_only or force))
        reporter.end_job(outcome)
        outcomes.append(outcome)
    failed = (outcome.exit_code for outcome in outcomes if outcome.status == "failed")
    exit_code = next(failed, max(outcome.exit_code for outcome in outcomes))
    reporter.end_jobs(outcomes, exit_code)
    return exit_code


def _attempt(listed: ListedJob, output: str, do: Callable[[JobConfig], int], *, skips_finished: bool) -> JobOutcome:
    start = time.monotonic()
    try:
        if isinstance(listed.job, LipstitchError):
            raise listed.job
        finished = find_finished(listed.job) if skips_finished else None
        if finished is not None:
            return JobOutcome(listed.where, output, "finished_before", finished, 0.0)
        code = do(listed.job)
    except Cancelled:  # which ends all jobs
        raise
    except LipstitchError as exc:
        return JobOutcome(listed.where, output, "failed", exc.exit_code, _seconds_since(start), str(exc))
    return JobOutcome(listed.where, output, "fell_back" if code else "done", code, _seconds_since(start))


def _seconds_since(start: float) -> float:
    return round(time.monotonic() - start, 1)


def find_finished(config: JobConfig) -> int | None:
    """Return the exit code of an earlier run that finished the same job; None where none has.

    Outputs and reports must be there as they were written, and no input may have been written to since. Raises
    ConfigError or MediaError where the ranges of a timeline cannot be told.
    """
    config = local_inputs(config, workspace_folder(config))
    if config.ranges_from is not None:  # by which outputs are named, and jobs told apart
        if not config.input.video_file.exists():
            return None
        config = with_ranges(config, open_source(config))
    key, code = job_key(config), EXIT_COMPLETE
    for output in output_paths(config):
        path = report_path(output)
        try:
            report, written = load_report(path), path.stat().st_mtime_ns
            is_whole = output.stat().st_size == report.output.size_bytes
        except (OSError, ValueError):
            return None
        if report.hashes.job != key or not is_whole or any(changed > written for changed in _changes(config)):
            return None
        if report.num_clips.get("fell_back"):
            code = EXIT_FELL_BACK
    return code


def _changes(config: JobConfig) -> Iterator[int]:
    """Yield when each file that the job reads was last written to; those that are gone are left out."""
    paths = [path for _, path in input_files(config)] + [*config.references.values()]
    paths += [config.segmenter.spans] if config.segmenter.spans else []
    speakers = config.input.speakers
    paths += [speakers.turns] if speakers and isinstance(speakers.turns, Path) else []
    for path in paths:
        if path.exists():
            yield path.stat().st_mtime_ns
