"""run_job(): the story on one page.

job.yaml -> probe -> edits -> scan -> spans -> clips (--plan stops here) -> workers -> assemble -> verify -> report
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from media.errors import UnreadableMedia
from media.picture import PictureConverter, is_composable
from media.probe import MediaInfo, VideoInfo, probe, scan_packets
from media.reader import FrameReader
from media.timeline import FrameTable, Interval, RenderedClip, merge
from media.writer import SPLICEABLE, VideoCoding, choose_coding
from pipeline.config import JobConfig
from pipeline.edit import Edit, plan_edits
from pipeline.executor import choose_workers, num_cores, run_clips
from pipeline.inputs import check_output, find_detector, find_weights
from pipeline.plan import Plan, build_plan, check_disk, describe_plan
from pipeline.progress import Reporter, stage
from pipeline.report import build_report, report_path, write_report
from pipeline.sound import describe_sound, make_driving, make_soundtrack
from pipeline.worker import WorkerSetup, load_finished
from pipeline.workspace import Workspace, atomic_file, content_key, fingerprint
from renderer.checkpoint import hash_file
from renderer.compositor import Pads
from renderer.mel import hash_driving, window_start
from renderer.render import ClipJob
from segmenter.detector import build_detector
from segmenter.planner import plan_clips
from segmenter.scanner import Scan, scan_faces
from segmenter.spans import SpanSettings, find_spans
from stitcher.assemble import assemble, muxer_of
from stitcher.verify import verify_packets

SCAN_VERSION = 1
"""Raised when scanning the same frames gives other samples than before."""
RENDER_VERSION = 1
"""Raised when rendering the same clip gives other pixels than before."""
EXIT_COMPLETE, EXIT_FELL_BACK = 0, 10


@dataclass(slots=True)
class _Source:
    """What the whole job knows of the video."""

    info: MediaInfo
    video: VideoInfo
    table: FrameTable
    coding: VideoCoding
    fingerprint: str
    detector: str = ""
    detector_weights: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each stage so far."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def run_job(
    config: JobConfig, reporter: Reporter, *, plan_only: bool = False, force: bool = False, reel: Path | None = None
) -> int:
    """Do a job and return the exit code: 0, or 10 if some clips fell back. Raises LipstitchError.

    plan_only: print what would be done and stop. force: existing outputs are replaced. reel: where to write a
    comparison reel.
    """
    source, edits = _open(config, force=force or plan_only)
    folder = config.execution.workspace or config.output.with_name(f"{config.output.name}.lipstitch")
    with Workspace(folder) as workspace:
        workspace.clear_partial()
        scan = _scan(config, source, edits, workspace, reporter)
        checkpoint = find_weights(config.renderer.checkpoint, config, reporter, download=not plan_only)
        plans = [_plan(config, source, edit, scan, checkpoint.stat().st_size) for edit in edits]
        if plan_only:
            for plan in plans:
                reporter.say(describe_plan(plan))
            return EXIT_COMPLETE
        check_disk(plans, folder)
        finished = [_produce(config, source, plan, checkpoint, workspace, reporter) for plan in plans]
        if reel is not None:
            from pipeline.reel import write_reel  # moviepy takes a second to import

            with stage(reporter, "reel", len(finished), "outputs"):
                write_reel(
                    reel, source.info, source.table, [(p.edit, clips) for p, clips in zip(plans, finished, strict=True)]
                )
        workspace.tidy(config.execution.keep)
    fell_back = sum(clip.outcome == "fell_back" for clips in finished for clip in clips)
    if fell_back:
        reporter.warn(f"{fell_back} clips could not be rendered and keep their mouths; the report lists them.")
    return EXIT_FELL_BACK if fell_back else EXIT_COMPLETE


def _open(config: JobConfig, *, force: bool) -> tuple[_Source, tuple[Edit, ...]]:
    """Check everything that can be checked before the work, cheapest first."""
    check_output(config, config.output, force=force)
    info = probe(config.input.video)
    video = info.require_video()
    table = scan_packets(info)
    edits = plan_edits(config, info, table)
    for edit in edits:
        check_output(config, edit.output, force=force)
    if not is_composable(video.pixel_format):
        raise UnreadableMedia(
            f"{info.path}: pixels are stored as {video.pixel_format}, which cannot be changed in place. Convert it first."
        )
    coding = choose_coding(video, crf=config.stitcher.video.crf, preset=config.stitcher.video.preset)
    return _Source(info, video, table, coding, fingerprint(Path(info.path), table)), edits


def _scan(config: JobConfig, source: _Source, edits: Sequence[Edit], workspace: Workspace, reporter: Reporter) -> Scan:
    """Return the scan of all frames that the edits show, from the workspace if an earlier run made it."""
    settings = config.segmenter
    intervals = merge(part for edit in edits for part in edit.scanned)
    wanted = (settings.detector, settings.detector_checkpoint, settings.samples_per_second, settings.detection_px)
    key = content_key(SCAN_VERSION, source.fingerprint, intervals, wanted, settings.min_face_px)
    path = workspace.path("scan", key, ".json")
    stored = workspace.load(path)
    scan = Scan.from_json(stored["scan"]) if stored else None
    source.detector, source.detector_weights = find_detector(config, reporter, scan.detector if scan else None)
    if scan is None:
        with source.timed("scan"):
            scan = _scan_anew(config, source, intervals, reporter)
        workspace.store(path, {"scan": scan.to_json()})
    return scan


def _scan_anew(config: JobConfig, source: _Source, intervals: Sequence[Interval], reporter: Reporter) -> Scan:
    frames = [frame for start, stop in intervals for frame in range(start, stop)]
    with (
        stage(reporter, "scan", len(frames), "frames"),
        FrameReader(source.info, source.table) as reader,
    ):
        return scan_faces(
            reader.read(frames),
            table=source.table,
            detector=build_detector(source.detector, source.detector_weights),  # type: ignore[arg-type]
            converter=PictureConverter(source.video.rotation),
            upright_size=source.video.upright_size,
            samples_per_second=config.segmenter.samples_per_second,
            detection_px=config.segmenter.detection_px,
            smallest_face_px=config.segmenter.min_face_px / 2,
            on_progress=reporter.advance,
        )


def _plan(config: JobConfig, source: _Source, edit: Edit, scan: Scan, checkpoint_bytes: int) -> Plan:
    settings = config.segmenter
    spans = find_spans(
        scan,
        source.table,
        edit.scanned,
        SpanSettings(
            onset=settings.onset,
            offset=settings.offset,
            min_on_seconds=settings.min_on_seconds,
            min_off_seconds=settings.min_off_seconds,
            min_face_px=settings.min_face_px,
            max_yaw_degrees=settings.max_yaw_degrees,
        ),
    )
    whole = source.video.codec not in SPLICEABLE
    clips = plan_clips(
        spans,
        source.table,
        edit.timeline,
        driven=edit.driven,
        driving_start=edit.driving_start,
        coded_reason=f"packets of {source.video.codec} are not spliced: the whole stream is coded again"
        if whole
        else "",
        max_clip_seconds=Fraction(str(settings.max_clip_seconds)),
    )
    return build_plan(
        edit,
        spans,
        clips,
        source=source.info,
        sound=describe_sound(edit, source.info, muxer_of(edit.output), config.stitcher.audio),
        num_cores=num_cores(),
        num_workers=choose_workers(config.execution, sum(clip.action != "copy" for clip in clips)),
        checkpoint_bytes=checkpoint_bytes,
    )


def _produce(
    config: JobConfig, source: _Source, plan: Plan, checkpoint: Path, workspace: Workspace, reporter: Reporter
) -> list[RenderedClip]:
    """Make one output, from its plan to its final name."""
    edit, muxer = plan.edit, muxer_of(plan.edit.output)
    checkpoint_hash = hash_file(checkpoint)
    with source.timed("render"):
        clips = _render(config, source, plan, checkpoint, checkpoint_hash, workspace, reporter)
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
        checks = ()
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
            hashes={"source": source.fingerprint, "checkpoint": checkpoint_hash},
            detector=source.detector,
        )
    write_report(report, report_path(edit.output))
    reporter.say(f"{edit.output}: {_summary(report['num_clips'])}. Report: {report_path(edit.output)}")
    return clips


def _summary(num_clips: Mapping[str, int]) -> str:
    names = {"rendered": "rendered", "copied": "copied", "coded_again": "coded again", "fell_back": "fell back"}
    return "clips " + ", ".join(f"{count} {names[outcome]}" for outcome, count in sorted(num_clips.items()))


def _render(
    config: JobConfig,
    source: _Source,
    plan: Plan,
    checkpoint: Path,
    checkpoint_hash: str,
    workspace: Workspace,
    reporter: Reporter,
) -> list[RenderedClip]:
    """Return every clip of a plan, finished; those that an earlier run finished are reused."""
    driving = make_driving(plan.edit, workspace)
    setup = _worker_setup(config, source, checkpoint, driving)
    clips = {clip.index: RenderedClip(clip, None, "copied", clip.reason, 0, 0.0) for clip in plan.clips}
    todo: list[tuple[ClipJob, Path]] = []
    reused = 0
    for job in _clip_jobs(config, plan):
        target = workspace.path("clip", _clip_key(job, setup, source, checkpoint_hash, driving), ".nut")
        finished = load_finished(job.clip, target)
        if finished is None:
            todo.append((job, target))
        else:
            clips[job.clip.index] = finished
            reused += len(job.clip)
    total = sum(len(clip) for clip in plan.clips if clip.action != "copy")
    if todo or reused:
        with stage(reporter, "render", total, "frames"):
            done = reused
            reporter.advance(done, f"{reused} frames reused" if reused else "")
            for rendered in run_clips(setup, todo, config.execution) if todo else ():
                clips[rendered.clip.index] = rendered
                done += len(rendered.clip)
                reporter.advance(done, f"clip {rendered.clip.index + 1} of {len(plan.clips)}")
                if rendered.outcome == "fell_back":
                    reporter.warn(f"clip {rendered.clip.index} keeps its mouths: {rendered.reason}")
    return [clips[index] for index in sorted(clips)]


def _clip_jobs(config: JobConfig, plan: Plan) -> Iterator[ClipJob]:
    timeline, start = plan.edit.timeline, plan.edit.driving_start
    for clip in plan.clips:
        if clip.action != "copy":
            seconds = tuple(timeline.seconds(frame) - start for frame in range(clip.start_frame, clip.stop_frame))
            yield ClipJob(clip, seconds, wants_hashes=config.renderer.frame_hashes)


def _worker_setup(config: JobConfig, source: _Source, checkpoint: Path, driving: Path) -> WorkerSetup:
    renderer = config.renderer
    top, bottom, left, right = renderer.pads
    return WorkerSetup(
        video=source.info.path,
        checkpoint=str(checkpoint),
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


def _clip_key(job: ClipJob, setup: WorkerSetup, source: _Source, checkpoint_hash: str, driving: Path) -> str:
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
        hash_driving(driving, job.seconds[0], job.seconds[-1]),
    )
    return content_key(RENDER_VERSION, what, shown, drawn)
