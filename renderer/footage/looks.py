"""What the inside of the lips looks like, in numbers: whether one mouth may follow another."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import Affine, sample
from media.mesh import LIPS, RIGID, Mesh
from media.picture import Pixels
from renderer.footage.lip_shape import Points

CROP: Final = (88, 72)
"""Width and height of the aligned mouth that is looked at."""
LEFT, RIGHT, UP, DOWN = 0.47, 0.47, 0.24, 0.51
"""Its edges from the middle of the person's lips, in eye distances."""
PIXELS_PER_UNIT: Final = CROP[0] / (LEFT + RIGHT)
STEP: Final = 4
"""Pixels of the aligned mouth that one number stands for."""
COMPONENTS: Final = 12
"""Of a principal component analysis over the footage: the rest is noise."""
LEAST_SHARE: Final = 1e-6
"""Of the first component's variance: what has less is rounding."""
Floats = NDArray[np.float32]


def aligned(mesh: Mesh, reference: Points) -> Affine:
    """Return the map from a person's upright face, in eye distances, to the picture: affine, by least squares.

    reference: the person's upright face, (NUM_POINTS, 3); see lip_shape.upright.
    """
    source = np.column_stack([reference[RIGID, :2], np.ones(len(RIGID))])
    solved = np.linalg.lstsq(source, np.asarray(mesh[RIGID, :2], np.float64), rcond=None)[0]
    return np.asarray(solved.T)


def mouth_middle(reference: Points) -> NDArray[np.float64]:
    """Return the middle (x, y) of a person's lips in the upright face."""
    return np.asarray(reference[LIPS, :2].mean(axis=0))


def mouth_map(mesh: Mesh, reference: Points) -> Affine:
    """Return the map from the aligned mouth, of CROP, to the picture."""
    corner = mouth_middle(reference) - (LEFT, UP)
    return _scaled(aligned(mesh, reference), corner, (LEFT + RIGHT) / CROP[0])


def _scaled(affine: Affine, corner: NDArray[np.float64], pixel: float) -> Affine:
    """Return the map from pixels of a size, in eye distances, whose first one's corner is given."""
    linear = affine[:, :2] * pixel
    return np.column_stack([linear, affine @ (*(corner + pixel / 2), 1.0)])


def look(picture: Pixels, mesh: Mesh, reference: Points) -> Floats:
    """Return what a mouth looks like, (CROP / STEP * 3,): with mean 0 in each colour and spread 1, whatever the light.

    picture: BGR; mesh: in its pixels.
    """
    seen = sample(picture, mouth_map(mesh, reference), CROP)
    soft = cv2.GaussianBlur(seen, (0, 0), STEP / 2)[STEP // 2 :: STEP, STEP // 2 :: STEP].astype(np.float32)
    soft -= soft.mean(axis=(0, 1))
    return np.asarray((soft / max(float(soft.std()), 1e-3)).ravel(), np.float32)


def principal(looks: Floats) -> Floats:
    """Return looks (n, values) in their COMPONENTS principal directions, in units of the spread of the first."""
    centred = looks - looks.mean(axis=0)
    # The directions of the covariance: of its values, or of the mouths, whose products have the same ones; the time
    # grows with the cube of the smaller number.
    if len(looks) < looks.shape[1]:
        values, mouths = np.linalg.eigh(centred @ centred.T)
        first = np.argsort(values)[::-1][:COMPONENTS]
        kept = values[first] > LEAST_SHARE * max(float(values.max(initial=0)), LEAST_SHARE)
        directions = centred.T @ (mouths[:, first] * kept / np.sqrt(np.where(kept, values[first], 1)))
    else:
        values, directions = np.linalg.eigh(centred.T @ centred)
        directions = directions[:, np.argsort(values)[::-1][:COMPONENTS]]
    # A direction's sign is free; its largest number is made positive, so that the same footage has the same looks.
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    turned = centred @ (directions * np.where(largest < 0, -1, 1))
    turned = np.pad(turned, ((0, 0), (0, min(COMPONENTS, looks.shape[1]) - turned.shape[1])))  # fewer mouths than that
    return np.asarray(turned / max(float(turned[:, 0].std()), 1e-6), np.float32)
