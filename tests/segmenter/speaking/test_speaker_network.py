"""Light-ASD, written anew, gives what the public code gave for the same weights, faces and sound."""

import json

import numpy as np
import pytest
import torch

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from segmenter.speaking.network import CONTEXT_FACES, PASS_FACES, SpeakerNetwork, load_speaker_network


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "light_asd.npz")


@pytest.fixture(scope="module")
def network(shared):
    return SpeakerNetwork(read(shared / "checkpoints" / "light_asd" / "finetuning_TalkSet.model"))


def read(weights):
    return torch.load(weights, map_location="cpu", weights_only=True)


def test_parity_with_the_public_code(golden, network):
    """Tolerance 1e-4, in float32: the same mathematics, summed up in another order."""
    seen, heard = network.see(golden["faces"]), network.hear(golden["mfcc"])
    assert seen == pytest.approx(golden["visual_embedding"][0], abs=1e-4)
    assert heard == pytest.approx(golden["audio_embedding"][0], abs=1e-4)
    assert network.score(seen, heard) == pytest.approx(golden["scores"], abs=1e-4)


def test_bfloat16_changes_scores_little(golden, shared):
    """A change of speaker is decided by sums of scores of 1 and more."""
    weights = shared / "checkpoints" / "light_asd" / "pretrain_AVA_CVPR.model"
    exact, fast = SpeakerNetwork(read(weights)), SpeakerNetwork(read(weights), torch.bfloat16)
    heard = exact.hear(golden["mfcc"])
    scores = [each.score_in_windows(each.see(golden["faces"]), heard) for each in (exact, fast)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)
    assert load_speaker_network(weights).see(golden["faces"]) == pytest.approx(exact.see(golden["faces"]), abs=0.1)


def test_faces_seen_in_passes_are_those_seen_at_once(golden, network):
    faces = np.concatenate([golden["faces"], golden["faces"]])[: 2 * PASS_FACES + CONTEXT_FACES + 1]
    at_once = network._see_pass(list(faces), 0, 0)
    assert network.see(faces) == pytest.approx(at_once, abs=1e-4)
    assert network.see(faces[:3]).shape == (3, 128)
    assert network.see([]).shape == (0, 128)


def test_windows_of_each_length_are_judged_by_themselves(golden, network):
    seen, heard = network.see(golden["faces"]), network.hear(golden["mfcc"])
    by_hand = []
    for length in (25, 50, 75, 100, 125, 150):
        starts = range(0, len(seen), length)
        by_hand.append(np.concatenate([network.score(seen[a : a + length], heard[a : a + length]) for a in starts]))
    assert network.score_in_windows(seen, heard) == pytest.approx(np.mean(by_hand, axis=0), abs=1e-4)


def test_only_the_published_weights_are_taken(tmp_path, shared):
    names = json.loads((shared / "golden" / "light_asd_state_dict.json").read_text())
    SpeakerNetwork({name: torch.zeros(shape) for name, shape in names.items()})
    with pytest.raises(CheckpointNotFound, match=r"segmenter\.speaking"):
        load_speaker_network(tmp_path / "none.model")
    (tmp_path / "other.model").write_bytes(b"weights")
    with pytest.raises(UnsupportedCheckpoint, match="Light-ASD"):
        load_speaker_network(tmp_path / "other.model")
