"""How well lips and sound go together over whole tracks, by the sync expert."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipstitch.training.dataset.dataset import WINDOW_ROWS
from lipstitch.training.expert import SyncExpert, lips_of

FARTHEST_ROWS = 15
"""Shifts that are looked at on either side: 0.6 s, as in the published measures of sync."""
FALSE_ROWS = 5
"""From here on a shift is false sound: 0.2 s. Nearer ones still sound alike."""
PASS_WINDOWS = 64


@dataclass(frozen=True, slots=True)
class SyncFigures:
    """Of one or several tracks."""

    true_cosine: float
    """Mean cosine of lips and their own sound, -1 to 1."""
    false_cosine: float
    """The same with sound shifted by 0.2 to 0.6 s."""
    accuracy: float
    """Share of (window, shift) pairs in which the true sound fits better than the shifted one; 0.5 is chance."""
    num_windows: int

    @property
    def confidence(self) -> float:
        """How much better the true sound fits."""
        return self.true_cosine - self.false_cosine


@torch.inference_mode()
def track_cosines(expert: SyncExpert, faces: Tensor, mels: Tensor) -> Tensor:
    """Return the cosine of every window of a track with the sound of every shift: (T - 4, 31), nan beyond the ends.

    faces: (T, 3, 96, 96) in [0, 1], 25 a second. mels: (T, 1, 80, 16). Column 15 is the true sound; column 15 + k the
    sound k rows later.
    """
    windows = faces.unfold(0, WINDOW_ROWS, 1).permute(0, 4, 1, 2, 3)
    lips = torch.cat([expert.embed_lips(lips_of(part)) for part in torch.split(windows, PASS_WINDOWS)])
    sound = torch.cat([expert.embed_sound(part) for part in torch.split(mels[: len(windows)], PASS_WINDOWS)])
    cosines = lips @ sound.T
    places = torch.arange(len(lips), device=lips.device)[:, None]
    shifted = places + torch.arange(-FARTHEST_ROWS, FARTHEST_ROWS + 1, device=lips.device)
    inside = (shifted >= 0) & (shifted < len(lips))
    return cosines.gather(1, shifted.clamp(0, len(lips) - 1)).masked_fill(~inside, torch.nan)


def sum_up(cosines: Tensor) -> SyncFigures:
    """Return the figures of track_cosines, of one track or of several put one below the other."""
    true = cosines[:, FARTHEST_ROWS]
    far = abs(torch.arange(-FARTHEST_ROWS, FARTHEST_ROWS + 1, device=cosines.device)) >= FALSE_ROWS
    false = cosines[:, far]
    known = ~false.isnan()
    better = (true[:, None] > false) & known
    return SyncFigures(
        true_cosine=float(true.mean()),
        false_cosine=float(false[known].mean()),
        accuracy=float(better.sum() / known.sum()),
        num_windows=len(true),
    )
