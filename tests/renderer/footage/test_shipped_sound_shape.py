"""The network that ships hears when lips open, in a voice it never heard: the demonstration's dub."""

import numpy as np
import soundfile

from demo.make_material import DUB_FILE
from renderer.checkpoints import SHIPPED_REGISTRY
from renderer.footage.log_mel import COLUMNS_PER_SECOND, is_silent, log_mel
from renderer.footage.sound_shape import hear, load_sound_shape

WEIGHTS = SHIPPED_REGISTRY.parent / "sound_shape.safetensors"


def test_lips_open_with_speech_and_close_in_pauses():
    samples, rate = soundfile.read(DUB_FILE, dtype="float32")
    assert rate == 16_000
    columns = log_mel(samples[: 30 * rate])
    seconds = np.arange(30 * 25) / 25
    gap = hear(load_sound_shape(WEIGHTS), columns, seconds)[:, 0]
    loudness = columns[(seconds * COLUMNS_PER_SECOND).astype(int)].mean(axis=1)
    silent = is_silent(columns, seconds * COLUMNS_PER_SECOND)
    assert 0.05 < silent.mean() < 0.6
    assert gap[~silent].mean() > gap[silent].mean() + 0.3
    assert np.corrcoef(gap, loudness)[0, 1] > 0.3
    quiet = hear(load_sound_shape(WEIGHTS), log_mel(samples[: 30 * rate] * 0.05), seconds)[:, 0]
    assert np.corrcoef(gap, quiet)[0, 1] > 0.98, "how loud a recording is plays no part"


def test_it_is_small():
    assert WEIGHTS.stat().st_size < 1_000_000
