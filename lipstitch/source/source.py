"""From the job to the plan: open the source, scan it, find the spans, cut the clips. Nothing is rendered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from importlib import import_module
from pathlib import Path
from threading import Thread, main_thread

from base.errors import CheckpointNotFound, UnsupportedMedia
from base.files import content_key
from lipstitch.execution.machine import choose_workers, num_cores
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.span_file import read_spans
from lipstitch.plan.dialogue import assign_speakers, borders_of, build_shares
from lipstitch.plan.output_timeline import split_held
from lipstitch.plan.outputs import OutputSpec, plan_outputs, scanned_frames
from lipstitch.plan.plan import Plan, build_plan
from lipstitch.plan.soundtrack import describe_silence, describe_sound, driving_pauses, frames_hearing
from lipstitch.plan.target import TargetSelection
from lipstitch.progress import Reporter
from lipstitch.source.checks import check_name, check_output, find_detector, find_embedder, find_weights, input_files
from lipstitch.source.parallel_scan import scan_in_parts
from lipstitch.workspace import Workspace, fingerprint
from media.coding.output_codec import StreamCoding, choose_stream
from media.identity import EmbedderSettings, Vector
from media.info import MediaInfo, VideoInfo
from media.intervals import Interval, complement, intersect
from media.packets.frame_table import FrameTable
from media.packets.scan import scan_packets
from media.packets.truncation import check_complete
from media.picture import Pixels, is_composable
from media.probe import probe
from media.reader import check_one_format
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file
from segmenter.detectors.build import build_detector
from segmenter.people.embedder import OnnxEmbedder
from segmenter.people.reference import embed_reference, load_photo
from segmenter.planner import plan_clips
from segmenter.scan import Scan
from segmenter.spans.presence import SpanSettings
from segmenter.spans.table import SpanRow
from stitcher.assemble import HIDING, muxer_of
from stitcher.container import check_container
from stitcher.losses import Loss

SCAN_VERSION = 5
"""Raised when scanning the same frames gives other samples than before."""
BOX_INSTEAD = "box instead of similarity: the cascade finds no eyes by which faces could be turned upright"


@dataclass(slots=True)
class Footage:
    """The video, and how people are looked for in it."""

    info: MediaInfo
    video: VideoInfo
    table: FrameTable
    fingerprint: str
    detector: str = ""
    """retinaface or cascade; known once the source is scanned."""
    detector_weights: Path | None = None
    embedder: Path | None = None
    """The network that tells people apart; None if nobody does. Known once the source is scanned, as what follows."""
    embedder_settings: EmbedderSettings | None = None
    photos: dict[Path, Pixels] = field(default_factory=dict)
    """The photos by which the job names people, until their embeddings are known."""
    references: dict[Path, Vector] = field(default_factory=dict)
    """The embedding of each."""
    rows: tuple[SpanRow, ...] | None = None
    """What segmenter.spans says."""
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


@dataclass(slots=True, kw_only=True)
class Source(Footage):
    """What the whole job knows of the video."""

    coding: StreamCoding
    """How its frames are re-encoded."""
    checkpoint: Path | None
    """The network's weights; None if they are not there and only a plan is wanted."""
    losses: dict[Path, tuple[Loss, ...]]
    """For each output what it cannot hold of the source."""


def open_footage(config: JobConfig) -> tuple[Footage, list[Interval]]:
    """Return the video alone, and the frames of it that the job shows: no sound is needed to see who is there.

    Raises ConfigError or MediaError.
    """
    if not config.input.accept_damaged:
        check_complete(probe(config.input.video))
    info, video, table = _open_video(config)
    shown = scanned_frames(config, info, table)
    return Footage(info, video, table, fingerprint(Path(info.path), table)), shown


def _open_video(config: JobConfig) -> tuple[MediaInfo, VideoInfo, FrameTable]:
    info = probe(config.input.video)
    video = info.require_video()
    if not is_composable(video.pixel_format):
        raise UnsupportedMedia(f"{info.path}: pixels are stored as {video.pixel_format}. Convert it to yuv420p first.")
    table = scan_packets(info)
    check_one_format(SourceVideo(info, table))
    return info, video, table


def open_source(
    config: JobConfig, reporter: Reporter, *, plan_only: bool, force: bool
) -> tuple[Source, tuple[OutputSpec, ...]]:
    """Check everything that can be checked before the work, cheapest first; return the source and the edits.

    Raises ConfigError, MediaError or CheckpointError. plan_only: weights are not downloaded and may be missing.
    force: existing outputs may be replaced.
    """
    if config.mode == "extract" and not config.extract.join:
        check_name(config, config.output)  # the files of ranges are named after it; it is not written itself
    else:
        check_output(config, config.output, force=force)
    if not config.input.accept_damaged:
        for _, path in input_files(config):
            check_complete(probe(path))
    info, video, table = _open_video(config)
    muxer = muxer_of(config.output)  # those of all edits have the same ending
    settings = config.stitcher.video
    coding = choose_stream(SourceVideo(info, table), crf=settings.crf, preset=settings.preset, muxer=muxer)
    edits = assign_speakers(config, info, table, plan_outputs(config, info, table), reporter)
    _tell(edits, reporter, plan_only=plan_only)
    losses = {}
    for edit in edits:
        replaces = edit.heard is not None
        losses[edit.output] = check_container(
            SourceVideo(info, table), edit.timeline, muxer, replaces_sound=replaces, coding=coding
        )
        check_output(config, edit.output, force=force)
    try:
        checkpoint = find_weights(config.renderer.checkpoint, config, reporter, download=not plan_only)
    except CheckpointNotFound:
        if not plan_only:
            raise
        checkpoint = None
    photos = {path: load_photo(path, key) for key, path in config.references.items()}
    rows = read_spans(config.segmenter.spans, table) if config.segmenter.spans else None
    with nullcontext() if plan_only else _importing():
        source_hash = fingerprint(Path(info.path), table)
    source = Source(
        info, video, table, source_hash, coding=coding, checkpoint=checkpoint, losses=losses, photos=photos, rows=rows
    )
    return source, edits


def _tell(edits: Sequence[OutputSpec], reporter: Reporter, *, plan_only: bool) -> None:
    """Say once what is to be said of the sounds; a plan holds what is no warning."""
    for note in dict.fromkeys(note for edit in edits for note in edit.sound_notes):
        if note.is_warning:
            reporter.warning(f"{note.text}.")
        elif not plan_only:
            reporter.info(f"Sound: {note.text}.")


@contextmanager
def _importing() -> Iterator[None]:
    """Import what takes seconds to import beside what the block does, and wait for it.

    Nothing else is imported meanwhile: of libraries whose modules import one another, two threads that come in by two
    doors can see each other's modules half made.
    """
    for_drawing, for_finding, for_hearing = "renderer.engine", "torchvision.models", "librosa.feature.spectral"

    def work() -> None:
        with suppress(Exception):  # whoever needs the module imports it again, and hears what is wrong
            for module in (for_drawing, for_finding, for_hearing):
                if main_thread().is_alive():  # the job may have ended with an error meanwhile
                    import_module(module)

    thread = Thread(target=work, name="import-ahead")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def scan_source(
    config: JobConfig,
    source: Footage,
    intervals: Sequence[Interval],
    workspace: Workspace,
    reporter: Reporter,
    *,
    needs_people: bool = False,
) -> Scan:
    """Return the scan of all frames of the intervals, from the workspace if an earlier run made it.

    needs_people: raise CheckpointError or ConfigError where people cannot be told apart.
    """
    source_hash = source.fingerprint

    def path_for(detector: str, weights: Path | None) -> Path:
        return workspace.path("scan", scan_key(config, source_hash, intervals, detector, weights), ".json")

    has_cascade = workspace.load(path_for("cascade", None)) is not None
    source.detector, source.detector_weights = find_detector(config, reporter, has_cascade=has_cascade)
    path = path_for(source.detector, source.detector_weights)
    found = find_embedder(
        config,
        source.detector,
        reporter,
        has_plain=path.exists(),
        is_needed=needs_people or config.needs_people or any(row.person for row in source.rows or ()),
    )
    embedder = None
    if found:
        source.embedder, source.embedder_settings = found
        embedder = _Lazy(*found)
        key = scan_key(config, source_hash, intervals, source.detector, source.detector_weights, *found)
        path = workspace.path("scan", key, ".json")
    if source.photos and embedder:
        _embed_references(config, source, embedder.get())
    if (stored := workspace.load(path)) is not None:
        return Scan.from_json(stored["scan"])
    with source.timed("scan"):
        scan = scan_in_parts(
            source.info,
            source.table,
            intervals,
            reporter,
            detector=source.detector,
            detector_weights=source.detector_weights,
            samples_per_second=config.segmenter.samples_per_second,
            min_face_px=config.segmenter.min_face_px,
            embedder=embedder.get() if embedder else None,
        )
    workspace.store(path, {"scan": scan.to_json()})
    return scan


class _Lazy:
    """An embedder that is loaded when it is first needed, and then kept."""

    def __init__(self, path: Path, settings: EmbedderSettings) -> None:
        self._path, self._settings = path, settings
        self._loaded: OnnxEmbedder | None = None

    def get(self) -> OnnxEmbedder:
        """Return the embedder. Raises CheckpointError."""
        self._loaded = self._loaded or OnnxEmbedder(self._path, self._settings)
        return self._loaded


def _embed_references(config: JobConfig, source: Footage, embedder: OnnxEmbedder) -> None:
    detector = build_detector(source.detector, source.detector_weights)  # type: ignore[arg-type]
    for key, path in config.references.items():
        source.references[path] = embed_reference(path, key, source.photos[path], detector, embedder)
    source.photos.clear()  # their pixels are not needed any more


def scan_key(
    config: JobConfig,
    fingerprint: str,
    intervals: Sequence[Interval],
    detector: str,
    weights: Path | None,
    embedder: Path | None = None,
    embedder_settings: EmbedderSettings | None = None,
) -> str:
    """Return the content key of a scan: all that its samples depend on. Thresholds come after it."""
    settings = config.segmenter
    return content_key(
        SCAN_VERSION,
        fingerprint,
        intervals,
        detector,
        hash_file(weights) if weights else None,
        settings.samples_per_second,
        settings.min_face_px,
        *([hash_file(embedder), embedder_settings] if embedder else []),
    )


def span_settings(config: JobConfig) -> SpanSettings:
    """Return when a face counts as seen."""
    settings = config.segmenter
    return SpanSettings(
        onset=settings.onset,
        offset=settings.offset,
        min_on_seconds=settings.min_on_seconds,
        min_off_seconds=settings.min_off_seconds,
        min_face_px=settings.min_face_px,
        max_yaw_degrees=settings.max_yaw_degrees,
        min_sharpness=settings.min_sharpness,
        min_light=settings.min_light,
    )


def plan_output(
    config: JobConfig, source: Source, edit: OutputSpec, casting: TargetSelection, workspace: Workspace
) -> Plan:
    """Return how one output will be made, from the faces that are to be rendered.

    workspace: keeps where the sounds that drive lips speak.
    """
    silence = config.renderer.silence
    pauses = [[] if silence == "render" else driving_pauses(voice, workspace) for voice in edit.voices]
    silent = [frames_hearing(edit, each) for each in pauses] if silence == "original" else [[] for _ in pauses]
    together = reduce(intersect, silent)
    driven = tuple(part for start, stop in edit.driven for part in complement(together, start, stop))
    seen = casting.spans(source.table, edit.scanned, span_settings(config))
    speakers = casting.speakers(edit)
    speaking = tuple(replace(each, turns=_without(each.turns, silent[each.voice])) for each in speakers)
    edit = replace(edit, timeline=split_held(edit.timeline, borders_of(speaking)))
    clips = plan_clips(
        seen,
        source.table,
        edit.timeline,
        driven=driven,
        driving_start=Fraction(0),
        reencode_reason=source.coding.reason,
        may_copy_whole=source.coding.may_copy_whole,
        may_hide=muxer_of(edit.output) in HIDING,
        max_clip_seconds=Fraction(str(config.segmenter.max_clip_seconds)),
        speakers=speaking,
        fade_seconds=Fraction(str(config.renderer.fade_seconds)),
    )
    return build_plan(
        edit,
        casting.spoken(seen, [edit]),
        clips,
        casting=casting,
        shares=build_shares(edit, speakers, speaking, seen),
        source=source.info,
        reencode_reason=source.coding.reason,
        losses=source.losses[edit.output],
        silence=describe_silence(edit, pauses, silence),
        pauses=pauses,
        sound=describe_sound(edit, source.info, muxer_of(edit.output), config.stitcher.audio),
        align=_align(config, source),
        num_cores=num_cores(),
        are_processes=config.execution.backend == "processes",
        num_workers=choose_workers(config.execution, sum(clip.action != "copy" for clip in clips)),
        checkpoint_bytes=source.checkpoint.stat().st_size if source.checkpoint else 0,
    )


def _without(turns: Sequence[Interval], silent: Sequence[Interval]) -> tuple[Interval, ...]:
    return tuple(part for start, stop in turns for part in complement(silent, start, stop))


def _align(config: JobConfig, source: Source) -> str:
    """Return how faces are cropped, in words."""
    wanted = config.renderer.align
    return BOX_INSTEAD if wanted == "similarity" and source.detector == "cascade" else wanted
