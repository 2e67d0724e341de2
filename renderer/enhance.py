"""Networks that make whole frames finer: ESRGAN and its kin, tile by tile, in bounded memory.

    frame --tiles with margins--> network --averaged to the frame's own size--> finer tiles
      '------------------------------ minus ------------------------------------'
                                        v
    frame's own samples + strength x difference, at their own depth

So the frame keeps its size, and what a network leaves alone stays to the bit.

    .pth, safetensors (ESRGAN, Real-ESRGAN, SwinIR ...) --spandrel--> Enhancer
    .onnx                                               ------------'

They take (1, 3, px, px) RGB in [0, 1] and give the same, perhaps a few times as large.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from media.base.errors import CheckpointNotFound, RenderError, UnsupportedCheckpoint
from media.base.machine import num_cores
from media.base.onnx_network import FLOATS, OnnxNetwork, Provider, choose_provider
from media.orientation import Orientation, Rectangle
from media.picture import PictureConverter, Pixels, VideoFrame, copy_frame, snap_to_chroma
from renderer.compositor import add_levels
from renderer.restoration.spandrel_weights import load_descriptor
from renderer.weight_files import is_onnx, open_weights

if TYPE_CHECKING:
    import torch

TILE_PX: Final = 288
"""Height and width of what a network sees at a time, where it takes any size: a multiple of what all kinds ask for."""
MARGIN_PX: Final = 16
"""Of them lie around what is kept: beyond it, networks of this kind see next to nothing."""
LEAST_PX: Final = 4 * MARGIN_PX
CHROMA_PX: Final = 4
"""Sides of tiles are a multiple of it, so that they hold whole chroma samples of any format."""
VERSION: Final = 1
REFUSED: Final = "this network does not take a picture (1, 3, height, width) and give it finer"
Levels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EnhancerFile:
    """The weights of a network that makes frames finer, and how they are used."""

    path: str
    hash: str
    strength: float
    """How much of what it changes is seen, in [0, 1]."""
    device: str
    """Of the torch networks: auto, cpu, cuda, cuda:1 ..."""
    provider: Provider | Literal["auto"]
    """Of those of ONNX."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What enhanced frames depend on beside the frames."""
        return ("enhance", VERSION, self.hash, self.strength, self.provider)


class Enhancer(Protocol):
    """A network with its weights. Thread-safe; what it gives depends on the tile alone."""

    @property
    def px(self) -> int:
        """Return the height and the width of its tiles."""
        ...

    def __call__(self, tile: Pixels) -> Levels:
        """Return a tile (px, px, 3) BGR made finer, in levels: 0 to 255, (px, px, 3).

        Raises OutOfMemory, or RenderError if the network fails.
        """
        ...


def load_enhancer(file: EnhancerFile) -> Enhancer:
    """Return the network in a file; the one that was loaded last is at hand, for all threads of the process.

    Raises CheckpointNotFound, UnsupportedCheckpoint for any other network, ConfigError if a package, a provider or a
    device is missing.
    """
    return _load(file.path, file.hash, file.device, file.provider)


@lru_cache(maxsize=1)
def _load(path: str, _hash: str, device: str, provider: Provider | Literal["auto"]) -> Enhancer:
    try:
        weights = open_weights(Path(path))
        if weights.header.problem and is_onnx(Path(path)):
            return OnnxEnhancer(OnnxNetwork(Path(path), provider=choose_provider(provider)))
        purposes = ("SR", "Restoration")
        descriptor = load_descriptor(weights, "stitcher.enhance", "network for whole pictures", purposes)
        if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
            raise UnsupportedCheckpoint("this network does not work on pictures of three colours")
        return TorchEnhancer(descriptor.model, device)
    except CheckpointNotFound as error:
        raise CheckpointNotFound(f"{error} Check stitcher.enhance.model.") from error
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(f"{path}: {error}. Check stitcher.enhance.model.") from error


class OnnxEnhancer:
    """A graph of ONNX that makes pictures finer."""

    def __init__(self, network: OnnxNetwork) -> None:
        """Raises UnsupportedCheckpoint for a graph that takes or gives anything else than a picture."""
        if not len(network.inputs) == len(network.outputs) == 1 or network.inputs[0].kind not in FLOATS:
            raise UnsupportedCheckpoint(REFUSED)
        taken = network.inputs[0]
        px = taken.shape[-1] or TILE_PX
        if px < LEAST_PX or not taken.fits(1, 3, px, px):
            raise UnsupportedCheckpoint(REFUSED)
        self.px = px
        self._network, self._kind = network, FLOATS[taken.kind]
        try:
            self(np.zeros((px, px, 3), np.uint8))
        except (RenderError, ValueError) as error:
            raise UnsupportedCheckpoint(REFUSED) from error

    def __call__(self, tile: Pixels) -> Levels:
        """Return a tile made finer; see Enhancer."""
        (finer,) = self._network.run(_to_planes(tile).astype(self._kind))
        return _to_levels(finer, self.px)


class TorchEnhancer:
    """A network of torch, one tile at a time on each thread: bits may depend on the number of a tile's threads."""

    px = TILE_PX

    def __init__(self, module: torch.nn.Module, device: str) -> None:
        """Take over a module in eval mode. Raises ConfigError for a device that is missing."""
        import torch

        from renderer.engine import choose_device

        self._device = choose_device(device)
        self._module = module.to(self._device)
        self._threads = ThreadPoolExecutor(num_cores(), "enhance", initializer=lambda: torch.set_num_threads(1))

    def __call__(self, tile: Pixels) -> Levels:
        """Return a tile made finer; see Enhancer."""
        try:
            return self._threads.submit(self._finer, tile).result()
        except (RuntimeError, MemoryError) as error:  # torch's, for whatever a device cannot do
            first_line = str(error).partition("\n")[0]
            raise RenderError(f"the network that enhances frames failed ({first_line}).") from error

    def _finer(self, tile: Pixels) -> Levels:
        import torch

        with torch.inference_mode():
            finer = self._module(torch.from_numpy(_to_planes(tile)).to(self._device))
        return _to_levels(finer.float().cpu().numpy(), self.px)


def _to_planes(tile: Pixels) -> Levels:
    return np.ascontiguousarray(tile[:, :, ::-1].transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _to_levels(planes: NDArray[Any], px: int) -> Levels:
    """Return what a network gave, (1, 3, n * px, n * px), as (px, px, 3) BGR. Raises ValueError for another shape."""
    times = planes.shape[-1] // px
    if planes.shape != (1, 3, times * px, times * px) or not times:
        raise ValueError(REFUSED)
    levels = np.clip(planes[0].astype(np.float32), 0, 1)[::-1].transpose(1, 2, 0) * np.float32(255)
    if times > 1:
        levels = cv2.resize(levels, (px, px), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(levels, np.float32)


class FrameEnhancer:
    """Makes the frames of one video finer. Not thread-safe; the network that it uses is."""

    def __init__(self, enhancer: Enhancer, strength: float, orientation: Orientation) -> None:
        """strength: how much of what the network changes is seen, in [0, 1]. orientation: of every frame."""
        self._enhancer, self._strength, self._orientation = enhancer, strength, orientation
        self._converter = PictureConverter(orientation)
        self._threads = ThreadPoolExecutor(num_cores(), "tiles")

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Return a frame made finer; the one given stays as it is. Raises OutOfMemory or RenderError."""
        finer = copy_frame(frame)
        tiles = [*_tiles(frame, (self._enhancer.px - 2 * MARGIN_PX) // CHROMA_PX * CHROMA_PX)]
        # So many at a time that every thread has one; what they differ by is added in order.
        for start in range(0, len(tiles), num_cores()):
            part = tiles[start : start + num_cores()]
            pictures = [self._converter.region_bgr(frame, around) for _, around in part]
            found = self._threads.map(partial(_difference, self._enhancer), pictures)
            for (tile, around), levels in zip(part, found, strict=True):
                add_levels(finer, tile, self._strength * self._cut(levels, tile, around, frame), self._converter)
        return finer

    def _cut(self, levels: Levels, tile: Rectangle, around: Rectangle, frame: VideoFrame) -> Levels:
        """Return what of upright levels of a stored rectangle shows a smaller one inside."""
        inner, outer = (self._orientation.to_upright(each, frame.width, frame.height) for each in (tile, around))
        left, top = inner[0] - outer[0], inner[1] - outer[1]
        return levels[top : top + inner[3] - inner[1], left : left + inner[2] - inner[0]]


def _tiles(frame: VideoFrame, side: int) -> Iterator[tuple[Rectangle, Rectangle]]:
    """Yield the stored rectangles that tile a frame, each with the same and its margins."""
    for top, left in product(range(0, frame.height, side), range(0, frame.width, side)):
        right, bottom = min(left + side, frame.width), min(top + side, frame.height)
        around = (left - MARGIN_PX, top - MARGIN_PX, right + MARGIN_PX, bottom + MARGIN_PX)
        yield (left, top, right, bottom), snap_to_chroma(around, frame)


def _difference(enhancer: Enhancer, picture: Pixels) -> Levels:
    """Return what a network changes in a picture that is at most as large as its tiles."""
    height, width = picture.shape[:2]
    below, right = enhancer.px - height, enhancer.px - width
    tile = np.pad(picture, ((0, below), (0, right), (0, 0)), mode="edge")
    return enhancer(tile)[:height, :width] - picture
