"""The contract of face stages: a drawn face goes in, the face as it is to be blended comes out.

    network -> 96 px --> stage --> stage --> blended into the frame
               FacePatch     FacePatch  FacePatch

The first patch is the network's face, wholly visible; rows before its spec's first_row, which blend_mask hides, may be
the source's own. A stage may return another picture on another grid (a restorer
that works at 512 px), a smaller mask (the parts of the face that are skin), or both. Stages run in the order in which
lipstitch.tools.Tools names them; the mask of an earlier one is multiplied, not replaced.

A module of this package is a stage. It offers STAGE, a callable that takes StageSettings and returns a FaceStage. What
takes long, such as loading weights, waits for the first `apply`: stages are also built to read their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import Affine, Size, between
from media.base.errors import ConfigError
from media.base.plugins import load_plugin
from media.clips import Visible
from media.faces import FaceBox
from media.orientation import Rectangle
from media.picture import Pixels
from renderer import face_stages
from renderer.networks.base import NetworkSpec
from renderer.restoration.restorers import RestorerFile

DEFAULT_STAGES = ("blend_mask",)
"""The stages of a job, unless its tools name others."""

Mask = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """One face cut out of one frame."""

    face: Pixels
    """(face_px, face_px, 3) uint8 BGR, upright."""
    affine: Affine
    """(2, 3) map from the face's pixels to the upright picture."""
    region: Rectangle
    """The face's region in stored pixels of the frame, on whole chroma samples."""
    box: FaceBox
    """The face's box in upright pixels, without pads and margins."""
    roll_degrees: float
    """How far the box is turned about its centre, clockwise as seen."""


@dataclass(frozen=True, slots=True)
class Detail:
    """What is added to a patch: differences on a grid of their own."""

    levels: NDArray[np.float32]
    """(height, width, 3) BGR, in levels of 8 bits."""
    affine: Affine
    """(2, 3) map from their pixels to the upright picture."""


@dataclass(frozen=True, slots=True)
class FacePatch:
    """A picture of a face, and where and how far it is to be seen in the frame."""

    pixels: Pixels
    """(height, width, 3) uint8 BGR, upright. About as fine as the frame: a patch is sampled to first order."""
    affine: Affine
    """(2, 3) map from the patch's pixels to the upright picture."""
    mask: Mask
    """(height, width) in [0, 1]: how far each pixel is seen."""
    top_px: float = 0.0
    """Rows at the top that the mask hides even once it is sampled, so that they need not be converted."""
    detail: Detail | None = None
    """What is added to the pixels, as far as the mask lets it be seen."""
    around: Detail | None = None
    """What is added to the frame's own pixels beside those that the mask replaces, already as far as it is to be."""
    visible: Visible | None = None
    """Where the patch may be seen at all, on a grid of its own; None: wherever its mask says."""

    @property
    def size(self) -> Size:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, slots=True)
class DrawnFace:
    """A face that a network has drawn, and what it belongs to: what a stage may want to know beside its patch."""

    crop: FaceCrop
    """The face as it is in the source."""
    pixels: Pixels
    """(face_px, face_px, 3): what the network drew, on the grid of the crop; before the spec's first_row the source."""
    strength: float
    """How far the new mouth will be seen, in [0, 1]."""
    frame_number: int
    """Of the output."""
    source_frame: int
    seconds: Fraction
    """Time of the frame in the driving sound."""
    sample_source: Callable[[Affine, Size], Pixels]
    """Returns the source frame, without new mouths, seen through a map: pixels (height, width, 3) of a (width, height).
    It shows what the crop does not: finer pixels, and the surroundings of the face."""
    visible: Visible | None = None
    """Where the face may be replaced; None: everywhere."""
    presence: float = 1.0
    """How far anything of the face may change, in [0, 1]: its strength, but for where its own closed mouth stays."""


@dataclass(frozen=True, slots=True)
class StageSettings:
    """What stages are told of the job."""

    spec: NetworkSpec
    """Of the network that draws the faces."""
    feather: float
    """Width of the blend's soft edge, as a share of the face box."""
    restorer: RestorerFile | None = None
    """What restores drawn faces, if the job says so."""


def seen_through(patch: FacePatch, affine: Affine, source: Pixels) -> Pixels:
    """Return pixels (height, width, 3) of the source, taken through a map to the picture, with a patch in them."""
    size = source.shape[1], source.shape[0]
    to_patch = between(affine, patch.affine)
    smooth, linear = (cv2.WARP_INVERSE_MAP | kind for kind in (cv2.INTER_CUBIC, cv2.INTER_LINEAR))
    drawn = cv2.warpAffine(patch.pixels, to_patch, size, flags=smooth, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(patch.mask, to_patch, size, flags=linear)[:, :, None]
    old = source.astype(np.float32)
    return np.asarray(np.rint(old + (drawn - old) * mask), np.uint8)


class FaceStage(Protocol):
    """Changes a drawn face before it is blended. Used by one thread; what it loads may be shared by all."""

    @property
    def name(self) -> str:
        """Name of its module."""
        ...

    @property
    def key(self) -> Any:
        """What its result depends on beside the face, for the content key of clips; it begins with the name.

        With the hash of weights and every setting: numbers, text, and sequences of them. The key of blend_mask is its
        feather alone, as in the keys of clips that were rendered before there were stages.
        """
        ...

    @property
    def reaches_around(self) -> bool:
        """Whether it also changes what is beside the mouth, and so faces whose own closed mouth stays."""
        ...

    def apply(self, patch: FacePatch, face: DrawnFace) -> FacePatch:
        """Return the patch to go on with. It depends on the arguments alone: on no other face, frame or thread."""
        ...


def build_stages(names: Sequence[str], settings: StageSettings) -> tuple[FaceStage, ...]:
    """Return the stages of a job, in their order. Raises ConfigError for a name that is no stage."""
    try:
        return tuple(load_plugin(face_stages, name, "STAGE")(settings) for name in names)
    except LookupError as exc:
        raise ConfigError(f"unknown face stage: {exc}.") from exc


def apply_stages(stages: Sequence[FaceStage], face: DrawnFace) -> FacePatch:
    """Return a drawn face as it is to be blended."""
    patch = FacePatch(face.pixels, face.crop.affine, np.ones(face.pixels.shape[:2], np.float32))
    for stage in stages:
        patch = stage.apply(patch, face)
    return patch
