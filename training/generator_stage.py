"""The second stage: the generator learns to draw the mouth that belongs to the sound.

    target, lower half blank --.
    reference, another time  ---> network --> face --> L1 and gradients against the target
    mel window of the target --'                  `--> frozen sync expert, discriminator

The reference is never the target's own frame where the target is the truth: there the mouth could be copied. A share
of the windows is what happens when a video is dubbed: the reference is the frame itself, the sound another one.
Nothing shows what their mouths should look like, so inside the renderer's mask only the expert and the discriminator
judge them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from training.augment import change_each, change_each_sound, draw_looks, draw_voices, stack_inputs
from training.config import GeneratorConfig
from training.dataset import WINDOW_ROWS, FaceData, Track
from training.draws import GeneratorDraw, WindowSampler, random_at
from training.expert import SyncExpert, lips_of
from training.loop import Stage
from training.losses import (
    PatchDiscriminator,
    face_weights,
    feature_loss,
    gradient_loss,
    hinge_loss,
    lower_half,
    weighted_l1,
)
from training.machine import Machine
from training.measures import HeldOut, look_at_held_out
from training.pictures import draw_progress

REFERENCE_SHIFT_PX = 2.0
"""How far the reference's box lies from the target's, at most: the tracker is not exact to the pixel."""


@dataclass(slots=True)
class _Batch:
    """One step's pictures and sounds, on the device: the faces of windows, five each, and then single ones."""

    targets: Tensor
    """(faces, 3, 96, 96)"""
    references: Tensor
    mels: Tensor
    """(faces, 1, 80, 16)"""
    has_truth: Tensor
    """(faces,) bool"""
    num_windows: int

    def inputs(self) -> Tensor:
        """Return what the network sees: (faces, 6, 96, 96)."""
        return stack_inputs(self.targets, self.references)

    def windows(self, faces: Tensor) -> Tensor:
        """Return those of some values a face (faces, ...) that belong to windows: (windows, 5, ...)."""
        return faces[: self.num_windows * WINDOW_ROWS].reshape(self.num_windows, WINDOW_ROWS, *faces.shape[1:])


class GeneratorStage(Stage):
    """Trains a network of the renderer's contract; its moving average is the result."""

    name = "generator"

    def __init__(
        self,
        config: GeneratorConfig,
        data: FaceData,
        tracks: Sequence[Track],
        held: HeldOut,
        *,
        network: nn.Module,
        expert: SyncExpert | None,
        seed: int,
        machine: Machine,
    ) -> None:
        """network: what to start from; it is trained in place. held: what checks look at. expert: None for no sync."""
        self._config, self._data, self._held, self._seed, self._machine = config, data, held, seed, machine
        self._sampler = WindowSampler(tracks)
        torch.manual_seed(seed)
        self.network = machine.place(network).requires_grad_(requires_grad=True)
        self.expert = machine.place(expert) if expert is not None else None
        self.discriminator = machine.place(PatchDiscriminator())
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=partial(_average, config.ema, config.ema_warmup),
            use_buffers=True,
        ).requires_grad_(requires_grad=False)
        self.average.eval()
        weights, mask = face_weights(mouth=config.mouth_weight)
        self._weights, self._mask = weights.to(machine.device), mask.to(machine.device)
        self.modules = {
            "network": self.network,
            "average": self.average,
            "discriminator": self.discriminator,
        }
        self.optimizers = {
            "network": torch.optim.Adam(self.network.parameters(), config.learning_rate, betas=(0.5, 0.99)),
            "discriminator": torch.optim.Adam(
                self.discriminator.parameters(), config.discriminator_rate, betas=(0.5, 0.99)
            ),
        }

    @property
    def result(self) -> nn.Module:
        """The moving average of the network, in eval mode."""
        return self.average.module

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Do one step; return its losses, unweighted."""
        config = self._config
        batch = self._batch(step)
        self.network.train()
        if config.freeze_normalisation:
            _freeze_normalisation(self.network)
        with self._machine.autocast():
            made = self.network(batch.mels, batch.inputs())
        made = made.float()
        losses = self._against_truth(made, batch)
        total = losses["l1"] + config.gradient_weight * losses["gradient"]
        if self.expert is not None and config.sync_weight and step >= config.sync_from:
            losses["sync"] = self._out_of_sync(made, batch)
            total = total + config.sync_weight * losses["sync"]
        judged = config.adversarial_weight > 0 and step >= config.adversarial_from
        if judged:
            looks_drawn, losses["feature"] = self._looks_drawn(made, batch)
            total = total + config.adversarial_weight * looks_drawn + config.feature_weight * losses["feature"]
        self._descend("network", self.network, total)
        if judged:
            losses["discriminator"] = self._train_discriminator(made.detach(), batch)
        self.average.update_parameters(self.network)
        return {name: loss.detach() for name, loss in losses.items()}

    def _descend(self, name: str, network: nn.Module, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    def _batch(self, step: int) -> _Batch:
        """Draw and gather one step; the reference shares the target's colours and mirror, not its exact place."""
        config, random = self._config, random_at(self._seed, self.name, step)
        draw: GeneratorDraw = self._sampler.generator(
            random,
            windows=config.windows,
            singles=config.singles,
            gap_rows=config.gap_rows,
            near_share=config.near_share,
            dub_share=config.dub_share,
        )
        count = config.windows + config.singles
        looks = draw_looks(random, count, strength=config.face_strength)
        moved = looks.moved(random, shift_px=REFERENCE_SHIFT_PX * config.face_strength)
        # Where the reference is the target's own frame, it is so to the pixel, as when rendering.
        starts = np.cumsum(draw.lengths) - draw.lengths
        places = np.where(draw.has_truth[starts, None, None], moved.places, looks.places)
        there = type(looks)(places, looks.gain, looks.lift, looks.softness)
        voices = draw_voices(random, count, strength=config.sound_strength)
        return _Batch(
            targets=change_each(self._data.crops_at(draw.targets), looks, draw.lengths),
            references=change_each(self._data.crops_at(draw.references), there, draw.lengths),
            mels=change_each_sound(self._data.mels_at(draw.sounds), voices, draw.lengths),
            has_truth=torch.from_numpy(draw.has_truth).to(self._machine.device),
            num_windows=config.windows,
        )

    def _against_truth(self, made: Tensor, batch: _Batch) -> dict[str, Tensor]:
        """Compare with the targets: everywhere where they are the truth, else only outside the renderer's mask."""
        weights = self._weights * torch.where(batch.has_truth[:, None, None, None], 1.0, 1.0 - self._mask)
        return {
            "l1": weighted_l1(made, batch.targets, weights),
            "gradient": gradient_loss(made, batch.targets, weights),
        }

    def _out_of_sync(self, made: Tensor, batch: _Batch) -> Tensor:
        """Return how little the expert believes that the drawn lips belong to the sound."""
        assert self.expert is not None
        with self._machine.autocast():
            lips = self.expert.embed_lips(lips_of(batch.windows(made)))
            sounds = self.expert.embed_sound(batch.windows(batch.mels)[:, 0])
        return functional.softplus(-self.expert.logits((lips * sounds).sum(dim=1))).mean()

    def _looks_drawn(self, made: Tensor, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Return how drawn the discriminator finds the lower faces, and how far its maps are from the truth's."""
        self.discriminator.requires_grad_(requires_grad=False)
        with self._machine.autocast():
            drawn = self.discriminator(lower_half(made))
            with torch.no_grad():
                real = self.discriminator(lower_half(batch.targets))
        self.discriminator.requires_grad_(requires_grad=True)
        return -drawn[-1].float().mean(), feature_loss(drawn, real, batch.has_truth)

    def _train_discriminator(self, made: Tensor, batch: _Batch) -> Tensor:
        with self._machine.autocast():
            real = self.discriminator(lower_half(batch.targets))[-1]
            drawn = self.discriminator(lower_half(made))[-1]
        loss = hinge_loss(real.float(), drawn.float())
        self._descend("discriminator", self.discriminator, loss)
        return loss

    def check(self) -> dict[str, float]:
        """Return the figures of the moving average on what is held out."""
        if not self._held.tracks:
            return {}
        return look_at_held_out(self._machine.cast(self.result), self._held, expert=self.expert)

    @torch.inference_mode()
    def draw(self, path: Path) -> None:
        """Draw reference, input, truth, output and average: what was trained on at the left, held out at the right."""
        batch = self._batch(0)
        held = self._held.sample() if self._held.tracks else None
        columns = [(batch.inputs(), batch.targets, batch.mels), *([held] if held else [])]
        self.network.eval()
        draw_progress(path, columns, [self.network, self.result])


@torch.no_grad()
def _average(decay: float, warmup: int, averages: list[Tensor], values: list[Tensor], num_averaged: Tensor) -> None:
    """Move the averages towards new values, at first faster than `decay` says, so that no random beginning lingers."""
    decay = min(decay, (1 + int(num_averaged)) / (warmup + int(num_averaged)))
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value.to(average.dtype), 1 - decay)
        else:
            average.copy_(value)


def _freeze_normalisation(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
