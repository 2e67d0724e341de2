"""Augmentation as batched tensor operations, for CPU and CUDA alike; what it does is drawn before, on the CPU.

All frames of a window are changed alike, and sound is never moved against picture: what belongs together stays so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lipstitch.training.dataset.crops import CROP_PX, RIM_PX
from renderer.mel import LARGEST_VALUE, MEL_BANDS, WINDOW_COLUMNS
from renderer.networks.compact import FACE_PX

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Looks:
    """How the faces of each window are changed."""

    places: Values
    """(windows, 2, 3): from the picture drawn to the crop, both in [-1, 1]."""
    gain: Values
    """(windows, 3): factor on each colour, around its middle."""
    lift: Values
    """(windows, 3): brightness that is added, in [0, 1] of full scale."""
    softness: Values
    """(windows,): how far each face is blurred, 0 to 1."""

    def moved(self, random: np.random.Generator, *, shift_px: float) -> Looks:
        """Return the same looks with boxes that lie a little elsewhere: of the same person, seen at another time."""
        places = self.places.copy()
        places[:, :, 2] += random.uniform(-1, 1, (len(places), 2)) * shift_px * 2 / CROP_PX
        return Looks(places, self.gain, self.lift, self.softness)


def draw_looks(random: np.random.Generator, windows: int, *, strength: float, softness: float = 0.0) -> Looks:
    """Draw looks; strength: 0 changes nothing, 1 is the most that the rim of a crop allows.

    At 1: zoom by 6 %, turn by 5 degrees, shift by 4 px, contrast by 20 %, brightness by 8 %, tint by 5 %; half are
    mirrored at any strength above 0. softness: the most blur, 0 to 1.
    """

    def around(spread: float, *shape: int) -> NDArray[np.float64]:
        return random.uniform(-spread, spread, (windows, *shape)) * strength

    zoom = FACE_PX / CROP_PX * np.exp(around(0.06))
    angle = np.radians(around(5.0))
    mirror = np.where((random.random(windows) < 0.5) & (strength > 0), -1.0, 1.0)
    places = np.empty((windows, 2, 3))
    places[:, 0, 0], places[:, 0, 1] = mirror * zoom * np.cos(angle), -zoom * np.sin(angle)
    places[:, 1, 0], places[:, 1, 1] = mirror * zoom * np.sin(angle), zoom * np.cos(angle)
    places[:, :, 2] = around(4.0, 2) * 2 / CROP_PX
    gain = 1 + around(0.2, 1) + around(0.05, 3)
    lift = around(0.08, 1) + around(0.02, 3)
    blur = random.random(windows) ** 2 * softness
    return Looks(*(np.asarray(value, np.float32) for value in (places, gain, lift, blur)))


def change_faces(crops: Tensor, looks: Looks) -> Tensor:
    """Return crops (windows, n, 3, 112, 112) uint8 as faces (windows, n, 3, 96, 96) float32 in [0, 1]."""
    windows, frames = crops.shape[:2]
    lengths = np.full(windows, frames)
    return change_each(crops.flatten(0, 1), looks, lengths).reshape(windows, frames, 3, FACE_PX, FACE_PX)


def change_each(crops: Tensor, looks: Looks, lengths: NDArray[np.int64]) -> Tensor:
    """Return crops (faces, 3, 112, 112) uint8 as faces (faces, 3, 96, 96) float32 in [0, 1].

    lengths: how many faces, one after the other, have each of the looks.
    """
    device = crops.device
    places, gain, lift, softness = (
        _on(np.repeat(value, lengths, axis=0), device)
        for value in (looks.places, looks.gain, looks.lift, looks.softness)
    )
    grid = functional.affine_grid(places, [len(crops), 3, FACE_PX, FACE_PX], align_corners=False)
    pixels = crops.float().div_(255)
    faces = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    if looks.softness.any():
        soft = functional.avg_pool2d(faces, 3, 1, 1, count_include_pad=False)
        faces = torch.lerp(faces, soft, softness[:, None, None, None])
    return ((faces - 0.5) * gain[..., None, None] + (0.5 + lift[..., None, None])).clamp_(0, 1)


def plain_faces(crops: Tensor) -> Tensor:
    """Return crops (..., 3, 112, 112) uint8 as the renderer's own faces (..., 3, 96, 96) float32 in [0, 1]."""
    return crops[..., RIM_PX:-RIM_PX, RIM_PX:-RIM_PX].float() / 255


@dataclass(frozen=True, slots=True)
class AudioInputs:
    """How the sound of each window is changed."""

    gain: Values
    """(windows,): added to every value; 0.4 are 5 dB."""
    tilt: Values
    """(windows,): added from minus this at the lowest band to this at the highest."""
    noise: Values
    """(windows, 1, 80, 16): added."""


def draw_voices(random: np.random.Generator, windows: int, *, strength: float) -> AudioInputs:
    """Draw changes of the sound; strength: 0 changes nothing, 1 is a gain of 6 dB, a tilt of 4 dB and soft noise."""
    level = random.random((windows, 1, 1, 1)) * 0.15 * strength
    noise = random.standard_normal((windows, 1, MEL_BANDS, WINDOW_COLUMNS)) * level
    gain, tilt = random.uniform(-0.5, 0.5, windows) * strength, random.uniform(-0.3, 0.3, windows) * strength
    return AudioInputs(*(np.asarray(value, np.float32) for value in (gain, tilt, noise)))


def change_sounds(mels: Tensor, voices: AudioInputs) -> Tensor:
    """Return mel windows (windows, n, 1, 80, 16) with other voices, in [-4, 4]."""
    windows, frames = mels.shape[:2]
    return change_each_sound(mels.flatten(0, 1), voices, np.full(windows, frames)).reshape(mels.shape)


def change_each_sound(mels: Tensor, voices: AudioInputs, lengths: NDArray[np.int64]) -> Tensor:
    """Return mel windows (faces, 1, 80, 16) with other voices, in [-4, 4]; lengths: how many have each voice."""
    device = mels.device
    gain, tilt, noise = (
        _on(np.repeat(value, lengths, axis=0), device) for value in (voices.gain, voices.tilt, voices.noise)
    )
    slope = torch.linspace(-1, 1, MEL_BANDS, device=device)[:, None]
    change = gain[:, None, None, None] + tilt[:, None, None, None] * slope
    return (mels + change + noise).clamp_(-LARGEST_VALUE, LARGEST_VALUE)


def stack_inputs(targets: Tensor, references: Tensor) -> Tensor:
    """Return what the network is given: faces (N, 6, 96, 96), targets with rows 48-95 set to 0, and references."""
    masked = targets.clone()
    masked[:, :, FACE_PX // 2 :] = 0
    return torch.cat((masked, references), dim=1)


def _on(values: Values, device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device)
