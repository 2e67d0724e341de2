"""RetinaFace, through batch-face."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.faces import Face, FaceBox
from media.picture import Pixels
from segmenter.detectors.base import MIN_SCORE, SMALLEST_PX, largest_first

MEAN_BGR = np.array([104, 117, 123], np.float32)
"""What RetinaFace's training subtracted."""


class RetinaFaceDetector:
    """batch-face's RetinaFace (MobileNet-0.25), on the CPU, one picture at a time, one thread.

    The last bits of the network's output change with the number of threads and with the batch it shares. Neither may
    decide where a face is, so both are fixed; a picture of 320 x 180 takes about 7 ms this way.

    batch-face's own `detect` is not used: it loads weights without weights_only, turns BGR into RGB although these
    weights were trained on BGR (small faces: median score 0.96 instead of 0.999), pads every list of pictures to a
    square, and computes the anchors anew each time, which takes as long as the network.
    """

    name = "retinaface"
    title = "RetinaFace"
    caveat = "which is slower than a cascade"
    has_landmarks = True
    weights = "retinaface_mobilenet"
    slow_imports = ("torchvision.models",)
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
        faces = (_face(*arrays) for arrays in found)
        return largest_first(face for face in faces if face.box.height >= smallest_px)

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
    """Fold every normalisation into the convolution before it: a fifth faster, and the same result to 1e-5."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for child in module.children():
        _fused(child)
    if isinstance(module, torch.nn.Sequential):
        for index in range(len(module) - 1):
            first, second = module[index], module[index + 1]
            if isinstance(first, torch.nn.Conv2d) and isinstance(second, torch.nn.BatchNorm2d):
                module[index], module[index + 1] = fuse_conv_bn_eval(first, second), torch.nn.Identity()
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


DETECTOR = RetinaFaceDetector
