from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from media.base.errors import UnreadableMedia, UnsupportedMedia
from renderer.mel import BLOCK_COLUMNS, MelSpec, MelTrack, window_start

RATES = {
    "25": Fraction(25),
    "29_97": Fraction(30000, 1001),
    "30": Fraction(30),
    "23_976": Fraction(24000, 1001),
}


def write_noise(path: Path, num_samples: int, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    shape = (num_samples, channels) if channels > 1 else num_samples
    samples = np.random.default_rng(7).uniform(-0.5, 0.5, shape).astype(np.float32)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return samples


def mel_of(path: Path) -> np.ndarray:
    """Return the spectrogram (80, T) of a file, from windows side by side."""
    with MelTrack(path) as track:
        last = track.num_columns - 16
        mel = np.empty((80, track.num_columns), np.float32)
        for start in [*range(0, last, 16), last]:
            mel[:, start : start + 16] = track.window(Fraction(start, 80))
    return mel


def test_spectrogram_parity(shared):
    golden = np.load(shared / "golden" / "mel.npz")["mel"]
    mel = mel_of(shared / "golden" / "speech_16k.wav")
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, golden, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", RATES)
def test_window_starts_parity(shared, rate):
    golden = np.load(shared / "golden" / "mel.npz")
    starts = [
        window_start(frame / RATES[rate], num_columns=golden["mel"].shape[1])
        for frame in range(len(golden[f"window_starts_{rate}"]))
    ]
    assert starts == golden[f"window_starts_{rate}"].tolist()


def test_windows_parity(shared):
    golden = np.load(shared / "golden" / "wav2lip.npz")["mel_windows"]
    with MelTrack(shared / "golden" / "speech_16k.wav") as track:
        windows = np.stack([track.window(Fraction(frame, 25)) for frame in range(4, 12)])
    np.testing.assert_allclose(windows, golden[:, 0], atol=1e-4, rtol=0)


def test_window_start_is_exact_after_hours():
    # 80 * 1e-9 short of a column: a float of this size would already be rounded onto it.
    assert window_start(Fraction(7200) - Fraction(1, 10**18)) == 575_999
    assert window_start(Fraction(7200)) == 576_000
    assert window_start(Fraction(-1, 25)) == 0


@pytest.mark.parametrize("num_samples", [200 * 600 + 13, 200 * BLOCK_COLUMNS - 1, 200 * BLOCK_COLUMNS, 3000, 3199])
def test_windows_are_the_same_bits_in_any_order(tmp_path, num_samples):
    write_noise(tmp_path / "noise.wav", num_samples)
    mel = mel_of(tmp_path / "noise.wav")
    assert mel.shape == (80, 1 + num_samples // 200)
    starts = [*range(0, mel.shape[1] - 15, 7), mel.shape[1] - 16]
    with MelTrack(tmp_path / "noise.wav") as track:
        assert track.num_columns == mel.shape[1]
        for start in (*starts, *reversed(starts)):
            assert np.array_equal(track.window(Fraction(start, 80)), mel[:, start : start + 16])
    for start in starts[:: max(len(starts) // 5, 1)]:
        with MelTrack(tmp_path / "noise.wav") as fresh:
            assert np.array_equal(fresh.window(Fraction(start, 80)), mel[:, start : start + 16])


def test_blocks_join_without_a_trace(tmp_path, monkeypatch):
    write_noise(tmp_path / "noise.wav", 200 * 700)
    mel = mel_of(tmp_path / "noise.wav")
    monkeypatch.setattr("renderer.mel.BLOCK_COLUMNS", 10_000)
    np.testing.assert_allclose(mel, mel_of(tmp_path / "noise.wav"), atol=1e-5, rtol=0)


def test_windows_beyond_the_ends_are_the_first_and_the_last(tmp_path):
    write_noise(tmp_path / "noise.wav", 16_000)
    mel = mel_of(tmp_path / "noise.wav")
    with MelTrack(tmp_path / "noise.wav") as track:
        assert np.array_equal(track.window(Fraction(-3)), mel[:, :16])
        assert np.array_equal(track.window(Fraction(100)), mel[:, -16:])


@pytest.mark.parametrize("num_samples", [0, 1, 150, 2999])
def test_a_short_track_is_continued_with_silence(tmp_path, num_samples):
    samples = write_noise(tmp_path / "noise.wav", num_samples)
    continued = np.concatenate([samples, np.zeros(3000 - num_samples, np.float32)])
    with MelTrack(tmp_path / "noise.wav") as track:
        window = track.window(Fraction(0))
    assert window.shape == (80, 16)
    soundfile.write(tmp_path / "continued.wav", continued, 16_000, subtype="FLOAT")
    assert np.array_equal(window, mel_of(tmp_path / "continued.wav"))


def test_a_network_may_take_another_spectrogram(tmp_path):
    """Twice the columns a second: every other one is a column of Wav2Lip's."""
    write_noise(tmp_path / "noise.wav", 16_000)
    with MelTrack(tmp_path / "noise.wav", MelSpec(hop_samples=100, window_columns=31)) as track:
        assert track.num_columns == 161
        window = track.window(Fraction(1, 2))
    assert np.array_equal(window[:, ::2], mel_of(tmp_path / "noise.wav")[:, 40:56])
    with MelTrack(tmp_path / "noise.wav", MelSpec(bands=64)) as track:
        assert track.window(Fraction(0)).shape == (64, 16)


def test_a_window_may_be_written_into(tmp_path):
    write_noise(tmp_path / "noise.wav", 16_000)
    with MelTrack(tmp_path / "noise.wav") as track:
        before = track.window(Fraction(0)).copy()
        track.window(Fraction(0))[:] = 9
        assert np.array_equal(track.window(Fraction(0)), before)


def test_few_blocks_are_held(tmp_path):
    write_noise(tmp_path / "noise.wav", 200 * BLOCK_COLUMNS * 9)
    with MelTrack(tmp_path / "noise.wav") as track:
        for column in range(0, track.num_columns, 100):
            track.window(Fraction(column, 80))
        assert track._block.cache_info().misses >= 9
        assert track._block.cache_info().currsize <= 4


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(UnreadableMedia, match=r"text\.wav"):
        MelTrack(tmp_path / "text.wav")
    with pytest.raises(UnreadableMedia, match=r"missing\.wav"):
        MelTrack(tmp_path / "missing.wav")
    for rate, channels in ((44_100, 1), (16_000, 2)):
        write_noise(tmp_path / "other.wav", 100, rate, channels)
        with pytest.raises(UnsupportedMedia, match="mono, 16000"):
            MelTrack(tmp_path / "other.wav")
