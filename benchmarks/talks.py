"""Short videos of one speaker, decoded whole, with the truth about their mouths: what benchmarks.footage judges by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from media.mesh import POINT_NUMBERS, Mesh, head_pose, light_around
from media.orientation import UPRIGHT
from media.picture import PictureConverter, Pixels, VideoFrame
from renderer.footage import looks
from renderer.footage.bank_writer import sharpness
from renderer.footage.choice import Candidates
from renderer.footage.lip_shape import Normal, Points, Shapes, measure, upright
from segmenter.mesh.crop import square_of_mesh
from segmenter.mesh.mesher import FaceMesher, MeshModel

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Talk:
    """One short video of one speaker, decoded whole."""

    name: str
    frames: list[VideoFrame]
    """Those with a face."""
    numbers: NDArray[np.int64]
    """Of the frames, in the video."""
    seconds: NDArray[np.float64]
    meshes: Mesh
    """As the network finds them."""
    reference: Points
    mouths: Candidates
    """All of them, their shapes normalised over the whole video."""
    truth: Shapes
    """Of the labels, normalised over the whole video: what figures are taken from."""

    @property
    def frame_rate(self) -> float:
        """Return frames a second."""
        return float(1 / np.median(np.diff(self.seconds)))


def follow(frames: Sequence[VideoFrame], first: Mesh, network: MeshModel) -> Iterator[Mesh]:
    """Yield the mesh of each frame's face, looked for where it was in the frame before; first: about the first one."""
    mesher, before = FaceMesher(network, PictureConverter(UPRIGHT)), first
    for number, frame in enumerate(frames):
        before = mesher.find(frame, square_of_mesh(before), passes=1 if number else 3).mesh
        yield before


def read_talk(video: Path, labels: Path, network: MeshModel | None) -> Talk:
    """Decode a video and read its mouths; network: that finds meshes, None for the labels themselves."""
    with np.load(labels / f"{video.stem}.npz") as stored:
        labelled, seconds = stored["points"][:, POINT_NUMBERS], stored["seconds"]
    with av.open(f"file:{video}") as container:
        frames = list(container.decode(video=0))
    seen = np.isfinite(labelled).all(axis=(1, 2))[: len(frames)]
    frames = [frame for frame, there in zip(frames, seen, strict=False) if there]
    labelled, seconds = labelled[: len(seen)][seen], seconds[: len(seen)][seen]
    meshes = np.stack(list(follow(frames, labelled[0], network))) if network else labelled
    _, reference = upright(meshes)
    shapes, truth = measure(meshes, reference), measure(labelled)
    pictures = ((bgr(frame), mesh) for frame, mesh in zip(frames, meshes, strict=True))
    looked = [(looks.look(picture, mesh, reference), light_around(picture, mesh)) for picture, mesh in pictures]
    return Talk(
        name=video.stem,
        frames=frames,
        numbers=np.flatnonzero(seen),
        seconds=seconds,
        meshes=meshes,
        reference=reference,
        mouths=Candidates(
            shapes=Normal.of(shapes).normalise(shapes),
            looks=looks.principal(np.stack([look for look, _ in looked])),
            pose=head_pose(meshes),
            light=np.stack([light for _, light in looked]),
            sharpness=log_sharpness(frames, meshes, reference),
            frames=np.arange(len(frames)),
        ),
        truth=Normal.of(truth).normalise(truth),
    )


def log_sharpness(frames: Sequence[VideoFrame], meshes: Mesh, reference: Points) -> Floats:
    """Return the sharpness of mouths as Candidates have it."""
    sharp = np.array([sharpness(bgr(frame), mesh, reference) for frame, mesh in zip(frames, meshes, strict=True)])
    return np.asarray(np.log(sharp / np.median(sharp)), np.float32)


def bgr(frame: VideoFrame) -> Pixels:
    """Return the pixels of a frame."""
    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
