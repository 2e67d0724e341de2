"""Find the mesh of a face whose place is about known, with the network that ships or another of the same points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from media.affine import Affine, Cutout, cut_out, sample
from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.base.once import once_a_file
from media.base.onnx_network import OnnxNetwork
from media.base.shipped import shipped_folder
from media.faces import FaceView
from media.mesh import NUM_LIGHTS, NUM_POINTS, FoundMesh, head_pose, light_around
from media.orientation import Rectangle
from media.picture import PictureConverter, Pixels, VideoFrame, snap_to_chroma
from segmenter.mesh.crop import MESH_PX, square_of_mesh

SHIPPED: Final = shipped_folder("checkpoints") / "face_mesh.onnx"
NUM_DOUBTS: Final = 3

Over = Callable[[Affine, Pixels], Pixels]
"""Returns what is to be seen in a square in place of the frame's own BGR pixels there."""
Faces = NDArray[np.float32]
"""(faces, 3, MESH_PX, MESH_PX) BGR in [0, 1]."""


class MeshModel(Protocol):
    """Points and doubts of faces that are cut out already. Thread-safe."""

    def __call__(self, faces: Faces) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return points (faces, NUM_POINTS, 3) as shares of the square's side, x and y from its middle; and (faces, 3),
        the natural logarithms of the doubts of FoundMesh.
        """
        ...


class OnnxMesh:
    """The network that ships, or another of the same points, on the CPU, one face at a time, one thread.

    ONNX Runtime takes half of torch's time for a single face, and 0.6 of OpenCV's.
    """

    def __init__(self, path: Path = SHIPPED) -> None:
        """Load the network. Raises CheckpointNotFound or UnsupportedCheckpoint."""
        self._network = _load(path)

    def __call__(self, faces: Faces) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return points and doubts."""
        return _run(self._network, faces)


@once_a_file
def _load(path: Path) -> OnnxNetwork:
    try:
        network = OnnxNetwork(path)
        points, doubts = _run(network, np.zeros((1, 3, MESH_PX, MESH_PX), np.float32))
    except CheckpointNotFound as error:
        raise CheckpointNotFound(f"{error} Check segmenter.mesh.") from error
    except Exception as error:  # other graphs may fail in any way
        raise _refused(path) from error
    if points.shape != (1, NUM_POINTS, 3) or doubts.shape != (1, NUM_DOUBTS):
        raise _refused(path)
    return network


def _run(network: OnnxNetwork, faces: Faces) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    found = []
    for face in faces:
        outputs = network.run(np.ascontiguousarray(face[None]))
        found.append(sorted(outputs, key=lambda output: -output.size))
    points, doubts = zip(*found, strict=True)
    return np.concatenate(points), np.concatenate(doubts)


def _refused(path: Path) -> UnsupportedCheckpoint:
    return UnsupportedCheckpoint(
        f"{path}: not an ONNX network that takes faces (1, 3, {MESH_PX}, {MESH_PX}) and gives points"
        f" (1, {NUM_POINTS}, 3) and doubts (1, {NUM_DOUBTS}). Check segmenter.mesh."
    )


class FaceMesher:
    """Finds meshes in frames."""

    def __init__(self, network: MeshModel, converter: PictureConverter) -> None:
        """converter: of the frames; one thread's own."""
        self._network, self._converter = network, converter
        self._last: Cutout | None = None
        """What was looked at last."""

    def find(
        self,
        frame: VideoFrame,
        square: Affine,
        *,
        passes: int = 2,
        over: Over | None = None,
    ) -> FoundMesh:
        """Return the mesh of the face in a square; see segmenter.mesh.crop.

        passes: how often it is looked for, each time in the square that the mesh before it gives: 2 where the place is
        only about known, 1 where the square follows from a mesh. over: what is drawn over the frame before.
        """
        found = self._look(frame, square, over)
        for _ in range(passes - 1):
            found = self._look(frame, square_of_mesh(found.mesh), over)
        return found

    def view(self, frame: VideoFrame, square: Affine, *, passes: int) -> FaceView:
        """Return how the head in a square is held and lit, to a few digits; square, passes: as of find."""
        found = self.find(frame, square, passes=passes)
        light = light_around(self._last.pixels, self._last.points(found.mesh)) if self._last else np.zeros(NUM_LIGHTS)
        yaw, pitch, roll, size = map(float, head_pose(found.mesh))
        pose = (round(yaw, 2), round(pitch, 2), round(roll, 2), round(size, 4))
        return FaceView(pose, tuple(round(float(level), 1) for level in light), round(found.doubts[0], 4))

    def _look(self, frame: VideoFrame, square: Affine, over: Over | None) -> FoundMesh:
        region = self._last = self._region(frame, square)
        if region is None:
            face = np.zeros((MESH_PX, MESH_PX, 3), np.uint8)
        else:
            face = sample(region.pixels, region.affine(square), (MESH_PX, MESH_PX))
            face = over(square, face) if over else face
        return find_in_square(self._network, face, square)

    def _region(self, frame: VideoFrame, square: Affine) -> Cutout | None:
        """Return the pixels of a frame that a square shows, no finer than it needs them; None if it shows none."""
        corners = square @ np.array([[0, MESH_PX, 0, MESH_PX], [0, 0, MESH_PX, MESH_PX], [1, 1, 1, 1]])
        shrink = max(int(np.hypot(*square[:, 0])), 1)
        low, high = np.floor(corners.min(axis=1)) - 2 * shrink, np.ceil(corners.max(axis=1)) + 2 * shrink
        outline: Rectangle = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        orientation = self._converter.orientation
        stored = snap_to_chroma(orientation.to_stored(outline, frame.width, frame.height), frame)
        return cut_out(frame, stored, self._converter, shrink)


def find_in_square(network: MeshModel, face: Pixels, square: Affine) -> FoundMesh:
    """Return the mesh of a face that is cut out already, (MESH_PX, MESH_PX, 3) BGR, in pixels of its picture."""
    planes = np.ascontiguousarray(face.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    points, doubts = network(planes)
    in_square = points[0].astype(np.float64) * MESH_PX
    flat = (in_square[:, :2] + (MESH_PX - 1) / 2) @ square[:, :2].T + square[:, 2]
    depth = in_square[:, 2:] * np.hypot(*square[:, 0])
    lips, jaw, everything = map(float, np.exp(doubts[0]))
    return FoundMesh(np.concatenate([flat, depth], axis=1).astype(np.float32), (lips, jaw, everything))
