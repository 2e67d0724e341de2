"""What the generator is trained against."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from renderer.face_stages.blend_mask import build_mask
from renderer.networks.base import WAV2LIP_SPEC
from renderer.networks.compact import FACE_PX

MOUTH_ROW, MOUTH_COLUMN = 73, 48
"""Where the mouth's middle lies in a face, in pixels: the mean over the real clips that the project is tested with."""
MOUTH_ROWS, MOUTH_COLUMNS = 11, 16
"""How far it reaches from there: the spread of the weight's bell."""
BACKGROUND = 0.5
"""Weight of what the renderer never shows, as a share of that of the lower face."""


def mouth_bell(device: torch.device | str = "cpu") -> Tensor:
    """Return (96, 96): 1 in the middle of the mouth, less around it."""
    pixels = torch.arange(FACE_PX, device=device)
    rows, columns = (pixels - MOUTH_ROW)[:, None] / MOUTH_ROWS, (pixels - MOUTH_COLUMN)[None] / MOUTH_COLUMNS
    return torch.exp(-(rows**2 + columns**2) / 2)


def mouth_area(device: torch.device | str = "cpu") -> Tensor:
    """Return (96, 96): 1 where a mouth may be, however far it opens, falling to 0 on the skin around it."""
    return (mouth_bell(device) * 1.6).clamp(max=1)


def face_weights(*, mouth: float) -> Tensor:
    """Return the weight of each pixel (96, 96), 1 on average; the renderer's mask weighs more than what it hides.

    mouth: how much more the middle of the mouth weighs than the lower face around it.
    """
    mask = torch.from_numpy(np.array(build_mask(0.1, WAV2LIP_SPEC)))
    bell = mouth_bell()
    weights = BACKGROUND + (1 - BACKGROUND) * mask + mouth * bell
    return weights / weights.mean()


def only_lips(made: Tensor, truth: Tensor) -> Tensor:
    """Return truth (N, 3, 96, 96) with what is drawn otherwise in the brightness of the mouth alone.

    So the sync expert is shown what was drawn: otherwise skin that changes its tint with the sound pleases it, too. All
    colours count alike: if green counted most, as it does for eyes, mouths opened to purple, by way of the gradient.
    """
    change = (made - truth).mean(dim=1, keepdim=True)
    return truth + change * mouth_area(made.device)


def weighted_l1(made: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the mean absolute difference of (N, 3, H, W), weighted by (N or 1, 1, H, W)."""
    return ((made - truth).abs() * weights).mean()


def gradient_loss(made: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted L1 of horizontal and vertical differences, summed over 96, 48 and 24 px: edges count."""
    difference = made - truth
    total = made.new_zeros(())
    for scale in range(3):
        if scale:
            difference, weights = functional.avg_pool2d(difference, 2), functional.avg_pool2d(weights, 2)
        down, across = difference.diff(dim=2), difference.diff(dim=3)
        total = total + (down.abs() * weights[:, :, 1:]).mean() + (across.abs() * weights[:, :, :, 1:]).mean()
    return total


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of lower faces, real or drawn: (N, 3, 48, 96) to (N, 1, 6, 12); 0.4 M parameters.

    Spectral normalisation keeps it from outrunning the generator.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)) for inputs, outputs in pairwise(widths)
        )
        self.body = spectral_norm(nn.Conv2d(128, 192, 3, 1, 1))
        self.head = spectral_norm(nn.Conv2d(192, 1, 3, 1, 1))

    def forward(self, lower: Tensor) -> list[Tensor]:
        """Return the maps of every layer; the last one is the judgement, higher for what looks real."""
        maps = [lower * 2 - 1]
        for layer in (*self.layers, self.body):
            maps.append(functional.leaky_relu(layer(maps[-1]), 0.2))
        maps.append(self.head(maps[-1]))
        return maps[1:]


def hinge_loss(real: Tensor, drawn: Tensor) -> Tensor:
    """Return the discriminator's loss for its judgements."""
    return functional.relu(1 - real).mean() + functional.relu(1 + drawn).mean()


def feature_loss(drawn: list[Tensor], real: list[Tensor], chosen: Tensor) -> Tensor:
    """Return the mean L1 of the discriminator's maps, of the pictures (N,) bool that have a truth."""
    share = chosen.float().mean().clamp_min(1e-6)
    parts = [
        ((a - b.detach()).abs().mean(dim=(1, 2, 3)) * chosen).mean() / share for a, b in zip(drawn, real, strict=True)
    ]
    return torch.stack(parts[:-1]).mean()


def lower_half(faces: Tensor) -> Tensor:
    """Return the rows of faces (..., 96, 96) that the network draws anew: (..., 48, 96)."""
    return faces[..., FACE_PX // 2 :, :]
