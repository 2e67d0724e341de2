"""Wav2Lip: the network of Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In The Wild".

(ACM Multimedia 2020.) Tensors are named as in its published checkpoints. It is written as tables of layers: the tables
are the network.

    mel (N, 1, 80, 16) in [-4, 4] ------> sound encoder --> one vector a frame --.
                                                                                 v
    faces (N, 6, 96, 96) in [0, 1], BGR -> face encoder --> maps, 96 px down --> decoder --> (N, 3, 96, 96) in [0, 1]
      channels 0-2: rows 48-95 set to 0         '---------- skip connections ----^
      channels 3-5: the full face
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from renderer.networks._torch import TorchArchitecture, first_rows

_Stride = int | tuple[int, int]


class ConvBlock(nn.Module):
    """Convolve, normalise, add the input where `residual`, ReLU. Padding "same" unless given."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: _Stride = 1,
        *,
        residual: bool = False,
        padding: int = -1,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding < 0 else padding
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of the next layer."""
        out: Tensor = self.conv_block(maps)
        return torch.relu_(out + maps if self.residual else out)


class UpBlock(nn.Module):
    """Convolve transposed (kernel 3), normalise, ReLU: from 1 px to 3, or to twice the size."""

    def __init__(self, inputs: int, outputs: int, *, from_one_px: bool = False) -> None:
        super().__init__()
        stride, padding = (1, 0) if from_one_px else (2, 1)
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 3, stride, padding, output_padding=padding), nn.BatchNorm2d(outputs)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the enlarged maps."""
        return torch.relu_(self.conv_block(maps))


def _stage(first: nn.Module, width: int, num_residual: int) -> nn.Sequential:
    return nn.Sequential(first, *(ConvBlock(width, width, residual=True) for _ in range(num_residual)))


class Wav2Lip(nn.Module):
    """Wav2Lip and Wav2Lip-GAN: 36.3 M parameters; the two differ in their training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder_blocks = nn.ModuleList(
            [
                _stage(ConvBlock(6, 16, 7), 16, 0),  # 96 px
                _stage(ConvBlock(16, 32, stride=2), 32, 2),  # 48
                _stage(ConvBlock(32, 64, stride=2), 64, 3),  # 24
                _stage(ConvBlock(64, 128, stride=2), 128, 2),  # 12
                _stage(ConvBlock(128, 256, stride=2), 256, 2),  # 6
                _stage(ConvBlock(256, 512, stride=2), 512, 1),  # 3
                nn.Sequential(ConvBlock(512, 512, padding=0), ConvBlock(512, 512, 1)),  # 1
            ]
        )
        self.audio_encoder = nn.Sequential(
            *_stage(ConvBlock(1, 32), 32, 2),  # (80, 16)
            *_stage(ConvBlock(32, 64, stride=(3, 1)), 64, 2),  # (27, 16)
            *_stage(ConvBlock(64, 128, stride=3), 128, 2),  # (9, 6)
            *_stage(ConvBlock(128, 256, stride=(3, 2)), 256, 1),  # (3, 3)
            ConvBlock(256, 512, padding=0),  # (1, 1)
            ConvBlock(512, 512, 1),
        )
        # A decoder stage takes the maps below it and the encoder's maps of their size: its inputs are the sum of both.
        self.face_decoder_blocks = nn.ModuleList(
            [
                _stage(ConvBlock(512, 512, 1), 512, 0),  # 1 px
                _stage(UpBlock(512 + 512, 512, from_one_px=True), 512, 1),  # 3
                _stage(UpBlock(512 + 512, 512), 512, 2),  # 6
                _stage(UpBlock(512 + 256, 384), 384, 2),  # 12
                _stage(UpBlock(384 + 128, 256), 256, 2),  # 24
                _stage(UpBlock(256 + 64, 128), 128, 2),  # 48
                _stage(UpBlock(128 + 32, 64), 64, 2),  # 96
            ]
        )
        self.output_block = nn.Sequential(ConvBlock(64 + 16, 32), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mel: Tensor, faces: Tensor, first_row: int = 0) -> Tensor:
        """Return the faces with new mouths: (N, 3, 96, 96) in [0, 1], BGR; of their rows those from first_row on."""
        skips = []
        for encode in self.face_encoder_blocks:
            faces = encode(faces)
            skips.append(faces)
        maps: Tensor = self.audio_encoder(mel)
        rows = first_rows(first_row, len(self.face_decoder_blocks) - 1)
        above = 0  # rows that are missing at the top of the maps
        for decode, row in zip(self.face_decoder_blocks, rows, strict=True):
            maps = torch.cat((decode(maps)[:, :, row - 2 * above :], skips.pop()[:, :, row:]), dim=1)
            above = row
        out: Tensor = self.output_block(maps)
        return out[:, :, first_row - above :]


ARCHITECTURE = TorchArchitecture(Wav2Lip, prefix="face_encoder_blocks.")
