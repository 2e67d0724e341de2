"""What a worker does with one clip: render it, in smaller batches if it must, else pass it through."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path

from lipstitch.execution.seals import seal_clip
from lipstitch.job_file.renderer import RendererConfig
from lipstitch.source.weights import FaceFinder
from lipstitch.tools import DrivingMel, SharedEngine, Tools
from media.base.errors import OutOfMemory, RenderError
from media.base.files import atomic_file
from media.base.machine import num_cores
from media.clips import Outcome, RenderedClip
from media.coding.encoder import BEST_PSNR
from media.coding.encoder_options import VideoCoding
from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FaceTracker
from media.source_video import SourceVideo
from renderer.clip_frames import ClipResult
from renderer.compositor import Compositor, Pads
from renderer.engine import Precision, choose_device
from renderer.enhance import EnhancerFile, FrameEnhancer, load_enhancer
from renderer.face_stages.base import FaceStage, StageSettings, build_stages
from renderer.footage.bank import Bank
from renderer.footage.lips import FootageLips
from renderer.masks.maskers import MaskerFile, load_masker
from renderer.masks.tracker import MaskTracker
from renderer.networks.base import Engine, NetworkSpec
from renderer.render import ClipJob, ClipRenderer, LipSync
from renderer.restoration.restorers import RestorerFile
from segmenter.mesh.tracker import MeshTracker


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file, and the hash that tells its content from that of another file under the same name."""

    path: str
    hash: str


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """The weights of a lip network, of what restores its faces, of what tells which pixels may change, and of what
    enhances whole frames.
    """

    path: str
    hash: str
    spec: NetworkSpec
    restorer: RestorerFile | None = None
    maskers: tuple[MaskerFile, ...] = ()
    enhancer: EnhancerFile | None = None

    def elsewhere(self, device: str) -> NetworkFile:
        """Return it with absolute paths, and with the device that this machine chose."""
        restorer, enhancer = self.restorer, self.enhancer
        if restorer:
            restorer = replace(restorer, path=os.path.abspath(restorer.path), device=device)
        if enhancer:
            enhancer = replace(enhancer, path=os.path.abspath(enhancer.path), device=device)
        maskers = (replace(each, path=os.path.abspath(each.path), device=device) for each in self.maskers)
        return replace(
            self, path=os.path.abspath(self.path), restorer=restorer, maskers=tuple(maskers), enhancer=enhancer
        )


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """All that a worker needs to know besides the clip; small, so it travels with every clip."""

    video: HashedFile
    network: NetworkFile
    finder: FaceFinder
    """How faces are found, and the tools of the job."""
    stages: tuple[str, ...]
    """What happens to a drawn face before it is blended, by name."""
    driving: tuple[str, ...]
    """Paths of the sounds that drive lips, by the number of the voice."""
    renderer: RendererConfig
    coding: VideoCoding
    banks: tuple[HashedFile, ...]
    """The mouths from footage, as clips number them."""
    num_threads: int
    """Of a decoder."""
    drawing_threads: int | None
    """Of the network on a CPU, this worker's own; None: one a core for all workers of the process together."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files that a worker reads."""
        weights = [str(path) for path in (self.finder.detector_weights, self.finder.mesh) if path]
        banks = [bank.path for bank in self.banks]
        helpers = (self.network.restorer, self.network.enhancer)
        restorers = [helper.path for helper in helpers if helper]
        maskers = [masker.path for masker in self.network.maskers]
        return (self.video.path, self.network.path, *restorers, *self.driving, *weights, *banks, *maskers)

    @property
    def closes_mouths(self) -> bool:
        """Whether mouths are drawn closed while the driving sound is silent."""
        return self.renderer.silence == "close"

    def face_stages(self) -> tuple[FaceStage, ...]:
        """Return the stages, ready to be used or to be asked for their keys."""
        restorer = self.network.restorer
        names = (*self.stages, "restore") if restorer else self.stages
        return build_stages(names, StageSettings(self.network.spec, self.renderer.feather, restorer))

    def for_other_machines(self, device: str, precision: Precision) -> WorkerSetup:
        """Return the setup with absolute paths, and with the arithmetic that this machine chose."""
        weights, mesh = (path.absolute() if path else None for path in (self.finder.detector_weights, self.finder.mesh))
        return replace(
            self,
            video=replace(self.video, path=os.path.abspath(self.video.path)),
            network=self.network.elsewhere(device),
            finder=replace(self.finder, detector_weights=weights, mesh=mesh),
            banks=tuple(replace(bank, path=os.path.abspath(bank.path)) for bank in self.banks),
            driving=tuple(os.path.abspath(path) for path in self.driving),
            renderer=self.renderer.with_arithmetic(device, precision),
        )


@dataclass(slots=True)
class _Parts:
    """What one thread has made for its clips."""

    setup: WorkerSetup
    engines: dict[str, SharedEngine]
    """By device, those used so far, with threads of this worker's own."""
    tracker: FaceTracker
    compositor: Compositor
    stages: tuple[FaceStage, ...]
    mels: tuple[DrivingMel, ...]
    """Of each voice."""
    footage: FootageLips | None


class WorkerCache:
    """What the workers of one process keep from clip to clip.

    All threads share one source, and one network for each device; the other parts belong to one thread. Only what the
    latest setup needs is kept, so a process that outlives a job does not fill up.
    """

    def __init__(self) -> None:
        self._threads = threading.local()
        self._engines: dict[tuple[Hashable, ...], SharedEngine] = {}
        self._sources: dict[str, SourceVideo] = {}
        self._banks: dict[HashedFile, Bank] = {}
        self._lock = threading.Lock()

    def share_source(self, video_hash: str, source: SourceVideo) -> None:
        """Give the workers what the process knows of a source; finding it out takes seconds for hours of video."""
        with self._lock:
            self._sources = {video_hash: source}

    def source(self, video: HashedFile) -> SourceVideo:
        """Return the source of a setup. Raises MediaError if it has to be read and cannot be."""
        with self._lock:
            if video.hash not in self._sources:
                info = probe(video.path)
                self._sources = {video.hash: SourceVideo(info, scan_packets(info))}
            return self._sources[video.hash]

    def enhance(self, setup: WorkerSetup) -> FrameEnhancer | None:
        """Return what this thread enhances whole frames with; None where the job does not."""
        file = setup.network.enhancer
        if file is None:
            return None
        made: tuple[EnhancerFile, FrameEnhancer] | None = getattr(self._threads, "enhancer", None)
        if made is None or made[0] != file:
            orientation = self.source(setup.video).video.orientation
            made = self._threads.enhancer = file, FrameEnhancer(load_enhancer(file), file.strength, orientation)
        return made[1]

    def engine(self, setup: WorkerSetup, turn: int) -> SharedEngine:
        """Return this thread's engine on the device whose turn it is.

        Raises CheckpointError, ConfigError, or OutOfMemory.
        """
        parts = self._parts(setup)
        device = str(choose_device(setup.renderer.device, turn))
        if device not in parts.engines:
            network = HashedFile(setup.network.path, setup.network.hash)
            shared = self.shared_engine(network, setup.renderer, device, setup.finder.tools)
            parts.engines[device] = shared.for_worker(setup.drawing_threads)
        return parts.engines[device]

    def lips(self, setup: WorkerSetup, engine: Engine | None) -> LipSync:
        """Return what this thread makes new lips with. Raises MediaError if a driving sound cannot be read."""
        parts = self._parts(setup)
        return LipSync(
            parts.tracker,
            parts.compositor,
            engine,
            parts.mels,
            parts.stages,
            closes_mouths=setup.closes_mouths,
            footage=parts.footage,
            strength=setup.renderer.strength,
            most_covered=setup.renderer.most_covered,
        )

    def _parts(self, setup: WorkerSetup) -> _Parts:
        """Return this thread's parts, with what is new in the setup: outputs of one job differ in their sound alone."""
        parts: _Parts | None = getattr(self._threads, "parts", None)
        if parts is not None and parts.setup.driving != setup.driving:
            for mel in parts.mels:
                mel.close()
            parts.mels = _open_mels(setup)
            parts.setup = replace(parts.setup, driving=setup.driving)
        if parts is None or parts.setup != setup:
            orientation = self.source(setup.video).video.orientation
            settings, finder = setup.renderer, setup.finder
            tracker = finder.tools.build_tracker(finder.build_detector(), orientation, settings)
            footage = None
            if setup.banks and (mesher := finder.build_mesher(PictureConverter(orientation))):
                tracker, footage = MeshTracker(tracker, mesher), FootageLips(self._open_banks(setup), orientation)
            compositor = Compositor(orientation, pads=Pads(*settings.pads), spec=setup.network.spec)
            if maskers := [load_masker(file) for file in setup.network.maskers]:
                tracker = MaskTracker(tracker, maskers, compositor.sample)
            parts = self._threads.parts = _Parts(
                setup=setup,
                engines={},
                tracker=tracker,
                compositor=compositor,
                stages=setup.face_stages(),
                mels=_open_mels(setup),
                footage=footage,
            )
        return parts

    def _open_banks(self, setup: WorkerSetup) -> list[Bank | None]:
        """Return the banks of a setup, those that hold mouths opened; all threads share them."""
        with self._lock:
            # By their paths as well: the same bank may lie in another job's workspace, and this one's be gone.
            self._banks = {file: bank for file, bank in self._banks.items() if file in setup.banks}
            self._banks |= {file: Bank(Path(file.path)) for file in setup.banks if file not in self._banks}
            return [self._banks.get(file) for file in setup.banks]

    def shared_engine(self, file: HashedFile, settings: RendererConfig, device: str, tools: Tools) -> SharedEngine:
        """Return the engine of a network on a device, which all threads share.

        Raises CheckpointError, ConfigError, or OutOfMemory.
        """
        network = file.hash, settings.network_options, settings.precision, settings.batch_size, tools.load_engine
        key = *network, device
        with self._lock:
            if key not in self._engines:
                self._engines = {kept: engine for kept, engine in self._engines.items() if kept[:-1] == network}
                self._engines[key] = tools.load_engine(Path(file.path), settings, device, num_cores())
            return self._engines[key]


PROCESS_CACHE = WorkerCache()
"""That of this process's workers. It lives as long as the process: worker processes, and those of a cluster, see many
jobs, and each begins with what the last one loaded."""


def _open_mels(setup: WorkerSetup) -> tuple[DrivingMel, ...]:
    return tuple(setup.finder.tools.open_mel(Path(path), setup.network.spec.mel) for path in setup.driving)


def run_clip(setup: WorkerSetup, job: ClipJob, target: str, *, cache: WorkerCache = PROCESS_CACHE) -> RenderedClip:
    """Make the coded file of a clip and the record beside it. Raises RenderError and what ClipRenderer raises."""
    start = time.monotonic()
    with atomic_file(Path(target)) as partial:
        result, reason = _best_result(setup, job, partial, cache)
    outcome: Outcome = "fell_back" if reason else "reencoded" if job.clip.action == "reencode" else "rendered"
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
    seal_clip(rendered, result.strip, float(job.seconds[0]))
    return rendered


def _best_result(setup: WorkerSetup, job: ClipJob, path: Path, cache: WorkerCache) -> tuple[ClipResult, str]:
    """Render a clip, with ever smaller batches while memory runs out; return the result and why it fell back."""
    reason = ""
    unchanged = ClipRenderer(cache.source(setup.video), setup.coding, None, setup.num_threads)
    changed = replace(unchanged, enhance=cache.enhance(setup))
    engine = cache.engine(setup, job.clip.index) if job.uses_network and job.drawn is None else None
    while job.clip.action == "render" or changed.enhance:
        try:
            lips = cache.lips(setup, engine) if job.clip.action == "render" else None
            return replace(changed, lips=lips).render(job, path), ""
        except OutOfMemory as exc:
            reason = str(exc)
            if engine and engine.batch_size > 1:
                engine = engine.with_batch_size(engine.batch_size // 2)
                continue
        except RenderError as exc:
            reason = str(exc)
        if setup.renderer.on_failure == "stop":
            raise RenderError(f"{describe(job)}: {reason}")
        break
    return unchanged.render(job, path), reason


def describe(job: ClipJob) -> str:
    """Return how a clip is named in messages."""
    clip, seconds = job.clip, float(job.seconds[0])
    return (
        f"Clip {clip.index} (frames {clip.start_frame}-{clip.stop_frame - 1}, {seconds:.3f} s into the driving sound)"
    )
