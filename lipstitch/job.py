"""run_job(): the story on one page.

job.yaml -> open_job -> scan (-> measure_own_sound) -> select_targets -> read_footage -> plan_output (--plan stops here)
-> write_output -> output and report. A preview is planned as a job of its own (build_preview), and is written instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from lipstitch.execution.machine import measure_capacity
from lipstitch.footage.read import Footage, FootageReader
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.span_file import write_spans
from lipstitch.job_file.turn_file import write_turns
from lipstitch.opened import OpenedJob, find_job_weights, mention_sounds, open_job, open_preview
from lipstitch.plan.describe import describe_plan
from lipstitch.plan.methods import FaceSelection
from lipstitch.plan.outputs.plan_outputs import plan_outputs
from lipstitch.plan.plan import Plan, check_disk, plan_output
from lipstitch.plan.preview import build_preview, check_preview, describe_preview, preview_path
from lipstitch.plan.streams import check_outputs
from lipstitch.plan.target import TargetSelection, select_targets
from lipstitch.progress import Reporter, Timings
from lipstitch.redo import Redo, find_redone
from lipstitch.report.report import Report, page_path, report_path
from lipstitch.side_files import NO_SIDE_FILES, SideFiles, write_comparison, write_timelines
from lipstitch.source.fetch import local_inputs
from lipstitch.source.import_ahead import import_ahead
from lipstitch.source.judge import find_judge
from lipstitch.source.offset import measured_offset
from lipstitch.source.scan import Scanned, choose_finder, embed_references, scan_source
from lipstitch.source.source import (
    Source,
    identify_source,
    remember_source,
)
from lipstitch.source.weights import check_licence, find_local_network
from lipstitch.tools import DEFAULT_TOOLS, Tools
from lipstitch.workspace import Workspace, workspace_folder
from media.base.files import clear_leftovers
from media.intervals import merge

if TYPE_CHECKING:
    from lipstitch.execution.write_output import WrittenOutput  # imports torch, which takes seconds

EXIT_COMPLETE, EXIT_FELL_BACK = 0, 10


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job has come to."""

    reports: tuple[Report, ...] = ()
    """Of each output, in order; none where the job was only planned."""

    @property
    def exit_code(self) -> int:
        """0, or 10 if some clips fell back to the original frames."""
        fell_back = any(report.num_clips.get("fell_back") for report in self.reports)
        return EXIT_FELL_BACK if fell_back else EXIT_COMPLETE


def run_job(
    config: JobConfig,
    reporter: Reporter,
    *,
    plan_only: bool = False,
    force: bool = False,
    preview: Fraction | None = None,
    redo: Redo | None = None,
    beside: SideFiles = NO_SIDE_FILES,
    tools: Tools = DEFAULT_TOOLS,
) -> JobResult:
    """Do a job and return what came of it. Raises LipstitchError.

    plan_only: say what would be done and stop. force: existing outputs are replaced. preview: write only so many
    seconds, and a comparison video of them, beside the output. redo: which clips of the finished outputs are made
    again; these are replaced. beside: what else is written. tools: what makes the detector, the network and so on.
    """
    beside.check_wanted(config)
    if preview is not None:
        local = local_inputs(config, workspace_folder(config))
        beside = replace(beside, comparison=check_preview(local, beside.comparison, force=force))
    may_replace = force or plan_only or preview is not None or redo is not None
    job, timings = open_job(config, reporter, force=may_replace), Timings()
    config = job.config  # with what was fetched, and with the ranges of its timeline
    if redo is not None:
        job = replace(job, redone=find_redone(redo, config, job.specs))
    if preview is None:
        beside.check_comparison(job, force=force or plan_only)
    timelines = beside.check(job, force=force)
    check_licence(config)  # before anything is downloaded
    weights = None if plan_only else find_job_weights(job, reporter)
    if weights is None:
        source = identify_source(job.video)
    else:
        mention_sounds(job.specs, reporter)
        with import_ahead():
            source = identify_source(job.video)
        from lipstitch.execution.pages import write_pages
        from lipstitch.execution.write_output import check_renderer, write_output

        check_renderer(config, weights, tools)
    job.redone.check_source(source.fingerprint)
    network = weights.network if weights else find_local_network(config, reporter)
    capacity = measure_capacity(config, network)
    with Workspace(workspace_folder(config)) as workspace:
        workspace.clear_partial()
        remember_source(workspace, job.video, source)
        for path in [*(spec.output for spec in job.specs), *([beside.comparison] if beside.comparison else [])]:
            clear_leftovers(path)
            clear_leftovers(report_path(path))
            clear_leftovers(page_path(path))
        scanned = scan_job(job, source, workspace, reporter, timings, tools)
        if config.input.audio_offset == "auto":
            job, scanned = measure_own_sound(job, scanned, workspace, reporter, timings)
        target = select_targets(config, scanned, job.specs, job.rows, workspace, reporter, timings)
        target = replace(target, redone=job.redone.changes)
        footage = read_footage(job, FootageReader(config, scanned, workspace, reporter, timings, job.further), target)
        faces = FaceSelection(target, footage, scanned.scan, config.renderer)

        def plan_all(job: OpenedJob) -> list[Plan]:
            return [
                plan_output(job.config, scanned, spec, streams, faces, capacity, workspace)
                for spec, streams in zip(job.specs, job.streams, strict=True)
            ]

        plans = plan_all(job)
        if beside.spans is not None:
            write_spans(faces.to_rows(job.specs), source.table, beside.spans)
            reporter.info(f"Spans: {beside.spans}")
        if preview is not None:
            clear_leftovers(preview_path(config))
            config = build_preview(config, source.table, plans, workspace, preview)
            reporter.info(f"Preview: {describe_preview(config)}")
            job = open_preview(job, config)
            plans = plan_all(job)
        if weights is None:
            for plan in plans:
                reporter.info(describe_plan(plan))
            if beside.turns is not None and target.found is not None:
                write_turns(target.found.listed(job.turns_start), beside.turns)
                reporter.info(f"Turns: {beside.turns}")
            return JobResult()
        check_disk(plans, workspace, signs=config.stitcher.provenance == "c2pa")
        written = [write_output(config, scanned, plan, weights, workspace, reporter, timings) for plan in plans]
        finished = [*zip(plans, written, strict=True)]
        write_timelines(timelines, config, source, finished, reporter)
        if config.stitcher.report == "html":
            write_pages(config, source, faces, [(plan, output.clips) for plan, output in finished], reporter)
        if beside.comparison is not None:
            write_comparison(beside.comparison, source, finished, preview, reporter)
        if preview is None:  # whose job goes on with all that is there
            workspace.tidy(config.execution.keep)
    _warn_of_fallbacks(config, written, reporter)
    return JobResult(tuple(output.report for output in written))


def scan_job(
    job: OpenedJob, source: Source, workspace: Workspace, reporter: Reporter, timings: Timings, tools: Tools
) -> Scanned:
    """Find the faces in all frames that the outputs show, and embed the photos by which the job names people."""
    config = job.config
    shown = job.shown_frames
    needs_people = config.needs_people or any(row.person for row in job.rows or ())
    judge = find_judge(config, reporter)
    finder = choose_finder(config, source, shown, workspace, reporter, needs_people=needs_people, tools=tools)
    references = embed_references(config, finder)
    scan = scan_source(config, source, finder, shown, workspace, reporter, timings)
    return Scanned(source, finder, scan, references, judge, job.offset)


def measure_own_sound(
    job: OpenedJob, scanned: Scanned, workspace: Workspace, reporter: Reporter, timings: Timings
) -> tuple[OpenedJob, Scanned]:
    """Measure how the source's own sound lies against its lips; return the job and its scan with sounds moved so."""
    from lipstitch.evaluation.own_offset import find_offset  # imports torch, which takes seconds

    box = job.config.segmenter.scan_settings.box
    offset = measured_offset(job.config, find_offset(scanned, box, workspace, reporter, timings))
    reporter.info(f"Sound: {offset.text}.")
    specs = plan_outputs(job.config, job.video, job.inputs, job.dialogue, offset)
    streams = check_outputs(job.config, job.video, specs, job.streams[0].coding, force=True)
    return replace(job, specs=specs, streams=streams, offset=offset), replace(scanned, offset=offset)


def read_footage(job: OpenedJob, reader: FootageReader, target: TargetSelection) -> Footage:
    """Read the mouths of everyone whose lips move in an output from the video's own frames."""
    driven = merge(part for spec in job.specs for part in spec.timeline.source_intervals(spec.driven_frames))
    shown = job.shown_frames
    return reader.read(target.identities, target.seen_spans(shown), shown, driven, target.rule)


def _warn_of_fallbacks(config: JobConfig, written: Sequence[WrittenOutput], reporter: Reporter) -> None:
    fell_back = sum(clip.outcome == "fell_back" for output in written for clip in output.clips)
    if fell_back:
        listed = "" if config.stitcher.report == "none" else "; the report lists them"
        reporter.warning(f"{fell_back} clips could not be rendered and fall back to the original frames{listed}.")
