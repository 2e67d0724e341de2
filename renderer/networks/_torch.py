"""What the torch networks of this package share: how they are recognised, loaded, prepared and run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from media.base.errors import UnsupportedCheckpoint
from renderer.networks.base import WAV2LIP_SPEC, NetworkSpec
from renderer.weight_files import FileHeader, WeightFile

_COUNTER = "num_batches_tracked"
"""Last part of the name of a tensor that only training reads; checkpoints may lack it."""


class TorchLipNetwork:
    """A torch module that takes faces as Wav2Lip does: the upper half of one, and the whole of another as reference.

    The module maps mel windows (N, 1, bands, columns) and faces (N, 6, px, px) in [0, 1] to (N, 3, px, px) in [0, 1];
    asked for rows from first_row on, it returns these alone, (N, 3, px - first_row, px).
    """

    def __init__(self, module: nn.Module, spec: NetworkSpec = WAV2LIP_SPEC) -> None:
        """Take over a module in eval mode with float32 weights; it changes when the network is placed."""
        self.module = module
        self.spec = spec
        self._dtype = torch.float32

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Fold its normalisations and move it to a device; see LipNetwork."""
        folded = fold_normalisation(self.module)
        self.module = folded.to(device, dtype).to(memory_format=torch.channels_last)
        self._dtype = dtype

    def run(self, faces: Tensor, mel_windows: Tensor, references: Tensor) -> Tensor:
        """Return faces with new lips; see LipNetwork."""
        masked = faces.float() / 255
        masked[:, self.spec.face_px // 2 :] = 0
        # Channels lie last in memory and first in the shape: the layout that the convolutions are fastest in.
        stacked = torch.cat((masked, references.float() / 255), dim=3).permute(0, 3, 1, 2)
        row = self.spec.first_row
        output: Tensor = self.module(mel_windows[:, None].to(self._dtype), stacked.to(self._dtype), row)
        lower = (output.float() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return torch.cat((faces[:, :row], lower), dim=1)


@dataclass(frozen=True, slots=True)
class TorchArchitecture:
    """A torch module whose checkpoints are recognised by the names of their tensors."""

    kind: Callable[[], nn.Module]
    """Makes the module."""
    prefix: str
    """What some of its tensors, and those of no other network, begin with."""

    def detects(self, header: FileHeader) -> bool:
        """Tell whether a file holds its weights."""
        return any(name.startswith(self.prefix) for name in header.shapes)

    def spec(self, _header: FileHeader) -> NetworkSpec:
        """Return Wav2Lip's spec."""
        return WAV2LIP_SPEC

    def build(self, _header: FileHeader) -> nn.Module:
        """Return the module that a file is for; its weights are not read."""
        return self.kind()

    def load(self, weights: WeightFile) -> TorchLipNetwork:
        """Return the network with its weights in float32, in eval mode; see Architecture."""
        with torch.device("meta"):  # memory for the weights, without drawing random ones first
            module = self.build(weights.header)
        _check_shapes(module, weights.header.shapes)
        # Copies, because the file may be mapped into memory and replaced while a job runs.
        own, read = module.state_dict(), weights.read_tensors()
        tensors = {
            name: torch.tensor(0) if name.endswith(_COUNTER) else read[name].to(wanted.dtype, copy=True)
            for name, wanted in own.items()
        }
        module.load_state_dict(tensors, assign=True)
        return TorchLipNetwork(module.eval(), self.spec(weights.header))


def _check_shapes(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UnsupportedCheckpoint, naming the first tensor that is missing, unexpected or of another shape."""
    name = type(module).__name__
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items() if not key.endswith(_COUNTER)}
    given = {key: shape for key, shape in shapes.items() if not key.endswith(_COUNTER)}
    for problem, keys in (
        ("lack tensors", [key for key in wanted if key not in given]),
        ("hold tensors that it does not have", [key for key in given if key not in wanted]),
        ("have tensors of another shape", [key for key in wanted if given.get(key) != wanted[key]]),
    ):
        if keys:
            raise UnsupportedCheckpoint(
                f"these weights look like {name}'s but {problem}: {keys[0]} ({len(keys)} in all)"
            )


def first_rows(first_row: int, num_stages: int) -> list[int]:
    """Return from which row on the maps of a decoder are needed, for rows of the picture from first_row on.

    One number for what each stage takes, and one for what the output block takes. A stage doubles its maps (output row
    y is made of input rows from y // 2 on) and has two convolutions of 3x3 behind that; the output block has one.

        48 px   rows from 18   |  doubled: rows from 36  |  convolved twice: right from 38
        96 px   rows from 38   |  convolved once: right from 39
    """
    rows = [max(first_row - 1, 0)]
    for _ in range(num_stages):
        rows.insert(0, max(rows[0] - 2, 0) // 2)
    return rows


def fold_normalisation(network: nn.Module) -> nn.Module:
    """Fold every batch normalisation into the convolution before it, in place, and return the network.

    The function stays the same up to rounding. Wanted: eval mode, float32 weights (fold first, cast after), and a
    convolution directly followed by its normalisation among the children of one module, as in the networks here.
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
