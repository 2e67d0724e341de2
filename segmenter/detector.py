"""Find faces in one picture: the FaceDetector protocol and its adapters.

A detector keeps nothing between calls, so that a result depends on its picture alone. Adapters are not thread-safe:
build one for each thread.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from media.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.picture import Pixels
from media.timeline import Face, FaceBox

DetectorChoice = Literal["auto", "retinaface", "cascade"]

MIN_SCORE = 0.3
"""Faces below it are not reported: well under every sensible offset of the presence hysteresis."""
SMALLEST_PX = 16
"""Faces less high than this are not looked for, unless the caller says otherwise."""

MEAN_BGR = np.array([104, 117, 123], np.float32)
"""What RetinaFace's training subtracted."""


class FaceDetector(Protocol):
    """Finds faces in one picture."""

    @property
    def name(self) -> str:
        """Short name, stored with a scan so that a resumed run never mixes detectors."""
        ...

    def detect(self, picture: Pixels, *, smallest_px: float = SMALLEST_PX) -> tuple[Face, ...]:
        """Return the faces of an upright (height, width, 3) uint8 BGR picture, largest first.

        Boxes run from the middle of the forehead to the chin, in pixels of the picture. Faces less high than
        smallest_px are left out, which can save time.
        """
        ...


def build_detector(choice: DetectorChoice, weights: Path | None) -> FaceDetector:
    """Return the detector of a choice.

    weights: RetinaFace weights, or None where there are none: `auto` then means the cascade, and `retinaface` raises
    CheckpointNotFound.
    """
    if choice == "cascade" or (choice == "auto" and weights is None):
        return CascadeDetector()
    if weights is None:
        raise CheckpointNotFound(
            "segmenter.detector is retinaface, but its weights are missing."
            " Name them in segmenter.detector_checkpoint, or set segmenter.detector: cascade."
        )
    return RetinaFaceDetector(weights)


class RetinaFaceDetector:
    """batch-face's RetinaFace (MobileNet-0.25), on the CPU, one picture at a time, one thread.

    The last bits of the network's output change with the number of threads and with the batch it shares. Neither may
    decide where a face is, so both are fixed; a picture of 320 x 180 takes about 7 ms this way.

    batch-face's `detect` is not used as it stands: it loads weights without saying weights_only, turns BGR into RGB
    although these weights were trained on BGR (small faces: median score 0.96 instead of 0.999), pads every list of
    pictures to a square, and computes the anchors anew each time, which takes as long as the network.
    """

    name = "retinaface"

    def __init__(self, weights: Path) -> None:
        """Load weights (mobilenet0.25_Final.pth of Pytorch_Retinaface); nothing in the file is executed.

        Raises CheckpointNotFound if there is no such file, UnsupportedCheckpoint if it holds anything else.
        """
        self._library = _import_batch_face()
        self._network = _load_network(self._library, weights)
        self._anchors: dict[tuple[int, int], Any] = {}

    def detect(self, picture: Pixels, *, smallest_px: float = SMALLEST_PX) -> tuple[Face, ...]:
        """Return the faces of a picture, with landmarks; see FaceDetector."""
        import torch

        height, width = picture.shape[:2]
        pixels = picture.astype(np.float32) - MEAN_BGR
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # strides of channels-last, without a copy
        with torch.inference_mode(), _one_thread():
            boxes, scores, landmarks = self._network(batch)
            # The library would decode every anchor before it drops almost all of them.
            likely = scores[0, :, 1] > MIN_SCORE
            found = self._library.post_process(
                boxes[0, likely],
                scores[0, likely],
                landmarks[0, likely],
                self._anchors_of(height, width)[likely],
                self._network.cfg,
                scale=torch.tensor([width, height] * 2),
                scale1=torch.tensor([width, height] * 5),
                resize=1,
                confidence_threshold=MIN_SCORE,
                top_k=5000,
                nms_threshold=0.4,
                keep_top_k=750,
            )
        faces = (_face(*each) for each in found)
        return _largest_first(face for face in faces if face.box.height >= smallest_px)

    def _anchors_of(self, height: int, width: int) -> Any:
        size = height, width
        if size not in self._anchors:
            self._anchors[size] = self._library.PriorBox(self._network.cfg, image_size=size).forward()
        return self._anchors[size]


def _import_batch_face() -> Any:
    """Import batch-face's RetinaFace module alone: its package imports head pose, meshes and plots as well (2 s)."""
    package = importlib.util.find_spec("batch_face")
    assert package is not None, "a dependency of this program"
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0], "face_detection", "alignment.py")
    spec = importlib.util.spec_from_file_location("batch_face_retinaface", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_network(library: Any, weights: Path) -> Any:
    import torch

    network = library.RetinaFace(cfg=library.cfg_mnet, phase="test")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(library.remove_prefix(state.get("state_dict", state), "module."))
    except OSError as exc:
        raise CheckpointNotFound(f"{weights}: {exc.strerror}. Check segmenter.detector_checkpoint.") from exc
    except Exception as exc:  # torch parses foreign bytes here, and may stumble over them in any way
        raise UnsupportedCheckpoint(
            f"{weights}: not the weights of RetinaFace MobileNet-0.25. Check segmenter.detector_checkpoint."
        ) from exc
    return _fused(network.eval()).to(memory_format=torch.channels_last)


def _fused(module: Any) -> Any:
    """Fold every normalisation into the convolution before it; a fifth faster, and the same to 1e-5."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for child in module.children():
        _fused(child)
    if isinstance(module, torch.nn.Sequential):
        for at in range(len(module) - 1):
            first, second = module[at], module[at + 1]
            if isinstance(first, torch.nn.Conv2d) and isinstance(second, torch.nn.BatchNorm2d):
                module[at], module[at + 1] = fuse_conv_bn_eval(first, second), torch.nn.Identity()
    return module


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
    """Turn batch-face's arrays into a Face. Its points come in our order: as seen, left to right, top to bottom."""
    left, top, right, bottom = (float(value) for value in edges)
    first, second, third, fourth, fifth = ((float(x), float(y)) for x, y in points)
    return Face(FaceBox(left, top, right, bottom), float(score), (first, second, third, fourth, fifth))


class CascadeDetector:
    """OpenCV's frontal-face cascade, which ships with opencv-python 4: no weights to fetch, no landmarks.

    Of the three frontal cascades this one (`alt`) raised the fewest false alarms at the same recall on real clips.
    """

    name = "cascade"

    SHIFT_DOWN, WIDTH, HEIGHT = 0.015, 0.80, 1.11
    """RetinaFace's box of the same face, in units of the cascade's square: shift of the centre, width, height.
    Medians over 300 frames of 15 people; 10th and 90th percentiles lie within 0.04 of the shift, 0.06 of the width
    and 0.1 of the height."""
    NEIGHBOURS_OF_HALF = 4
    """Number of raw hits at which the score is 0.5. Real faces gather from 5 hits (turned, far away) to 70."""

    def __init__(self) -> None:
        """Load the cascade from the installed OpenCV; raise CheckpointNotFound if that one ships none."""
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        path = Path(folder, "haarcascade_frontalface_alt.xml")
        if not folder or not path.exists():
            raise CheckpointNotFound(f"OpenCV {cv2.__version__} ships no face cascade. Install opencv-python 4.")
        self._cascade = cv2.CascadeClassifier(str(path))

    def detect(self, picture: Pixels, *, smallest_px: float = SMALLEST_PX) -> tuple[Face, ...]:
        """Return the frontal faces of a picture; see FaceDetector. The score grows with the number of raw hits."""
        side = max(ceil(smallest_px / self.HEIGHT), 20)  # 20: the size it was trained at
        squares, hits = self._cascade.detectMultiScale2(
            cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), scaleFactor=1.1, minNeighbors=2, minSize=(side, side)
        )
        faces = (self._face(square, int(count)) for square, count in zip(squares, hits, strict=True))
        return _largest_first(face for face in faces if face.box.height >= smallest_px)

    def _face(self, square: Any, hits: int) -> Face:
        left, top, side = (float(value) for value in square[:3])
        x, y = left + side / 2, top + side * (0.5 + self.SHIFT_DOWN)
        half_width, half_height = side * self.WIDTH / 2, side * self.HEIGHT / 2
        box = FaceBox(x - half_width, y - half_height, x + half_width, y + half_height)
        return Face(box, hits / (hits + self.NEIGHBOURS_OF_HALF))


def _largest_first(faces: Iterator[Face]) -> tuple[Face, ...]:
    """Sort by area; ties by place, so that the order never depends on the order of finding."""
    return tuple(sorted(faces, key=lambda face: (-face.box.area, face.box.left, face.box.top)))
