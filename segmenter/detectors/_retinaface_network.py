"""RetinaFace MobileNet-0.25, of Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild".

(CVPR 2020.) Tensors are named as in the checkpoints of Pytorch_Retinaface. It is written as tables of layers:

    picture (1, 3, h, w) -> body -> maps at 1/8, 1/16, 1/32 -> pyramid -> context -> heads: for each anchor
                                                                                     box, score, landmarks
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

LEAK = 0.1
"""Slope of the leaky ReLUs."""
WIDTH = 64
"""Channels of the pyramid's maps."""
STEPS = (8, 16, 32)
"""Pixels from one cell to the next, of each map."""
ANCHOR_PX = ((16, 32), (64, 128), (256, 512))
"""Sides of the square anchors of each cell, of each map."""
NUM_ANCHORS = 2
"""Anchors of a cell."""
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
"""What the heads' numbers are scaled by: of places, in sides of the anchor; of the logarithm of sides."""


def _layer(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, groups: int = 1, is_linear: bool = False
) -> list[nn.Module]:
    """Return a convolution (padding "same"), its normalisation and, unless linear, a leaky ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = [convolution, nn.BatchNorm2d(outputs)]
    return layers if is_linear else [*layers, nn.LeakyReLU(LEAK, inplace=True)]


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution of each channel by itself, and one across channels."""
    return nn.Sequential(*_layer(inputs, inputs, 3, stride, groups=inputs), *_layer(inputs, outputs, 1))


def _stage(*widths: int, strides: int = 0) -> list[nn.Sequential]:
    """Return separable convolutions from each width to the next; bit i of strides: whether the i-th one halves."""
    return [_separable(a, b, 1 + (strides >> number & 1)) for number, (a, b) in enumerate(pairwise(widths))]


class _Pyramid(nn.Module):
    """Brings three maps to one width; what the coarser ones see is added to the finer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (nn.Sequential(*_layer(n, WIDTH, 1)) for n in (64, 128, 256))
        self.merge1, self.merge2 = (nn.Sequential(*_layer(WIDTH, WIDTH)) for _ in range(2))

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse = self.output3(coarse)
        middle = self.merge2(_added(self.output2(middle), coarse))
        return self.merge1(_added(self.output1(fine), middle)), middle, coarse


def _added(maps: Tensor, coarser: Tensor) -> Tensor:
    return maps + functional.interpolate(coarser, size=maps.shape[2:], mode="nearest")


class _Context(nn.Module):
    """Sees 3, 5 and 7 cells around each one ("SSH" in the paper): convolutions of 3x3, one, two and three deep."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = WIDTH // 2, WIDTH // 4
        self.conv3X3 = nn.Sequential(*_layer(WIDTH, half, is_linear=True))
        self.conv5X5_1 = nn.Sequential(*_layer(WIDTH, quarter))
        self.conv5X5_2 = nn.Sequential(*_layer(quarter, quarter, is_linear=True))
        self.conv7X7_2 = nn.Sequential(*_layer(quarter, quarter))
        self.conv7x7_3 = nn.Sequential(*_layer(quarter, quarter, is_linear=True))

    def forward(self, maps: Tensor) -> Tensor:
        once = self.conv5X5_1(maps)
        seen = self.conv3X3(maps), self.conv5X5_2(once), self.conv7x7_3(self.conv7X7_2(once))
        return torch.relu_(torch.cat(seen, dim=1))


class _Head(nn.Module):
    def __init__(self, num_values: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(WIDTH, NUM_ANCHORS * num_values, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv1x1(maps)  # type: ignore[no-any-return]


def _heads(num_values: int) -> nn.ModuleList:
    return nn.ModuleList(_Head(num_values) for _ in STEPS)


class RetinaFaceNetwork(nn.Module):
    """The network, 0.4 M parameters. Fuse it before use."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict(
            {
                "stage1": nn.Sequential(
                    nn.Sequential(*_layer(3, 8, stride=2)), *_stage(8, 16, 32, 32, 64, 64, strides=0b01010)
                ),
                "stage2": nn.Sequential(*_stage(64, 128, 128, 128, 128, 128, 128, strides=0b1)),
                "stage3": nn.Sequential(*_stage(128, 256, 256, strides=0b1)),
            }
        )
        self.fpn = _Pyramid()
        self.ssh1, self.ssh2, self.ssh3 = _Context(), _Context(), _Context()
        self.ClassHead, self.BboxHead, self.LandmarkHead = _heads(2), _heads(4), _heads(10)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return for a picture (1, 3, h, w), BGR less its mean: boxes (n, 4), scores (n,), landmarks (n, 10).

        One row for each anchor, in the order of `anchors`. Scores in [0, 1]; the others as `decode` takes them.
        """
        fine = self.body["stage1"](pictures)
        middle = self.body["stage2"](fine)
        maps = self.fpn(fine, middle, self.body["stage3"](middle))
        seen = [look(each) for look, each in zip((self.ssh1, self.ssh2, self.ssh3), maps, strict=True)]
        boxes, scores, landmarks = (
            torch.cat([_rows(head(each), num) for head, each in zip(heads, seen, strict=True)])
            for heads, num in ((self.BboxHead, 4), (self.ClassHead, 2), (self.LandmarkHead, 10))
        )
        return boxes, torch.softmax(scores, dim=1)[:, 1], landmarks


def _rows(maps: Tensor, num_values: int) -> Tensor:
    """Return maps (1, anchors * values, h, w) as rows (h * w * anchors, values)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, num_values)


def fuse(module: nn.Module) -> nn.Module:
    """Fold every normalisation into the convolution before it: a fifth faster, and the same result to 1e-5."""
    for child in module.children():
        fuse(child)
    if isinstance(module, nn.Sequential):
        for number, (convolution, norm) in enumerate(pairwise([*module])):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[number], module[number + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return module


@lru_cache(maxsize=16)
def anchors(height: int, width: int) -> NDArray[np.float32]:
    """Return the anchors (n, 3) of a picture of a size: x and y of the centre, and the side, in pixels."""
    rows = []
    for step, sides in zip(STEPS, ANCHOR_PX, strict=True):
        y, x, side = np.meshgrid(
            (np.arange(-(-height // step)) + 0.5) * step,
            (np.arange(-(-width // step)) + 0.5) * step,
            sides,
            indexing="ij",
        )
        rows.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    return np.concatenate(rows).astype(np.float32)


def decode(
    boxes: NDArray[np.float32], landmarks: NDArray[np.float32], at: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the heads say of anchors in pixels: left, top, right, bottom (n, 4), and points (n, 5, 2).

    Places are given from the anchor's centre, in its sides; width and height as logarithms of their ratio to it (the
    coding of SSD, Liu et al. 2016).
    """
    centres, sides = at[:, None, :2], at[:, None, 2:]
    points = centres + CENTRE_VARIANCE * sides * landmarks.reshape(-1, 5, 2)
    middle = centres[:, 0] + CENTRE_VARIANCE * sides[:, 0] * boxes[:, :2]
    half = sides[:, 0] * np.exp(SIZE_VARIANCE * boxes[:, 2:]) / 2
    return np.concatenate([middle - half, middle + half], axis=1), points
