"""The second stage: the generator learns to draw the mouth that belongs to the sound.

    target, lower half blank --.
    reference                ---> network --> face --> L1 and gradients against the truth
    mel window               --'                  `--> frozen sync expert, discriminator

When a video is dubbed, the reference is the frame itself: the right head with the wrong mouth. No footage shows what
should come of it, so three kinds of faces stand for it together, in the shares that the configuration gives:

    away     the reference is of another time, so its mouth cannot be copied; the sound is the target's, which is
             the truth
    redrawn  the reference is the target itself, but the moving average has drawn its lower half anew, from a reference
             of another time and for another sound; the sound is the target's, which is the truth
    dub      the reference is the target itself and the sound another one; the skin around the mouth is the truth, the
             expert and the discriminator judge the mouth, and what the average draws of a redrawn reference, without a
             trace of the target's own mouth, teaches it coarsely
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lipstitch.training.average import build_average
from lipstitch.training.config import GeneratorConfig
from lipstitch.training.dataset.augment import change_each, change_each_sound, draw_looks, draw_voices, stack_inputs
from lipstitch.training.dataset.dataset import WINDOW_ROWS, Split
from lipstitch.training.dataset.draws import GeneratorDraw, WindowSampler, random_at
from lipstitch.training.evaluation.measures import HeldOut, watch_held_out
from lipstitch.training.evaluation.pictures import draw_progress
from lipstitch.training.expert import SyncExpert, lips_of
from lipstitch.training.loop import Stage
from lipstitch.training.losses import (
    PatchDiscriminator,
    face_weights,
    feature_loss,
    gradient_loss,
    hinge_loss,
    lower_half,
    mouth_area,
    only_lips,
    weighted_l1,
)
from lipstitch.training.machine import Machine
from renderer.networks.compact import FACE_PX

COARSE_PX = 4
"""Side of the squares over which a dub is compared with what it is taught."""
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
    is_dub: Tensor
    """(faces,) bool"""
    num_windows: int
    taught: Tensor | None = None
    """(faces, 3, 96, 96): the targets, of dubs what the average draws; None where nothing is redrawn yet."""

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
        split: Split,
        held: HeldOut,
        *,
        network: nn.Module,
        expert: SyncExpert | None,
        seed: int,
        machine: Machine,
    ) -> None:
        """network: what to start from; it is trained in place. held: what checks look at. expert: None for no sync."""
        self._config, self._data, self._held, self._seed, self._machine = config, split.data, held, seed, machine
        self._sampler = WindowSampler(split.tracks)
        torch.manual_seed(seed)
        self.network = machine.place(network).requires_grad_(requires_grad=True)
        self.expert = machine.place(expert) if expert is not None else None
        self.discriminator = machine.place(PatchDiscriminator())
        self.average = build_average(self.network, config.ema, config.ema_warmup)
        self._weights = face_weights(mouth=config.mouth_weight).to(machine.device)
        self._mouth = mouth_area(machine.device)
        self.dubbed_before: Sequence[Tensor] = ()
        """What is held out, dubbed by another network: checks dub it back. Empty: by the one that is checked."""
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
        if batch.taught is not None:
            losses["taught"] = self._against_taught(made, batch)
            total = total + config.taught_weight * losses["taught"]
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
        """Draw and gather one step; a reference of another time shares the colours and mirror, not the exact place."""
        config, random = self._config, random_at(self._seed, self.name, step)
        draw: GeneratorDraw = self._sampler.generator(
            random,
            windows=config.windows,
            singles=config.singles,
            gap_rows=config.gap_rows,
            near_share=config.near_share,
            dub_share=config.dub_share,
            redrawn_share=config.redrawn_share,
        )
        count = config.windows + config.singles
        looks = draw_looks(random, count, strength=config.augmentation.face_strength)
        moved = looks.moved(random, shift_px=REFERENCE_SHIFT_PX * config.augmentation.face_strength)
        voices = draw_voices(random, count, strength=config.augmentation.sound_strength)
        targets = change_each(self._data.crops_at(draw.targets), looks, draw.lengths)
        batch = _Batch(
            targets=targets,
            references=change_each(self._data.crops_at(draw.references), moved, draw.lengths),
            mels=change_each_sound(self._data.mels_at(draw.sounds), voices, draw.lengths),
            is_dub=torch.from_numpy(draw.is_dub).to(self._machine.device),
            num_windows=config.windows,
        )
        if step >= config.redraw_from:
            self._redraw(batch, change_each_sound(self._data.mels_at(draw.redraws), voices, draw.lengths), draw)
        batch.references = torch.where(batch.is_dub[:, None, None, None], targets, batch.references)
        return batch

    def _redraw(self, batch: _Batch, mels: Tensor, draw: GeneratorDraw) -> None:
        """Put redrawn references into a batch, and what its dubs are taught; mels: the sounds to redraw for."""
        rows, dubs = (
            torch.from_numpy(np.flatnonzero(flags)).to(self._machine.device)
            for flags in (draw.is_redrawn | draw.is_dub, draw.is_dub)
        )
        if len(rows):
            # All of the lower half: a chin below the mask would tell how far the mouth was open.
            shown = batch.references if self._config.redraw_away else batch.targets
            drawn = self._drawn(mels[rows], batch.targets[rows], shown[rows])
            redrawn = torch.cat((batch.targets[rows][:, :, : FACE_PX // 2], lower_half(drawn)), dim=2)
            batch.references = batch.references.index_copy(0, rows, redrawn)
        if len(dubs):
            taught = self._drawn(batch.mels[dubs], batch.targets[dubs], batch.references[dubs])
            batch.taught = batch.targets.index_copy(0, dubs, taught)

    @torch.no_grad()
    def _drawn(self, mels: Tensor, faces: Tensor, references: Tensor) -> Tensor:
        """Return what the average draws."""
        with self._machine.autocast():
            made: Tensor = self.result(mels, stack_inputs(faces, references))
        return made.float()

    def _against_truth(self, made: Tensor, batch: _Batch) -> dict[str, Tensor]:
        """Compare with the truth: everywhere where it is known, of dubs on the skin around the mouth."""
        weights = self._weights * (1 - self._mouth * batch.is_dub[:, None, None, None])
        return {
            "l1": weighted_l1(made, batch.targets, weights),
            "gradient": gradient_loss(made, batch.targets, weights),
        }

    def _against_taught(self, made: Tensor, batch: _Batch) -> Tensor:
        """Compare the mouths of dubs with what they are taught, coarsely: how far they are open, in which colours.

        How sharp they are is left to the discriminator: an average that learns from itself would blur more and more.
        """
        assert batch.taught is not None
        weights = self._weights * self._mouth * batch.is_dub[:, None, None, None]
        made, taught, weights = (functional.avg_pool2d(each, COARSE_PX) for each in (made, batch.taught, weights))
        return weighted_l1(made, taught, weights)

    def _out_of_sync(self, made: Tensor, batch: _Batch) -> Tensor:
        """Return how little the expert believes that the drawn lips, put into the target, belong to the sound."""
        assert self.expert is not None
        with self._machine.autocast():
            lips = self.expert.embed_lips(lips_of(batch.windows(only_lips(made, batch.targets))))
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
        return -drawn[-1].float().mean(), feature_loss(drawn, real, ~batch.is_dub)

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
        network = self._machine.cast(self.result)
        return watch_held_out(network, self._held, expert=self.expert, dubbed_before=self.dubbed_before)

    @torch.inference_mode()
    def draw(self, path: Path) -> None:
        """Draw reference, input, truth, output and average: what was trained on at the left, held out at the right."""
        batch = self._batch(self._config.redraw_from)
        held = self._held.sample() if self._held.tracks else None
        columns = [(batch.inputs(), batch.targets, batch.mels), *([held] if held else [])]
        self.network.eval()
        draw_progress(path, columns, [self.network, self.result])


def _freeze_normalisation(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
