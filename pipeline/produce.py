"""From the plan to the finished file: render the clips, make the sound, assemble, verify, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from media.timeline import RenderedClip
from pipeline.config import JobConfig
from pipeline.executor import run_clips
from pipeline.machine import num_cores
from pipeline.plan import Plan
from pipeline.prepare import Source
from pipeline.progress import Reporter, stage
from pipeline.report import build_report, report_path, write_report
from pipeline.sound import make_driving, make_soundtrack
from pipeline.worker import WorkerSetup, load_finished
from pipeline.workspace import Workspace, atomic_file, content_key
from renderer.checkpoint import hash_file, load_network
from renderer.compositor import Pads
from renderer.engine import choose_device
from renderer.mel import hash_driving, window_start
from renderer.render import ClipJob
from stitcher.assemble import assemble, muxer_of
from stitcher.verify import Check, verify_packets

RENDER_VERSION = 1
"""Raised when rendering the same clip gives other pixels than before."""


def check_renderer(config: JobConfig, source: Source) -> None:
    """Raise CheckpointError or ConfigError if the network cannot be loaded or the device is not there."""
    choose_device(config.renderer.device)
    load_network(_checkpoint(source), allow_torchscript=config.renderer.allow_torchscript)


def produce(
    config: JobConfig, source: Source, plan: Plan, workspace: Workspace, reporter: Reporter
) -> list[RenderedClip]:
    """Make one output, from its plan to its final name."""
    edit, muxer = plan.edit, muxer_of(plan.edit.output)
    with source.timed("render"):
        clips = _render(config, source, plan, workspace, reporter)
    anchor = source.table.pts[0] * source.table.time_base if edit.timeline.is_source else Fraction(0)
    with source.timed("sound"), stage(reporter, "sound", 1, "tracks"):
        soundtrack = make_soundtrack(edit, source.info, anchor, muxer, config.stitcher.audio, workspace, reporter)
        reporter.advance(1)
    with atomic_file(edit.output) as partial:
        with source.timed("assemble"), stage(reporter, "assemble", len(edit.timeline), "frames"):
            assembled = assemble(
                source.info,
                source.table,
                edit.timeline,
                clips,
                soundtrack,
                partial,
                muxer=muxer,
                language=config.stitcher.audio.language,
                on_progress=reporter.advance,
            )
        checks: tuple[Check, ...] = ()
        if config.stitcher.verify == "packets":
            with source.timed("verify"):
                seconds = edit.heard.duration if edit.heard and soundtrack and soundtrack.kind != "copied" else None
                checks = verify_packets(partial, source.info, edit.timeline, assembled, seconds)
        report = build_report(
            source=source.info,
            edit=edit,
            spans=plan.spans,
            clips=clips,
            soundtrack=soundtrack,
            assembled=assembled,
            checks=checks,
            seconds=source.seconds,
            hashes={"source": source.fingerprint, "checkpoint": hash_file(_checkpoint(source))},
            detector=source.detector,
        )
    write_report(report, report_path(edit.output))
    if not report["num_rendered_frames"]:
        reporter.say("There was no face to render, so no lips were changed.")
    reporter.say(f"{edit.output}: {_summary(report['num_clips'])}. Report: {report_path(edit.output)}")
    return clips


def _summary(num_clips: Mapping[str, int]) -> str:
    names = {"rendered": "rendered", "copied": "copied", "coded_again": "coded again", "fell_back": "fell back"}
    return "clips " + ", ".join(f"{count} {names[outcome]}" for outcome, count in sorted(num_clips.items()))


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
    driving = make_driving(plan.edit, workspace)
    checkpoint_hash = hash_file(_checkpoint(source))
    setup = _worker_setup(config, source, driving)
    clips = {clip.index: RenderedClip(clip, None, "copied", clip.reason, 0, 0.0) for clip in plan.clips}
    todo: list[tuple[ClipJob, Path]] = []
    reused = 0
    for job in _clip_jobs(config, plan):
        target = workspace.path("clip", _clip_key(job, setup, source, checkpoint_hash), ".nut")
        finished = load_finished(job.clip, target)
        if finished is None:
            todo.append((job, target))
        else:
            clips[job.clip.index] = finished
            reused += len(job.clip)
    if reused:
        reporter.say(f"{reused} frames were rendered by an earlier run.")
    if todo:
        with stage(reporter, "render", sum(len(job.clip) for job, _ in todo), "frames"):
            done = 0
            for rendered in run_clips(setup, todo, config.execution):
                clips[rendered.clip.index] = rendered
                done += len(rendered.clip)
                reporter.advance(done, f"clip {rendered.clip.index}, last is {len(plan.clips) - 1}")
                if rendered.outcome == "fell_back":
                    reporter.warn(f"clip {rendered.clip.index} keeps its mouths: {rendered.reason}")
    return [clips[index] for index in sorted(clips)]


def _clip_jobs(config: JobConfig, plan: Plan) -> Iterator[ClipJob]:
    timeline, start = plan.edit.timeline, plan.edit.driving_start
    for clip in plan.clips:
        if clip.action != "copy":
            seconds = tuple(timeline.seconds(frame) - start for frame in range(clip.start_frame, clip.stop_frame))
            yield ClipJob(clip, seconds, wants_hashes=config.renderer.frame_hashes)


def _worker_setup(config: JobConfig, source: Source, driving: Path) -> WorkerSetup:
    renderer = config.renderer
    top, bottom, left, right = renderer.pads
    return WorkerSetup(
        video=source.info.path,
        checkpoint=str(_checkpoint(source)),
        allow_torchscript=renderer.allow_torchscript,
        device=renderer.device,
        precision=renderer.precision,
        batch_size=renderer.batch_size,
        detector=source.detector,
        detector_weights=str(source.detector_weights) if source.detector_weights else None,
        detect_every_frames=renderer.detect_every_frames,
        smoothing_frames=renderer.smoothing_frames,
        pads=Pads(top, bottom, left, right),
        feather=renderer.feather,
        driving=str(driving),
        coding=source.coding,
        num_threads=num_cores(),
        passes_through=renderer.on_failure == "pass_through",
    )


def _clip_key(job: ClipJob, setup: WorkerSetup, source: Source, checkpoint_hash: str) -> str:
    """Return the content key of a clip's coded file: all that its bytes depend on, and nothing else."""
    clip = job.clip
    what = (clip.source_frames, clip.faces, [(a - clip.start_frame, b - clip.start_frame) for a, b in clip.rendered])
    shown = (source.fingerprint, setup.coding, job.wants_hashes)
    if clip.action == "code":
        return content_key(RENDER_VERSION, what, shown)
    drawn = (
        checkpoint_hash,
        setup.precision,
        setup.batch_size,
        setup.detector,
        hash_file(Path(setup.detector_weights)) if setup.detector_weights else None,
        setup.detect_every_frames,
        setup.smoothing_frames,
        setup.pads,
        setup.feather,
        [window_start(seconds) - window_start(job.seconds[0]) for seconds in job.seconds],
        hash_driving(Path(setup.driving), job.seconds[0], job.seconds[-1]),
    )
    return content_key(RENDER_VERSION, what, shown, drawn)
