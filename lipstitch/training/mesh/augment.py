"""Faces changed at random, and their meshes with them: what the network must not be led astray by."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstitch.training.mesh.faces import FACE_PX, RIM_PX
from media.mesh import MIRRORED, Mesh
from media.picture import Pixels
from segmenter.mesh.crop import MESH_PX

MOST_TURN_DEGREES: Final = 14.0
MOST_SCALE: Final = 0.16
"""Natural logarithm of how much larger or smaller a face may come out."""
MOST_SHIFT: Final = 0.07
"""Of a side, to either side."""
JPEG_QUALITY: Final = (25, 90)
COVERED_SHARE: Final = 0.15
"""Share of the faces before which something is held."""


def change(face: Pixels, mesh: Mesh, random: np.random.Generator) -> tuple[Pixels, Mesh]:
    """Return a face (MESH_PX, MESH_PX, 3) and its mesh in its pixels.

    face: (FACE_PX, FACE_PX, 3). mesh: in its pixels. It is moved, turned, scaled and mirrored as a whole, then lit,
    blurred, covered and coded differently, which leaves its points where they are.
    """
    affine = _draw_place(random)
    size = (MESH_PX, MESH_PX)
    moved = cv2.warpAffine(face, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    flat = mesh[:, :2] @ affine[:, :2].T + affine[:, 2]
    depth = mesh[:, 2:] * np.hypot(*affine[:, 0])
    changed = np.concatenate([flat, depth], axis=1)
    if random.random() < 0.5:
        moved = np.ascontiguousarray(moved[:, ::-1])
        changed = changed[MIRRORED] * (-1, 1, 1) + (MESH_PX - 1, 0, 0)
    return _coded(_covered(_lit(np.asarray(moved, np.uint8), random), random), random), changed.astype(np.float32)


def middle(face: Pixels, mesh: Mesh) -> tuple[Pixels, Mesh]:
    """Return the network's square of a kept face, unchanged."""
    inner = slice(RIM_PX, RIM_PX + MESH_PX)
    return face[inner, inner], np.asarray(mesh - (RIM_PX, RIM_PX, 0), np.float32)


def _draw_place(random: np.random.Generator) -> NDArray[np.float64]:
    angle = np.radians(random.normal(0, MOST_TURN_DEGREES / 2))
    scale = np.exp(random.uniform(-MOST_SCALE, MOST_SCALE))
    turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = random.uniform(-MOST_SHIFT, MOST_SHIFT, 2) * MESH_PX
    centre = (FACE_PX - 1) / 2
    return np.column_stack([turned, (MESH_PX - 1) / 2 + shift - turned @ (centre, centre)])


def _lit(face: Pixels, random: np.random.Generator) -> Pixels:
    """Return a face in another light: contrast, brightness, tint, gamma, a gradient across it; some without colour."""
    light = face.astype(np.float32) / 255
    if random.random() < 0.12:
        light = light.mean(axis=2, keepdims=True).repeat(3, axis=2)
    light = light ** np.exp(random.normal(0, 0.25))
    gain = np.exp(random.normal(0, 0.15) + random.normal(0, 0.06, 3))
    light = (light - 0.5) * gain + 0.5 + random.normal(0, 0.08)
    if random.random() < 0.4:
        across = np.linspace(-1, 1, MESH_PX, dtype=np.float32)
        direction = random.uniform(0, 2 * np.pi)
        slope = np.cos(direction) * across[None, :] + np.sin(direction) * across[:, None]
        light = light * (1 + random.uniform(0, 0.5) * slope[..., None])
    return np.asarray(np.clip(light * 255, 0, 255), np.uint8)


def _covered(face: Pixels, random: np.random.Generator) -> Pixels:
    """Return some faces with a bar or a disc of one colour before them, as a hand or a microphone is."""
    if random.random() >= COVERED_SHARE:
        return face
    covered = face.copy()
    colour = tuple(map(int, face[random.integers(MESH_PX), random.integers(MESH_PX)]))
    first, second = random.integers(0, MESH_PX, (2, 2)).tolist()
    if random.random() < 0.5:
        cv2.line(covered, first, second, colour, int(random.integers(4, 28)))
    else:
        cv2.circle(covered, first, int(random.integers(6, 26)), colour, -1)
    return covered


def _coded(face: Pixels, random: np.random.Generator) -> Pixels:
    """Return a face as it is after a camera and a coder: softer, noisier, with blocks."""
    if random.random() < 0.5:
        small = int(MESH_PX * random.uniform(0.35, 1))
        coarse = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
        face = np.asarray(cv2.resize(coarse, (MESH_PX, MESH_PX), interpolation=cv2.INTER_LINEAR), np.uint8)
    if random.random() < 0.3:
        noise = random.normal(0, random.uniform(1, 8), face.shape)
        face = np.clip(face + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.4:
        _, coded = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(*JPEG_QUALITY))])
        face = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return face
