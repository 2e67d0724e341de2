"""Turn faces into embeddings, by which people are recognised: any ONNX network of the ArcFace convention.

    frame --region, shrunk--> five landmarks --least squares--> 112 x 112, aligned --network--> vector --> bytes

Vectors of one person point the same way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.base.once import once_a_file
from media.base.onnx_network import OnnxNetwork
from media.faces import Face
from media.identity import EmbedderSettings, pack
from media.picture import PictureConverter, Pixels, VideoFrame, snap_to_chroma

ALIGNED_PX = 112
"""Side of the picture that the network takes."""
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where the five landmarks belong in it, in pixels: the ArcFace convention."""
MARGIN = 0.75
"""How far beyond the box the aligned picture may reach, as a share of its longer side; 45 degrees of tilt included."""
LEAST_NUMBERS, MOST_NUMBERS = 32, 4096
"""Range of the length of an embedding; a network with another output is not an embedder."""


class FaceEmbedder(Protocol):
    """Turns a face into an embedding. Thread-safe."""

    def embed(self, frame: VideoFrame, face: Face, converter: PictureConverter) -> bytes:
        """Return the packed embedding of a face with landmarks, in upright pixels of the frame."""
        ...

    def embed_aligned(self, picture: Pixels) -> bytes:
        """Return the packed embedding of an aligned face, as align_face gives it."""
        ...


class OnnxEmbedder:
    """An ONNX network of the ArcFace convention, on the CPU, one face at a time, one thread.

    All threads share one network: one for each would multiply its memory.
    """

    def __init__(self, path: Path, settings: EmbedderSettings) -> None:
        """Load the network; nothing in the file is executed.

        Raises CheckpointNotFound if the file does not exist, UnsupportedCheckpoint if it holds anything else.
        """
        self._settings = settings
        self._network = _load(path)

    def embed(self, frame: VideoFrame, face: Face, converter: PictureConverter) -> bytes:
        """Return the packed embedding of a face with landmarks; see FaceEmbedder."""
        return self.embed_aligned(cut_aligned(frame, face, converter))

    def embed_aligned(self, picture: Pixels) -> bytes:
        """Return the packed embedding of an aligned face, (112, 112, 3) uint8 BGR."""
        settings = self._settings
        ordered = picture[:, :, ::-1] if settings.channels == "rgb" else picture
        values = (ordered.astype(np.float32) - np.array(settings.mean, np.float32)) * np.float32(settings.scale)
        (vector,) = self._network.run(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
        return pack(np.asarray(vector, np.float32).ravel())


def cut_aligned(frame: VideoFrame, face: Face, converter: PictureConverter) -> Pixels:
    """Return a face with landmarks (upright pixels) turned upright and scaled to the template; BGR, 112 x 112."""
    assert face.landmarks is not None
    box, margin = face.box, MARGIN * max(face.box.width, face.box.height)
    corners = (box.left - margin, box.top - margin, box.right + margin, box.bottom + margin)
    wanted = tuple(round(edge) for edge in corners)
    orientation = converter.orientation
    stored = snap_to_chroma(orientation.to_stored(wanted, frame.width, frame.height), frame)  # type: ignore[arg-type]
    left, top, *_ = orientation.to_upright(stored, frame.width, frame.height)
    region = converter.region_bgr(frame, stored)
    return align_face(region, np.array(face.landmarks) - (left, top))


def align_face(picture: Pixels, landmarks: NDArray[np.float64]) -> Pixels:
    """Return a face, turned and scaled so that its landmarks, (5, 2) in pixels of a BGR picture, fit the template."""
    turn = fit_similarity(landmarks, TEMPLATE)
    shrinking = float(np.hypot(turn[0, 0], turn[1, 0]))
    if 0 < shrinking < 0.5:  # a warp reads four pixels for each of its own, and would skip the others
        picture, (x, y) = _shrunk(picture, 2 * shrinking)
        turn = fit_similarity(landmarks * (x, y), TEMPLATE)
    return np.asarray(cv2.warpAffine(picture, turn, (ALIGNED_PX, ALIGNED_PX), flags=cv2.INTER_LINEAR), np.uint8)


def fit_similarity(points: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the similarity, a (2, 3) matrix, that brings points (n, 2) nearest to targets: least squares.

    [a -b c]   a point (x, y) goes to (a x - b y + c, b x + a y + d), which is linear in a, b, c and d
    [b  a d]
    """
    x, y = points.T
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, ones, zeros], 1), np.stack([y, x, zeros, ones], 1)])
    a, b, c, d = np.linalg.lstsq(rows, targets.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def _shrunk(picture: Pixels, scale: float) -> tuple[Pixels, tuple[float, float]]:
    """Return a picture scaled down by area averaging, and its exact scale across and down."""
    height, width = picture.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8), (
        size[0] / width,
        size[1] / height,
    )


@once_a_file
def _load(path: Path) -> OnnxNetwork:
    refused = UnsupportedCheckpoint(
        f"{path}: not an ONNX network that takes faces of 112 x 112 and gives one vector. Check segmenter.embedder."
    )
    try:
        network = OnnxNetwork(path)
        (vector,) = network.run(np.zeros((1, 3, ALIGNED_PX, ALIGNED_PX), np.float32))
    except CheckpointNotFound as error:
        raise CheckpointNotFound(f"{error} Check segmenter.embedder.") from error
    except Exception as error:  # other graphs may fail in any way
        raise refused from error
    if not (LEAST_NUMBERS <= vector.size <= MOST_NUMBERS and vector.shape[0] == 1 and np.isfinite(vector).all()):
        raise refused
    return network
