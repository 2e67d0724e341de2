"""Sound to lip shape: a small network over log-mel bands that was taught by other people's mouths.

It needs the dub alone. Its shapes are normalised as lip_shape.Normal does: 0 is how the mouth usually is, 1 a standard
deviation more.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from media.base.errors import UnsupportedCheckpoint
from media.base.once import once_a_file
from renderer.footage.lip_shape import SHAPES, Shapes
from renderer.footage.log_mel import BANDS, BLOCK_COLUMNS, COLUMNS_PER_SECOND, Columns, between_columns, normalised
from renderer.weight_files import open_weights

REACH_COLUMNS: Final = 60
"""Columns on either side that a column's shape depends on."""
WIDTH: Final = 96
DILATIONS: Final = (1, 2, 4, 8)
KERNEL: Final = 5


class SoundShapeNetwork(nn.Module):
    """Columns (tracks, BANDS, columns) to shapes (tracks, len(SHAPES), columns)."""

    def __init__(self, dropout: float = 0.25) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = BANDS
        for dilation in DILATIONS:
            layers += [
                nn.Conv1d(before, WIDTH, KERNEL, padding=KERNEL // 2 * dilation, dilation=dilation),
                nn.BatchNorm1d(WIDTH),
                nn.GELU(),
                nn.Dropout(dropout),
            ]
            before = WIDTH
        self.layers = nn.Sequential(*layers, nn.Conv1d(before, len(SHAPES), 1))

    def forward(self, columns: Tensor) -> Tensor:
        """Return the shapes at each column."""
        shapes: Tensor = self.layers(columns)
        return shapes


@once_a_file
def load_sound_shape(path: Path) -> SoundShapeNetwork:
    """Load the network's weights; nothing in the file is executed. Raises CheckpointError."""
    network = SoundShapeNetwork()
    try:
        network.load_state_dict(open_weights(path).read_tensors())
    except RuntimeError as exc:  # torch's words for tensors of another name or shape
        raise UnsupportedCheckpoint(f"{path}: not the weights of the network that hears lip shapes.") from exc
    return network.eval()


def hear(network: SoundShapeNetwork, columns: Columns, seconds: Sequence[Fraction] | NDArray[np.floating]) -> Shapes:
    """Return the shapes (times, len(SHAPES)) that are heard in a whole track at some times.

    columns: of the track, as log_mel gives them. seconds: from its first sample on.
    """
    places = np.array([float(second) for second in seconds]) * COLUMNS_PER_SECOND
    return hear_at(network, normalised(columns), places)


def hear_at(network: SoundShapeNetwork, heard: Columns, places: NDArray[np.floating]) -> Shapes:
    """Return the shapes (places, len(SHAPES)) that are heard at some places in columns.

    heard: normalised, of the whole track. The network sees what lies between the places, and REACH_COLUMNS around it,
    BLOCK_COLUMNS at a time: its memory does not grow with the track.
    """
    first = int(np.clip(np.floor(places.min()), 0, len(heard) - 1))
    stop = int(np.clip(np.ceil(places.max()) + 1, first + 1, len(heard)))
    shapes = np.empty((stop - first, len(SHAPES)), np.float32)
    for start in range(first, stop, BLOCK_COLUMNS):
        end = min(start + BLOCK_COLUMNS, stop)
        begin = max(start - REACH_COLUMNS, 0)
        block = np.ascontiguousarray(heard[begin : end + REACH_COLUMNS].T)[None]
        with torch.inference_mode():
            told: Tensor = network(torch.from_numpy(block))
        shapes[start - first : end - first] = told[0].T.numpy()[start - begin : end - begin]
    return between_columns(shapes, places - first)
