"""The place that networks for faces expect a face in: the FFHQ template, as a face's steadied box lies in it."""

from __future__ import annotations

from typing import Final

import numpy as np

from media.affine import Affine
from media.faces import FaceBox

TEMPLATE_PX: Final = 512
BOX_MIDDLE: Final = (257.3, 281.0)
"""Where the middle of a face's box lies in the FFHQ template of 512 px, to which restorers were trained."""
BOX_HEIGHT: Final = 373.9
"""How high the box is there. Medians over 16 people, by least squares from RetinaFace's five landmarks to those of the
template; people differ by 5, 6 and 15 px (standard deviations). Boxes are steadied, landmarks are not: faces cut out by
them would jitter."""


def template_affine(box: FaceBox, roll_degrees: float, px: int) -> Affine:
    """Return the map from px x px pixels of the template to the upright picture, as a face's box lies, so turned."""
    scale = box.height / BOX_HEIGHT * TEMPLATE_PX / px
    turn = np.radians(roll_degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    # Pixel i of n covers [i, i + 1) / n, so the place x of 512 is pixel x * n / 512 - 1/2; so it is in the picture.
    middle = np.array(BOX_MIDDLE) * px / TEMPLATE_PX - 0.5
    centre = np.array([(box.left + box.right) / 2, (box.top + box.bottom) / 2]) - 0.5
    return np.column_stack([linear, centre - linear @ middle])
