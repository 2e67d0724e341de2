"""Sound to lip shape: a small network over log-mel bands that was taught by other people's mouths.

It needs the dub alone. Its shapes are normalised as lip_shape.Normal does: 0 is how the mouth usually is, 1 a standard
deviation more.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from renderer.footage.lip_shape import SHAPES, Shapes

SAMPLE_RATE: Final = 16_000
BANDS: Final = 40
HOP: Final = 160
"""Samples between columns: 100 a second."""
WINDOW: Final = 400
FFT: Final = 512
LOWEST_HZ, HIGHEST_HZ = 60, 7600
PREEMPHASIS: Final = 0.97
LEAST_POWER: Final = 1e-10
RANGE: Final = 11.5
"""Natural logarithm of how far below the loud columns of a track (their 95th percentile) nothing is told apart: 50 dB.
What lies there differs between recordings of one voice."""
QUIETEST_SHARE: Final = 30
"""Percentile of loudness below which columns do not count for the normalisation: pauses say nothing of a voice."""
REACH_COLUMNS: Final = 60
"""Columns on either side that a column's shape depends on."""
WIDTH: Final = 96
DILATIONS: Final = (1, 2, 4, 8)
KERNEL: Final = 5
COLUMNS_PER_SECOND: Final = SAMPLE_RATE // HOP

Columns = NDArray[np.float32]
"""(columns, BANDS)."""


def log_mel(samples: NDArray[np.float32]) -> Columns:
    """Return the log-mel columns of mono sound at 16 kHz; column i is centred on sample 160 i."""
    lifted = np.append(samples[:1], samples[1:] - PREEMPHASIS * samples[:-1])
    power = librosa.feature.melspectrogram(
        y=lifted,
        sr=SAMPLE_RATE,
        n_fft=FFT,
        win_length=WINDOW,
        hop_length=HOP,
        n_mels=BANDS,
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
    )
    return np.asarray(np.log(np.maximum(power, LEAST_POWER)).T, np.float32)


def normalised(columns: Columns) -> Columns:
    """Return columns with mean 0 in each band and spread 1 over all, measured where the track is not quiet.

    How loud the recording is plays no part.
    """
    columns = np.maximum(columns, np.percentile(columns.mean(axis=1), 95) - RANGE)
    loudness = columns.mean(axis=1)
    heard = columns[loudness > np.percentile(loudness, QUIETEST_SHARE)]
    if not len(heard):
        return np.zeros_like(columns)
    return np.asarray((columns - heard.mean(axis=0)) / (heard.std() + 1e-3), np.float32)


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


def load_sound_shape(path: Path) -> SoundShapeNetwork:
    """Load the network's weights, which are not executed."""
    network = SoundShapeNetwork()
    network.load_state_dict(load_file(path))
    return network.eval()


def between_columns(values: NDArray[np.float32], places: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return values (columns, n) at places between columns, in proportion; beyond the ends the last ones repeat."""
    at = np.clip(places, 0, len(values) - 1)
    before = np.minimum(at.astype(np.int64), max(len(values) - 2, 0))
    after = np.minimum(before + 1, len(values) - 1)
    share = (at - before)[:, None]
    return np.asarray(values[before] * (1 - share) + values[after] * share, np.float32)


def hear(network: SoundShapeNetwork, columns: Columns, seconds: Sequence[Fraction] | NDArray[np.floating]) -> Shapes:
    """Return the shapes (times, len(SHAPES)) that are heard in a whole track at some times.

    columns: of the track, as log_mel gives them. seconds: from its first sample on.
    """
    with torch.inference_mode():
        shapes: Tensor = network(torch.from_numpy(normalised(columns)).T[None])
    places = np.array([float(second) for second in seconds]) * COLUMNS_PER_SECOND
    return between_columns(shapes[0].T.numpy(), places)
