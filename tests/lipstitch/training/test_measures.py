"""Figures: each is right where the truth is known."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lipstitch.training.evaluation.measures import (
    HeldOut,
    count_parameters,
    draw_faces,
    dub_all,
    lower_l1,
    lower_ssim,
    measure,
    measure_speed,
    measure_truth,
    mouth_edges,
    mouth_motion,
)
from lipstitch.training.preparation.reject import smooth
from lipstitch.training.sync import FARTHEST_ROWS, sum_up, track_cosines
from renderer.networks.compact import CompactNetwork
from tests.lipstitch.training.conftest import NUM_ROWS
from tests.support.lip_networks import Copying, CountingExpert, KnownExpert, Listening


@pytest.fixture(scope="module")
def held(talking_data):
    return HeldOut(talking_data, talking_data.tracks[:2], most_rows=40)


def test_l1_and_ssim_look_at_the_lower_face_alone():
    truth = torch.rand(2, 3, 96, 96)
    other = truth.clone()
    other[:, :, :48] = 0
    assert lower_l1(other, truth) == 0
    assert lower_ssim(other, truth) == pytest.approx(1)
    other[:, :, 48:] += 0.1
    assert lower_l1(other, truth) == pytest.approx(25.5, rel=1e-4)
    assert lower_ssim(torch.rand_like(truth), truth) < 0.2


def test_a_blurred_mouth_has_fewer_edges():
    faces = torch.rand(3, 3, 96, 96)
    soft = functional.avg_pool2d(faces, 3, 1, 1)
    assert mouth_edges(soft) < 0.3 * mouth_edges(faces)
    grey = torch.zeros(1, 3, 96, 96)
    grey[:, :, ::2] = 1 / 255
    assert mouth_edges(grey) == pytest.approx(4.0, rel=0.01), "levels of grey: +2, -2, +2 ..."


def test_motion_is_of_the_mouth():
    one = torch.rand(2, 3, 96, 96)
    two = one.clone()
    two[:, :, :50] = 0
    assert mouth_motion(one, two) == 0
    assert mouth_motion(one, one + 0.1) == pytest.approx(25.5, rel=1e-4)


def test_one_who_copies_is_found_out(held):
    figures = measure(Copying(), held, None)
    assert figures["l1"] == 0
    assert figures["motion"] == 0
    assert figures["sharpness"] == pytest.approx(1)
    assert figures["l1_other_time"] > 1
    assert figures["sync_confidence"] is None
    assert measure(Listening(), held, None)["motion"] > 5


def test_dubbing_back_shows_who_copies_a_wrong_mouth(held):
    """References that another network dubbed: who copies them is as wrong as they are, whatever `l1` says."""
    wrong = [faces + 0.2 for faces in dub_all(Copying(), held)]
    figures = measure(Copying(), held, None, wrong)
    assert figures["l1"] == pytest.approx(0, abs=1e-3)
    assert figures["l1_back"] == pytest.approx(0.2 * 255, rel=0.01)
    assert figures["ssim_back"] < figures["ssim"]
    assert measure(Copying(), held, None)["l1_back"] == pytest.approx(0, abs=1e-3), "its own dub is a copy, too"


def test_sync_of_faces_that_speak_is_seen(talking_data, held):
    expert = KnownExpert()
    truth = measure_truth(held, expert)
    assert truth["sync_accuracy"] > 0.7
    assert truth["sync_confidence"] > 0.2
    copied = measure(Copying(), held, expert)
    assert copied["sync_confidence"] < truth["sync_confidence"] / 2, "a mouth of another time"


def test_cosines_of_every_shift():
    number = torch.arange(60.0)
    faces = number[:, None, None, None].expand(60, 3, 96, 96)
    cosines = track_cosines(CountingExpert(), faces, number[:, None, None, None].expand(60, 1, 80, 16))
    assert cosines.shape == (56, 31)
    for row, shift in ((0, 0), (0, 15), (20, -15), (20, 7), (55, 0), (55, -4)):
        assert cosines[row, FARTHEST_ROWS + shift] == pytest.approx(np.cos(shift), abs=1e-4)
    assert cosines[0, :FARTHEST_ROWS].isnan().all()
    assert cosines[-1, FARTHEST_ROWS + 1 :].isnan().all()


def test_figures_of_cosines():
    cosines = torch.zeros(4, 31)
    cosines[:, FARTHEST_ROWS] = 0.5
    cosines[0, 0], cosines[1, 0], cosines[2, 14] = 0.9, torch.nan, 0.9
    figures = sum_up(cosines)
    assert figures.accuracy == pytest.approx(1 - 1 / 87)
    assert figures.true_cosine == pytest.approx(0.5)
    assert figures.confidence == pytest.approx(0.5 - 0.9 / 87)


def test_the_other_sound_is_another_persons(talking_data, held):
    watched = held.watch(0)
    assert watched.dub.shape == watched.mels.shape == (40, 1, 80, 16)
    assert watched.dub.equal(talking_data.mels_at(NUM_ROWS + np.arange(40)))
    alone = HeldOut(talking_data, talking_data.tracks[:1]).watch(0)
    assert not alone.dub.equal(alone.mels)
    assert (alone.away - alone.faces).abs().mean() > 0


def test_speed_and_size():
    network = CompactNetwork().eval()
    assert 5_000_000 < count_parameters(network) <= 6_000_000
    slow, fast = measure_speed([network, Copying()], device="cpu", rounds=1, faces=8)
    assert 0 < slow < fast
    assert (
        draw_faces(Copying(), torch.zeros(3, 3, 96, 96), torch.ones(3, 3, 96, 96), torch.zeros(3, 1, 80, 16)).min() == 1
    )


def test_smoothing_leaves_out_what_is_not_known():
    values = np.array([[1.0], [np.nan], [3.0], [5.0]])
    assert smooth(values, 3)[:, 0] == pytest.approx([1, 2, 4, 4])
