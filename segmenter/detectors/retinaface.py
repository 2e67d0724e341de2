"""RetinaFace (MobileNet-0.25), on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.base.once import once_a_file
from media.faces import Face, FaceBox
from media.picture import Pixels
from segmenter.detectors.base import MIN_SCORE, SMALLEST_PX, largest_first

MEAN_BGR = np.array([104, 117, 123], np.float32)
"""What RetinaFace's training subtracted."""
MOST_OVERLAP = 0.4
"""Intersection over union from which on two boxes are one face: that of RetinaFace's own programs."""


class RetinaFaceDetector:
    """RetinaFace, one picture at a time, on one thread.

    The last bits of the network's output change with the number of threads and with the batch it shares. Neither may
    decide where a face is, so both are fixed; a picture of 320 x 180 takes about 7 ms this way.
    """

    name = "retinaface"
    title = "RetinaFace"
    caveat = "which is slower than a cascade"
    has_landmarks = True
    weights = "retinaface_mobilenet"
    crop_px = 192
    """More pixels do not bring it closer to what it sees at full size."""
    smoothing_frames = 7
    """The fewest at which boxes jitter a third as much as with Wav2Lip's mean of 5 frames (which looks ahead only,
    and so runs ahead of the face) on every clip measured. `python -m benchmarks.jitter` measures it."""
    preference = 0

    def __init__(self, weights: Path | None) -> None:
        """Load weights (mobilenet0.25_Final.pth of Pytorch_Retinaface); nothing in the file is executed.

        Raises CheckpointNotFound if the file does not exist, UnsupportedCheckpoint if it holds anything else.
        """
        if weights is None:
            raise CheckpointNotFound("RetinaFace needs weights. Name them in segmenter.detector_checkpoint.")
        self._network = _load_network(weights)

    def detect(self, picture: Pixels, *, smallest_px: float = SMALLEST_PX) -> tuple[Face, ...]:
        """Return the faces of a picture, with landmarks; see FaceDetector."""
        import cv2
        import torch

        from segmenter.detectors._retinaface_network import anchors, decode

        pixels = picture.astype(np.float32) - MEAN_BGR
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # strides of channels-last, without a copy
        with torch.inference_mode(), _one_thread():
            boxes, scores, landmarks = (values.numpy() for values in self._network(batch))
        likely = np.flatnonzero(scores > MIN_SCORE)
        scores = scores[likely]
        boxes, points = decode(boxes[likely], landmarks[likely], anchors(*picture.shape[:2])[likely])
        # OpenCV takes boxes as left, top, width and height.
        sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, MOST_OVERLAP)
        faces = (_face(boxes[number], points[number], scores[number]) for number in kept)
        return largest_first(face for face in faces if face.box.height >= smallest_px)


@once_a_file
def _load_network(weights: Path) -> Any:
    import torch

    from segmenter.detectors._retinaface_network import RetinaFaceNetwork, fuse

    network = RetinaFaceNetwork()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        tensors = state.get("state_dict", state)
        network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    except OSError as exc:
        raise CheckpointNotFound(f"{weights}: {exc.strerror}. Check segmenter.detector_checkpoint.") from exc
    except Exception as exc:  # torch parses foreign bytes here, and may stumble over them in any way
        raise UnsupportedCheckpoint(
            f"{weights}: not the weights of RetinaFace MobileNet-0.25. Check segmenter.detector_checkpoint."
        ) from exc
    return fuse(network.eval()).to(memory_format=torch.channels_last)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _face(edges: Any, points: Any, score: Any) -> Face:
    """Turn what was decoded into a Face. Its points come in our order: as seen, left to right, top to bottom."""
    left, top, right, bottom = (float(value) for value in edges)
    first, second, third, fourth, fifth = ((float(x), float(y)) for x, y in points)
    return Face(FaceBox(left, top, right, bottom), float(score), (first, second, third, fourth, fifth))


DETECTOR = RetinaFaceDetector
