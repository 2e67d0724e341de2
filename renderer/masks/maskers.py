"""Networks that tell which pixels of a face may be replaced; which kind one is, is seen from its file.

BiSeNet of face-parsing.PyTorch (.pth, safetensors)          (1, 3, px, px) RGB as ImageNet's -> 19 classes
the same as a graph of ONNX                                  (1, 3, px, px) -> (1, 19, px, px)
XSeg and its kin as graphs of ONNX                           (1, px, px, 3) BGR in [0, 1] -> (1, px, px, 1)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from media.base.errors import CheckpointNotFound, RenderError, UnsupportedCheckpoint
from media.base.machine import num_cores
from media.base.onnx_network import OnnxNetwork, Provider, choose_provider
from media.picture import Pixels
from renderer.masks.bisenet import FIRST_TENSOR, NUM_CLASSES, BiSeNet
from renderer.weight_files import WeightFile, is_onnx, open_weights

MEAN, SPREAD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
"""Of ImageNet's pictures in [0, 1], red first: what BiSeNet was trained with."""
FACE_CLASSES: Final = (1, 2, 3, 4, 5, 10, 11, 12, 13)
"""Of CelebAMask-HQ: skin, brows, eyes, nose, mouth and lips."""
NECK: Final = 14
PARSER_PX: Final = 512
LEAST_PX, MOST_PX = 64, 1024
REFUSED: Final = "this network neither knows the parts of a face (19 classes) nor what is before it (one mask)"

Mask = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MaskerFile:
    """The weights of a masker, and what computes it."""

    path: str
    hash: str
    device: str
    """Of the torch network: auto, cpu, cuda, cuda:1 ..."""
    provider: Provider | Literal["auto"]
    """Of those of ONNX."""


class Masker(Protocol):
    """A network with its weights. Thread-safe; what it gives depends on the face alone."""

    @property
    def px(self) -> int:
        """Return the height and the width of its faces."""
        ...

    def __call__(self, face: Pixels, *, with_neck: bool) -> Mask:
        """Return how far each pixel of a face (px, px, 3) BGR may be replaced, (px, px) in [0, 1].

        with_neck: whether the neck may be, too, as far as the network knows it.
        """
        ...


def load_masker(file: MaskerFile) -> Masker:
    """Return the masker in a file; those that were loaded last are at hand, for all threads of the process.

    Raises CheckpointNotFound, UnsupportedCheckpoint for any other network, ConfigError if a provider or a device is
    missing.
    """
    return _load(file.path, file.hash, file.device, file.provider)


@lru_cache(maxsize=4)
def _load(path: str, _hash: str, device: str, provider: Provider | Literal["auto"]) -> Masker:
    try:
        weights = open_weights(Path(path))
        if weights.header.problem and is_onnx(Path(path)):
            return OnnxMasker(OnnxNetwork(Path(path), provider=choose_provider(provider)))
        return TorchParser(weights, device)
    except CheckpointNotFound as error:
        raise CheckpointNotFound(f"{error} Check renderer.mask.") from error
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(f"{path}: {error}. Check renderer.mask.") from error


class TorchParser:
    """BiSeNet, one face at a time; on a CPU each on one thread, because bits may depend on their number."""

    px = PARSER_PX

    def __init__(self, weights: WeightFile, device: str) -> None:
        """Raises UnsupportedCheckpoint for other tensors, ConfigError for a device that is missing."""
        import torch

        from renderer.engine import choose_device

        if weights.header.problem or FIRST_TENSOR not in weights.header.shapes:
            raise UnsupportedCheckpoint(weights.header.problem or REFUSED)
        module = BiSeNet()
        try:
            module.load_state_dict(weights.read_tensors())
        except RuntimeError as error:  # torch lists what is missing
            raise UnsupportedCheckpoint("these weights look like BiSeNet's but lack tensors or have others") from error
        self._device = choose_device(device)
        self._module = module.eval().requires_grad_(requires_grad=False).to(self._device)
        self._threads = ThreadPoolExecutor(num_cores(), "mask", initializer=lambda: torch.set_num_threads(1))

    def __call__(self, face: Pixels, *, with_neck: bool) -> Mask:
        """Return a mask; see Masker."""
        try:
            return _replaceable(self._threads.submit(self._classes, face).result(), with_neck=with_neck)
        except (RuntimeError, MemoryError) as error:  # torch's, for whatever a device cannot do
            raise RenderError(f"the mask's network failed ({str(error).splitlines()[0]}).") from error

    def _classes(self, face: Pixels) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            classes = self._module(torch.from_numpy(_normalised(face)).to(self._device))
        return np.asarray(classes[0].float().cpu().numpy())


class OnnxMasker:
    """A graph of ONNX: a parser, or what knows what is before a face."""

    def __init__(self, network: OnnxNetwork) -> None:
        """Raises UnsupportedCheckpoint for a graph that takes or gives anything else."""
        if len(network.inputs) != 1 or len(network.inputs[0].shape) != 4:
            raise UnsupportedCheckpoint(REFUSED)
        shape = network.inputs[0].shape
        self._is_parser = shape[1] == 3
        self.px = shape[2] or (PARSER_PX if self._is_parser else 256)
        sides = (1, 3, self.px, self.px) if self._is_parser else (1, self.px, self.px, 3)
        if not LEAST_PX <= self.px <= MOST_PX or not network.inputs[0].fits(*sides):
            raise UnsupportedCheckpoint(REFUSED)
        self._network = network
        try:
            self(np.zeros((self.px, self.px, 3), np.uint8), with_neck=False)
        except (RenderError, ValueError, IndexError) as error:
            raise UnsupportedCheckpoint(REFUSED) from error

    def __call__(self, face: Pixels, *, with_neck: bool) -> Mask:
        """Return a mask; see Masker."""
        if self._is_parser:
            classes = self._network.run(_normalised(face))[0][0]
            if classes.shape != (NUM_CLASSES, self.px, self.px):
                raise ValueError(REFUSED)
            return _replaceable(np.asarray(classes, np.float32), with_neck=with_neck)
        mask = self._network.run(face[None].astype(np.float32) / np.float32(255))[0]
        return np.asarray(np.clip(mask, 0, 1), np.float32).reshape(self.px, self.px)


def _normalised(face: Pixels) -> NDArray[np.float32]:
    rgb = face[:, :, ::-1].astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((rgb - MEAN) / SPREAD).transpose(2, 0, 1)[None])


def _replaceable(classes: NDArray[Any], *, with_neck: bool) -> Mask:
    """Return the probability of the parts of a face, from what a network gives for (19, h, w) classes."""
    powers = np.exp(classes - classes.max(axis=0))
    kept = [*FACE_CLASSES, *([NECK] if with_neck else [])]
    return np.asarray(powers[kept].sum(axis=0) / powers.sum(axis=0), np.float32)
