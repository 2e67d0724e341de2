"""A network adapted to a speaker: better where the sound fits the picture, left alone where it does not."""

import numpy as np
import pytest
import torch

from renderer.footage.adapt import LEAST_AGREEMENT, LEAST_FRAMES, LEAST_GAIN, adapt
from renderer.footage.log_mel import BANDS, between_columns
from renderer.footage.sound_shape import SoundShapeNetwork

SECONDS = 20


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    return SoundShapeNetwork().eval()


@pytest.fixture(scope="module")
def columns():
    random = np.random.default_rng(4)
    walk = random.normal(0, 1, (SECONDS * 100 + 8, BANDS))
    return np.stack([np.convolve(band, np.hanning(9), "valid") for band in walk.T], axis=1).astype(np.float32)


PLACES = np.arange(SECONDS * 25) * 4.0


def told(network, columns):
    with torch.inference_mode():
        return between_columns(network(torch.from_numpy(columns).T[None])[0].T.numpy(), PLACES)


def normal(shapes):
    return ((shapes - shapes.mean(axis=0)) / shapes.std(axis=0)).astype(np.float32)


def agreement(network, columns, shapes):
    return np.mean(
        [np.corrcoef(one, other)[0, 1] for one, other in zip(told(network, columns).T, shapes.T, strict=True)]
    )


def own_way(network, columns):
    """Return shapes that follow the sound in another way than the network tells: (frames, shapes), of spread 1."""
    features = network.layers[:-1](torch.from_numpy(columns).T[None])[0].T.detach().numpy()
    random = np.random.default_rng(0)
    own = between_columns(features.astype(np.float32), PLACES) @ random.normal(0, 1, (features.shape[1], 6))
    own /= own.std(axis=0)
    return own + random.normal(0, 0.5, own.shape)


def test_a_speaker_who_moves_their_lips_otherwise_is_learned(network, columns):
    usual = told(network, columns)
    shapes = normal(0.7 * usual / usual.std(axis=0) + own_way(network, columns))
    before = [value.clone() for value in network.state_dict().values()]
    adapted = adapt(network, columns, PLACES, shapes)
    assert adapted.is_kept
    assert adapted.after > adapted.before + 0.05
    assert agreement(adapted.network, columns, shapes) > agreement(network, columns, shapes) + 0.08
    assert all(torch.equal(one, other) for one, other in zip(before, network.state_dict().values(), strict=True))


def test_sound_that_does_not_belong_to_the_picture_teaches_nothing(network, columns):
    shapes = normal(np.random.default_rng(1).normal(0, 1, (len(PLACES), 6)))
    adapted = adapt(network, columns, PLACES, shapes)
    assert not adapted.is_kept
    assert adapted.network is network


def test_a_sound_that_hardly_fits_teaches_nothing_though_it_would_help_a_little(network, columns):
    shapes = normal(own_way(network, columns))
    adapted = adapt(network, columns, PLACES, shapes)
    assert adapted.before + LEAST_GAIN < adapted.after < LEAST_AGREEMENT
    assert not adapted.is_kept


def test_a_network_that_is_right_already_stays(network, columns):
    adapted = adapt(network, columns, PLACES, normal(told(network, columns)))
    assert not adapted.is_kept
    assert adapted.before == pytest.approx(1, abs=1e-3)


def test_little_footage_teaches_nothing(network, columns):
    count = LEAST_FRAMES
    adapted = adapt(network, columns, PLACES[:count], normal(told(network, columns))[:count])
    assert not adapted.is_kept
    assert np.isnan(adapted.before)
