"""The network that ships: a face in 128 x 128 pixels to its mesh, in about 70 million multiplications."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from media.mesh import NUM_POINTS
from segmenter.mesh.crop import MESH_PX

WIDTHS: Final = (24, 56, 112, 176)
"""Channels at 32, 16, 8 and 4 pixels."""
HEAD: Final = 96
"""Channels before the last layer, at 4 x 4 pixels."""
DOUBTS: Final = ("lips", "jaw", "all")
"""Of which points the network says how far they may be off."""
PATCH: Final = 4
"""Pixels of a side that the first layer takes together."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a connection that skips them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(width, width), nn.ReLU(), *_convolution(width, width))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the same shape."""
        return torch.relu(maps + self.layers(maps))


class MeshNetwork(nn.Module):
    """Faces to points and doubts.

    In: (faces, 3, 128, 128) float BGR in [0, 1], as segmenter.mesh.crop cuts them. Out: points (faces, NUM_POINTS, 3)
    as shares of the square's side, x and y from its middle; and (faces, 3), the natural logarithm of how far the points
    of DOUBTS are off on average, as a share of the eye distance.
    """

    def __init__(self) -> None:
        super().__init__()
        first, *rest = WIDTHS
        layers = [nn.PixelUnshuffle(PATCH), *_convolution(3 * PATCH * PATCH, first), nn.ReLU(), Residual(first)]
        before = first
        for width in rest:
            layers += [*_convolution(before, width, stride=2), nn.ReLU(), Residual(width)]
            before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(*_convolution(before, HEAD, kernel=1), nn.ReLU(), nn.Flatten())
        side = MESH_PX // PATCH >> len(rest)
        self.points = nn.Linear(HEAD * side * side, NUM_POINTS * 3)
        self.doubts = nn.Linear(HEAD * side * side, len(DOUBTS))

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Return points and doubts."""
        features = self.head(self.body(faces * 2 - 1))
        return self.points(features).unflatten(1, (NUM_POINTS, 3)), self.doubts(features)


def _convolution(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(after)]


def export(network: MeshNetwork, path: Path) -> None:
    """Write a network as ONNX, normalisations folded into the convolutions before them."""
    face = torch.zeros(1, 3, MESH_PX, MESH_PX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenCV reads what the older exporter writes
        torch.onnx.export(
            network.eval(), (face,), path, dynamo=False, opset_version=17, output_names=["points", "doubts"]
        )
