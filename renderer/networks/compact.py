"""The compact network that ships: 5.6 M parameters, for Wav2Lip's inputs and outputs.

It is written as tables of layers: the tables are the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from renderer.networks._torch import TorchArchitecture, first_rows
from renderer.networks.base import WAV2LIP_SPEC
from renderer.weight_files import FileHeader

FACE_PX = WAV2LIP_SPEC.face_px
"""Height and width of the faces that it is trained on."""

_Stride = int | tuple[int, int]


class CompactBlock(nn.Module):
    """Convolve (padding "same"), normalise, add the input where `residual`, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: _Stride = 1, *, residual: bool = False
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.n = nn.BatchNorm2d(outputs)
        self.residual = residual

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of the next layer."""
        out: Tensor = self.n(self.c(maps))
        return torch.relu_(out + maps if self.residual else out)


def _compact_stage(inputs: int, outputs: int, kernel: int = 3, stride: _Stride = 1) -> nn.Sequential:
    return nn.Sequential(CompactBlock(inputs, outputs, kernel, stride), CompactBlock(outputs, outputs, residual=True))


class _Sound(nn.Module):
    """Turn mel windows (N, 1, 80, 16) into sound vectors (N, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *_compact_stage(1, 24),  # (80, 16)
            *_compact_stage(24, 48, stride=(3, 1)),  # (27, 16)
            *_compact_stage(48, 96, stride=3),  # (9, 6)
            *_compact_stage(96, 160, stride=(3, 2)),  # (3, 3)
        )
        self.fc = nn.Linear(160 * 3 * 3, 256)

    def forward(self, mel: Tensor) -> Tensor:
        vectors: Tensor = self.fc(self.net(mel).flatten(1))
        return vectors


class CompactNetwork(nn.Module):
    """The network that ships: 5.6 M parameters, a demonstration and not Wav2Lip's quality.

    It draws colours and, for each pixel, how much of them is seen in place of the reference: skin stays as it is shown,
    and only the mouth is redrawn. Networks without that share, which draw every pixel, are the same but for the last
    layer.
    """

    def __init__(self, *, blends: bool = True) -> None:
        super().__init__()
        self.blends = blends
        self.a = _Sound()
        self.inp = nn.Sequential(CompactBlock(6, 24, 5))
        widths = (24, 40, 72, 128, 192, 256)  # at 96, 48, 24, 12, 6 and 3 px
        self.enc = nn.ModuleList(_compact_stage(i, o, stride=2) for i, o in pairwise(widths))
        self.mix = _compact_stage(256 + 256, 256, kernel=1)
        self.ap = nn.Linear(256, 64)
        self.dec = nn.ModuleList(
            [
                _compact_stage(256 + 192 + 64, 192),  # 6 px
                _compact_stage(192 + 128 + 64, 128),  # 12
                _compact_stage(128 + 72, 72),  # 24
                _compact_stage(72 + 40, 40),  # 48
                _compact_stage(40 + 24, 32),  # 96
            ]
        )
        self.out = nn.Sequential(CompactBlock(32, 32), nn.Conv2d(32, 3 + blends, 1))

    def forward(self, mel: Tensor, faces: Tensor, first_row: int = 0) -> Tensor:
        """Return the faces with new mouths: (N, 3, 96, 96) in [0, 1], BGR; of their rows those from first_row on."""
        sound: Tensor = self.a(mel)
        hint: Tensor = self.ap(sound)
        skips: list[Tensor] = [self.inp(faces)]
        for encode in self.enc:
            skips.append(encode(skips[-1]))
        maps = self.mix(torch.cat((skips.pop(), _spread(sound, 3, 3)), dim=1))
        rows = first_rows(first_row, len(self.dec))
        above = 0  # rows that are missing at the top of the maps
        for stage, decode in enumerate(self.dec):
            maps = nn.functional.interpolate(maps[:, :, rows[stage] - above :], scale_factor=2, mode="nearest")
            above = 2 * rows[stage]
            parts = [maps, skips.pop()[:, :, above:]]
            maps = decode(torch.cat([*parts, _spread(hint, *maps.shape[2:])] if stage < 2 else parts, dim=1))
        lower = faces[:, 3:, first_row:]
        drawn = torch.sigmoid(self.out(maps[:, :, rows[-1] - above :])[:, :, first_row - rows[-1] :])
        drawn = drawn.to(faces.dtype)  # of another kind where training casts as it goes
        return torch.lerp(lower, drawn[:, :3], drawn[:, 3:]) if self.blends else drawn


def _spread(vectors: Tensor, height: int, width: int) -> Tensor:
    """Repeat vectors (N, C) over maps (N, C, height, width)."""
    return vectors[:, :, None, None].expand(-1, -1, height, width)


@dataclass(frozen=True, slots=True)
class _Compact(TorchArchitecture):
    """Both kinds of compact network, distinguished by the length of the last layer's bias."""

    def build(self, header: FileHeader) -> nn.Module:
        """Return the kind that a file holds."""
        return CompactNetwork(blends=header.shapes.get("out.1.bias") != (3,))


ARCHITECTURE = _Compact(CompactNetwork, prefix="inp.")
