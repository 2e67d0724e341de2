"""What is done to sound before and after the network that hears shapes in it."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from renderer.footage.lip_shape import SHAPES
from renderer.footage.log_mel import BANDS, COLUMNS_PER_SECOND, between_columns, is_silent, log_mel, normalised
from renderer.footage.sound_shape import SoundShapeNetwork, hear, hear_at

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


def test_columns_are_the_same_however_they_are_divided(monkeypatch):
    sound = np.random.default_rng(2).normal(0, 0.1, 3 * RATE + 77).astype(np.float32)
    whole = log_mel(sound)
    monkeypatch.setattr("renderer.footage.log_mel.BLOCK_COLUMNS", 37)
    assert log_mel(sound) == pytest.approx(whole, abs=1e-4)
    assert log_mel(sound[:RATE])[:90] == pytest.approx(whole[:90], abs=1e-4)
    assert log_mel(sound[:100]).shape == (1, BANDS)
    assert log_mel(sound[:0]).shape == (1, BANDS)


def test_a_louder_recording_says_the_same():
    random = np.random.default_rng(1)
    sound = np.concatenate([tone(0.4, 200 + 300 * number) for number in range(5)])
    sound += random.normal(0, 0.01, len(sound)).astype(np.float32)
    quiet, loud = normalised(log_mel(sound * 0.1)), normalised(log_mel(sound))
    assert np.abs(quiet - loud).max() < 0.05
    assert not normalised(np.full((50, BANDS), -16, np.float32)).any()


def test_silence_is_where_nothing_is_said_for_a_while():
    pause, gap = np.zeros(RATE // 2, np.float32), np.zeros(RATE // 10, np.float32)
    speech = np.random.default_rng(6).normal(0, 0.1, RATE // 2).astype(np.float32)
    columns = log_mel(np.concatenate([speech, pause, speech, gap, speech, pause]))
    silent = is_silent(columns, np.arange(len(columns)))
    assert silent[62:88].all()
    assert not silent[:58].any()
    assert not silent[93:205].any(), "a tenth of a second is part of a word"
    assert silent[-30:].all()


def test_what_lies_between_columns_is_interpolated():
    shapes = np.arange(300, dtype=np.float32)[:, None].repeat(2, 1)
    found = between_columns(shapes, np.array([-3, 0, 12.5, 200, 9900]))
    assert found[:, 0] == pytest.approx([0, 0, 12.5, 200, 299])
    assert found.dtype == np.float32
    assert between_columns(shapes[:1], np.array([0.0, 7.0]))[:, 1] == pytest.approx([0, 0])


def test_shapes_are_heard_at_the_times_asked_for():
    torch.manual_seed(1)
    network = SoundShapeNetwork().eval()
    columns = log_mel(np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32))
    heard = hear(network, columns, [Fraction(1, 2), Fraction(1)])
    assert heard.shape == (2, len(SHAPES))
    assert hear(network, columns, np.array([0.5])) == pytest.approx(heard[:1])


def test_a_stretch_is_heard_as_in_the_whole_track():
    """Each by itself: a film has hundreds of speakers, and hours of sound."""
    torch.manual_seed(1)
    network = SoundShapeNetwork().eval()
    columns = normalised(log_mel(np.random.default_rng(0).normal(0, 0.1, 80 * RATE).astype(np.float32)))
    places = np.arange(0, len(columns) - 1, 3.7)
    whole = hear_at(network, columns, places)
    for part in (slice(0, 5), slice(700, 703), slice(1500, 1900), slice(len(places) - 1, None)):
        assert hear_at(network, columns, places[part]) == pytest.approx(whole[part], abs=1e-4)
