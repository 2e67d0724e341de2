"""What is done to sound before and after the network that hears shapes in it."""

from fractions import Fraction

import numpy as np
import pytest

from renderer.footage.lip_shape import SHAPES
from renderer.footage.sound_shape import BANDS, COLUMNS_PER_SECOND, log_mel, normalised, shapes_at

RATE = 16_000


def tone(seconds, hertz=300.0, loudness=0.3):
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def test_columns_lie_at_hundredths_of_a_second():
    sound = np.concatenate([np.zeros(RATE, np.float32), tone(1)])
    columns = log_mel(sound)
    assert columns.shape == (201, BANDS)
    loud = columns.mean(axis=1)
    assert loud[96] < loud[104]
    assert abs(int(np.diff(loud).argmax()) - COLUMNS_PER_SECOND) <= 2


def test_a_louder_recording_says_the_same():
    random = np.random.default_rng(1)
    sound = np.concatenate([tone(0.4, 200 + 300 * number) for number in range(5)])
    sound += random.normal(0, 0.01, len(sound)).astype(np.float32)
    quiet, loud = normalised(log_mel(sound * 0.1)), normalised(log_mel(sound))
    assert np.abs(quiet - loud).max() < 0.05
    assert not normalised(np.full((50, BANDS), -16, np.float32)).any()


def test_shapes_between_columns_are_interpolated():
    shapes = np.arange(300, dtype=np.float32)[:, None].repeat(len(SHAPES), 1)
    found = shapes_at(shapes, [Fraction(0), Fraction(1, 8), Fraction(2), Fraction(99)])
    assert found[:, 0] == pytest.approx([0, 12.5, 200, 299])
    assert found.dtype == np.float32
