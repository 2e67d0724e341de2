"""The square around a face in which its mesh is looked for, and how it follows from what is known of the face."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.affine import Affine
from media.faces import Face, FaceBox
from media.mesh import EYE_CORNERS, Mesh, group

MESH_PX: Final = 128
"""Side of the pictures that the network sees."""
ROOM: Final = 1.3
"""Side of the square as a multiple of the face's outline, brow to chin."""
_OUTLINE = group("outline", "jaw")
LANDMARK_PLACES: Final = np.array([[0.364, 0.364], [0.64, 0.364], [0.504, 0.505], [0.392, 0.674], [0.613, 0.672]])
"""Where eyes, tip of the nose and corners of the mouth lie in the square, as shares of its side: means over the
4,558 faces of the labelled clips that are turned by less than 10 degrees. Their spread is 0.01 to 0.04."""
BOX_ROOM: Final = 1.17
"""Side of the square as a multiple of the height of a detector's box, which runs from the forehead to the chin: median
of 87 faces of eight people, 1.165 for RetinaFace and 1.19 for the cascade."""
BOX_LOWER: Final = 0.06
"""Of that height: how far the middle of the square lies below that of the box; 0.05 and 0.07 for the two."""


def square(centre: NDArray[np.floating], side: float, angle: float) -> Affine:
    """Return the map from the pixels of a square, (MESH_PX, MESH_PX), to the picture.

    centre: (x, y) in the picture. side: in its pixels. angle: by which it is turned, in radians, clockwise.
    """
    cosine, sine = np.cos(angle) * side / MESH_PX, np.sin(angle) * side / MESH_PX
    turned = np.array([[cosine, -sine], [sine, cosine]])
    middle = (MESH_PX - 1) / 2
    return np.column_stack([turned, np.asarray(centre, np.float64) - turned @ (middle, middle)])


def square_of_mesh(mesh: Mesh) -> Affine:
    """Return the square around a face whose mesh is known, turned so that its eyes lie level."""
    left, right = np.asarray(mesh[EYE_CORNERS, :2], np.float64)
    angle = float(np.arctan2(*(right - left)[::-1]))
    cosine, sine = np.cos(angle), np.sin(angle)
    level = np.array([[cosine, sine], [-sine, cosine]])
    outline = np.asarray(mesh[_OUTLINE, :2], np.float64) @ level.T
    low, high = outline.min(axis=0), outline.max(axis=0)
    return square(level.T @ ((low + high) / 2), ROOM * float((high - low).max()), angle)


def box_of_mesh(mesh: Mesh) -> FaceBox:
    """Return about the box that a detector gives of a face whose mesh is known, the head's tilt left out."""
    outline = np.asarray(mesh[_OUTLINE, :2], np.float64)
    (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
    height = max(bottom - top, right - left) * ROOM / BOX_ROOM
    x, y = (left + right) / 2, (top + bottom) / 2 - BOX_LOWER * height
    width = right - left
    return FaceBox(float(x - width / 2), float(y - height / 2), float(x + width / 2), float(y + height / 2))


def square_of_landmarks(landmarks: NDArray[np.floating]) -> Affine:
    """Return the square around a face whose eyes, nose and mouth are known: (5, 2) as detectors order them."""
    # The similarity that brings LANDMARK_PLACES nearest to the landmarks, in complex numbers.
    source = LANDMARK_PLACES @ (1, 1j)
    target = np.asarray(landmarks, np.float64) @ (1, 1j)
    from_mean, to_mean = source - source.mean(), target - target.mean()
    turn = complex((from_mean.conj() * to_mean).sum() / (abs(from_mean) ** 2).sum())
    centre = target.mean() + turn * (0.5 + 0.5j - source.mean())
    return square(np.array([centre.real, centre.imag]), abs(turn), float(np.angle(turn)))


def square_of_box(box: FaceBox, roll_degrees: float = 0.0) -> Affine:
    """Return the square around a face of which a detector's box is known."""
    angle = float(np.radians(roll_degrees))
    down = np.array([-np.sin(angle), np.cos(angle)]) * BOX_LOWER * box.height
    centre = np.array([(box.left + box.right) / 2, (box.top + box.bottom) / 2])
    return square(centre + down, BOX_ROOM * box.height, angle)


def square_of_face(face: Face) -> Affine:
    """Return the square around a detected face, by its landmarks if it has any."""
    return square_of_landmarks(np.array(face.landmarks)) if face.landmarks else square_of_box(face.box)
