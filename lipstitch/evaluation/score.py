"""score_video() and score_job(): what is measured, with what, and where the figures go."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipstitch.evaluation.measure import Instruments, Reference, Subject, measure_video
from lipstitch.evaluation.tables import describe, record, to_json
from lipstitch.interchange.read import with_ranges
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.progress import Reporter
from lipstitch.report.page.page import rewrite_page
from lipstitch.report.report import Report, page_path, report_path, write_report
from lipstitch.report.verify import load_finished
from lipstitch.source.fetch import fetch_inputs
from lipstitch.source.still import find_video
from lipstitch.source.weights import find_detector, find_registered
from lipstitch.training.preparation.prepare import DetectorSource
from lipstitch.workspace import workspace_folder
from media.base.errors import CheckpointError, ConfigError, WorkspaceError
from media.base.files import write_json
from media.intervals import merge
from media.orientation import Rectangle
from media.packets.frame_table import FrameTable
from media.probe import probe
from media.source_video import SourceVideo, scan_video
from renderer.checkpoints import download_folder
from renderer.engine import choose_device
from segmenter.detectors.base import FaceDetector
from segmenter.find_detector import build_detector
from stitcher.verify.pixels import BLUR_PX
from stitcher.verify.provenance import FrameProvenance

SYNCNET = "syncnet_v2"
"""Its name in the registry."""
NO_SYNCNET = "none"
SHORTER_SECONDS = Fraction(1, 10)
"""By which a reference may end before the video."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What a user says of how to measure."""

    syncnet: str | None = None
    """Name or path of SyncNet's weights, or `none`; None: the registered ones, if here or to be downloaded."""
    device: str | None = None
    """Of the judges of sync; None: the job's, or `auto`."""
    json: Path | None = None
    """A file to write, too."""


@dataclass(frozen=True, slots=True)
class VideoFiles:
    """A video to measure, and what it is measured against."""

    video: Path
    audio: Path | None = None
    """Whose sound is taken in place of the video's own."""
    reference: Path | None = None
    """What its pictures are compared with."""


def score_video(files: VideoFiles, detector: DetectorSource, options: ScoreOptions, reporter: Reporter) -> int:
    """Measure every face of a video; print a table, write JSON; return 0.

    Raises MediaError, ConfigError or CheckpointError.
    """
    _check_json(options)
    video = scan_video(files.video)
    subject = Subject(
        video=video,
        sound=probe(files.audio) if files.audio else None,
        frames=range(len(video.table)),
        clip_of=lambda _frame: 0,
        counts=lambda _frame, _middle: True,
        reference=_open_reference(video, files.reference) if files.reference else None,
    )
    name, weights = detector.find(reporter)
    instruments = _instruments(build_detector(name, weights), options, download_folder(), reporter)
    scores = measure_video(subject, instruments, reporter)
    reporter.info(describe(files.video, scores, has_clips=False))
    _write_json(options, [to_json(files.video, scores, has_clips=False)])
    return 0


def score_job(config: JobConfig, options: ScoreOptions, reporter: Reporter) -> int:
    """Measure the new mouths of every output of a finished job; print tables, write JSON and reports; return 0.

    Raises ConfigError if a report is missing or belongs to another video; MediaError or CheckpointError.
    """
    _check_json(options)
    config = fetch_inputs(config, workspace_folder(config), reporter)
    source = scan_video(find_video(config, workspace_folder(config)))
    config = with_ranges(config, source)
    finished = load_finished(config, source)
    name, weights = find_detector(config, reporter, has_fallback_scan=False)
    chosen = ScoreOptions(options.syncnet, options.device or config.renderer.device, options.json)
    folder = config.execution.checkpoints or download_folder()
    instruments = _instruments(build_detector(name, weights), chosen, folder, reporter)
    instruments = replace(instruments, box=config.segmenter.scan_settings.box)
    found = []
    for spec, report in finished:
        subject = _output_of(source, spec, report)
        if not subject.frames:
            reporter.info(f"{spec.output}: no clip has a new mouth; there is nothing to measure.")
            continue
        scores = measure_video(subject, instruments, reporter)
        reporter.info(describe(spec.output, scores, has_clips=True))
        _report(report.model_copy(update={"measures": record(scores)}), spec.output, reporter)
        found.append(to_json(spec.output, scores, has_clips=True))
    _write_json(options, found)
    return 0


def _report(report: Report, output: Path, reporter: Reporter) -> None:
    """Write an output's figures into its report, and into its page if it has one."""
    write_report(report, report_path(output))
    page = page_path(output)
    if page.exists():
        try:
            rewrite_page(report, page)
        except (OSError, ValueError, WorkspaceError) as exc:
            reporter.warning(f"{page} does not show the figures: {exc}. Run the job again to make it anew.")


def _instruments(detector: FaceDetector, options: ScoreOptions, folder: Path, reporter: Reporter) -> Instruments:
    return Instruments(
        detector, choose_device(options.device or "auto"), _find_syncnet(options.syncnet, folder, reporter)
    )


def _find_syncnet(choice: str | None, folder: Path, reporter: Reporter) -> Path | None:
    """Return SyncNet's weights; None where they are not wanted, or are not named and cannot be found."""
    if choice == NO_SYNCNET:
        return None
    try:
        return find_registered(choice or SYNCNET, folder, reporter, download=True)
    except CheckpointError as exc:
        if choice is not None:
            raise
        reporter.info(f"Without LSE-D and LSE-C: {exc}")
        return None


def _check_json(options: ScoreOptions) -> None:
    if options.json is not None and not options.json.parent.is_dir():
        raise ConfigError(f"--json: {options.json.parent} is not a folder. Create it first.")


def _write_json(options: ScoreOptions, videos: list[dict[str, object]]) -> None:
    if options.json is not None:
        write_json(options.json, {"videos": videos})


def _open_reference(video: SourceVideo, path: Path) -> Reference:
    """Return a reference whose frames are found by their times. Raises ConfigError if it does not show the same."""
    other = scan_video(path)
    sizes = [(each.video.width, each.video.height, str(each.video.orientation)) for each in (video, other)]
    if sizes[0] != sizes[1]:
        own, theirs = (f"{width}x{height} ({how})" for width, height, how in sizes)
        raise ConfigError(f"--reference: {path} is {theirs} and the video is {own}. Give one of the same size.")
    end, wanted = (each.table.seconds(len(each.table)) for each in (other, video))
    if end < wanted - SHORTER_SECONDS:
        raise ConfigError(
            f"--reference: {path} ends at {float(end):.2f} s and the video at {float(wanted):.2f} s. Give one as long."
        )
    return Reference(other, lambda frame: _nearest(other.table, video.table.seconds(frame)), lambda _frame: None)


def _nearest(table: FrameTable, seconds: Fraction) -> int:
    after = min(table.frame_at(seconds), len(table) - 1)
    return min((max(after - 1, 0), after), key=lambda frame: abs(table.seconds(frame) - seconds))


def _output_of(source: SourceVideo, spec: OutputSpec, report: Report) -> Subject:
    """Return an output as what is measured: its rendered clips, in them the mouths that are new."""
    written, marks, shown = scan_video(spec.output), report.check.provenance(), spec.timeline.source_of_each()
    if len(written.table) != len(shown):
        raise ConfigError(
            f"output: {spec.output} has {len(written.table)} frames and the job would make {len(shown)}. Run the job"
            f" again with --force."
        )
    starts = [clip.start_frame for clip in report.clips]
    rendered = merge((clip.start_frame, clip.stop_frame) for clip in report.clips if clip.outcome == "rendered")
    return Subject(
        video=written,
        sound=None,
        frames=[frame for start, stop in rendered for frame in range(start, stop)],
        clip_of=lambda frame: report.clips[bisect_right(starts, frame) - 1].index,
        counts=_in_new_mouths(written, marks),
        reference=Reference(
            source, lambda frame: int(shown[frame]), lambda frame: _touched(marks, frame), "_untouched"
        ),
    )


def _in_new_mouths(written: SourceVideo, marks: FrameProvenance) -> Callable[[int, tuple[float, float]], bool]:
    """Return whether a mouth lies where the job drew in a frame."""
    video = written.video

    def counts(frame: int, middle: tuple[float, float]) -> bool:
        box = marks.box_of(frame)
        if box is None:
            return False
        left, top, right, bottom = video.orientation.to_upright(box, video.width, video.height)
        return left <= middle[0] < right and top <= middle[1] < bottom

    return counts


def _touched(marks: FrameProvenance, frame: int) -> Rectangle | None:
    """Return what a job may have changed in a frame, and how far an encoder's filters may carry that."""
    box = marks.box_of(frame)
    if box is None or box[0] >= box[2]:
        return None
    left, top, right, bottom = box
    return left - BLUR_PX, top - BLUR_PX, right + BLUR_PX, bottom + BLUR_PX
