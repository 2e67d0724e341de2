"""Spectra and mel filters are those of librosa 0.11, which networks that hear were trained with."""

import numpy as np
import pytest

from media.audio.spectrum import levels, mel_filters, spectrum

RATE = 16_000


@pytest.fixture(scope="module")
def chirp():
    seconds = np.arange(RATE) / RATE
    return np.sin(2 * np.pi * (100 + 3000 * seconds) * seconds)


@pytest.mark.parametrize(
    ("fft", "hop", "window", "shape", "wanted"),
    [
        (
            800,
            200,
            None,
            (401, 77),
            {
                (5, 0): 4.15209 + 3.39302j,
                (100, 20): -0.20025 + 0.10482j,
                (160, 40): 75.82963 + 14.61648j,
                (300, 75): 7.35669 + 10.40516j,
                (0, 3): -0.01483,
            },
        ),
        (
            512,
            160,
            400,
            (257, 97),
            {
                (3, 0): -1.16312 + 8.48529j,
                (60, 20): -0.00903 - 0.00338j,
                (101, 50): -40.40153 - 38.02981j,
                (190, 96): 57.72829 + 57.09422j,
            },
        ),
    ],
)
def test_a_spectrum(chirp, fft, hop, window, shape, wanted):
    got = spectrum(chirp, fft, hop, window)
    assert got.shape == shape
    for place, value in wanted.items():
        assert got[place] == pytest.approx(value, abs=2e-5)


@pytest.mark.parametrize(
    ("fft", "bands", "lowest_hz", "filters"),
    [
        (
            800,
            80,
            55,
            {
                0: (5, 4, 0.0208124, 0.049364),
                7: (17, 3, 0.025831, 0.050513),
                20: (40, 4, 0.0201814, 0.049364),
                79: (366, 27, 0.0036353, 0.04998),
            },
        ),
        (
            512,
            40,
            60,
            {
                0: (4, 5, 0.012933, 0.032049),
                7: (20, 5, 0.0136781, 0.032794),
                20: (56, 8, 0.0070671, 0.032011),
                39: (226, 33, 0.001928, 0.032009),
            },
        ),
    ],
)
def test_mel_filters(fft, bands, lowest_hz, filters):
    """By the highest bin of a filter, the number of its bins, its height and its area."""
    got = mel_filters(RATE, fft, bands, lowest_hz, 7600)
    assert got.shape == (bands, fft // 2 + 1)
    assert got.dtype == np.float32
    for band, (highest, num_bins, height, area) in filters.items():
        row = got[band]
        assert (int(row.argmax()), int((row > 0).sum())) == (highest, num_bins)
        assert (row.max(), row.sum()) == pytest.approx((height, area), rel=2e-5)


def test_levels(chirp):
    got = levels(chirp.astype(np.float32), 640, 320)
    assert got.shape == (49,)
    assert got[[0, 10, 48]] == pytest.approx([0.7074831, 0.7068417, 0.7077515], abs=1e-6)
