"""Figures of a network: how near the truth, how sharp, how much the sound moves the mouth, how well in sync, how fast.

Faces are drawn several times, because a network may be tempted to copy the mouth that it is shown:

    as used      the reference is the frame itself, as when a video is rendered
    dubbed back  the reference is the frame with a mouth that was drawn for another sound: the right head, a wrong mouth
    other time   the reference is a frame of another time: the sound alone tells what the mouth does
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lipstitch.training.dataset.augment import plain_faces, stack_inputs
from lipstitch.training.dataset.dataset import FaceData, Track
from lipstitch.training.expert import SyncExpert
from lipstitch.training.losses import lower_half
from lipstitch.training.sync import sum_up, track_cosines
from media.base.errors import ConfigError
from renderer.engine import LipSyncEngine
from renderer.networks._torch import TorchLipNetwork
from renderer.networks.compact import FACE_PX
from renderer.networks.wav2lip import Wav2Lip

try:
    from torchmetrics.functional.image import structural_similarity_index_measure
except ModuleNotFoundError as exc:
    raise ConfigError("training needs torchmetrics: `pip install 'lipstitch[training]'`.") from exc

MOUTH = (slice(56, 92), slice(22, 74))
"""Rows and columns of a face that hold the mouth."""
MOST_ROWS = 375
"""Rows of a track that are looked at, at most: 15 s."""
GLANCE_ROWS = 75
"""The same where figures are only to show how training goes: 3 s."""
PASS_FACES = 16
AWAY_ROWS = 40
"""Distance of the reference of another time: 1.6 s, or as far as the track goes."""
SAMPLE_FACES = 6


@dataclass(frozen=True, slots=True)
class Watched:
    """One track, ready to be drawn."""

    name: str
    faces: Tensor
    """(T, 3, 96, 96) in [0, 1], BGR: the truth."""
    away: Tensor
    """The same faces AWAY_ROWS earlier or later, as references of another time."""
    mels: Tensor
    """(T, 1, 80, 16): its own sound."""
    dub: Tensor
    """(T, 1, 80, 16): another sound, of another person if there is one."""


class HeldOut:
    """Tracks that figures are taken from, the first rows of each."""

    def __init__(self, data: FaceData, tracks: Sequence[Track], *, most_rows: int = MOST_ROWS) -> None:
        """tracks: may be empty; then there are no figures. most_rows: of each that are looked at."""
        self._data, self.tracks, self._most_rows = data, list(tracks), most_rows

    def __len__(self) -> int:
        return len(self.tracks)

    def watch(self, number: int) -> Watched:
        """Return one track with references and sounds."""
        track = self.tracks[number]
        rows = np.arange(track.start, min(track.stop, track.start + self._most_rows))
        earlier = np.where(
            rows - AWAY_ROWS >= track.start, rows - AWAY_ROWS, np.minimum(rows + AWAY_ROWS, track.stop - 1)
        )
        return Watched(
            name=track.video
            if sum(other.video == track.video for other in self.tracks) == 1
            else f"{track.video}-{number}",
            faces=plain_faces(self._data.crops_at(rows)),
            away=plain_faces(self._data.crops_at(earlier)),
            mels=self._data.mels_at(rows),
            dub=self._data.mels_at(self._dub_rows(number, len(rows))),
        )

    def _dub_rows(self, number: int, num_rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return rows of another person's sound, repeated where it is short; else of the same track's other half."""
        track = self.tracks[number]
        others = [each for each in self.tracks[number + 1 :] + self.tracks[:number] if each.person != track.person]
        if others:
            return others[0].start + np.arange(num_rows) % len(others[0])
        return track.start + (np.arange(num_rows) + len(track) // 2) % len(track)

    def sample(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, truths and mel windows of a few faces, for pictures; references are of another time."""
        watched = [self.watch(number) for number in range(min(len(self), SAMPLE_FACES))]
        picks = [(each, len(each.faces) // 2) for each in watched]
        faces, away, mels = (
            torch.stack([getattr(each, name)[at] for each, at in picks]) for name in ("faces", "away", "mels")
        )
        return stack_inputs(faces, away), faces, mels


@torch.inference_mode()
def draw_faces(network: nn.Module, faces: Tensor, references: Tensor, mels: Tensor) -> Tensor:
    """Return the faces (T, 3, 96, 96) that a network in eval mode draws, in float32."""
    inputs = stack_inputs(faces, references)
    parts = zip(torch.split(mels, PASS_FACES), torch.split(inputs, PASS_FACES), strict=True)
    return torch.cat([network(sound, face).float() for sound, face in parts])


def lower_l1(made: Tensor, truth: Tensor) -> float:
    """Return the mean absolute difference of the lower faces, in levels of 255."""
    return float((lower_half(made) - lower_half(truth)).abs().mean()) * 255


def lower_ssim(made: Tensor, truth: Tensor) -> float:
    """Return the mean structural similarity of the lower faces, at most 1."""
    return float(structural_similarity_index_measure(lower_half(made), lower_half(truth), data_range=1.0))  # type: ignore[arg-type]


def mouth_edges(faces: Tensor) -> float:
    """Return the mean variance of the Laplacian of the mouth, in squared levels of grey: higher is sharper."""
    blue, green, red = faces[:, :, MOUTH[0], MOUTH[1]].unbind(dim=1)
    grey = (0.114 * blue + 0.587 * green + 0.299 * red)[:, None] * 255
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=faces.device)
    return float(functional.conv2d(grey, kernel[None, None]).var(dim=(1, 2, 3)).mean())


def mouth_motion(one: Tensor, two: Tensor) -> float:
    """Return the mean absolute difference of two series of mouths, in levels of 255."""
    return float((one - two)[:, :, MOUTH[0], MOUTH[1]].abs().mean()) * 255


@torch.inference_mode()
def measure_track(
    network: nn.Module, watched: Watched, expert: SyncExpert | None, dubbed_before: Tensor | None = None
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Return the figures of a network on one track, and the cosines of its sync with what it drew, by kind of sound.

    dubbed_before: the faces with the mouths of the dub, to be dubbed back; None: as the network draws them itself.
    """
    truth = watched.faces
    used = draw_faces(network, truth, truth, watched.mels)
    other = draw_faces(network, truth, watched.away, watched.mels)
    dubbed = draw_faces(network, truth, truth, watched.dub)
    back = draw_faces(network, truth, dubbed if dubbed_before is None else dubbed_before, watched.mels)
    edges = mouth_edges(truth)
    figures = {
        "l1": lower_l1(used, truth),
        "l1_back": lower_l1(back, truth),
        "l1_other_time": lower_l1(other, truth),
        "ssim": lower_ssim(used, truth),
        "ssim_back": lower_ssim(back, truth),
        "ssim_other_time": lower_ssim(other, truth),
        "sharpness": mouth_edges(used) / edges,
        "sharpness_other_time": mouth_edges(other) / edges,
        "motion": mouth_motion(used, dubbed),
    }
    cosines = {}
    if expert is not None:
        cosines["sync"] = track_cosines(expert, other, watched.mels)
        cosines["sync_dub"] = track_cosines(expert, dubbed, watched.dub)
    return figures, cosines


def measure(
    network: nn.Module, held: HeldOut, expert: SyncExpert | None, dubbed_before: Sequence[Tensor] = ()
) -> dict[str, float | None]:
    """Return a network's figures over all that is held out: means over tracks, each counting by its length.

    dubbed_before: of each track, see measure_track; empty: as the network draws them itself.

    Keys: those of measure_track; sync_confidence and sync_accuracy with the own sound (reference of another time), and
    sync_dub_confidence and sync_dub_accuracy with another sound (as used). None where there is no expert.
    """
    sums: dict[str, float] = {}
    cosines: dict[str, list[Tensor]] = {}
    num_rows = 0
    for number in range(len(held)):
        watched = held.watch(number)
        figures, found = measure_track(network, watched, expert, dubbed_before[number] if dubbed_before else None)
        for key, value in figures.items():
            sums[key] = sums.get(key, 0.0) + value * len(watched.faces)
        for key, each in found.items():
            cosines.setdefault(key, []).append(each)
        num_rows += len(watched.faces)
    result: dict[str, float | None] = {key: value / num_rows for key, value in sums.items()}
    for key in ("sync", "sync_dub"):
        summed = sum_up(torch.cat(cosines[key])) if key in cosines else None
        result[f"{key}_confidence"] = summed.confidence if summed else None
        result[f"{key}_true_cosine"] = summed.true_cosine if summed else None
        result[f"{key}_shifted_cosine"] = summed.false_cosine if summed else None
        result[f"{key}_accuracy"] = summed.accuracy if summed else None
    return result


def measure_truth(held: HeldOut, expert: SyncExpert | None) -> dict[str, float | None]:
    """Return what the videos themselves reach: their sync, which no network has to exceed."""
    figures: dict[str, float | None] = {"sharpness": 1.0, "l1": 0.0, "ssim": 1.0}
    if expert is not None and len(held):
        watched = (held.watch(number) for number in range(len(held)))
        found = sum_up(torch.cat([track_cosines(expert, each.faces, each.mels) for each in watched]))
        figures |= {
            "sync_confidence": found.confidence,
            "sync_true_cosine": found.true_cosine,
            "sync_shifted_cosine": found.false_cosine,
            "sync_accuracy": found.accuracy,
        }
    return figures


def dub_all(network: nn.Module, held: HeldOut) -> list[Tensor]:
    """Return the faces of each track as a network dubs them."""
    watched = (held.watch(number) for number in range(len(held)))
    return [draw_faces(network, each.faces, each.faces, each.dub) for each in watched]


def watch_held_out(
    network: nn.Module, held: HeldOut, *, expert: SyncExpert | None, dubbed_before: Sequence[Tensor] = ()
) -> dict[str, float]:
    """Return the few figures that training shows as it goes."""
    figures = measure(network, held, expert, dubbed_before)
    shown = (
        "l1",
        "l1_back",
        "l1_other_time",
        "ssim",
        "ssim_back",
        "sharpness",
        "motion",
        "sync_confidence",
        "sync_dub_confidence",
    )
    return {key: value for key in shown if (value := figures[key]) is not None}


def measure_speed(networks: Sequence[nn.Module], *, device: str, rounds: int, faces: int = 16) -> list[float]:
    """Return how many frames a second the renderer's engine draws with each network; the best of some rounds.

    The networks take turns, so that whatever else the machine does slows them alike.
    """
    engines = [LipSyncEngine(TorchLipNetwork(network), device=device, batch_size=16) for network in networks]
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (faces, FACE_PX, FACE_PX, 3), np.uint8)
    windows = random.uniform(-4, 4, (faces, 80, 16)).astype(np.float32)
    best = [0.0] * len(engines)
    for _ in range(rounds + 1):  # the first one warms up
        for number, engine in enumerate(engines):
            start = time.perf_counter()
            engine.render(pictures, windows)
            best[number] = max(best[number], faces / (time.perf_counter() - start))
    return best


def count_parameters(network: nn.Module) -> int:
    """Return the number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def full_size_network() -> nn.Module:
    """Return the full-size network with random weights, which are as fast as trained ones."""
    return Wav2Lip().eval()
