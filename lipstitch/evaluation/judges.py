"""The two that judge sync: SyncNet by the public protocol, and the project's own expert."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lipstitch.evaluation.faces import SeenFace
from lipstitch.evaluation.shifts import STEPS_PER_SECOND, SyncJudge, Vectors
from lipstitch.evaluation.sound import HeardSound
from lipstitch.evaluation.syncnet import FACE_PX, MFCC_A_FRAME, MFCC_A_WINDOW, load_syncnet
from lipstitch.training.expert import lips_of, load_expert
from media.audio.mfcc import MFCC_COEFFICIENTS
from media.base.shipped import shipped_folder
from media.orientation import Orientation
from media.picture import PictureConverter, Pixels, VideoFrame, snap_to_chroma
from renderer.compositor import Compositor, Pads
from renderer.mel import Mel

PASS_WINDOWS: Final = 16
CROP_SCALE: Final = 0.40
"""Of syncnet_python: margin of a crop, as a share of the face's longer side."""
PADDING: Final = 110
"""Level of what lies beyond the picture, in its crops."""
SHIPPED_EXPERT: Final = shipped_folder("checkpoints") / "sync_expert.safetensors"


class FaceJudge(SyncJudge, Protocol):
    """A judge that also cuts faces as it wants to see them."""

    def crop(self, frame: VideoFrame, face: SeenFace) -> Pixels | None:
        """Return a face of a frame, (height, width, 3) uint8 BGR; None if too little of it is inside the frame."""


class SyncNetJudge:
    """SyncNet v2, as syncnet_python runs it."""

    prefix = "lse"
    least_windows = 95
    """Tracks of fewer than 100 frames are left out, as there."""
    is_cut = True

    def __init__(self, weights: Path, sound: HeardSound, orientation: Orientation, device: torch.device) -> None:
        """Load the network. Raises CheckpointError."""
        self._network = load_syncnet(weights).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._sound, self._device = sound, device
        self._converter = PictureConverter(orientation)

    def crop(self, frame: VideoFrame, face: SeenFace) -> Pixels | None:
        """Return (224, 224, 3) around the face's steadied place."""
        return crop_as_published(frame, self._converter, face.place)

    @torch.inference_mode()
    def embed_lips(self, windows: NDArray[np.uint8]) -> Vectors:
        """Return vectors (n, 1024)."""
        parts = np.array_split(windows, -(-len(windows) // PASS_WINDOWS))
        found = [self._network.embed_lips(torch.from_numpy(part).to(self._device)) for part in parts]
        return np.asarray(torch.cat(found).cpu().numpy(), np.float32)

    @torch.inference_mode()
    def embed_sound(self, steps: Sequence[int]) -> Vectors:
        """Return vectors (n, 1024)."""
        rows = np.asarray(steps)[:, None] * MFCC_A_FRAME + np.arange(MFCC_A_WINDOW)
        known = self._sound.mfcc
        windows = known[np.clip(rows, 0, len(known) - 1)].reshape(-1, MFCC_A_WINDOW, MFCC_COEFFICIENTS)
        heard = self._network.embed_sound(torch.from_numpy(windows).to(self._device))
        return np.asarray(heard.cpu().numpy(), np.float32)


class ExpertJudge:
    """The sync expert that the project trains, on the crops that its renderer makes."""

    prefix = "sync"
    least_windows = STEPS_PER_SECOND
    is_cut = False

    def __init__(self, weights: Path, mel: Mel, orientation: Orientation, device: torch.device) -> None:
        """Load the network. Raises CheckpointError."""
        self._network = load_expert(weights).to(device)
        self._mel, self._device = mel, device
        self._compositor = Compositor(orientation, pads=Pads())

    def crop(self, frame: VideoFrame, face: SeenFace) -> Pixels | None:
        """Return (96, 96, 3): what a network would be given of the face."""
        found = self._compositor.crop(frame, face.box, face.roll_degrees)
        return None if found is None else found.face

    @torch.inference_mode()
    def embed_lips(self, windows: NDArray[np.uint8]) -> Vectors:
        """Return vectors (n, 256) of length 1."""
        faces = torch.from_numpy(windows).to(self._device).permute(0, 1, 4, 2, 3).float() / 255
        return self._network.embed_lips(lips_of(faces)).cpu().numpy()

    @torch.inference_mode()
    def embed_sound(self, steps: Sequence[int]) -> Vectors:
        """Return vectors (n, 256) of length 1."""
        windows = np.stack([self._mel.window(Fraction(step, STEPS_PER_SECOND)) for step in steps])
        return self._network.embed_sound(torch.from_numpy(windows[:, None]).to(self._device)).cpu().numpy()


def crop_as_published(frame: VideoFrame, converter: PictureConverter, place: tuple[float, float, float]) -> Pixels:
    """Return the face at a place as syncnet_python crops it: (224, 224, 3) uint8 BGR.

    place: the middle (x, y) of a detector's box in upright pixels, and half its longer side.
    """
    x, y, half = place
    margin = int(half * (1 + 2 * CROP_SCALE))  # of grey around the whole picture, there: corners are rounded in it
    wide = half * (1 + CROP_SCALE)
    left, right = int(x + margin - wide) - margin, int(x + margin + wide) - margin
    top, bottom = int(y + margin - half) - margin, int(y + margin + half * (1 + 2 * CROP_SCALE)) - margin
    crop = np.full((max(bottom - top, 1), max(right - left, 1), 3), PADDING, np.uint8)
    orientation = converter.orientation
    stored = snap_to_chroma(orientation.to_stored((left, top, right, bottom), frame.width, frame.height), frame)
    if stored[0] < stored[2] and stored[1] < stored[3]:
        pixels = converter.region_bgr(frame, stored)
        from_x, from_y, to_x, to_y = orientation.to_upright(stored, frame.width, frame.height)
        inside_x, inside_y = slice(max(from_x, left), min(to_x, right)), slice(max(from_y, top), min(to_y, bottom))
        crop[inside_y.start - top : inside_y.stop - top, inside_x.start - left : inside_x.stop - left] = pixels[
            inside_y.start - from_y : inside_y.stop - from_y, inside_x.start - from_x : inside_x.stop - from_x
        ]
    return np.asarray(cv2.resize(crop, (FACE_PX, FACE_PX)), np.uint8)
