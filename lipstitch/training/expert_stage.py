"""The first stage: the sync expert learns which lips and sounds belong together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lipstitch.training.config import ExpertConfig
from lipstitch.training.dataset.augment import change_faces, change_sounds, draw_looks, draw_voices, plain_faces
from lipstitch.training.dataset.dataset import Split
from lipstitch.training.dataset.draws import NEAREST_ROWS, WindowSampler, random_at
from lipstitch.training.expert import SyncExpert, lips_of
from lipstitch.training.loop import Stage
from lipstitch.training.machine import Machine
from lipstitch.training.sync import sum_up, track_cosines

ALIKE = 0.3
"""Mean difference of two mel windows, in [0, 8], below which they sound alike: two pauses, say."""
SHIFTED_SHARE = 0.85
"""Weight of shifted sound of the same track among all false pairs: who speaks must not be what gives it away."""
CHECKED_ROWS = 250
"""Rows of a held-out track that are looked at, at most."""


class ExpertStage(Stage):
    """Trains a SyncExpert: every window of a step is paired with the sound of every other one."""

    name = "expert"

    def __init__(
        self,
        config: ExpertConfig,
        split: Split,
        *,
        seed: int,
        machine: Machine,
    ) -> None:
        self._config, self._data, self._held = config, split.data, split.held
        self._seed, self._machine = seed, machine
        self._sampler = WindowSampler(split.tracks)
        torch.manual_seed(seed)
        self.expert = machine.place(SyncExpert())
        self.modules = {"expert": self.expert}
        self.optimizers = {
            "expert": torch.optim.AdamW(
                self.expert.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
            )
        }

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Do one step; return the loss and the share of pairs judged right."""
        config, random = self._config, random_at(self._seed, self.name, step)
        draw = self._sampler.expert(random, windows=config.windows, group=config.group)
        looks = draw_looks(
            random, config.windows, strength=config.augmentation.face_strength, softness=config.augmentation.softness
        )
        voices = draw_voices(random, config.windows, strength=config.augmentation.sound_strength)
        heard = self._data.mels_at(draw.rows[:, :1])
        lips = lips_of(change_faces(self._data.crops_at(draw.rows), looks))
        mels = change_sounds(heard, voices)[:, 0]
        self.expert.train()
        with self._machine.autocast():
            seen, sounds = self.expert.embed_lips(lips), self.expert.embed_sound(mels)
        logits = self.expert.logits(seen @ sounds.T)
        truth, weights = (
            torch.from_numpy(value).to(logits.device) for value in pair_weights(draw.rows[:, 0], draw.tracks)
        )
        weights = weights * ~(_alike(heard[:, 0]) & (truth == 0))
        loss = (functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weights).sum()
        loss = loss / weights.sum()
        optimizer = self.optimizers["expert"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.expert.parameters(), 1.0)
        optimizer.step()
        right = (((logits > 0) == (truth > 0)) * weights).sum() / weights.sum()
        return {"loss": loss.detach(), "right": right.detach()}

    def check(self) -> dict[str, float]:
        """Return how well true and shifted sound of held-out people are told apart."""
        if not self._held:
            return {}
        self.expert.eval()
        cosines = []
        for track in self._held:
            rows = np.arange(track.start, min(track.stop, track.start + CHECKED_ROWS))
            faces, mels = plain_faces(self._data.crops_at(rows)), self._data.mels_at(rows)
            cosines.append(track_cosines(self.expert, faces, mels))
        figures = sum_up(torch.cat(cosines))
        return {"accuracy": figures.accuracy, "confidence": figures.confidence}


def pair_weights(rows: np.ndarray, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and weight of each pair of lips (down) and sound (across), (N, N) float32 each.

    rows: (N,) first row of each window. tracks: (N,). True and false pairs weigh 1 in all, each; among the false ones
    those of one track SHIFTED_SHARE. Windows of one track that overlap too far weigh nothing.
    """
    distance = np.abs(rows[:, None] - rows[None, :])
    same = tracks[:, None] == tracks[None, :]
    true = np.eye(len(rows), dtype=bool)
    shifted = same & (distance >= NEAREST_ROWS)
    weights = true / len(rows)
    parts = [part for part in ((shifted, SHIFTED_SHARE), (~same, 1 - SHIFTED_SHARE)) if part[0].any()]
    whole = sum(share for _, share in parts)
    for chosen, share in parts:
        weights = weights + chosen * (share / whole / chosen.sum())
    return true.astype(np.float32), weights.astype(np.float32)


def _alike(mels: Tensor) -> Tensor:
    """Tell which pairs of mel windows (N, 1, 80, 16) sound alike: (N, N)."""
    flat = mels.flatten(1)
    return torch.cdist(flat, flat, p=1) / flat.shape[1] < ALIKE
