"""From the plan to the finished file: render the clips, make the sound, assemble, verify, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from base.errors import ContractBroken
from base.files import atomic_file, content_key
from lipstitch.execution.cluster_errors import check_cluster
from lipstitch.execution.executor import run_clips
from lipstitch.execution.machine import num_cores
from lipstitch.execution.worker import WorkerSetup, load_finished, share_source
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs import OutputSpec
from lipstitch.plan.plan import Plan
from lipstitch.plan.soundtrack import is_silent, make_driving, make_soundtrack
from lipstitch.progress import Reporter, stage
from lipstitch.report.build_report import build_report, written_codec
from lipstitch.report.report import report_path, write_report
from lipstitch.report.verify import describe_checks, quality_allowance_db, verify_output
from lipstitch.source.checks import job_key
from lipstitch.source.source import Source
from lipstitch.workspace import Workspace
from media.audio.reader import sound_length
from media.clips import Clip, RenderedClip, Span
from media.intervals import Interval, intersect
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file, load_network
from renderer.compositor import Pads
from renderer.engine import choose_device, choose_precision
from renderer.mel import hash_driving, window_start
from renderer.render import ClipJob
from stitcher.assemble import Assembled, assemble, muxer_of
from stitcher.audio.soundtrack import Soundtrack
from stitcher.verify.contract import Check, Contract, verify_packets
from stitcher.verify.provenance import FrameProvenance
from stitcher.verify.sampling import Sampling

RENDER_VERSION = 3
"""Raised when rendering the same clip gives other pixels than before."""


def check_renderer(config: JobConfig, source: Source) -> None:
    """Raise CheckpointError or ConfigError if the network cannot be loaded, or device or cluster are not there."""
    check_cluster(config.execution)
    choose_device(config.renderer.device)
    load_network(_checkpoint(source), allow_torchscript=config.renderer.allow_torchscript)


def write_output(
    config: JobConfig, source: Source, plan: Plan, workspace: Workspace, reporter: Reporter
) -> list[RenderedClip]:
    """Make one output, from its plan to its final name."""
    edit, muxer = plan.edit, muxer_of(plan.edit.output)
    anchor = edit.timeline.pts[0] * edit.timeline.time_base
    with ThreadPoolExecutor(1, "sound") as beside:  # rendering leaves the cores gaps to make it in
        making = beside.submit(
            make_soundtrack, edit, source.info, anchor, muxer, config.stitcher.audio, workspace, reporter
        )
        with source.timed("render"):
            clips = _render(config, source, plan, workspace, reporter)
        with source.timed("sound"), stage(reporter, "sound", 1, "tracks"):
            soundtrack = making.result()
            reporter.advance(1)
    with atomic_file(edit.output) as partial:
        with source.timed("assemble"), stage(reporter, "assemble", len(edit.timeline), "frames"):
            assembled = assemble(
                SourceVideo(source.info, source.table),
                edit.timeline,
                clips,
                soundtrack,
                partial,
                muxer=muxer,
                is_new=source.coding.is_new,
                language=config.stitcher.audio.language,
                sound_keeps_tags=bool(edit.patched),
                on_progress=reporter.advance,
            )
        checks = _verify(config, source, plan, clips, soundtrack, assembled, partial, reporter)
        report = build_report(source, plan, clips, soundtrack, assembled, checks)
        # Before the output gets its name, so that an output is never there without its report.
        write_report(report, report_path(edit.output))
        workspace.note_output(edit.output, partial, job_key(config))
    if plan.whole:
        (reporter.warning if source.coding.is_new else reporter.info)(f"{edit.output}: {plan.whole}.")
    for loss in assembled.losses:
        reporter.warning(f"{edit.output} lacks {loss.describe()}.")
    if report.damaged_frames:
        reporter.warning(f"{len(report.damaged_frames)} frames of the source are damaged; the report lists them.")
    if not any(span.kind == "face" for span in plan.spans):
        reporter.info("There was no face to render, so no lips were changed.")
    if is_silent(edit, plan.pauses):
        reporter.warning(f"{edit.output}: {plan.silence}.")
    choice = plan.casting.choice
    if choice.note:
        (reporter.info if choice.is_made else reporter.warning)(f"{edit.output}: {choice.note}.")
    reporter.info(f"{edit.output}: {_summary(clips)}. Report: {report_path(edit.output)}")
    return clips


def _verify(
    config: JobConfig,
    source: Source,
    plan: Plan,
    clips: Sequence[RenderedClip],
    soundtrack: Soundtrack | None,
    assembled: Assembled,
    written: Path,
    reporter: Reporter,
) -> tuple[Check, ...]:
    """Check the file that was written, as thoroughly as the job asks for; raise ContractBroken."""
    edit = plan.edit
    if config.stitcher.verify == "none":
        return ()
    with source.timed("verify"):
        seconds = _sound_seconds(edit, soundtrack)
        dropped, marks = assembled.dropped_streams, FrameProvenance.of(clips)
        codec = written_codec(source, clips)
        lower = quality_allowance_db(config, codec)
        promised = Contract(
            SourceVideo(source.info, source.table), edit.timeline, edit.heard, marks, dropped, codec, lower
        )
        if config.stitcher.verify == "packets":
            return verify_packets(written, promised, assembled, seconds, Sampling(_seams(clips), source.fingerprint))
        checks = verify_packets(written, promised, assembled, seconds)
        found = verify_output(written, promised, reporter)
        reporter.info(describe_checks(edit.output, found))
        if broken := [check for check in found if not check.is_kept]:
            raise ContractBroken(f"{edit.output}: {broken[0].found}")
        return checks + found


def _seams(clips: Sequence[RenderedClip]) -> tuple[int, ...]:
    """Return the output frames with which a clip begins that is re-encoded, or follows one that is."""
    return tuple(b.clip.start_frame for a, b in pairwise(clips) if a.path or b.path)


def _sound_seconds(edit: OutputSpec, soundtrack: Soundtrack | None) -> Fraction | None:
    """Return how long the output's sound must be; None where it is a file's own, as long as that is.

    A spliced one begins and ends where the source's does, which need not be with the picture.
    """
    if edit.heard is None or soundtrack is None or soundtrack.kind == "copied":
        return None
    is_spliced = soundtrack.kind == "spliced"
    return sound_length(soundtrack.path, soundtrack.stream_index) if is_spliced else edit.heard.duration


def _summary(clips: Sequence[RenderedClip]) -> str:
    names = {"rendered": "rendered", "copied": "copied", "reencoded": "re-encoded", "fell_back": "fell back"}
    counts = Counter(clip.outcome for clip in clips)
    return "clips " + ", ".join(f"{count} {names[outcome]}" for outcome, count in sorted(counts.items()))


def _checkpoint(source: Source) -> Path:
    assert source.checkpoint is not None, "weights are missing only where nothing but a plan is wanted"
    return source.checkpoint


def _render(
    config: JobConfig,
    source: Source,
    plan: Plan,
    workspace: Workspace,
    reporter: Reporter,
) -> list[RenderedClip]:
    """Return every clip of a plan, finished; those that an earlier run finished are reused."""
    driving = make_driving(plan.edit, plan.pauses, workspace)
    setup = _worker_setup(config, source, driving)
    clips = {clip.index: RenderedClip(clip, None, "copied", clip.reason, 0, 0.0) for clip in plan.clips}
    todo: list[tuple[ClipJob, Path]] = []
    reused = 0
    for job in _clip_jobs(config, plan):
        target = workspace.path("clip", _clip_key(job, setup), ".nut")
        finished = load_finished(job.clip, target)
        if finished is None:
            todo.append((job, target))
        else:
            clips[job.clip.index] = finished
            reused += len(job.clip)
    if reused:
        reporter.info(f"{reused} frames were rendered by an earlier run.")
    if todo:
        share_source(setup.video_hash, source.info, source.table)
        with stage(reporter, "render", sum(len(job.clip) for job, _ in todo), "frames"):
            done = 0
            with closing(run_clips(setup, todo, config.execution)) as results:
                for rendered in results:
                    clips[rendered.clip.index] = rendered
                    done += len(rendered.clip)
                    reporter.advance(done, f"clip {rendered.clip.index}, last is {len(plan.clips) - 1}")
                    if rendered.outcome == "fell_back":
                        reporter.warning(
                            f"clip {rendered.clip.index} falls back to the original frames: {rendered.reason}"
                        )
    return [clips[index] for index in sorted(clips)]


def _clip_jobs(config: JobConfig, plan: Plan) -> Iterator[ClipJob]:
    for clip in plan.clips:
        if clip.action != "copy":
            seconds = tuple(plan.edit.driving_seconds(frame) for frame in range(clip.start_frame, clip.stop_frame))
            yield ClipJob(clip, seconds, wants_hashes=config.renderer.frame_hashes)


def _worker_setup(config: JobConfig, source: Source, driving: Sequence[Path]) -> WorkerSetup:
    renderer = config.renderer
    top, bottom, left, right = renderer.pads
    return WorkerSetup(
        video=source.info.path,
        video_hash=source.fingerprint,
        checkpoint=str(_checkpoint(source)),
        checkpoint_hash=hash_file(_checkpoint(source)),
        allow_torchscript=renderer.allow_torchscript,
        device=renderer.device,
        precision=renderer.precision,
        batch_size=renderer.batch_size,
        detector=source.detector,
        detector_weights=str(source.detector_weights) if source.detector_weights else None,
        detect_every_frames=renderer.detect_every_frames,
        smoothing_frames=renderer.smoothing_frames,
        align=renderer.align,
        pads=Pads(top, bottom, left, right),
        feather=renderer.feather,
        driving=tuple(str(path) for path in driving),
        coding=source.coding.frames,
        num_threads=num_cores(),
        drawing_threads=None,
        closes_mouths=renderer.silence == "close",
        passes_through=renderer.on_failure == "pass_through",
    )


def _clip_key(job: ClipJob, setup: WorkerSetup) -> str:
    """Return the content key of a clip's coded file: all that its bytes depend on, and nothing else."""
    clip = job.clip
    # Which number a person has plays no part: it may change while the frames stay.
    faces = [(face.start_frame, face.stop_frame, face.path) for face in clip.faces]
    fades = [(fade.frame - clip.start_frame, fade.face, fade.strength) for fade in clip.fades]
    rendered = [(a - clip.start_frame, b - clip.start_frame) for a, b in clip.rendered]
    what = (clip.source_frames, faces, rendered, fades)
    shown = (setup.video_hash, setup.coding, job.wants_hashes)
    if clip.action == "reencode":
        return content_key(RENDER_VERSION, what, shown)
    drawn = (
        setup.checkpoint_hash,
        _arithmetic(setup),
        setup.detector,
        hash_file(Path(setup.detector_weights)) if setup.detector_weights else None,
        setup.detect_every_frames,
        setup.smoothing_frames,
        setup.align,
        setup.pads,
        setup.feather,
        [_at_rest(face) for face in clip.faces if setup.closes_mouths],
        [_driving_key(setup.driving[face.voice], job, part) for face in clip.faces for part in _shown(face, clip)],
    )
    return content_key(RENDER_VERSION, what, shown, drawn)


def _at_rest(face: Span) -> list[Any]:
    """Return what tells how a face looks at rest; who it is plays no part."""
    return [face.shut, [(rest.frame, rest.face.box, rest.face.landmarks) for rest in face.rests]]


def _shown(face: Span, clip: Clip) -> list[Interval]:
    """Return the output frames of a clip in which a face gets a new mouth. A clip runs one way through the source."""
    numbers = [
        number
        for number, frame in enumerate(clip.source_frames, start=clip.start_frame)
        if face.start_frame <= frame < face.stop_frame
    ]
    return intersect(clip.rendered, [(numbers[0], numbers[-1] + 1)] if numbers else [])


def _driving_key(driving: str, job: ClipJob, rendered: Interval) -> list[Any]:
    """Return what the mel windows of rendered frames depend on: the sound there, and where each frame lies in it."""
    seconds = job.seconds[rendered[0] - job.clip.start_frame : rendered[1] - job.clip.start_frame]
    columns = [window_start(second) - window_start(seconds[0]) for second in seconds]
    return [columns, hash_driving(Path(driving), min(seconds), max(seconds))]


def _arithmetic(setup: WorkerSetup) -> list[Any]:
    """Return what the last bits of a mouth depend on: not the number of the GPU, nor, on a CPU, the batch."""
    device = choose_device(setup.device)
    batch_size = None if device.type == "cpu" else setup.batch_size
    return [device.type, str(choose_precision(setup.precision, device)), batch_size]
