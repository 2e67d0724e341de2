"""Adapt a generator to one speaker, in minutes; refuse a result that is worse on footage it was not shown."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipstitch.progress import Reporter
from lipstitch.training.config import GeneratorConfig, PaceConfig
from lipstitch.training.dataset.dataset import FaceData, split_by_time
from lipstitch.training.dataset.grid import STEPS_PER_SECOND
from lipstitch.training.equipment import Equipment
from lipstitch.training.evaluation.measures import MOST_ROWS, HeldOut, dub_all
from lipstitch.training.expert import load_expert
from lipstitch.training.generator_stage import GeneratorStage
from lipstitch.training.loop import run_stage
from lipstitch.training.machine import choose_machine
from lipstitch.training.preparation.prepare import prepare_dataset
from lipstitch.training.train import schedule_of
from lipstitch.training.weights import load_trainable, write_network
from media.base.content import hash_bytes
from media.base.errors import ConfigError, TrainingError
from media.base.files import disk_errors, write_json

GAP_ROWS = STEPS_PER_SECOND
"""1 s between what is trained on and what is held out."""
CHECK_EVERY = 25
"""Steps between looks at what is held out."""
PATIENCE = 6
"""Checks without a better result after which fine-tuning ends."""
LEAST_GAIN = 0.002
"""Share by which the error has to fall for a result to count as better."""
SHARPNESS_KEPT = 0.9
"""Share of the sharpness, up to that of the truth, that a better result has to keep."""
MOTION_KEPT = 0.75
"""Share of what the sound moves the mouth that it has to keep: who copies references is near the truth, but mute."""
SYNC_KEPT = 0.02
"""How much of the expert's confidence it may lose, as a cosine."""

Figures = Mapping[str, float]


class SpeakerStage(GeneratorStage):
    """Training that keeps the best moving average by what is held out, and ends when that gets no better."""

    name = "finetune"

    def begin(self) -> Figures:
        """Measure what training starts from, and take it for the best so far; call before the first step."""
        self.dubbed_before = dub_all(self._machine.cast(self.result), self._held)
        self.before = self.check()
        self.best: Figures = self.before
        self.best_network = copy.deepcopy(self.result)
        self.best_step = 0
        self._num_worse = 0
        return self.before

    def is_finished(self, figures: Figures, step: int) -> bool:
        """Keep a better result; tell whether it is time to give up."""
        if not find_fault(self.before, figures) and error_of(figures) < error_of(self.best):
            self.best, self.best_step, self._num_worse = figures, step, 0
            self.best_network = copy.deepcopy(self.result)
        else:
            self._num_worse += 1
        return self._num_worse >= PATIENCE


def error_of(figures: Figures) -> float:
    """Return the error that is to fall: L1 of the lower face in levels, where the reference has the right head and the
    mouth of another sound, as it was drawn at first. With the frame itself, who copies its mouth would be best.
    """
    return figures["l1_back"]


def find_fault(before: Figures, after: Figures) -> str:
    """Return in what a result is worse than what it began with; empty if it is better."""
    if not error_of(after) < error_of(before) * (1 - LEAST_GAIN):
        return f"the error of the lower face went from {error_of(before):.2f} to {error_of(after):.2f} levels"
    if after["ssim_back"] < before["ssim_back"]:
        return f"the similarity of the lower face went from {before['ssim_back']:.3f} to {after['ssim_back']:.3f}"
    if min(after["sharpness"], 1) < SHARPNESS_KEPT * min(before["sharpness"], 1):
        return f"the sharpness of the mouth went from {before['sharpness']:.2f} to {after['sharpness']:.2f}"
    if after["motion"] < MOTION_KEPT * before["motion"]:
        return (
            f"the difference of the mouth between two sounds went from {before['motion']:.2f} to {after['motion']:.2f}"
        )
    for key, what in (("sync_confidence", "sync confidence"), ("sync_dub_confidence", "sync confidence of a dub")):
        if after.get(key, math.inf) < before.get(key, -math.inf) - SYNC_KEPT:
            return f"the {what} went from {before[key]:.3f} to {after[key]:.3f}"
    return ""


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How a network is adapted to a speaker."""

    held_share: float = 0.25
    """The last part of each video by time, on which the result is judged."""
    judged_rows: int = MOST_ROWS
    """Rows of each held-out track that are looked at, at most, 25 a second."""
    steps: int = 400
    """At most."""
    windows: int = 6
    """Windows of five frames in a step."""
    seconds: float | None = None
    """Time at most; None: no limit."""
    learning_rate: float = 5e-5
    seed: int = 1
    version: str = "finetuned"
    """Noted in the weights."""


def build_config(settings: FinetuneSettings) -> GeneratorConfig:
    """Return the settings of the generator's stage: slow, batch statistics as they are, nothing put off to later."""
    steps = settings.steps
    return GeneratorConfig(
        steps=steps,
        seconds=settings.seconds,
        windows=settings.windows,
        singles=0,
        learning_rate=settings.learning_rate,
        pace=PaceConfig(warmup_steps=20, check_every=min(CHECK_EVERY, steps), save_every=steps),
        ema=0.97,
        ema_warmup=0,
        gap_rows=15,
        near_share=0.0,
        dub_share=0.3,
        redrawn_share=1.0,
        redraw_away=False,
        redraw_from=0,
        sync_from=0,
        adversarial_from=40,
        adversarial_weight=0.005,
        freeze_normalisation=True,
    )


DEFAULT_SETTINGS = FinetuneSettings()
DEFAULT_EQUIPMENT = Equipment()


def finetune(
    checkpoint: Path,
    places: Sequence[Path],
    out: Path,
    reporter: Reporter,
    settings: FinetuneSettings = DEFAULT_SETTINGS,
    equipment: Equipment = DEFAULT_EQUIPMENT,
) -> Figures:
    """Adapt the weights of `checkpoint` to the speaker of some videos, write them to `out`, return their figures.

    The last part of each video is held out; a second before it is not used at all. The figures before and after are
    reported, and stored beside `out` as JSON. Prepared faces are kept in <out>.work. Raises TrainingError, and writes
    nothing to `out`, if no better result was found on the footage held out.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out: {out} must end in .safetensors.")
    if out.exists() and checkpoint.exists() and out.samefile(checkpoint):
        raise ConfigError(f"--out: {out} is the checkpoint itself. Choose another name.")
    machine = choose_machine(equipment.device, "auto", equipment.threads)
    network = load_trainable(checkpoint)
    judge = load_expert(equipment.expert) if equipment.expert else None
    work = out.with_name(f"{out.name}.work")
    prepared = prepare_dataset(places, work / "faces", reporter, detector=equipment.detector)
    if not prepared.usable:
        raise TrainingError(
            f"{prepared.videos[0].name}: no usable footage of the speaker: {prepared.videos[0].problem}."
        )
    names = [facts.name for facts in prepared.usable]
    data = FaceData(work / "faces", names=names, people=dict.fromkeys(names, "speaker"), device=machine.device)
    split = split_by_time(data, settings.held_share, GAP_ROWS)
    if not split.tracks or not split.held:
        raise TrainingError(
            "there is too little footage to hold a part out. Give some seconds of the speaker at least."
        )
    config = build_config(settings)
    held = HeldOut(data, split.held, most_rows=settings.judged_rows)
    stage = SpeakerStage(config, split, held, network=network, expert=judge, seed=settings.seed, machine=machine)
    before = stage.begin()
    with disk_errors(work):
        (work / "finetune.state").unlink(missing_ok=True)  # it lasts minutes, so it begins anew
    run_stage(stage, schedule_of(config), work, reporter, seed=settings.seed, key=data.key)
    (work / "finetune.state").unlink(missing_ok=True)
    _tell(before, stage.best, reporter)
    if stage.best_step == 0:
        fault = find_fault(before, stage.check()) or "no check found a better one"
        raise TrainingError(
            f"nothing was saved: on the footage held out, {fault}. Give more footage, or lower --learning-rate."
        )
    write_network(stage.best_network, out, version=settings.version, licence="as the weights it was adapted from")
    figures = {"checkpoint": hash_bytes(checkpoint), "steps": stage.best_step, "before": before, "after": stage.best}
    write_json(
        out.with_name(f"{out.name}.json"), {**figures, "held_out_seconds": sum(map(len, split.held)) / STEPS_PER_SECOND}
    )
    reporter.info(f"{out}: written, after {stage.best_step} steps.")
    return stage.best


def _tell(before: Figures, after: Figures, reporter: Reporter) -> None:
    reporter.info(f"{'on the footage held out':<28} {'before':>9} {'after':>9}")
    for key, value in before.items():
        reporter.info(f"{key:<28} {value:>9.4f} {after[key]:>9.4f}")
