"""Shapes of lips read off what a network draws, in place of those that are heard: its sync, without its pixels.

frame, box --crop--> network --drawn face--> seen in its frame --face mesh--> points --lip reader--> shapes
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipstitch.execution.machine import arithmetic
from lipstitch.execution.worker import PROCESS_CACHE, HashedFile
from lipstitch.job_file.renderer import RendererConfig
from lipstitch.progress import Reporter
from lipstitch.source.weights import FaceFinder
from lipstitch.tools import SharedEngine
from media.affine import Affine
from media.base.machine import num_cores
from media.clips import FaceSpan
from media.mesh import head_pose, steady
from media.picture import PictureConverter, VideoFrame
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file
from renderer.compositor import Compositor, Pads
from renderer.engine import choose_device
from renderer.face_stages.base import FaceCrop, FacePatch, seen_through
from renderer.face_stages.blend_mask import build_mask
from renderer.footage.lip_shape import Normal, Points, Shapes, measure
from renderer.mel import Mel
from renderer.networks.base import NetworkSpec
from segmenter.mesh.crop import square_of_box, square_of_mesh
from segmenter.mesh.mesher import FaceMesher

VERSION: Final = 1
"""Raised when the same network and frames give other shapes than before."""
MOST_ROLL_DEGREES: Final = 45.0
LEAST_FRAMES: Final = 50
"""Of a speaker, below which what is usual for the mouths that a network draws is not known."""


@dataclass(frozen=True, slots=True)
class DrawingNetwork:
    """A network that draws mouths to be read, and how it is used."""

    checkpoint: Path
    settings: RendererConfig
    finder: FaceFinder
    driving: tuple[Path, ...]
    """The sound of each voice."""
    reporter: Reporter

    @property
    def spec(self) -> NetworkSpec:
        """Return the network's spec. Raises CheckpointError."""
        return self.finder.tools.read_spec(self.checkpoint, self.settings)

    @property
    def key(self) -> list[Any]:
        """Return what the shapes depend on beside frames and sounds."""
        assert self.finder.mesh is not None
        settings = self.settings
        drawing = hash_file(self.checkpoint), self.spec.key, settings.pads, settings.feather, settings.align
        return [VERSION, drawing, arithmetic(settings), hash_file(self.finder.mesh)]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Consecutive output frames of one face."""

    span: FaceSpan
    frames: Sequence[int]
    """Of the source."""
    seconds: Sequence[Fraction]
    """Of each, in the driving sound."""
    reference: Points
    """The speaker's upright face, (NUM_POINTS, 3); see lip_shape.upright."""


def read_shapes(network: DrawingNetwork, source: SourceVideo, tasks: Sequence[Task]) -> list[Shapes] | None:
    """Return the shapes (frames, len(SHAPES)) of each task, all of one speaker, normalised over all of them together.

    None where there are too few frames to tell what is usual. Holds the frames of one batch.
    """
    num_frames = sum(len(task.frames) for task in tasks)
    if num_frames < LEAST_FRAMES:
        return None
    file = HashedFile(str(network.checkpoint), hash_file(network.checkpoint))
    device = str(choose_device(network.settings.device))
    engine = PROCESS_CACHE.shared_engine(file, network.settings, device, network.finder.tools)
    network.reporter.begin("lip shapes", num_frames, "frames")
    try:
        with _Reader(network, source, engine) as reader:
            measured = [reader.measured(task) for task in tasks]
    finally:
        network.reporter.end()
    normal = Normal.of(np.concatenate(measured))
    return [normal.normalise(shapes) for shapes in measured]


class _Face(NamedTuple):
    """A face that waits to be drawn."""

    frame: VideoFrame
    square: Affine
    """Where its mesh is looked for."""
    crop: FaceCrop
    window: NDArray[np.float32]
    """Of the sound."""


class _Reader:
    """Has faces drawn, and reads their lips."""

    def __init__(self, network: DrawingNetwork, source: SourceVideo, engine: SharedEngine) -> None:
        converter = PictureConverter(source.video.orientation)
        mesher = network.finder.build_mesher(converter)
        assert mesher is not None, "a job with footage has a face mesh"
        self._mesher: FaceMesher = mesher
        self._engine = engine
        spec = network.spec
        self._compositor = Compositor(source.video.orientation, pads=Pads(*network.settings.pads), spec=spec)
        self._mask = build_mask(network.settings.feather, spec)
        self._mels = [network.finder.tools.open_mel(path, spec.mel) for path in network.driving]
        self._source, self._reporter, self._num_done = source, network.reporter, 0
        self._is_turned = network.settings.align == "similarity"

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for mel in self._mels:
            mel.close()

    def measured(self, task: Task) -> Shapes:
        """Return the shapes of a task's frames, in eye distances, steadied as the meshes of footage are."""
        meshes = np.stack([*self._meshes(task, self._mels[task.span.drive_index])])
        return measure(steady(meshes), task.reference)

    def _meshes(self, task: Task, mel: Mel) -> Iterator[NDArray[np.float32]]:
        """Yield the mesh of each frame with its drawn mouth; of the frame itself where a face is too small."""
        batch: list[_Face] = []
        with FrameReader(self._source, num_threads=num_cores()) as reader:
            for (index, frame), second in zip(reader.read(task.frames), task.seconds, strict=True):
                own = self._mesher.find(frame, square_of_box(task.span.path.box_at(index))).mesh
                if crop := self._compositor.crop(frame, task.span.path.box_at(index), self._roll(own)):
                    batch.append(_Face(frame, square_of_mesh(own), crop, mel.window(second)))
                    if len(batch) < self._engine.batch_size:
                        continue
                yield from self._read(batch)
                batch.clear()
                if crop is None:
                    yield own
        yield from self._read(batch)

    def _read(self, batch: Sequence[_Face]) -> Iterator[NDArray[np.float32]]:
        if not batch:
            return
        faces, windows = np.stack([face.crop.face for face in batch]), np.stack([face.window for face in batch])
        for face, drawn in zip(batch, self._engine.render(faces, windows), strict=True):
            over = partial(seen_through, FacePatch(drawn, face.crop.affine, self._mask))
            yield self._mesher.find(face.frame, face.square, over=over).mesh
        self._num_done += len(batch)
        self._reporter.advance(self._num_done)

    def _roll(self, mesh: NDArray[np.float32]) -> float:
        """Return how far a crop is turned for a face: as far as rendering turns it, in degrees."""
        return float(np.clip(head_pose(mesh)[2], -MOST_ROLL_DEGREES, MOST_ROLL_DEGREES)) if self._is_turned else 0.0
