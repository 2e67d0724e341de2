"""run_training(): the whole story: data, expert, generator, weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lipstitch.progress import Reporter
from lipstitch.training.config import ExpertConfig, GeneratorConfig, StageConfig, TrainConfig
from lipstitch.training.dataset.dataset import FaceData, Split
from lipstitch.training.dataset.grid import STEPS_PER_SECOND
from lipstitch.training.evaluation.measures import GLANCE_ROWS, HeldOut, count_parameters
from lipstitch.training.expert import SyncExpert, load_expert
from lipstitch.training.expert_stage import ExpertStage
from lipstitch.training.generator_stage import GeneratorStage
from lipstitch.training.loop import Schedule, run_stage
from lipstitch.training.machine import Machine, choose_machine
from lipstitch.training.weights import exaggerate_sound, hash_weights, load_trainable, write_network, write_weights
from media.base.content import content_key
from media.base.errors import ConfigError
from media.base.locks import locked
from renderer.networks.compact import CompactNetwork

EXPERT_FILE, NETWORK_FILE = "expert.safetensors", "compact.safetensors"


def run_training(config: TrainConfig, reporter: Reporter) -> Path:
    """Train the sync expert and then the generator, each from its last checkpoint; return the file of the weights.

    Raises ConfigError, TrainingError, CheckpointError or WorkspaceError. Beside the weights lie expert.safetensors,
    metrics.jsonl and pictures/.
    """
    machine = choose_machine(config.arithmetic.device, config.arithmetic.precision, config.arithmetic.threads)
    network = _first_network(config)
    with locked(config.out, "choose another `out`"):
        data = FaceData(config.data, people=config.people, device=machine.device)
        split = data.split(config.held_out)
        _introduce(split, machine, reporter)
        expert = _train_expert(config, split, machine, reporter)
        return _train_generator(config, split, network, expert, machine, reporter)


def _introduce(split: Split, machine: Machine, reporter: Reporter) -> None:
    for what, chosen in (("training", split.tracks), ("held out", split.held)):
        seconds = sum(map(len, chosen)) / STEPS_PER_SECOND
        reporter.info(f"{what}: {seconds:.0f} s of {len({track.person for track in chosen})} people")
    reporter.info(f"device: {machine.device}, {str(machine.dtype).removeprefix('torch.')}")


def _first_network(config: TrainConfig) -> nn.Module:
    """Return the network to begin with."""
    torch.manual_seed(config.seed)
    network = load_trainable(config.init) if config.init is not None else CompactNetwork()
    gain = config.generator.sound_gain
    if gain != 1 and not isinstance(network, CompactNetwork):
        raise ConfigError(f"generator.sound_gain: {gain:g} is for the compact network; set it to 1 with {config.init}.")
    return network


def schedule_of(config: StageConfig) -> Schedule:
    """Return a stage's schedule."""
    return Schedule(
        steps=config.steps,
        seconds=config.seconds,
        warmup_steps=config.pace.warmup_steps,
        decay_share=config.pace.decay_share,
        check_every=config.pace.check_every,
        save_every=config.pace.save_every,
    )


def _key(
    config: TrainConfig, part: ExpertConfig | GeneratorConfig, data: FaceData, machine: Machine, *start: nn.Module
) -> str:
    """Return the content key of a stage: all that its weights depend on. start: networks as they are at its begin."""
    settings = part.model_dump(mode="json", exclude={"file", "pace", "augmentation"})
    settings |= part.pace.model_dump(mode="json", exclude={"save_every", "check_every"})
    settings |= part.augmentation.model_dump(mode="json")
    hashes = [hash_weights(network) for network in start]
    return content_key(
        settings, data.key, config.held_out, config.seed, machine.device.type, str(machine.dtype), hashes
    )


def _train_expert(config: TrainConfig, split: Split, machine: Machine, reporter: Reporter) -> Path:
    if config.expert.file is not None:
        load_expert(config.expert.file)
        return config.expert.file
    path = config.out / EXPERT_FILE
    stage = ExpertStage(config.expert, split, seed=config.seed, machine=machine)
    key = _key(config, config.expert, split.data, machine)
    run_stage(stage, schedule_of(config.expert), config.out, reporter, seed=config.seed, key=key)
    write_weights(stage.expert, path, kind="sync expert", version=config.note.version, licence=config.note.licence)
    return path


def _train_generator(
    config: TrainConfig,
    split: Split,
    network: nn.Module,
    expert_file: Path,
    machine: Machine,
    reporter: Reporter,
) -> Path:
    expert: SyncExpert = load_expert(expert_file)
    gain = config.generator.sound_gain
    key = _key(config, config.generator, split.data, machine, network, expert)
    stage = GeneratorStage(
        config.generator,
        split,
        HeldOut(split.data, split.held, most_rows=GLANCE_ROWS),
        network=network,
        expert=expert,
        seed=config.seed,
        machine=machine,
    )
    run_stage(stage, schedule_of(config.generator), config.out, reporter, seed=config.seed, key=key)
    path = config.out / NETWORK_FILE
    if gain != 1 and isinstance(stage.result, CompactNetwork):
        rows = np.concatenate([np.arange(track.start, track.stop) for track in split.tracks])
        exaggerate_sound(stage.result, split.data.mels_at(rows), gain)
    write_network(stage.result, path, version=config.note.version, licence=config.note.licence)
    reporter.info(
        f"{path}: {count_parameters(stage.result) / 1e6:.1f} M parameters, {path.stat().st_size / 1e6:.1f} MB"
    )
    return path
