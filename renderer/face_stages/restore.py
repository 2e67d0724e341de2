"""What a restorer adds to a drawn mouth: finer pixels, added as a difference to what is blended anyway.

    source frame + drawn face under its mask --template--> face as it will be seen --restorer--> face restored
                                                                    '------- minus -------'
                                                                             v
    patch, as it was drawn  +  strength x (difference - its mean in a ring around the mask)

So a restorer that changes nothing changes no bit, one that only tints a face changes nothing either, and what lies
outside the mask stays the source's own. With `area: face` the difference is also added to the frame's own pixels in the
rest of the face, by the mask FACE.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import between
from renderer.face_stages.base import Detail, DrawnFace, FacePatch, Mask, StageSettings, seen_through
from renderer.restoration.restorers import RestorerFile, load_restorer
from renderer.template import TEMPLATE_PX, template_affine

LEAST_SCALE: Final = 0.25
"""Pixels of the frame for one of the template: below it the frame is too coarse to show what a restorer adds."""
RING: Final = 0.06
"""Width of the ring around the mask, as a share of the template."""
MASK_FLAGS: Final = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
FACE: Final = ((257.0, 290.0), (155.0, 195.0))
"""Middle and half axes of the ellipse that holds a face in the template, from the hairline to below the chin."""
FACE_EDGE: Final = 0.25
"""Share of these half axes over which it fades."""
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Restore:
    """Adds what a restorer finds; the mask of the patch decides where."""

    settings: StageSettings
    name: str = "restore"

    @property
    def file(self) -> RestorerFile:
        """Return the restorer of the job."""
        assert self.settings.restorer is not None, "a job without restorer has no such stage"
        return self.settings.restorer

    @property
    def key(self) -> Any:
        """The restorer's weights, and how they are used."""
        file = self.file
        area = (file.area,) if file.area != "mouth" else ()
        return ("restore", VERSION, file.hash, file.strength, file.fidelity, file.provider, *area)

    @property
    def reaches_around(self) -> bool:
        """Whether the whole face is restored."""
        return self.file.area == "face"

    def apply(self, patch: FacePatch, face: DrawnFace) -> FacePatch:
        """Return the patch with a detail; without one if the face is too small to show it."""
        restorer = load_restorer(self.file)
        affine = template_affine(face.crop.box, face.crop.roll_degrees, restorer.px)
        if np.hypot(*affine[:, 0]) * restorer.px < LEAST_SCALE * TEMPLATE_PX or self.file.strength == 0:
            return patch
        size = (restorer.px, restorer.px)
        # A mouth is restored as it was drawn, a face as it will be seen: its own closed mouth may stay.
        shown = face.strength / face.presence if self.reaches_around else 1.0
        drawn = replace(patch, mask=patch.mask * np.float32(shown))
        seen = seen_through(drawn, affine, face.sample_source(affine, size))
        mask = np.asarray(cv2.warpAffine(drawn.mask, between(affine, patch.affine), size, flags=MASK_FLAGS), np.float32)
        whole = np.maximum(mask, _face_mask(restorer.px)) if self.reaches_around else mask
        difference = restorer(seen) - seen
        difference -= _around(difference, whole)
        detail = Detail(self.file.strength * difference, affine)
        around = replace(detail, levels=detail.levels * (whole - mask)[:, :, None])
        return replace(
            patch, detail=_as_coarse(detail), around=_as_coarse(around) if self.reaches_around else patch.around
        )


@lru_cache(maxsize=4)
def _face_mask(px: int) -> Mask:
    """Return the mask of a whole face in the template, (px, px) in [0, 1]."""
    (x, y), (radius_x, radius_y) = FACE
    at = (np.arange(px, dtype=np.float32) + 0.5) * TEMPLATE_PX / px
    distance = np.hypot((at[None, :] - x) / radius_x, (at[:, None] - y) / radius_y)
    inside = np.clip((1 - distance) / FACE_EDGE, 0, 1)
    return np.asarray(inside * inside * (3 - 2 * inside), np.float32)


def _around(values: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """Return the mean (3,) of values in a ring around a mask; zeros without one."""
    reach = max(round(RING * len(mask)), 1)
    inside = (mask > 0).astype(np.uint8)
    ring = cv2.dilate(inside, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > inside
    return np.asarray(values[ring].mean(axis=0) if ring.any() else np.zeros(3), np.float32)


def _as_coarse(detail: Detail) -> Detail:
    """Return a detail averaged to pixels about as large as the frame's, so that it can be sampled to first order."""
    shrink = max(int(1 / np.hypot(*detail.affine[:, 0])), 1)
    side = len(detail.levels) // shrink
    if shrink == 1:
        return detail
    whole = detail.levels[: side * shrink, : side * shrink]
    levels = np.asarray(cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    coarser = detail.affine * (shrink, shrink, 1)
    coarser[:, 2] += detail.affine[:, :2].sum(axis=1) * (shrink - 1) / 2
    return Detail(levels, coarser)


STAGE = Restore
