"""Two networks of one contract: a mel window and a masked face in, a face with a new mouth out.

`Wav2Lip` is the network of Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In The
Wild" (ACM Multimedia 2020), with the tensor names of its published checkpoints. `CompactNetwork` is the small one that
ships with this program. Both are written as tables of layers: the tables are the networks.

    mel (N, 1, 80, 16) in [-4, 4] ------> sound encoder --> one vector a frame --.
                                                                                 v
    faces (N, 6, 96, 96) in [0, 1], BGR -> face encoder --> maps, 96 px down --> decoder --> (N, 3, 96, 96) in [0, 1]
      channels 0-2: rows 48-95 set to 0         '---------- skip connections ----^
      channels 3-5: the full face
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from base.errors import UnsupportedCheckpoint

FACE_PX = 96
"""Height and width of a face, in pixels."""

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

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Return the faces with new mouths: (N, 3, 96, 96) in [0, 1], BGR."""
        skips = []
        for encode in self.face_encoder_blocks:
            faces = encode(faces)
            skips.append(faces)
        maps: Tensor = self.audio_encoder(mel)
        for decode in self.face_decoder_blocks:
            maps = torch.cat((decode(maps), skips.pop()), dim=1)
        out: Tensor = self.output_block(maps)
        return out


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
    and only the mouth is drawn anew. Networks without that share, which draw every pixel, are the same but for the last
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

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Return the faces with new mouths: (N, 3, 96, 96) in [0, 1], BGR."""
        sound: Tensor = self.a(mel)
        hint: Tensor = self.ap(sound)
        skips: list[Tensor] = [self.inp(faces)]
        for encode in self.enc:
            skips.append(encode(skips[-1]))
        maps = self.mix(torch.cat((skips.pop(), _spread(sound, 3)), dim=1))
        for stage, decode in enumerate(self.dec):
            skip = skips.pop()
            size = skip.shape[-1]
            parts = [nn.functional.interpolate(maps, size=size, mode="nearest"), skip]
            maps = decode(torch.cat([*parts, _spread(hint, size)] if stage < 2 else parts, dim=1))
        drawn = torch.sigmoid(self.out(maps)).to(faces.dtype)  # of another kind where training casts as it goes
        return torch.lerp(faces[:, 3:], drawn[:, :3], drawn[:, 3:]) if self.blends else drawn


def _spread(vectors: Tensor, size: int) -> Tensor:
    """Repeat vectors (N, C) over maps (N, C, size, size)."""
    return vectors[:, :, None, None].expand(-1, -1, size, size)


_COMPACT_LAST = "out.1.bias"
"""Tells by its length whether a compact network blends."""
_COUNTER = "num_batches_tracked"
"""Last part of the name of a tensor that only training reads; checkpoints may lack it."""


def build_network(state_dict: Mapping[str, object]) -> Wav2Lip | CompactNetwork:
    """Build the network that a state dict is for, with its weights in float32, in eval mode.

    A leading `module.` (left by data-parallel training) is dropped from every name.
    Raises UnsupportedCheckpoint if the tensors are not exactly those of one of the two networks.
    """
    tensors = {name.removeprefix("module."): value for name, value in state_dict.items() if isinstance(value, Tensor)}
    kind: Callable[[], Wav2Lip | CompactNetwork]
    if any(name.startswith("face_encoder_blocks.") for name in tensors):
        kind = Wav2Lip
    elif any(name.startswith("inp.") for name in tensors):
        last = tensors.get(_COMPACT_LAST)
        kind = partial(CompactNetwork, blends=last is None or last.shape != (3,))
    else:
        raise UnsupportedCheckpoint("these are not the weights of Wav2Lip or of the compact network")
    with torch.device("meta"):  # memory for the weights, without drawing random ones first
        network = kind()
    network.to_empty(device="cpu")
    _check_tensors(network, tensors)
    network.load_state_dict(tensors, strict=False)
    return network.eval()


def _check_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise UnsupportedCheckpoint, naming the first tensor that is missing, unexpected or of another shape."""
    name = type(network).__name__
    wanted = {key: value.shape for key, value in network.state_dict().items() if not key.endswith(_COUNTER)}
    given = {key: value.shape for key, value in tensors.items() if not key.endswith(_COUNTER)}
    for problem, keys in (
        ("lack tensors", [key for key in wanted if key not in given]),
        ("hold tensors that it does not have", [key for key in given if key not in wanted]),
        ("have tensors of another shape", [key for key in wanted if given.get(key) != wanted[key]]),
    ):
        if keys:
            raise UnsupportedCheckpoint(
                f"these weights look like {name}'s but {problem}: {keys[0]} ({len(keys)} in all)"
            )


def fold_normalisation(network: nn.Module) -> nn.Module:
    """Fold every batch normalisation into the convolution before it, in place, and return the network.

    The function stays the same up to rounding. Wanted: eval mode, float32 weights (fold first, cast after), and a
    convolution directly followed by its normalisation among the children of one module, as in both networks here.
    """
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, convolution), (norm_name, norm) in pairwise(children):
            if isinstance(norm, nn.BatchNorm2d):
                assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
                transposed = isinstance(convolution, nn.ConvTranspose2d)
                setattr(module, name, fuse_conv_bn_eval(convolution, norm, transpose=transposed))
                setattr(module, norm_name, nn.Identity())
    return network
