"""The clips of an output: what each needs, what its file depends on, and which ones an earlier run has finished."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipstitch.execution.choose_mouths import MouthChoice
from lipstitch.execution.executor import run_clips
from lipstitch.execution.machine import arithmetic
from lipstitch.execution.seals import load_finished
from lipstitch.execution.worker import PROCESS_CACHE, WorkerSetup
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.plan import Plan, check_disk_for_clips
from lipstitch.programs.draw import DrawnMouths
from lipstitch.progress import Reporter, stage
from lipstitch.workspace import Workspace
from media.base.content import content_key
from media.clips import Clip, FaceSpan, Quality, RenderedClip
from media.intervals import Interval, intersect
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file
from renderer.compositor import Pads
from renderer.footage import lip_motion
from renderer.masks.tracker import MASKS_VERSION
from renderer.mel import MelSpec, hash_driving, window_start
from renderer.render import ClipJob

RENDER_VERSION = 6
"""Raised when rendering the same clip gives other pixels, or packets, than before."""
DRAWING_VERSION = 5
"""The same for mouths from footage."""


@dataclass(frozen=True, slots=True)
class Mouths:
    """What the clips of an output show that was made before they were cut."""

    chosen: MouthChoice
    """Of footage."""
    drawn: DrawnMouths | None
    """By a program; None where a network draws."""


def finish_clips(
    config: JobConfig,
    source: SourceVideo,
    plan: Plan,
    mouths: Mouths,
    setups: Mapping[Quality | None, WorkerSetup],
    workspace: Workspace,
    reporter: Reporter,
) -> list[RenderedClip]:
    """Return every clip of a plan, finished; those that an earlier run finished are reused, unless made again.

    setups: for each quality that the user wants of some clips; None: as the job says.
    """
    clips = {clip.index: RenderedClip(clip, None, "copied", clip.reason, 0, 0.0) for clip in plan.clips}
    todo: dict[Quality | None, list[tuple[ClipJob, Path]]] = {}
    reused = 0
    for job in _clip_jobs(config, plan, mouths):
        quality = job.clip.quality
        target = workspace.path("clip", _clip_key(job, setups[quality]), ".nut")
        makes_again = plan.target.changes.makes_again(job.clip.source_frames)
        finished = None if makes_again else load_finished(job.clip, target)
        if finished is None:
            todo.setdefault(quality, []).append((job, target))
        else:
            clips[job.clip.index] = finished
            reused += len(job.clip)
    if reused:
        reporter.info(f"{reused} frames were rendered by an earlier run.")
    if todo:
        num_todo = sum(len(job.clip) for jobs in todo.values() for job, _ in jobs)
        check_disk_for_clips(plan, workspace, num_todo)
        PROCESS_CACHE.share_source(setups[None].video.hash, source)
        with stage(reporter, "render", num_todo, "frames"):
            done = 0
            results = _rendered(setups, todo, config, on_wait=lambda: reporter.advance(done))
            with closing(results):
                for rendered in results:
                    clips[rendered.clip.index] = rendered
                    done += len(rendered.clip)
                    reporter.advance(done, f"clip {rendered.clip.index}, last is {len(plan.clips) - 1}")
                    if rendered.outcome == "fell_back":
                        reporter.warning(
                            f"clip {rendered.clip.index} falls back to the original frames: {rendered.reason}"
                        )
    return [clips[index] for index in sorted(clips)]


def _rendered(
    setups: Mapping[Quality | None, WorkerSetup],
    todo: Mapping[Quality | None, Sequence[tuple[ClipJob, Path]]],
    config: JobConfig,
    on_wait: Callable[[], None],
) -> Generator[RenderedClip, None, None]:
    """Yield finished clips, one quality after the other, so that no worker loads its networks twice."""
    for quality, jobs in todo.items():
        with closing(run_clips(setups[quality], jobs, config.execution, on_wait=on_wait)) as results:
            yield from results


def _clip_jobs(config: JobConfig, plan: Plan, mouths: Mouths) -> Iterator[ClipJob]:
    for clip in plan.clips:
        if clip.action != "copy":
            seconds = tuple(plan.spec.drive_seconds(frame) for frame in range(clip.start_frame, clip.stop_frame))
            drawn = mouths.drawn.of_clip(clip) if mouths.drawn else None
            yield ClipJob(clip, seconds, config.renderer.frame_hashes, mouths.chosen.of_clip(clip), drawn)


def _clip_key(job: ClipJob, setup: WorkerSetup) -> str:
    """Return the content key of a clip's coded file: all that its bytes depend on, and nothing else."""
    clip = job.clip
    # Which number a person has plays no part: it may change while the frames stay.
    faces = [(face.start_frame, face.stop_frame, face.path) for face in clip.faces]
    fades = [(fade.frame - clip.start_frame, fade.face, fade.strength) for fade in clip.fades]
    rendered = [(a - clip.start_frame, b - clip.start_frame) for a, b in clip.rendered]
    what = (clip.source_frames, faces, rendered, fades)
    settings, weights = setup.renderer, setup.finder.detector_weights
    enhancer = setup.network.enhancer
    shown = (setup.video.hash, setup.coding, job.wants_hashes, *([enhancer.key] if enhancer else []))
    if clip.action == "reencode":
        return content_key(RENDER_VERSION, what, shown)
    found = (
        setup.finder.detector,
        hash_file(weights) if weights else None,
        settings.detect_every_frames,
        settings.smoothing_frames,
        settings.align,
    )
    drawn = None
    if job.uses_network:
        drawn = _network_key(job, setup) if job.drawn is None else _program_key(job, setup)
    return content_key(RENDER_VERSION, what, shown, found, drawn, _footage_key(job, setup), *_mask_key(setup))


def _network_key(job: ClipJob, setup: WorkerSetup) -> tuple[Any, ...]:
    """Return what a clip's mouths that a network draws depend on."""
    clip, settings = job.clip, setup.renderer
    faces_drawn = [face for face in clip.faces if face.source.method == "network"]
    return (
        [face.source.method for face in clip.faces],
        setup.network.hash,
        arithmetic(setup.renderer),
        Pads(*settings.pads),
        *(stage.key for stage in setup.face_stages()),
        [_at_rest(face) for face in faces_drawn if setup.closes_mouths],
        [
            _driving_key(setup.driving[face.drive_index], job, part, setup.network.spec.mel)
            for face in faces_drawn
            for part in _shown(face, clip)
        ],
        *setup.network.spec.key,
        *(["strength", settings.strength] if settings.strength != 1 else []),
        *(["of spans", [face.source.strength for face in faces_drawn]] if _are_told(faces_drawn) else []),
    )


def _are_told(faces: Sequence[FaceSpan]) -> bool:
    """Tell whether a span file says of some faces how far the sound moves their mouths."""
    return any(face.source.strength is not None for face in faces)


def _program_key(job: ClipJob, setup: WorkerSetup) -> tuple[Any, ...]:
    """Return what a clip's mouths that a program has drawn depend on."""
    start = job.clip.start_frame
    pieces = [
        [(piece.key, piece.frames[0] - start, piece.frames[1] - start, bool(piece.failure)) for piece in face]
        for face in job.drawn or ()
    ]
    return (
        [face.source.method for face in job.clip.faces],
        "program",
        pieces,
        Pads(*setup.renderer.pads),
        *(stage.key for stage in setup.face_stages()),
        *setup.network.spec.key,
    )


def _mask_key(setup: WorkerSetup) -> list[Any]:
    """Return what tells which pixels may change; empty for the fixed mask."""
    maskers = [(masker.hash, masker.provider) for masker in setup.network.maskers]
    if not maskers:
        return []
    return [MASKS_VERSION, maskers, arithmetic(setup.renderer)[0], setup.renderer.most_covered]


def _footage_key(job: ClipJob, setup: WorkerSetup) -> list[Any]:
    """Return what a clip's mouths from footage depend on: which are shown when, and how faces are followed."""
    if not any(job.ways):
        return []
    mesh = setup.finder.mesh
    ways = [
        [(setup.banks[way.bank].hash, way.start_frame - job.clip.start_frame, way.mouths, way.measures) for way in face]
        for face in job.ways
    ]
    return [DRAWING_VERSION, hash_file(mesh) if mesh else None, hash_file(lip_motion.SHIPPED), ways]


def _at_rest(face: FaceSpan) -> list[Any]:
    """Return how a face looks while its mouth is closed, whoever it is."""
    neutral = [(neutral.frame, neutral.face.box, neutral.face.landmarks) for neutral in face.neutral_faces]
    return [face.closed_mouth, neutral]


def _shown(face: FaceSpan, clip: Clip) -> list[Interval]:
    """Return the output frames of a clip in which a face gets a new mouth. A clip runs one way through the source."""
    numbers = [
        number
        for number, frame in enumerate(clip.source_frames, start=clip.start_frame)
        if face.start_frame <= frame < face.stop_frame
    ]
    return intersect(clip.rendered, [(numbers[0], numbers[-1] + 1)] if numbers else [])


def _driving_key(driving: str, job: ClipJob, rendered: Interval, spec: MelSpec) -> list[Any]:
    """Return what the mel windows of rendered frames depend on: the sound there, and where each frame lies in it."""
    seconds = job.seconds[rendered[0] - job.clip.start_frame : rendered[1] - job.clip.start_frame]
    columns = [window_start(second, spec=spec) - window_start(seconds[0], spec=spec) for second in seconds]
    return [columns, hash_driving(Path(driving), min(seconds), max(seconds), spec=spec)]
