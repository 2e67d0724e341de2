"""Lip networks of ONNX that take what Wav2Lip takes, in faces of any size.

    mel (n, 1, 80, 16) in [-4, 4] --.
                                     >-- graph --> (n, 3, px, px) in [0, 1]
    faces (n, 6, px, px) in [0, 1] -'
      channels 0-2: the lower half set to 0; channels 3-5: the full face

Inputs are recognised by their shapes; px, and whether n is fixed, are read from the graph. What a graph does not say
(the crop around the face box, the order of colours) the job says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from media.base.errors import RenderError, UnsupportedCheckpoint
from media.base.onnx_network import FLOATS, OnnxNetwork, TensorInfo, choose_provider
from media.picture import Pixels
from renderer.mel import WAV2LIP_MEL
from renderer.networks.base import Margins, NetworkSpec
from renderer.weight_files import FileHeader, WeightFile, is_onnx

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LEAST_PX, MOST_PX = 32, 1024
MEL_SHAPE: Final = (1, WAV2LIP_MEL.bands, WAV2LIP_MEL.window_columns)
TAKEN: Final = "lip networks of ONNX take faces (n, 6, px, px) and mel windows (n, 1, 80, 16) and give (n, 3, px, px)"


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph whose inputs and outputs are those of a lip network."""

    network: OnnxNetwork
    faces_at: int
    """Which of its two inputs takes faces; the other takes mel windows."""
    px: int
    """Height and width of a face."""
    num_faces: int | None
    """Of a pass; None: any number."""


def _read_graph(network: OnnxNetwork) -> _Graph:
    """Return what a graph takes. Raises UnsupportedCheckpoint, naming what it has instead."""
    tensors = network.inputs
    shapes = ", ".join(_written(tensor) for tensor in (*tensors, *network.outputs))
    refused = UnsupportedCheckpoint(f"{TAKEN}; this one has {shapes}")
    places = [at for at, tensor in enumerate(tensors) if len(tensor.shape) == 4 and tensor.shape[1] == 6]
    if len(tensors) != 2 or len(places) != 1 or len(network.outputs) != 1:
        raise refused
    faces, mel, drawn = tensors[places[0]], tensors[1 - places[0]], network.outputs[0]
    num_faces, _, px, width = faces.shape
    if px is None or px != width or not LEAST_PX <= px <= MOST_PX or not {faces.kind, mel.kind} <= {*FLOATS}:
        raise refused
    if not (mel.fits(None, *MEL_SHAPE) and drawn.fits(None, 3, px, px) and mel.shape[0] == num_faces):
        raise refused
    return _Graph(network, places[0], px, num_faces)


def _written(tensor: TensorInfo) -> str:
    return f"{tensor.name} ({', '.join('?' if side is None else str(side) for side in tensor.shape)})"


class OnnxLipNetwork:
    """A graph that draws lips; see LipNetwork. It computes where its provider does, whatever the engine's device."""

    module = None

    def __init__(self, graph: _Graph, spec: NetworkSpec, *, is_rgb: bool) -> None:
        self.spec = spec
        self._graph, self._is_rgb = graph, is_rgb
        self._kinds = [FLOATS[tensor.kind] for tensor in graph.network.inputs]

    def __deepcopy__(self, _known: object) -> OnnxLipNetwork:
        """Return itself: nothing in it changes, and a session cannot be copied."""
        return self

    def place(self, device: torch.device, dtype: torch.dtype) -> torch.device:
        """Return the CPU, from which the provider fetches faces; the graph has an arithmetic of its own."""
        import torch

        return torch.device("cpu")

    def run(self, faces: Tensor, mel_windows: Tensor, references: Tensor) -> Tensor:
        """Return faces with new lips; see LipNetwork."""
        import torch

        given = (tensor.cpu().numpy() for tensor in (faces, mel_windows, references))
        return torch.from_numpy(self.draw(*given)).to(faces.device)

    def draw(self, faces: Pixels, mel_windows: NDArray[np.float32], references: Pixels) -> Pixels:
        """Return what run does, of arrays."""
        masked = faces.copy()
        masked[:, self.spec.face_px // 2 :] = 0
        pictures = [self._planes(masked), self._planes(references)]
        values: list[NDArray[np.float32]] = [mel_windows[:, None], mel_windows[:, None]]
        values[self._graph.faces_at] = np.concatenate(pictures, axis=1)
        size = self._graph.num_faces or len(faces)
        drawn = [self._pass([value[at : at + size] for value in values], size) for at in range(0, len(faces), size)]
        planes = np.concatenate(drawn).astype(np.float32, copy=False).transpose(0, 2, 3, 1)
        levels = np.clip(np.rint(planes * 255), 0, 255).astype(np.uint8)
        if levels.shape != faces.shape:
            raise RenderError(f"the network gave faces of the shape {levels.shape[1:]}, not {faces.shape[1:]}.")
        return np.ascontiguousarray(levels[..., ::-1] if self._is_rgb else levels)

    def _planes(self, pictures: Pixels) -> NDArray[np.float32]:
        """Return pictures (n, px, px, 3) BGR as the graph takes them: (n, 3, px, px) in [0, 1]."""
        ordered = pictures[..., ::-1] if self._is_rgb else pictures
        return ordered.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)

    def _pass(self, values: list[NDArray[np.float32]], size: int) -> NDArray[np.float32]:
        """Return what is drawn in one pass, which is filled up with zeros."""
        num_faces = len(values[0])
        filled = [
            np.pad(value, [(0, size - num_faces), *[(0, 0)] * 3]).astype(kind)
            for value, kind in zip(values, self._kinds, strict=True)
        ]
        (drawn,) = self._graph.network.run(*filled)
        return drawn[:num_faces]


class _OnnxArchitecture:
    """Graphs of ONNX, recognised by how they begin."""

    def detects(self, header: FileHeader) -> bool:
        """Tell whether a file is a graph of ONNX."""
        return bool(header.problem) and is_onnx(header.path)

    def spec(self, header: FileHeader) -> NetworkSpec:
        """Return what the graph and the job say. Raises UnsupportedCheckpoint for a graph that draws no lips."""
        return self._open(header).spec

    def load(self, weights: WeightFile) -> OnnxLipNetwork:
        """Return the network, which has drawn a face already; see Architecture."""
        network = self._open(weights.header)
        px = network.spec.face_px
        face = np.zeros((1, px, px, 3), np.uint8)
        try:
            network.draw(face, np.zeros((1, *MEL_SHAPE[1:]), np.float32), face)
        except (RenderError, ValueError) as error:
            raise UnsupportedCheckpoint(f"{TAKEN}; this one fails with them") from error
        return network

    def _open(self, header: FileHeader) -> OnnxLipNetwork:
        options = header.options
        provider = choose_provider(options.provider)
        graph = _read_graph(OnnxNetwork(header.path, provider=provider))
        spec = NetworkSpec(graph.px, Margins(*options.margins), variant=f"onnx {provider} {options.channels}")
        return OnnxLipNetwork(graph, spec, is_rgb=options.channels == "rgb")


ARCHITECTURE = _OnnxArchitecture()
