"""One step of training the sound-to-shape network, and its figures on people it never heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipstitch.training.average import build_average
from lipstitch.training.loop import Stage
from lipstitch.training.shapes.people import Person, Take
from renderer.footage.lip_shape import SHAPES, Shapes
from renderer.footage.log_mel import BANDS, LEAST_POWER, Columns, normalised
from renderer.footage.sound_shape import SoundShapeNetwork

WINDOW_COLUMNS: Final = 300
MARGIN_COLUMNS: Final = 12
"""At the ends of a window, where the network lacks what came before or after, nothing is learned."""
NOISY_SHARE: Final = 0.6
NOISE_DB: Final = (3.0, 30.0)
"""How far other sound lies below the voice."""
ROOM_SHARE: Final = 0.4
ROOM_SECONDS: Final = (0.1, 0.7)
"""Reverberation time (a fall by 60 dB) of the rooms drawn."""


class SoundShapeStage(Stage):
    """Trains a SoundShapeNetwork; a moving average of its weights is the result."""

    name = "shapes"

    def __init__(
        self,
        people: Sequence[Person],
        held_out: Sequence[str],
        *,
        windows: int,
        learning_rate: float,
        ema: float,
        seed: int,
    ) -> None:
        """windows: in a step. ema: decay of the moving average. seed: of what is drawn."""
        self._train = [person for person in people if person.name not in set(held_out)]
        self._held = [person for person in people if person.name in set(held_out)]
        shares = np.array([person.seconds**0.5 for person in self._train])
        self._shares = shares / shares.sum()
        self._windows, self._seed = windows, seed
        self.network = SoundShapeNetwork()
        self.average = build_average(self.network, ema)
        self.modules = {"network": self.network, "average": self.average}
        self.optimizers = {"network": torch.optim.AdamW(self.network.parameters(), learning_rate, weight_decay=0.05)}

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Train on windows drawn for this step."""
        random = np.random.default_rng([self._seed, step])
        columns, places, wanted = [], [], []
        for number in random.choice(len(self._train), self._windows, p=self._shares):
            drawn = self._draw(self._train[number], random)
            columns.append(drawn[0])
            places.append(drawn[1])
            wanted.append(drawn[2])
        self.network.train()
        shapes = self.network(torch.from_numpy(np.stack(columns)).transpose(1, 2))
        errors = [
            (_between(track, torch.from_numpy(at)) - torch.from_numpy(truth)) ** 2
            for track, at, truth in zip(shapes, places, wanted, strict=True)
            if len(at)
        ]
        loss = torch.cat(errors).mean()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
        self.average.update_parameters(self.network)
        return {"loss": loss.detach()}

    @property
    def result(self) -> SoundShapeNetwork:
        """The average: what is kept."""
        network = self.average.module
        assert isinstance(network, SoundShapeNetwork)
        return network

    def _draw(self, person: Person, random: np.random.Generator) -> tuple[Columns, NDArray[np.float32], Shapes]:
        """Return a window of columns, where in it the frames lie, and their shapes."""
        lengths = np.array([len(take.shapes) for take in person.takes], float)
        take: Take = person.takes[random.choice(len(person.takes), p=lengths / lengths.sum())]
        heard = normalised(self._changed(person.columns, random))
        start = take.first_column + int(
            random.integers(max(take.stop_column - take.first_column - WINDOW_COLUMNS, 0) + 1)
        )
        stop = min(start + WINDOW_COLUMNS, take.stop_column)
        window = np.zeros((WINDOW_COLUMNS, BANDS), np.float32)
        window[: stop - start] = heard[start:stop]
        window += random.normal(0, 0.12, window.shape).astype(np.float32)
        inside = (take.columns >= start + MARGIN_COLUMNS) & (take.columns < stop - MARGIN_COLUMNS)
        return window, take.columns[inside] - start, take.shapes[inside]

    def _changed(self, columns: Columns, random: np.random.Generator) -> Columns:
        """Return a person's columns through another microphone, in another room, before other sound.

        Powers are added and smeared, which is what happens on average; the bands of a voice may lie some higher or
        lower. Other tempos and throats in finer steps were tried, and did worse on held-out people.
        """
        if shift := int(random.integers(-2, 3)):
            columns = np.roll(columns, shift, axis=1)
        power = np.exp(columns)
        if random.random() < ROOM_SHARE:
            fall = np.exp(-13.8 / 100 / random.uniform(*ROOM_SECONDS))
            power = power + _smeared(power, fall) * random.uniform(0.02, 0.3)
        if random.random() < NOISY_SHARE:
            other = np.exp(self._train[int(random.integers(len(self._train)))].columns)
            if random.random() < 0.5:
                other = np.broadcast_to(other.mean(axis=0) * np.exp(random.normal(0, 0.7, BANDS)), other.shape)
            noise = np.resize(np.roll(other, int(random.integers(len(other))), axis=0), power.shape)
            level = 10 ** (-random.uniform(*NOISE_DB) / 10)
            power = power + noise * (power.mean() / max(noise.mean(), LEAST_POWER) * level)
        coloured = np.log(np.maximum(power, LEAST_POWER)) + random.normal(0, 0.3, BANDS)
        return np.asarray(coloured, np.float32)

    def check(self) -> dict[str, float]:
        """Return the medians over held-out people of how well each shape is told: correlations."""
        if not self._held:
            return {}
        told = np.array([correlations(self.result, person) for person in self._held if person.seconds > 2])
        medians = np.nanmedian(told, axis=0)
        return dict(zip(SHAPES, map(float, medians), strict=True)) | {"mean_gap": float(np.nanmean(told[:, 0]))}


def _smeared(power: Columns, fall: float) -> Columns:
    """Return columns in which each sounds on in the next 127, weaker by `fall` from one to the next."""
    smeared = power.copy()
    for doubling in range(7):  # 1 + q + q^2 + ... = (1 + q)(1 + q^2)(1 + q^4) ...
        step = 1 << doubling
        smeared[step:] = smeared[step:] + fall**step * smeared[:-step]
    return smeared


def _between(shapes: Tensor, places: Tensor) -> Tensor:
    """Return shapes (SHAPES, columns) at places between columns: (places, SHAPES)."""
    before = places.floor().long().clamp(0, shapes.shape[1] - 2)
    share = (places - before).clamp(0, 1)
    return (shapes[:, before] * (1 - share) + shapes[:, before + 1] * share).T


def tell(network: SoundShapeNetwork, person: Person) -> tuple[Shapes, Shapes]:
    """Return the shapes that a network hears in a person's takes, and the true ones, frame by frame."""
    heard = normalised(person.columns)
    network.eval()
    told = []
    with torch.inference_mode():
        for take in person.takes:
            own = torch.from_numpy(heard[take.first_column : take.stop_column]).T[None]
            told.append(_between(network(own)[0], torch.from_numpy(take.columns - take.first_column)).numpy())
    return np.concatenate(told), np.concatenate([take.shapes for take in person.takes])


def correlations(network: SoundShapeNetwork, person: Person) -> list[float]:
    """Return the correlation of each shape told with the true one."""
    told, truth = tell(network, person)
    return [float(np.corrcoef(one, other)[0, 1]) for one, other in zip(told.T, truth.T, strict=True)]
