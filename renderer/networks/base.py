"""The contract of lip networks: a face and a mel window go in, the face with new lips comes out.

    checkpoint --open_weights--> header --find_architecture--> Architecture --load--> LipNetwork --> the engine

A module of this package is an architecture. It offers ARCHITECTURE, an object of the protocol of that name, which
knows a file of its own from the header alone. The engine owns the device, the precision, the passes and the batches;
the network owns what its input looks like and how its output is read. Everything else in the renderer takes the size of
a face, the crop and the spectrogram from the network's spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from media.base.errors import UnsupportedCheckpoint
from media.base.plugins import load_plugin, plugin_names
from media.picture import Pixels
from renderer import networks
from renderer.mel import WAV2LIP_MEL, MelSpec
from renderer.weight_files import NO_OPTIONS, FileHeader, NetworkOptions, WeightFile, open_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


MASK_TOP = 0.46
"""Where in the face box drawn faces begin to be seen, as a share of its height. Wav2Lip redraws the lower half and
copies the upper one."""
SAMPLING_PX = 2
"""Pixels of a drawn face that sampling may spread upwards."""


@dataclass(frozen=True, slots=True)
class Margins:
    """How much of a crop lies outside the face box, on each side, as shares of the crop in [0, 0.5)."""

    top: float = 0.0
    bottom: float = 0.0
    left: float = 0.0
    right: float = 0.0


NO_MARGINS = Margins()


@dataclass(frozen=True, slots=True)
class BoxInCrop:
    """The edges of the face box in a crop, as shares of the crop's width and height."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What the renderer has to know of a lip network. The defaults are Wav2Lip's."""

    face_px: int = 96
    """Height and width of a face, in pixels."""
    margins: Margins = NO_MARGINS
    """What the network sees around the face box, beyond the job's pads."""
    mel: MelSpec = WAV2LIP_MEL
    """The sound as the network takes it."""
    variant: str = ""
    """What else its pixels depend on: changed whenever the architecture's file draws otherwise than before."""

    @property
    def box(self) -> BoxInCrop:
        """Where the face box, with the job's pads, lies in a crop."""
        margins = self.margins
        return BoxInCrop(margins.left, margins.top, 1 - margins.right, 1 - margins.bottom)

    @property
    def hidden_px(self) -> float:
        """Rows of a crop above all that is ever seen of a drawn face."""
        box = self.box
        return max((box.top + MASK_TOP * (box.bottom - box.top)) * self.face_px - SAMPLING_PX, 0.0)

    @property
    def first_row(self) -> int:
        """First row of a crop that a network has to draw: what is seen takes in three rows above hidden_px at most.

        In faces of less than about 80 px of a frame, chroma takes in a little of the rows before it, where the mask
        begins.
        """
        return max(int(self.hidden_px) - 3, 0)

    @property
    def key(self) -> tuple[Any, ...]:
        """All that pixels depend on beside the weights, for the content key of clips.

        Empty for Wav2Lip's own spec, so that clips that were made before there were others stay valid.
        """
        return () if self == WAV2LIP_SPEC else (self,)


WAV2LIP_SPEC = NetworkSpec()
"""Faces of 96 px without margins, and Wav2Lip's spectrogram."""


class LipNetwork(Protocol):
    """A network with its weights. Until it is placed it may be copied; from then on several threads may run it."""

    @property
    def spec(self) -> NetworkSpec:
        """Return what the renderer has to know of it."""
        ...

    @property
    def module(self) -> nn.Module | None:
        """Return the torch module, with float32 weights on the CPU, that training goes on from; None without torch."""
        ...

    def place(self, device: torch.device, dtype: torch.dtype) -> torch.device | None:
        """Prepare to run on a device, in an arithmetic. Called once, by the engine.

        Return the device that it wants its tensors on, if that is another.
        """
        ...

    def run(self, faces: Tensor, mel_windows: Tensor, references: Tensor) -> Tensor:
        """Return faces (n, face_px, face_px, 3) uint8 BGR with new lips, on the device.

        Rows before the spec's first_row are hidden: they may be the face's own.
        faces, references: such faces, on the device. mel_windows: (n, bands, columns) float32. Input is scaled before
        it is cast to the arithmetic. n is the same in every pass. A face depends on its own inputs alone. On a CPU it
        computes on the calling thread, because bits may depend on the number of threads.
        """
        ...


class Architecture(Protocol):
    """A kind of lip network."""

    def detects(self, header: FileHeader) -> bool:
        """Tell whether a file holds weights of this kind; nothing in the file is executed."""
        ...

    def spec(self, header: FileHeader) -> NetworkSpec:
        """Return the spec of the network in a file that `detects` has recognised. Raises what load does."""
        ...

    def load(self, weights: WeightFile) -> LipNetwork:
        """Return the network. Raises UnsupportedCheckpoint (its text without path) for other tensors than its own."""
        ...


class Engine(Protocol):
    """Generates lips, in batches."""

    @property
    def spec(self) -> NetworkSpec:
        """Return the spec of its network."""
        ...

    @property
    def batch_size(self) -> int:
        """Faces a pass."""
        ...

    def render(self, faces: Pixels, mel_windows: NDArray[np.float32], references: Pixels | None = None) -> Pixels:
        """Return the faces (n, face_px, face_px, 3) uint8 BGR with lips for mel windows (n, bands, columns).

        Rows before the spec's first_row may be the face's own.

        references: faces of the same people that show what their mouths look like; None: the faces themselves.
        """
        ...


def find_architecture(header: FileHeader) -> Architecture:
    """Return the architecture that recognises a file. Raises UnsupportedCheckpoint, with the path, if none does."""
    names = plugin_names(networks)
    for name in names:
        architecture: Architecture = load_plugin(networks, name, "ARCHITECTURE")
        if architecture.detects(header):
            return architecture
    problem = header.problem or f"these are not the weights of a lip network known here ({', '.join(names)})"
    raise UnsupportedCheckpoint(f"{header.path}: {problem}.")


def load_network(path: Path, options: NetworkOptions = NO_OPTIONS) -> LipNetwork:
    """Load the network whose weights a file holds, in float32 on the CPU.

    Raises CheckpointNotFound, or UnsupportedCheckpoint for anything but the weights of a network known here, and
    ConfigError for options that are impossible on this machine.
    """
    weights = open_weights(path, options)
    architecture = find_architecture(weights.header)
    with _naming(path):
        return architecture.load(weights)


def load_module(path: Path) -> nn.Module:
    """Load the torch module whose weights a file holds, in eval mode. Raises what load_network does."""
    module = load_network(path).module
    if module is None:
        raise UnsupportedCheckpoint(f"{path}: this network cannot be used outside the renderer.")
    return module


def read_spec(path: Path, options: NetworkOptions = NO_OPTIONS) -> NetworkSpec:
    """Return the spec of the network in a file, from its header; a file that has not changed is read once a process.

    Raises what load_network does for a file that is not recognised.
    """
    state = path.stat()
    return _read_spec(path, state.st_size, state.st_mtime_ns, options)


@lru_cache(maxsize=8)
def _read_spec(path: Path, _num_bytes: int, _changed_ns: int, options: NetworkOptions) -> NetworkSpec:
    header = open_weights(path, options).header
    architecture = find_architecture(header)
    with _naming(path):
        return architecture.spec(header)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the path of the file before what an architecture says of it."""
    try:
        yield
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(f"{path}: {error}.") from error
