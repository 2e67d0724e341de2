"""run_job(): the story on one page.

job.yaml -> open_job -> scan (-> measure_own_sound) -> select_targets -> read_footage -> plan_output (--plan stops here)
-> write_output -> output and report
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipstitch.execution.machine import measure_capacity
from lipstitch.footage.read import Footage, FootageReader
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.span_file import read_spans, write_spans
from lipstitch.job_file.turn_file import write_turns
from lipstitch.plan.audio.inputs import AudioInputs, open_audio_inputs, turns_start
from lipstitch.plan.audio.notes import SoundNote
from lipstitch.plan.describe import describe_plan
from lipstitch.plan.methods import FaceSelection
from lipstitch.plan.outputs.dialogue import Dialogue, open_dialogue
from lipstitch.plan.outputs.plan_outputs import plan_outputs
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.plan import check_disk, plan_output
from lipstitch.plan.streams import StreamPlan, check_outputs
from lipstitch.plan.target import TargetSelection, select_targets
from lipstitch.progress import Reporter, Timings, stage
from lipstitch.report.report import page_path, report_path
from lipstitch.source.checks import (
    check_comparison_video,
    check_output_name,
    check_side_file,
    check_sounds_complete,
    check_turns_wanted,
)
from lipstitch.source.import_ahead import import_ahead
from lipstitch.source.judge import find_judge, require_own_sound
from lipstitch.source.offset import SoundOffset, given_offset, measured_offset
from lipstitch.source.scan import Scanned, check_photos, choose_finder, embed_references, scan_source
from lipstitch.source.source import (
    OpenedVideo,
    Source,
    choose_coding,
    identify_source,
    open_further,
    open_source,
    remember_source,
)
from lipstitch.source.weights import check_licence, find_local_network, find_rendering_weights
from lipstitch.tools import DEFAULT_TOOLS, Tools
from lipstitch.workspace import Workspace, workspace_folder
from media.audio.speech_network import find_speech_weights
from media.base.files import clear_leftovers
from media.clips import RenderedClip
from media.intervals import Interval, merge
from segmenter.spans.table import SpanRow, to_rows

EXIT_COMPLETE, EXIT_FELL_BACK = 0, 10


@dataclass(frozen=True, slots=True)
class OpenedJob:
    """A job whose files were all opened and checked."""

    config: JobConfig
    video: OpenedVideo
    specs: tuple[OutputSpec, ...]
    streams: tuple[StreamPlan, ...]
    """Of each output, what becomes of the source's own streams."""
    rows: tuple[SpanRow, ...] | None
    """What the job's span file says; None if it has none."""
    further: tuple[OpenedVideo, ...]
    """Further videos of the job's people."""
    inputs: AudioInputs
    """The sounds, where they lie before they are moved."""
    dialogue: Dialogue | None
    offset: SoundOffset
    """By how much sounds are moved against the picture."""

    @property
    def turns_start(self) -> Fraction:
        """Return where second 0 of the turns lies on the clock of the video."""
        return turns_start(self.config, self.inputs.later(self.offset.seconds).heard)[0]

    @property
    def shown_frames(self) -> list[Interval]:
        """Return the source frames in which the outputs may show a new mouth."""
        return merge(part for spec in self.specs for part in spec.scanned_frames)


def run_job(
    config: JobConfig,
    reporter: Reporter,
    *,
    plan_only: bool = False,
    force: bool = False,
    comparison: Path | None = None,
    spans: Path | None = None,
    turns: Path | None = None,
    tools: Tools = DEFAULT_TOOLS,
) -> int:
    """Do a job and return the exit code: 0, or 10 if some clips fell back. Raises LipstitchError.

    plan_only: say what would be done and stop. force: existing outputs are replaced. comparison: where to write a
    comparison video. spans, turns: where a plan writes the span file, and who speaks when. tools: what makes the
    detector, the network and so on.
    """
    if turns is not None:
        check_turns_wanted(config)
    job, timings = open_job(config, reporter, force=force or plan_only), Timings()
    if comparison is not None:
        outputs = [spec.output for spec in job.specs]
        check_comparison_video(config, comparison, outputs, force=force or plan_only)
    if spans is not None:
        check_side_file(config, "--spans", spans, (".csv",), force=force)
    if turns is not None:
        check_side_file(config, "--turns", turns, (".csv",), force=force)
    check_licence(config)  # before anything is downloaded
    weights = None if plan_only else find_rendering_weights(config, reporter)
    if weights is None:
        source = identify_source(job.video)
    else:
        _mention_sounds(job.specs, reporter)
        with import_ahead():
            source = identify_source(job.video)
        from lipstitch.execution.pages import write_pages
        from lipstitch.execution.write_output import check_renderer, write_output

        check_renderer(config, weights, tools)
    network = weights.network if weights else find_local_network(config, reporter)
    capacity = measure_capacity(config, network)
    with Workspace(workspace_folder(config)) as workspace:
        workspace.clear_partial()
        remember_source(workspace, job.video, source)
        for path in [*(spec.output for spec in job.specs), *([comparison] if comparison else [])]:
            clear_leftovers(path)
            clear_leftovers(report_path(path))
            clear_leftovers(page_path(path))
        scanned = scan_job(job, source, workspace, reporter, timings, tools)
        if config.input.audio_offset == "auto":
            job, scanned = measure_own_sound(job, scanned, workspace, reporter, timings)
        target = select_targets(config, scanned, job.specs, job.rows, workspace, reporter, timings)
        footage = read_footage(job, FootageReader(config, scanned, workspace, reporter, timings, job.further), target)
        faces = FaceSelection(target, footage, scanned.scan, config.renderer)
        plans = [
            plan_output(config, scanned, spec, streams, faces, capacity, workspace)
            for spec, streams in zip(job.specs, job.streams, strict=True)
        ]
        if weights is None:
            for plan in plans:
                reporter.info(describe_plan(plan))
            if spans is not None:
                write_spans(to_rows(faces.spans_of(job.specs)), source.table, spans)
                reporter.info(f"Spans: {spans}")
            if turns is not None and target.found is not None:
                write_turns(target.found.listed(job.turns_start), turns)
                reporter.info(f"Turns: {turns}")
            return EXIT_COMPLETE
        check_disk(plans, workspace)
        finished = [write_output(config, scanned, plan, weights, workspace, reporter, timings) for plan in plans]
        if config.stitcher.report == "html":
            write_pages(config, source, faces, [*zip(plans, finished, strict=True)], reporter)
        if comparison is not None:
            from lipstitch.report.comparison_video import write_comparison_video

            with stage(reporter, "comparison", 1, "videos"):
                is_written = write_comparison_video(comparison, source, list(zip(job.specs, finished, strict=True)))
                reporter.advance(1)
            reporter.info(
                f"Comparison video: {comparison}"
                if is_written
                else "No comparison video was written, since nothing was rendered."
            )
        workspace.tidy(config.execution.keep)
    return _exit_code(config, finished, reporter)


def open_job(config: JobConfig, reporter: Reporter, *, force: bool) -> OpenedJob:
    """Open the files of a job and check all that can be checked before the work, cheapest first.

    force: existing outputs may be replaced. Raises ConfigError or MediaError, or CheckpointNotFound without silero-vad.
    """
    check_output_name(config, force=force)
    check_sounds_complete(config)
    find_speech_weights()  # which the plan needs, after the scan
    video = open_source(config)
    further = open_further(config, video)
    coding = choose_coding(config, video)
    require_own_sound(config, video.info)
    inputs = open_audio_inputs(config, video)
    dialogue = open_dialogue(config, video, inputs)
    offset = given_offset(config)
    specs = plan_outputs(config, video, inputs, dialogue, offset)
    _warn_of_sounds(config, specs, dialogue, reporter)
    streams = check_outputs(config, video, specs, coding, force=force)
    check_photos(config)
    rows = read_spans(config.segmenter.spans, video.table) if config.segmenter.spans else None
    return OpenedJob(config, video, specs, streams, rows, further, inputs, dialogue, offset)


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

    offset = measured_offset(job.config, find_offset(scanned, workspace, reporter, timings))
    reporter.info(f"Sound: {offset.text}.")
    specs = plan_outputs(job.config, job.video, job.inputs, job.dialogue, offset)
    streams = check_outputs(job.config, job.video, specs, job.streams[0].coding, force=True)
    return replace(job, specs=specs, streams=streams, offset=offset), replace(scanned, offset=offset)


def read_footage(job: OpenedJob, reader: FootageReader, target: TargetSelection) -> Footage:
    """Read the mouths of everyone whose lips move in an output from the video's own frames."""
    driven = merge(part for spec in job.specs for part in spec.timeline.source_intervals(spec.driven_frames))
    shown = job.shown_frames
    return reader.read(target.identities, target.seen_spans(shown), shown, driven, target.rule)


def _warn_of_sounds(
    config: JobConfig, specs: Sequence[OutputSpec], dialogue: Dialogue | None, reporter: Reporter
) -> None:
    for speaker in dialogue.speakers if dialogue else ():
        if not speaker.stretches:
            assert config.input.speakers is not None
            reporter.warning(
                f"input.speakers.cast.{speaker.name}: {config.input.speakers.turns} holds no turn of this speaker."
            )
    for note in _sound_notes(specs):
        if note.is_warning:
            reporter.warning(f"{note.text}.")


def _mention_sounds(specs: Sequence[OutputSpec], reporter: Reporter) -> None:
    """Say what is worth knowing of the sounds; a plan holds it anyway."""
    for note in _sound_notes(specs):
        if not note.is_warning:
            reporter.info(f"Sound: {note.text}.")


def _sound_notes(specs: Sequence[OutputSpec]) -> dict[SoundNote, None]:
    """Return each note once, in order: outputs of one job share their sounds."""
    return dict.fromkeys(note for spec in specs for note in spec.sound_notes)


def _exit_code(config: JobConfig, finished: Sequence[Sequence[RenderedClip]], reporter: Reporter) -> int:
    fell_back = sum(clip.outcome == "fell_back" for clips in finished for clip in clips)
    if fell_back:
        listed = "" if config.stitcher.report == "none" else "; the report lists them"
        reporter.warning(f"{fell_back} clips could not be rendered and fall back to the original frames{listed}.")
    return EXIT_FELL_BACK if fell_back else EXIT_COMPLETE
