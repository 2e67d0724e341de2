"""The sound that drives the lips: what those who cut it and those who listen to it agree on."""

from __future__ import annotations

DRIVING_RATE = 16_000
"""Samples a second, mono: what Wav2Lip was trained with."""
DRIVING_STEP_SAMPLES = 200
"""Samples from one column of the mel spectrogram to the next (12.5 ms): sound that begins a whole number of steps into
a track has the same columns as the track."""
