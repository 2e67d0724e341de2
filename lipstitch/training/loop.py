"""The loop that every stage of training runs in: schedule, checkpoints that resume exactly, metrics, pictures.

    learning rate   up over the warm-up, level, then down to 0 over the last share of the steps

A step depends on the stage's state, the seed and the step's number alone. So a run that is killed and started again
gives, on the CPU, with the same number of threads, the same weights to the bit as one that was not. With a budget of
seconds the step at which the decay begins depends on how fast the machine is: such a run is not reproducible, though
from then on its schedule, too, depends on the step alone (the number of steps is noted in the checkpoint).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lipstitch.progress import Reporter
from lipstitch.progress import stage as bracket
from media.base.errors import ConfigError, UnsupportedCheckpoint
from media.base.files import append_lines, atomic_file, disk_errors


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a stage lasts, and how often it does what beside training."""

    steps: int
    seconds: float | None = None
    """Budget of wall time; the stage ends sooner if its steps are done."""
    warmup_steps: int = 100
    decay_share: float = 0.3
    """Share of the steps at the end over which the rate falls to 0."""
    log_every: int = 20
    check_every: int = 500
    """Steps between evaluations on held-out people, with a picture."""
    save_every: int = 250


class Stage:
    """A part of training: networks, their optimisers, and one step."""

    name: str
    modules: dict[str, nn.Module]
    """Everything with weights or buffers that must survive."""
    optimizers: dict[str, Optimizer]

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Do one step; return its losses, on any device."""
        raise NotImplementedError

    def check(self) -> dict[str, float]:
        """Return figures of held-out people; nothing by default."""
        return {}

    def draw(self, path: Path) -> None:
        """Draw a picture that shows how far it is; nothing by default."""

    def is_finished(self, figures: Mapping[str, float], step: int) -> bool:
        """Tell, after a check, whether going on would make it worse; never by default."""
        return False


@dataclass(slots=True)
class Progress:
    """Where a stage stands."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Wall time of these, over all runs."""
    total: int = 0
    """Steps in all, as far as is known."""
    is_done: bool = False


def run_stage(stage: Stage, schedule: Schedule, folder: Path, reporter: Reporter, *, seed: int, key: str) -> Progress:
    """Run a stage to its end, from its last checkpoint in `folder` if there is one, and return where it stands.

    key: content key of the settings and the data; a checkpoint of another one is refused with ConfigError. Writes
    <stage>.state, metrics.jsonl and pictures/<stage>-<step>.png.
    """
    rates = {name: [group["lr"] for group in each.param_groups] for name, each in stage.optimizers.items()}
    state_file, metrics = folder / f"{stage.name}.state", folder / "metrics.jsonl"
    progress = _load(stage, state_file, key) or Progress(total=schedule.steps)
    _forget_later(metrics, stage.name, progress.step)
    if progress.is_done:
        reporter.info(f"{stage.name}: finished already, {progress.step} steps.")
        return progress
    began = time.monotonic() - progress.seconds
    losses: list[Mapping[str, Tensor]] = []
    with bracket(reporter, stage.name, progress.total, "steps"):
        while not progress.is_done:
            _set_rates(stage, rates, rate_at(progress.step, progress.total, schedule))
            torch.manual_seed(_step_seed(seed, stage.name, progress.step))  # dropout
            losses.append(stage.step(progress.step))
            progress.step += 1
            progress.seconds = time.monotonic() - began
            progress.total = _plan(progress, schedule)
            progress.is_done = progress.step >= progress.total
            if progress.step % schedule.log_every == 0 or progress.is_done:
                _log(stage.name, progress, losses, metrics)
                reporter.advance(progress.step, _note(progress, losses, schedule))
                losses.clear()
            if progress.step % schedule.check_every == 0 or progress.is_done:
                progress.is_done |= _check(stage, progress, folder, reporter)
            if progress.step % schedule.save_every == 0 or progress.is_done:
                progress.seconds = time.monotonic() - began
                _save(stage, progress, state_file, key)
    return progress


def rate_at(step: int, total: int, schedule: Schedule) -> float:
    """Return the factor on the learning rate at a step: up over the warm-up, 1, down over the last share."""
    decay_steps = max(total * schedule.decay_share, 1)
    warm = (step + 1) / max(schedule.warmup_steps, 1)
    return max(min(warm, 1.0, (total - step) / decay_steps), 0.0)


def _plan(progress: Progress, schedule: Schedule) -> int:
    """Return how many steps there will be: once only the decay fits into the budget, as many as that takes."""
    if schedule.seconds is None or progress.total < schedule.steps:
        return progress.total
    if progress.seconds < schedule.seconds * (1 - schedule.decay_share):
        return progress.total
    return min(math.ceil(progress.step / (1 - schedule.decay_share)), schedule.steps)


def _step_seed(seed: int, name: str, step: int) -> int:
    return (seed * 1_000_003 + sum(name.encode())) * 1_000_003 + step


def _set_rates(stage: Stage, rates: Mapping[str, list[float]], factor: float) -> None:
    for name, optimizer in stage.optimizers.items():
        for group, rate in zip(optimizer.param_groups, rates[name], strict=True):
            group["lr"] = rate * factor


def _log(name: str, progress: Progress, losses: list[Mapping[str, Tensor]], metrics: Path) -> None:
    entry = {"stage": name, "step": progress.step, "seconds": round(progress.seconds, 1), **_means(losses)}
    append_lines(metrics, [entry])


def _means(losses: list[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return the mean of each loss over those of the last steps that have it; here the host waits for the device."""
    known = {key: [float(each[key]) for each in losses if key in each] for key in losses[-1]}
    return {key: round(sum(values) / len(values), 5) for key, values in known.items()}


def _note(progress: Progress, losses: list[Mapping[str, Tensor]], schedule: Schedule) -> str:
    """Return what the progress line says beside the step: the losses, and what is left of a budget of seconds."""
    shown = " ".join(f"{key} {value:.4f}" for key, value in _means(losses).items())
    if schedule.seconds is None:
        return shown
    return f"{shown}, {max(schedule.seconds - progress.seconds, 0) / 60:.0f} min of the budget left"


def _check(stage: Stage, progress: Progress, folder: Path, reporter: Reporter) -> bool:
    figures = stage.check()
    if figures:
        rounded = {key: round(value, 5) for key, value in figures.items()}
        append_lines(folder / "metrics.jsonl", [{"stage": stage.name, "step": progress.step, "held_out": rounded}])
        shown = ", ".join(f"{key} {value:.4f}" for key, value in figures.items())
        reporter.info(f"{stage.name}, step {progress.step}, held out: {shown}")
    pictures = folder / "pictures"
    with disk_errors(pictures):
        pictures.mkdir(parents=True, exist_ok=True)
        stage.draw(pictures / f"{stage.name}-{progress.step:06d}.png")
    return stage.is_finished(figures, progress.step)


def _save(stage: Stage, progress: Progress, path: Path, key: str) -> None:
    state = {
        "key": key,
        "step": progress.step,
        "seconds": progress.seconds,
        "total": progress.total,
        "is_done": progress.is_done,
        "modules": {name: module.state_dict() for name, module in stage.modules.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in stage.optimizers.items()},
    }
    with atomic_file(path) as partial:
        torch.save(state, partial)


def _load(stage: Stage, path: Path, key: str) -> Progress | None:
    """Restore a stage from its checkpoint; None if the file does not exist. Executes nothing from the file."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        begun_with = state["key"]
    except Exception as exc:  # torch parses foreign bytes here, and may stumble over them in any way
        raise UnsupportedCheckpoint(f"{path}: this is no checkpoint of training. Remove it to begin anew.") from exc
    if begun_with != key:
        raise ConfigError(
            f"{path}: this run was begun with other settings, data or weights. Choose another `out`, or remove the file"
            " to begin the stage anew."
        )
    try:
        for name, module in stage.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in stage.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        return Progress(state["step"], state["seconds"], state["total"], state["is_done"])
    except (RuntimeError, ValueError, KeyError) as exc:  # torch's words for tensors of another shape
        raise UnsupportedCheckpoint(
            f"{path}: this was written by another version of the program. Remove it to begin the stage anew."
        ) from exc


def _forget_later(path: Path, name: str, step: int) -> None:
    """Remove what a killed run logged after its last checkpoint."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and not _is_later(line, name, step)]
    if kept != lines:
        with atomic_file(path) as partial:
            partial.write_text("".join(kept), encoding="utf-8")


def _is_later(line: str, name: str, step: int) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return True
    return bool(entry.get("stage") == name and entry.get("step", 0) > step)
