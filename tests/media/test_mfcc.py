"""Mel-frequency cepstral coefficients are those of python_speech_features, which SyncNet and Light-ASD were given."""

import numpy as np
import pytest
import soundfile

from media.audio.mfcc import mfcc, mfcc_blocks


@pytest.fixture(scope="module")
def speech(shared):
    return soundfile.read(shared / "golden" / "speech_16k.wav", dtype="float32")[0]


def test_parity_with_what_syncnet_is_given(shared, speech):
    with np.load(shared / "golden" / "syncnet.npz") as golden:
        wanted = golden["mfcc"].T
    got = mfcc(speech)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-4


def test_parity_with_what_light_asd_is_given(shared, speech):
    with np.load(shared / "golden" / "light_asd.npz") as golden:
        wanted = golden["mfcc"]  # four rows a face: what is left over is cut off
    assert np.abs(mfcc(speech[:48_000])[: len(wanted)] - wanted).max() < 1e-4


@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 560, 561, 720, 721, 16_000])
def test_blocks_of_any_size_give_what_the_whole_gives(count):
    random = np.random.default_rng(count)
    samples = random.uniform(-1, 1, count).astype(np.float32)
    cuts = np.sort(random.integers(0, count + 1, 7))
    rows = [*mfcc_blocks(part[None] for part in np.split(samples, cuts))]
    whole = mfcc(samples)
    assert len(whole) == (0 if count == 0 else 1 if count <= 400 else 1 + -(-(count - 400) // 160))
    assert np.allclose(np.concatenate([*rows, np.zeros((0, 13))]), whole, atol=1e-5)


def test_silence_is_finite():
    assert np.isfinite(mfcc(np.zeros(1600, np.float32))).all()
