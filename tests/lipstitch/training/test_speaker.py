"""Fine-tuning and assessing on the demonstration's own video, from the command line where it counts."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lipstitch.training.equipment import Equipment
from lipstitch.training.evaluation.assess import MEANINGS, assess_networks, choose_videos
from lipstitch.training.expert import SyncExpert
from lipstitch.training.finetune import FinetuneSettings, error_of, find_fault, finetune
from lipstitch.training.weights import write_network, write_weights
from media.base.errors import ConfigError, TrainingError
from renderer.checkpoints import SHIPPED_REGISTRY
from renderer.networks.base import load_module
from renderer.networks.compact import CompactNetwork
from tests.lipstitch.training.conftest import CASCADE


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a folder with the shipped network made too bright, and an expert that knows nothing."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    network = load_module(SHIPPED_REGISTRY.parent / "compact.safetensors")
    with torch.no_grad():
        network.out[1].bias += 1.0
    write_network(network, folder / "bright.safetensors", version="0", licence="test")
    write_weights(SyncExpert(), folder / "expert.safetensors", kind="sync expert", version="0", licence="test")
    return folder


QUICK = FinetuneSettings(steps=3, windows=2, judged_rows=10)
PLAIN = Equipment(detector=CASCADE, device="cpu", threads=1)


@pytest.fixture
def work(demo_faces, tmp_path):
    """Return the work folder of a.safetensors, in which fine-tuning finds the faces prepared."""
    return shutil.copytree(demo_faces, tmp_path / "a.safetensors.work" / "faces")


@pytest.mark.usefixtures("work")
def test_a_speaker_is_learned_and_the_figures_are_told(demo_video, weights, tmp_path, reporter):
    out = tmp_path / "a.safetensors"
    settings = replace(QUICK, learning_rate=5e-4)
    equipment = replace(PLAIN, expert=weights / "expert.safetensors")
    figures = finetune(weights / "bright.safetensors", [demo_video], out, reporter, settings, equipment)
    assert isinstance(load_module(out), CompactNetwork)
    stored = json.loads(out.with_name("a.safetensors.json").read_text())
    assert stored["after"] == figures
    assert error_of(figures) < error_of(stored["before"])
    assert any("before" in line and "after" in line for line in reporter.said)
    assert any(line.startswith("sync_confidence") for line in reporter.said)


@pytest.mark.usefixtures("work")
def test_a_worse_result_is_refused_and_nothing_is_written(demo_video, tmp_path, reporter):
    """What is good cannot be bettered with steps that leap: the demonstration's network and a rate beyond all sense."""
    out = tmp_path / "a.safetensors"
    shipped = SHIPPED_REGISTRY.parent
    settings = replace(QUICK, learning_rate=0.5)
    with pytest.raises(TrainingError, match=r"nothing was saved: on the footage held out, the \w+ of") as caught:
        finetune(shipped / "compact.safetensors", [demo_video], out, reporter, settings, PLAIN)
    assert caught.value.exit_code == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors.work"]


GOOD = {
    "l1_back": 5.0,
    "ssim_back": 0.8,
    "sharpness": 0.9,
    "motion": 8.0,
    "sync_confidence": 0.2,
    "sync_dub_confidence": 0.2,
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"l1_back": 4.5}, ""),
        ({}, "error"),
        ({"l1_back": 5.5}, "error"),
        ({"l1_back": 4.5, "ssim_back": 0.79}, "similarity"),
        ({"l1_back": 4.5, "sharpness": 0.7}, "sharpness"),
        ({"l1_back": 4.5, "sharpness": 3.0}, ""),
        ({"l1_back": 4.5, "sync_confidence": 0.1}, "sync"),
        ({"l1_back": 4.5, "motion": 5.9}, "between two sounds"),
        ({"l1_back": 4.5, "sync_dub_confidence": 0.1}, "sync confidence of a dub"),
    ],
)
def test_what_counts_as_worse(change, fault):
    found = find_fault(GOOD, GOOD | change)
    assert fault in found
    assert bool(found) == bool(fault)


def test_odd_requests_are_refused(demo_video, weights, tmp_path, reporter):
    bright = weights / "bright.safetensors"
    with pytest.raises(ConfigError, match=r"must end in \.safetensors"):
        finetune(bright, [demo_video], tmp_path / "a.pth", reporter)
    with pytest.raises(ConfigError, match="is the checkpoint itself"):
        finetune(bright, [demo_video], bright, reporter)


def test_two_networks_are_measured_in_every_respect(demo_video, demo_faces, weights, tmp_path, reporter):
    work = tmp_path / "work"
    shutil.copytree(demo_faces, work / "faces")
    shortened = json.loads((work / "faces" / "talk" / "facts.json").read_text())
    shortened["tracks"] = [[0, 25]]
    (work / "faces" / "talk" / "facts.json").write_text(json.dumps(shortened))
    shipped = SHIPPED_REGISTRY.parent
    content = assess_networks(
        shipped / "compact.safetensors",
        weights / "bright.safetensors",
        [demo_video],
        work,
        reporter,
        Equipment(weights / "expert.safetensors", CASCADE, threads=1),
        speed_rounds=1,
    )
    content = json.loads(json.dumps(content))
    for name in ("old", "new"):
        assert content[name].keys() == MEANINGS.keys()
        assert all(isinstance(value, float) and np.isfinite(value) for value in content[name].values())
    assert content["new"]["l1"] < content["old"]["l1"], "the shipped network against one that is too bright"
    assert content["new"]["parameters"] == pytest.approx(5.6, abs=0.1)
    assert content["full_size_frames_per_second"] > 0
    assert content["people"] == ["talk"]
    assert content["truth"]["sync_accuracy"] is not None
    for meaning in MEANINGS.values():
        assert any(line.startswith(meaning.rstrip()) for line in reporter.said)
    (strip,) = (work / "strips").glob("*.png")
    with Image.open(strip) as picture:
        assert picture.width == 7 * 192
        assert picture.height == 4 * (192 + 14)


def test_without_an_expert_the_figures_of_sync_are_null(demo_video, demo_faces, weights, tmp_path, reporter):
    shutil.copytree(demo_faces, tmp_path / "faces")
    facts = tmp_path / "faces" / "talk" / "facts.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"tracks": [[0, 12]]}))
    bright = weights / "bright.safetensors"
    content = assess_networks(bright, bright, [demo_video], tmp_path, reporter, PLAIN, speed_rounds=0)
    assert content["new"]["sync_confidence"] is None
    assert content["new"]["l1"] == content["old"]["l1"]
    assert any("--expert" in text for text in reporter.warned)
    with pytest.raises(ConfigError, match="no video is called 'walk'"):
        choose_videos([demo_video], ["walk"])
