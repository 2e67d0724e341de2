"""Networks that restore faces: a face in the place that they expect goes in, the face in finer pixels comes out.

    GFPGAN, RestoreFormer, CodeFormer (.pth, safetensors) --spandrel--.
    GFPGAN, RestoreFormer, CodeFormer, GPEN ... (.onnx) --------------+--> Restorer

All of them take and give (1, 3, px, px) RGB in [-1, 1]. CodeFormer also takes how far it keeps to what it is shown.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from media.base.errors import CheckpointNotFound, RenderError, UnsupportedCheckpoint
from media.base.machine import num_cores
from media.base.onnx_network import FLOATS, OnnxNetwork, Provider, choose_provider
from media.picture import Pixels
from renderer.restoration.spandrel_weights import load_descriptor
from renderer.weight_files import is_onnx, open_weights

if TYPE_CHECKING:
    import torch

TORCH_PX: Final = 512
"""Height and width of the faces that the torch networks were trained with."""
LEAST_PX, MOST_PX = 128, 2048
WEIGHT_KINDS: Final = {"tensor(float)": np.float32, "tensor(double)": np.float64}
REFUSED: Final = "this network does not take one face (1, 3, px, px) and give another"
Area = Literal["mouth", "face"]


@dataclass(frozen=True, slots=True)
class RestorerFile:
    """The weights of a restorer, and how they are used."""

    path: str
    hash: str
    strength: float
    """How much of what it changes is seen, in [0, 1]."""
    fidelity: float
    """How far it keeps to what it is shown rather than to its idea of a face, in [0, 1]; CodeFormer alone knows it."""
    device: str
    """Of the torch networks: auto, cpu, cuda, cuda:1 ..."""
    provider: Provider | Literal["auto"]
    """Of those of ONNX."""
    area: Area = "mouth"
    """What of the face is restored: the mouth alone, or all of it."""


class Restorer(Protocol):
    """A network with its weights. Thread-safe; what it gives depends on the face alone."""

    @property
    def px(self) -> int:
        """Return the height and the width of its faces."""
        ...

    def __call__(self, face: Pixels) -> NDArray[np.float32]:
        """Return a face (px, px, 3) BGR restored, in levels: 0 to 255."""
        ...


def load_restorer(file: RestorerFile) -> Restorer:
    """Return the restorer in a file; one that was loaded last is at hand, for all threads of the process.

    Raises CheckpointNotFound, UnsupportedCheckpoint for any other network, ConfigError if a package, a provider or a
    device is missing.
    """
    return _load(file.path, file.hash, file.fidelity, file.device, file.provider)


@lru_cache(maxsize=2)
def _load(path: str, _hash: str, fidelity: float, device: str, provider: Provider | Literal["auto"]) -> Restorer:
    try:
        weights = open_weights(Path(path))
        if weights.header.problem and is_onnx(Path(path)):
            return OnnxRestorer(OnnxNetwork(Path(path), provider=choose_provider(provider)), fidelity)
        descriptor = load_descriptor(weights, "renderer.restore", "restorer of faces", ["FaceSR"])
        if descriptor.scale != 1:
            raise UnsupportedCheckpoint(f"this is {descriptor.architecture.name}, which gives faces of another size")
        return TorchRestorer(descriptor.model, fidelity, device)
    except CheckpointNotFound as error:
        raise CheckpointNotFound(f"{error} Check renderer.restore.model.") from error
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(f"{path}: {error}. Check renderer.restore.model.") from error


class OnnxRestorer:
    """A restorer as a graph of ONNX."""

    def __init__(self, network: OnnxNetwork, fidelity: float) -> None:
        """Raises UnsupportedCheckpoint for a graph that takes or gives anything else than a face."""
        faces = [tensor for tensor in network.inputs if len(tensor.shape) == 4]
        others = [tensor for tensor in network.inputs if len(tensor.shape) < 2 and tensor.kind in WEIGHT_KINDS]
        is_known = len(faces) == len(network.outputs) == 1 and len(others) < 2
        if not is_known or len(network.inputs) != 1 + len(others):
            raise UnsupportedCheckpoint(REFUSED)
        # Faces of GFPGAN and its kin have 512 px, also where a graph leaves that open.
        px = faces[0].shape[2] or TORCH_PX
        if not LEAST_PX <= px <= MOST_PX or faces[0].kind not in FLOATS or not faces[0].fits(1, 3, px, px):
            raise UnsupportedCheckpoint(REFUSED)
        self.px = px
        self._network = network
        weight = [np.full([side or 1 for side in other.shape], fidelity, WEIGHT_KINDS[other.kind]) for other in others]
        self._given = [None if tensor is faces[0] else weight[0] for tensor in network.inputs]
        self._kind = FLOATS[faces[0].kind]
        try:
            restored = self(np.zeros((px, px, 3), np.uint8))
        except RenderError as error:
            raise UnsupportedCheckpoint(REFUSED) from error
        if restored.shape != (px, px, 3):
            raise UnsupportedCheckpoint(REFUSED)

    def __call__(self, face: Pixels) -> NDArray[np.float32]:
        """Return a face restored; see Restorer."""
        planes = _to_planes(face).astype(self._kind)
        (restored,) = self._network.run(*(planes if value is None else value for value in self._given))
        return _to_levels(restored)


class TorchRestorer:
    """A restorer of torch, one face at a time; on a CPU each on one thread, because bits may depend on their number."""

    px = TORCH_PX

    def __init__(self, module: torch.nn.Module, fidelity: float, device: str) -> None:
        """Take over a module in eval mode. Raises ConfigError for a device that is missing."""
        import torch

        from renderer.engine import choose_device

        self._device = choose_device(device)
        self._module = module.to(self._device)
        self._fidelity = fidelity
        self._threads = ThreadPoolExecutor(num_cores(), "restore", initializer=lambda: torch.set_num_threads(1))

    def __call__(self, face: Pixels) -> NDArray[np.float32]:
        """Return a face restored; see Restorer."""
        try:
            return self._threads.submit(self._restored, face).result()
        except (RuntimeError, MemoryError) as error:  # torch's, for whatever a device cannot do
            first_line = str(error).partition("\n")[0]
            raise RenderError(f"the restorer failed ({first_line}).") from error

    def _restored(self, face: Pixels) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            planes = torch.from_numpy(_to_planes(face)).to(self._device)
            # GFPGAN draws noise anew each time otherwise; each of these networks ignores what it does not know.
            restored = self._module(planes, weight=self._fidelity, randomize_noise=False)[0]
        return _to_levels(restored.float().cpu().numpy())


def _to_planes(face: Pixels) -> NDArray[np.float32]:
    planes = face[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    return np.ascontiguousarray(planes / np.float32(127.5) - 1)


def _to_levels(planes: NDArray[Any]) -> NDArray[np.float32]:
    levels = (np.clip(planes[0].astype(np.float32), -1, 1) + 1) * np.float32(127.5)
    return np.ascontiguousarray(levels.transpose(1, 2, 0)[:, :, ::-1])
