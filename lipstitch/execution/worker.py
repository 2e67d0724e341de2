"""What a worker does with one clip: render it, in smaller batches if it must, else pass it through."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from base.errors import OutOfMemory, RenderError
from base.files import atomic_file
from base.machine import num_cores
from lipstitch.workspace import Workspace
from media.clips import Clip, Outcome, RenderedClip
from media.coding.encoder_options import VideoCoding, with_lower_crf
from media.coding.writer import BEST_PSNR
from media.info import MediaInfo
from media.packets.frame_table import FrameTable
from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.source_video import SourceVideo
from renderer.clip_frames import ClipResult
from renderer.compositor import Compositor, Pads
from renderer.engine import LipSyncEngine, Precision, choose_device, load_engine
from renderer.face_stages.base import FaceStage, StageSettings, build_stages
from renderer.mel import MelTrack
from renderer.networks.base import NetworkSpec
from renderer.render import ClipJob, ClipRenderer, LipSync
from segmenter.find_detector import build_detector
from segmenter.tracker import Align, BoxTracker
from stitcher.verify.provenance import CODED_PSNR

RECORDED = ("outcome", "reason", "num_rendered", "boxes", "frame_hashes", "damaged_frames", "least_psnr")
"""What is kept of a RenderedClip beside its file."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """All that a worker needs to know besides the clip; hashable and small, so it travels with every clip."""

    video: str
    video_hash: str
    """The source's fingerprint: a worker that outlives a job must not take another file for this one."""
    checkpoint: str
    checkpoint_hash: str
    network: NetworkSpec
    allow_torchscript: bool
    device: str
    precision: Precision
    batch_size: int
    detector: str
    detector_weights: str | None
    detect_every_frames: int
    smoothing_frames: int | None
    align: Align
    pads: Pads
    feather: float
    stages: tuple[str, ...]
    """What happens to a drawn face before it is blended, by name."""
    driving: tuple[str, ...]
    """Paths of the sounds that drive lips, by the number of the voice."""
    coding: VideoCoding
    num_threads: int
    """Of a decoder."""
    drawing_threads: int | None
    """Of the network on a CPU, this worker's own; None: one a core for all workers of the process together."""
    closes_mouths: bool
    """Whether mouths are drawn shut while the driving sound is silent."""
    passes_through: bool
    """Whether a clip that cannot be rendered is re-encoded unchanged; otherwise the job stops."""

    def face_stages(self) -> tuple[FaceStage, ...]:
        """Return the stages, ready to be used or to be asked for their keys."""
        return build_stages(self.stages, StageSettings(self.network, self.feather))


@dataclass(slots=True)
class _Tools:
    """What is loaded once a worker."""

    setup: WorkerSetup
    info: MediaInfo
    table: FrameTable
    engines: dict[str, LipSyncEngine]
    """By device, those used so far, with threads of this worker's own."""
    tracker: BoxTracker
    compositor: Compositor
    stages: tuple[FaceStage, ...]
    mels: tuple[MelTrack, ...]
    """Of each voice."""


_loaded = threading.local()
_engines: dict[tuple[object, ...], LipSyncEngine] = {}
_sources: dict[str, tuple[MediaInfo, FrameTable]] = {}
"""What the threads of this process share: one network a device and one source, by what tells it from others."""
_loading = threading.Lock()


def share_source(video_hash: str, info: MediaInfo, table: FrameTable) -> None:
    """Let this process's workers have what is known of a source, which takes seconds to find out for hours of video."""
    with _loading:
        _sources.clear()
        _sources[video_hash] = info, table


def _source(setup: WorkerSetup) -> tuple[MediaInfo, FrameTable]:
    with _loading:
        if setup.video_hash not in _sources:
            _sources.clear()
            info = probe(setup.video)
            _sources[setup.video_hash] = info, scan_packets(info)
        return _sources[setup.video_hash]


def _engine(tools: _Tools, turn: int) -> LipSyncEngine:
    """Return this worker's engine on the device whose turn it is."""
    device = str(choose_device(tools.setup.device, turn))
    if device not in tools.engines:
        tools.engines[device] = _shared_engine(tools.setup, device).for_worker(tools.setup.drawing_threads)
    return tools.engines[device]


def _shared_engine(setup: WorkerSetup, device: str) -> LipSyncEngine:
    network = setup.checkpoint_hash, setup.allow_torchscript, setup.precision, setup.batch_size
    key = *network, device
    with _loading:
        if key not in _engines:
            for other in [other for other in _engines if other[:-1] != network]:
                del _engines[other]
            _engines[key] = load_engine(
                Path(setup.checkpoint),
                device=device,
                precision=setup.precision,
                batch_size=setup.batch_size,
                num_threads=num_cores(),
                allow_torchscript=setup.allow_torchscript,
            )
        return _engines[key]


def _tools(setup: WorkerSetup) -> _Tools:
    """Return this thread's tools, loading what is new in the setup: outputs of one job differ in their sound alone."""
    tools: _Tools | None = getattr(_loaded, "tools", None)
    if tools is not None and tools.setup.driving != setup.driving:
        for mel in tools.mels:
            mel.close()
        tools.mels = _open_voices(setup)
        tools.setup = replace(tools.setup, driving=setup.driving)
    if tools is None or tools.setup != setup:
        info, table = _source(setup)
        video = info.require_video()
        weights = Path(setup.detector_weights) if setup.detector_weights else None
        tools = _Tools(
            setup=setup,
            info=info,
            table=table,
            engines={},
            tracker=BoxTracker(
                build_detector(setup.detector, weights),
                PictureConverter(video.orientation),
                every_frames=setup.detect_every_frames,
                smoothing_frames=setup.smoothing_frames,
                align=setup.align,
            ),
            compositor=Compositor(video.orientation, pads=setup.pads, spec=setup.network),
            stages=setup.face_stages(),
            mels=_open_voices(setup),
        )
        _loaded.tools = tools
    return tools


def _open_voices(setup: WorkerSetup) -> tuple[MelTrack, ...]:
    return tuple(MelTrack(Path(path), setup.network.mel) for path in setup.driving)


def run_clip(setup: WorkerSetup, job: ClipJob, target: str) -> RenderedClip:
    """Make the coded file of a clip and the record beside it. Raises RenderError and what ClipRenderer raises."""
    start = time.monotonic()
    tools = _tools(setup)
    with atomic_file(Path(target)) as partial:
        result, reason = _best_result(tools, job, partial)
    outcome: Outcome = "reencoded" if job.clip.action == "reencode" else "fell_back" if reason else "rendered"
    rendered = RenderedClip(
        clip=job.clip,
        path=target,
        outcome=outcome,
        reason=reason or job.clip.reason,
        num_rendered=result.num_rendered,
        seconds=round(time.monotonic() - start, 3),
        boxes=result.boxes,
        frame_hashes=result.frame_hashes,
        damaged_frames=result.damaged_frames,
        least_psnr=min(result.least_psnr, BEST_PSNR),
    )
    store_record(rendered)
    return rendered


def _best_result(tools: _Tools, job: ClipJob, path: Path) -> tuple[ClipResult, str]:
    """Render a clip, with ever smaller batches while memory runs out; return the result and why it fell back."""
    reason = ""
    engine = _engine(tools, job.clip.index) if job.clip.action == "render" else None
    while engine:
        try:
            return _coded_finely(tools, job, path, engine), ""
        except OutOfMemory as exc:
            reason = str(exc)
            if engine.batch_size > 1:
                engine = engine.with_batch_size(engine.batch_size // 2)
                continue
        except RenderError as exc:
            reason = str(exc)
        if not tools.setup.passes_through:
            raise RenderError(f"{describe(job)}: {reason}")
        break
    return _coded_finely(tools, job, path, None), reason


def _coded_finely(tools: _Tools, job: ClipJob, path: Path, engine: LipSyncEngine | None) -> ClipResult:
    """Render a clip; do it again with a finer quantiser while a frame that should look unchanged does not.

    The bound is that of the full check, which takes the report's word where the codec at its finest stays below it.
    """
    lips = (
        LipSync(tools.tracker, tools.compositor, engine, tools.mels, tools.stages, tools.setup.closes_mouths)
        if engine
        else None
    )
    video = SourceVideo(tools.info, tools.table)
    coding: VideoCoding | None = tools.setup.coding
    while coding:
        result = ClipRenderer(video, coding, lips, tools.setup.num_threads).render(job, path)
        if result.least_psnr >= CODED_PSNR:
            return result
        coding = with_lower_crf(coding)
    return result


def describe(job: ClipJob) -> str:
    """Return how a clip is named in messages."""
    clip, seconds = job.clip, float(job.seconds[0])
    return (
        f"Clip {clip.index} (frames {clip.start_frame}-{clip.stop_frame - 1}, {seconds:.3f} s into the driving sound)"
    )


def store_record(rendered: RenderedClip) -> None:
    """Seal a finished clip's file with what is known of it."""
    assert rendered.path is not None
    path = Path(rendered.path)
    Workspace(path.parent).seal(path, {name: getattr(rendered, name) for name in RECORDED})


def load_finished(clip: Clip, path: Path) -> RenderedClip | None:
    """Return a clip that an earlier run finished, or None if its file or seal is missing, damaged or of an old version.

    A clip that fell back is not finished: it is tried again.
    """
    known = Workspace(path.parent).sealed(path)
    if known is None or known.keys() != {*RECORDED} or known["outcome"] == "fell_back":
        return None
    return RenderedClip(
        clip=clip,
        path=str(path),
        outcome=known["outcome"],
        # Other clips may have asked for the same frames; why this one is re-encoded is its own affair.
        reason=clip.reason,
        num_rendered=known["num_rendered"],
        seconds=None,
        boxes=tuple(tuple(box) if box else None for box in known["boxes"]),
        frame_hashes=tuple(known["frame_hashes"]),
        damaged_frames=tuple(known["damaged_frames"]),
        least_psnr=known["least_psnr"],
    )
