"""assess_networks(): new weights against old ones on people neither should have seen: a table, JSON, and filmstrips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from lipstitch.progress import Reporter
from lipstitch.training.dataset.dataset import FaceData, is_named
from lipstitch.training.dataset.grid import STEPS_PER_SECOND
from lipstitch.training.equipment import Equipment
from lipstitch.training.evaluation.measures import (
    HeldOut,
    count_parameters,
    draw_faces,
    full_size_network,
    measure,
    measure_speed,
    measure_truth,
)
from lipstitch.training.evaluation.pictures import draw_rows
from lipstitch.training.expert import load_expert
from lipstitch.training.machine import Machine, choose_machine
from lipstitch.training.preparation.prepare import DetectorSource, find_videos, prepare_dataset
from media.base.content import hash_bytes
from media.base.errors import ConfigError, TrainingError
from renderer.networks.base import load_module

STRIP_FACES, STRIP_STEP_ROWS = 12, 4
"""A filmstrip shows 12 moments, 0.16 s apart."""

MEANINGS = {
    "l1": "error of the lower face, levels (reference: the frame itself)",
    "l1_back": "error of the lower face, levels (reference: dubbed, and now back)",
    "l1_other_time": "error of the lower face, levels (reference: another time)",
    "ssim": "similarity of the lower face (reference: the frame itself)",
    "ssim_back": "similarity of the lower face (reference: dubbed, and now back)",
    "ssim_other_time": "similarity of the lower face (reference: another time)",
    "sharpness": "sharpness of the mouth against the truth (the frame itself)",
    "sharpness_other_time": "sharpness of the mouth against the truth (another time)",
    "motion": "difference of the mouth between two dubs, levels",
    "sync_confidence": "sync confidence, own sound (reference: another time)",
    "sync_true_cosine": "  cosine with the true sound",
    "sync_shifted_cosine": "  cosine with shifted sound",
    "sync_accuracy": "  share of shifts told apart",
    "sync_dub_confidence": "sync confidence, another sound (the frame itself)",
    "sync_dub_true_cosine": "  cosine with that sound",
    "sync_dub_shifted_cosine": "  cosine with it shifted",
    "sync_dub_accuracy": "  share of shifts told apart",
    "frames_per_second": "speed, frames/s",
    "parameters": "parameters, millions",
}
"""Every figure, in the order of the table."""

Figures = dict[str, float | None]


def assess_networks(
    checkpoint: Path,
    against: Path,
    videos: Sequence[Path],
    work: Path,
    reporter: Reporter,
    equipment: Equipment,
    *,
    speed_rounds: int = 10,
) -> dict[str, object]:
    """Measure two networks on the same faces; report the table, write filmstrips; return what belongs into a JSON file.

    videos: as choose_videos gives them. work: folder for faces and filmstrips. Without an expert the figures of sync
    are None. speed_rounds: how often speed is measured (the best counts), 0 for not at all. Raises CheckpointError,
    ConfigError or TrainingError.
    """
    machine = choose_machine(equipment.device, "float32", equipment.threads)
    expert = equipment.expert
    networks = {"old": _load(against, machine), "new": _load(checkpoint, machine)}
    judge = machine.place(load_expert(expert)) if expert else None
    held = _watch(videos, work, machine, equipment.detector, reporter)
    figures: dict[str, Figures] = {"truth": measure_truth(held, judge)}
    for name, network in networks.items():
        figures[name] = {**measure(network, held, judge), "parameters": count_parameters(network) / 1e6}
    full_size = _add_speed(networks, figures, equipment.device, speed_rounds) if speed_rounds else None
    content: dict[str, object] = {
        "checkpoint": {"file": str(checkpoint), "hash": hash_bytes(checkpoint)},
        "against": {"file": str(against), "hash": hash_bytes(against)},
        "expert": hash_bytes(expert) if expert else None,
        "people": sorted({track.person for track in held.tracks}),
        "seconds": sum(map(len, held.tracks)) / STEPS_PER_SECOND,
        "full_size_frames_per_second": full_size,
        **figures,
    }
    _tell(figures, full_size, reporter)
    if judge is None:
        reporter.warning("without --expert there are no figures of sync.")
    for path in write_strips(networks, held, work / "strips"):
        reporter.info(f"filmstrip: {path}")
    return content


def _load(path: Path, machine: Machine) -> nn.Module:
    return machine.place(load_module(path)).requires_grad_(requires_grad=False)


def choose_videos(places: Sequence[Path], held_out: Sequence[str]) -> list[Path]:
    """Return the videos in files and folders, or only those of the people named.

    Raises ConfigError for a name that no video has, and what find_videos raises.
    """
    videos = find_videos(places)
    for name in held_out:
        if not any(is_named(path.stem, name) for path in videos):
            raise ConfigError(f"--held-out: no video is called {name!r}. Check the spelling.")
    return [path for path in videos if not held_out or any(is_named(path.stem, name) for name in held_out)]


def _watch(
    videos: Sequence[Path], work: Path, machine: Machine, detector: DetectorSource, reporter: Reporter
) -> HeldOut:
    prepared = prepare_dataset(videos, work / "faces", reporter, detector=detector)
    if not prepared.usable:
        raise TrainingError(f"{videos[0]}: nothing to measure on: {prepared.videos[0].problem}.")
    data = FaceData(work / "faces", names=[facts.name for facts in prepared.usable], device=machine.device)
    return HeldOut(data, data.tracks)


def _add_speed(networks: Mapping[str, nn.Module], figures: dict[str, Figures], device: str, rounds: int) -> float:
    """Measure the networks and the full-size one side by side; return the latter's speed."""
    speeds = measure_speed([*networks.values(), full_size_network()], device=device, rounds=rounds)
    for name, speed in zip(networks, speeds, strict=False):
        figures[name]["frames_per_second"] = speed
    return speeds[-1]


def _tell(figures: Mapping[str, Figures], full_size: float | None, reporter: Reporter) -> None:
    width = max(map(len, MEANINGS.values()))
    reporter.info(f"{'':<{width}}  {'truth':>9} {'old':>9} {'new':>9}  change")
    for key, meaning in MEANINGS.items():
        values = [figures[name].get(key) for name in ("truth", "old", "new")]
        shown = " ".join(f"{value:>9.3f}" if value is not None else f"{'-':>9}" for value in values)
        old, new = values[1:]
        change = f"{(new - old) / abs(old):+7.1%}" if old and new is not None else ""
        reporter.info(f"{meaning:<{width}}  {shown}  {change}".rstrip())
    if full_size is not None:
        new_speed = figures["new"]["frames_per_second"] or 0.0
        reporter.info(f"full-size network: {full_size:.1f} frames/s; new is {new_speed / full_size:.2f} times as fast")


@torch.inference_mode()
def write_strips(networks: Mapping[str, nn.Module], held: HeldOut, folder: Path) -> list[Path]:
    """Write a filmstrip of each track and return the files: truth, old, new, and new with another dub, as used."""
    paths = []
    for number in range(len(held)):
        watched = held.watch(number)
        chosen = torch.arange(0, len(watched.faces), STRIP_STEP_ROWS, device=watched.faces.device)[:STRIP_FACES]
        faces, mels, dub = watched.faces[chosen], watched.mels[chosen], watched.dub[chosen]
        rows = [("truth", [faces])]
        rows += [(name, [draw_faces(network, faces, faces, mels)]) for name, network in networks.items()]
        rows.append(("new, another dub", [draw_faces(networks["new"], faces, faces, dub)]))
        paths.append(folder / f"{watched.name}.png")
        draw_rows(paths[-1], rows)
    return paths
