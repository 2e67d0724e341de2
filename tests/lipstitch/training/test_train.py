"""Training: what was killed goes on exactly, the expert learns from drawn faces, odd checkpoints are refused."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lipstitch.training.preparation.reject
from lipstitch.progress import Silent
from lipstitch.training.config import ExpertConfig, load_training
from lipstitch.training.dataset.dataset import FaceData, Split
from lipstitch.training.dataset.facts import VideoFacts
from lipstitch.training.expert import SyncExpert, load_expert
from lipstitch.training.expert_stage import ExpertStage
from lipstitch.training.loop import Progress, Schedule, Stage, _plan, rate_at, run_stage
from lipstitch.training.machine import choose_machine
from lipstitch.training.preparation.reject import reject_windows
from lipstitch.training.train import run_training
from lipstitch.training.weights import exaggerate_sound, load_trainable, write_network, write_weights
from media.base.errors import CheckpointNotFound, ConfigError, TrainingError, UnsupportedCheckpoint
from media.base.files import append_lines
from renderer.networks.base import load_module
from renderer.networks.compact import CompactNetwork
from renderer.networks.wav2lip import Wav2Lip
from tests.lipstitch.training.conftest import write_talker
from tests.support.commands import ROOT, start_command
from tests.support.lip_networks import KnownExpert

SHORT = {
    "seed": 3,
    "threads": 1,
    "held_out": ["carl"],
    "expert": {"steps": 2, "windows": 4, "group": 2, "save_every": 2},
    "generator": {
        "steps": 3,
        "windows": 2,
        "singles": 2,
        "save_every": 1,
        "check_every": 1000,
        "sync_from": 0,
        "adversarial_from": 1,
        "dub_share": 0.5,
        "redraw_from": 1,
    },
}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Return a dataset of three faces, two of them short, so that looking at who is held out takes no time."""
    folder = tmp_path_factory.mktemp("few")
    for seed, (name, num_rows) in enumerate((("anna", 100), ("bert", 100), ("carl", 25))):
        write_talker(folder, name, seed, num_rows)
    return folder


def write_config(folder, data, **changes):
    content = {**SHORT, "data": str(data), "out": "out", **changes}
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory):
    """Return the folder of a training that was not interrupted."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    run_training(load_training(write_config(folder, few)), Silent())
    return folder / "out"


def test_a_training_that_is_killed_and_started_again_gives_the_same_weights(whole, few, tmp_path):
    config = write_config(tmp_path, few)
    process = start_command("train", "run", "--config", config, "--quiet")
    state = tmp_path / "out" / "generator.state"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists(), process.stderr.read()
    killed_at = torch.load(state, weights_only=True)["step"]
    assert killed_at in (1, 2)
    assert not (tmp_path / "out" / "compact.safetensors").exists()
    run_training(load_training(config), Silent())
    for name in ("expert.state", "generator.state"):
        one, two = (torch.load(folder / name, weights_only=True) for folder in (whole, tmp_path / "out"))
        assert same(one["modules"], two["modules"])
        assert same(one["optimizers"], two["optimizers"])
    for name in ("expert.safetensors", "compact.safetensors"):
        assert same(load_file(whole / name), load_file(tmp_path / "out" / name))
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [json.loads(line)["step"] for line in (whole / "metrics.jsonl").read_text().splitlines()]


def same(one, two):
    """Tell whether two values of a checkpoint are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def test_a_stage_that_stops_between_checkpoints_goes_on_exactly(talkers, tmp_path):
    """The same of the expert, with its dropout, for each step at which it may stop."""

    def train(folder, stops_at=None):
        data = FaceData(talkers)
        machine = choose_machine("cpu", "float32", 1)
        stage = ExpertStage(ExpertConfig(windows=4, group=2), Split(data, data.tracks, []), seed=1, machine=machine)
        step = stage.step

        def stopping(number):
            if number == stops_at:
                raise KeyboardInterrupt
            return step(number)

        stage.step = stopping
        folder.mkdir(exist_ok=True)
        run_stage(stage, Schedule(steps=5, save_every=2, log_every=1), folder, Silent(), seed=1, key="k")
        return stage.expert.state_dict()

    expected = train(tmp_path / "whole")
    for stops_at in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", stops_at)
    assert same(dict(train(tmp_path / "parts")), dict(expected))
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5]


def test_what_is_written_is_what_the_renderer_loads(whole):
    path = whole / "compact.safetensors"
    assert isinstance(load_module(path), CompactNetwork)
    assert path.stat().st_size < 12e6
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"network": "compact", "version": "1", "licence": "research use"}
    tensors = load_file(path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16, torch.int64}
    state = torch.load(whole / "generator.state", weights_only=True)["modules"]["average"]
    assert all(torch.equal(state[f"module.{name}"].to(tensor.dtype), tensor) for name, tensor in tensors.items())
    pictures = sorted(picture.name for picture in (whole / "pictures").iterdir())
    assert pictures == ["generator-000003.png"]
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["stage"] == "generator" and "l1" in line][-1]
    assert {"l1", "gradient", "sync", "feature", "discriminator"} <= last.keys()
    held = next(line["held_out"] for line in lines if line["stage"] == "generator" and "held_out" in line)
    assert {"l1", "ssim", "sharpness", "motion", "sync_confidence"} <= held.keys()


def test_sound_moves_the_mouth_farther_from_what_it_does_on_average():
    torch.manual_seed(1)
    network = CompactNetwork().eval()
    mels = torch.randn(300, 1, 80, 16)
    with torch.inference_mode():
        before = network.a(mels)
        exaggerate_sound(network, mels, 1.5)
        after = network.a(mels)
    mean = before.mean(dim=0)
    torch.testing.assert_close(after - mean, (before - mean) * 1.5, atol=1e-5, rtol=1e-4)


def test_a_gain_of_the_sound_goes_into_what_is_written_alone(few, tmp_path):
    """The same training: its state stays as it was, and a finished one is written again with the same gain."""
    settings = {"expert": {**SHORT["expert"], "steps": 1}, "generator": {**SHORT["generator"], "steps": 1}}
    settings["generator"]["sound_gain"] = 2.0
    config = load_training(write_config(tmp_path, few, **settings))
    for _ in range(2):
        weights = load_file(run_training(config, Silent()))
        state = torch.load(tmp_path / "out" / "generator.state", weights_only=True)["modules"]["average"]
        assert torch.equal(weights["a.fc.weight"], (2 * state["module.a.fc.weight"]).half())
        assert torch.equal(weights["ap.weight"], state["module.ap.weight"].half())


def test_a_gain_of_the_sound_is_for_the_compact_network(few, tmp_path):
    write_network(Wav2Lip(), tmp_path / "full.safetensors", version="0", licence="test")
    settings = {"generator": {**SHORT["generator"], "sound_gain": 2.0}, "init": str(tmp_path / "full.safetensors")}
    with pytest.raises(ConfigError, match="sound_gain: 2 is for the compact network"):
        run_training(load_training(write_config(tmp_path, few, **settings)), Silent())
    assert not (tmp_path / "out").exists(), "before the expert is trained"


def test_a_finished_training_is_not_done_again(whole, few, tmp_path, reporter):
    before = load_file(whole / "compact.safetensors")
    config = load_training(write_config(tmp_path, few, out=str(whole)))
    run_training(config, reporter)
    assert "generator: finished already, 3 steps." in reporter.text
    assert same(load_file(whole / "compact.safetensors"), before)


@pytest.mark.parametrize("change", [{"seed": 4}, {"held_out": ["bert"]}, {"expert": {"steps": 3, "windows": 4}}])
def test_a_run_with_other_settings_is_refused(whole, few, tmp_path, change):
    config = load_training(write_config(tmp_path, few, out=str(whole), **change))
    with pytest.raises(ConfigError, match="begun with other settings"):
        run_training(config, Silent())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "pickle", "shapes"])
def test_a_foreign_checkpoint_is_refused(whole, few, tmp_path, content):
    out = tmp_path / "out"
    out.mkdir()
    if content == "pickle":
        torch.save({"key": os.system}, out / "expert.state")
    elif content == "shapes":
        state = torch.load(whole / "expert.state", weights_only=True)
        state["modules"]["expert"]["scale"] = torch.zeros(3)
        torch.save(state, out / "expert.state")
    else:
        (out / "expert.state").write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint, match="Remove it to begin"):
        run_training(load_training(write_config(tmp_path, few)), Silent())


def test_other_weights_to_start_from_are_checked(few, tmp_path):
    expert = tmp_path / "expert.safetensors"
    write_weights(SyncExpert(), expert, kind="sync expert", version="1", licence="test")
    given = {**SHORT["expert"], "file": str(expert)}
    with pytest.raises(CheckpointNotFound):
        run_training(load_training(write_config(tmp_path, few, init="none.safetensors", expert=given)), Silent())
    with pytest.raises(UnsupportedCheckpoint):
        run_training(load_training(write_config(tmp_path, few, init=str(expert), expert=given)), Silent())
    with pytest.raises(UnsupportedCheckpoint, match="not the weights of a sync expert"):
        load_expert(ROOT / "checkpoints" / "compact.safetensors")
    with pytest.raises(CheckpointNotFound):
        load_expert(tmp_path / "none")


def test_weights_that_diverged_are_not_written(tmp_path):
    network = CompactNetwork()
    with torch.no_grad():
        network.ap.bias[0] = 1e30
    with pytest.raises(TrainingError, match="not finite in float16"):
        write_network(network, tmp_path / "a.safetensors", version="1", licence="test")
    assert list(tmp_path.iterdir()) == []
    save_file({name: tensor * torch.nan for name, tensor in CompactNetwork().state_dict().items()}, tmp_path / "nan")
    with pytest.raises(UnsupportedCheckpoint, match="not finite"):
        load_trainable(tmp_path / "nan")


def test_the_expert_learns_which_sound_opens_the_mouth(talkers):
    data = FaceData(talkers)
    config = ExpertConfig(windows=24, group=8, learning_rate=2e-3, softness=0.0)
    stage = ExpertStage(config, data.split(["carl"]), seed=1, machine=choose_machine("cpu", "float32", 1))
    losses = [float(stage.step(number)["loss"]) for number in range(14)]
    assert sum(losses[-4:]) < 0.9 * sum(losses[2:6])


def test_rates_rise_and_fall_by_the_step_alone():
    schedule = Schedule(steps=100, warmup_steps=10, decay_share=0.2)
    rates = [rate_at(step, 100, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:81]) == {1.0}
    assert rates[90] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.1


def test_a_budget_leaves_room_for_the_decay():
    schedule = Schedule(steps=1000, seconds=10.0, decay_share=0.25)
    assert _plan(Progress(step=50, seconds=7.4, total=1000), schedule) == 1000
    assert _plan(Progress(step=60, seconds=7.6, total=1000), schedule) == 80
    assert _plan(Progress(step=70, seconds=99.0, total=80), schedule) == 80, "decided once"
    assert _plan(Progress(step=900, seconds=8.0, total=1000), schedule) == 1000, "never more than its steps"


def test_a_stage_ends_when_its_check_says_so(tmp_path):
    class Short(Stage):
        name, modules, optimizers = "short", {}, {}

        def step(self, step):
            return {"loss": torch.tensor(1.0)}

        def is_finished(self, figures, step):
            return step >= 4

    progress = run_stage(Short(), Schedule(steps=100, check_every=2), tmp_path, Silent(), seed=1, key="k")
    assert (progress.step, progress.is_done) == (4, True)


def test_half_a_line_of_metrics_is_forgotten(tmp_path):
    class Idle(Stage):
        name, modules, optimizers = "idle", {}, {}

        def step(self, step):
            return {"loss": torch.tensor(1.0)}

    append_lines(tmp_path / "metrics.jsonl", [{"stage": "before", "step": 9}, {"stage": "idle", "step": 3}])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "idl')
    run_stage(Idle(), Schedule(steps=1), tmp_path, Silent(), seed=1, key="k")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [("before", 9), ("idle", 1)]


def test_windows_whose_sound_is_shifted_are_rejected(few, tmp_path, monkeypatch, reporter):
    """With an expert that knows the drawn faces: the one whose sound was moved by 0.4 s is found, the others stay."""
    data = tmp_path / "data"
    shutil.copytree(few, data)
    columns = np.load(data / "bert" / "columns.npy")
    np.save(data / "bert" / "columns.npy", np.maximum(columns - 32, 0))
    monkeypatch.setattr(lipstitch.training.preparation.reject, "load_expert", lambda _: KnownExpert())
    videos = [VideoFacts.load(data / name) for name in ("anna", "bert", "carl")]
    weights = tmp_path / "expert"
    weights.write_text("known")
    rejected = reject_windows(data, videos, weights, reporter)
    assert rejected["sound and lips are apart"] > 60
    assert sum(rejected.values()) < 110
    tracks = {track.video: track for track in FaceData(data).tracks}
    assert len(tracks["anna"].windows) > 80
    assert len(tracks["bert"].windows) < 30
