"""The soft mask of the lower face: only what lies under it is written into the frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import between
from renderer.face_stages.base import DrawnFace, FacePatch, Mask, StageSettings
from renderer.networks.base import MASK_TOP, NetworkSpec

MASK_SIDE, MASK_BOTTOM = 0.04, 0.02
"""Where the mask begins at the sides and below, as shares of the face box; at the top it is MASK_TOP."""


@dataclass(frozen=True, slots=True)
class BlendMask:
    """Hides everything but the lower face, with a soft edge."""

    settings: StageSettings
    name: str = "blend_mask"
    reaches_around: bool = False

    @property
    def key(self) -> float:
        """The bare width of the edge: clips were keyed by it before there were stages."""
        return self.settings.feather

    def apply(self, patch: FacePatch, face: DrawnFace) -> FacePatch:
        """Return the patch with the mask multiplied by that of the lower face, on whatever grid the patch is."""
        spec = self.settings.spec
        mask, top_px = build_mask(self.settings.feather, spec), spec.hidden_px
        if patch.affine is not face.crop.affine or patch.size != (spec.face_px, spec.face_px):
            to_patch = between(face.crop.affine, patch.affine)
            mask = np.asarray(cv2.warpAffine(mask, to_patch, patch.size, flags=cv2.INTER_LINEAR), np.float32)
            top_px = 0.0  # a patch that is turned against the crop has no such rows
        return replace(patch, mask=patch.mask * mask, top_px=max(patch.top_px, top_px))


@lru_cache(maxsize=4)
def build_mask(feather: float, spec: NetworkSpec) -> Mask:
    """Return the mask of the lower face, (face_px, face_px) in [0, 1], zero on the outermost pixels of the box.

    feather: width of the soft edge as a share of the box, (0, 0.4]. Below half its height the outline narrows as a
    jaw does (an ellipse), so that the corners of the box, which often show background, stay as they are.
    """
    box = spec.box
    across = (np.arange(spec.face_px, dtype=np.float32) + 0.5) / spec.face_px
    x = (across[None, :] - box.left) / (box.right - box.left)
    y = (across[:, None] - box.top) / (box.bottom - box.top)
    below_top = _ramp((y - MASK_TOP) / feather)
    # The ellipse's half axes: it touches both sides at the top of the mask and the bottom edge in the middle.
    radius_x, radius_y = 0.5 - MASK_SIDE, 1.0 - MASK_BOTTOM - MASK_TOP
    distance = np.sqrt(((x - 0.5) / radius_x) ** 2 + (np.maximum(y - MASK_TOP, 0) / radius_y) ** 2)
    inside = _ramp((1.0 - distance) * radius_x / feather)
    return np.asarray(below_top * inside, np.float32)


def _ramp(value: NDArray[Any]) -> Mask:
    """Return a smooth step: 0 below 0, 1 above 1, with level ends (3t^2 - 2t^3)."""
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)


STAGE = BlendMask
