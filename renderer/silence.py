"""What a mouth does while no one speaks: it is drawn closed, as in the neutral face.

A network takes the look of a mouth from the face that it is shown, and with it some of its movement: in silence the
compact network still moves a mouth three quarters as much as in speech, after the mouth in the source. So in silence it
is shown the neutral face; and where the source's own mouth is closed anyway, the source's mouth stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from media.picture import Pixels
from renderer.mel import LARGEST_VALUE
from renderer.networks.base import Engine, NetworkSpec

SILENT_VALUE = -LARGEST_VALUE
"""Every value of the mel window of digital silence."""
LEAST_SILENT = 0.5
"""Share of silent columns in a window up to which it counts as speech: 0.1 s, as between two words."""
MOUTH_ROWS, MOUTH_COLUMNS = (58 / 96, 90 / 96), (26 / 96, 70 / 96)
"""Where the mouth is, as shares of the face box."""
SMOOTHING = 2.5 / 96
"""Sigma of the blur before mouths are compared, as a share of the face: what is finer is skin, and the network's
blur."""
CLOSED_LEVELS, OPEN_LEVELS = 10.0, 16.0
"""Greatest difference to the neutral mouth, in levels of 255, up to which a mouth counts as closed, and from which on
it counts as open. On clips of six people mouths that show teeth differ by 17 and more, open ones by 30 to 120."""


def silence_of(window: NDArray[np.float32]) -> float:
    """Return how silent a mel window (bands, columns) is, in [0, 1]; it rises over some frames as a pause begins."""
    share = float((window <= SILENT_VALUE).all(axis=0).mean())
    return max(share - LEAST_SILENT, 0.0) / (1 - LEAST_SILENT)


def strengthened(window: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """Return a mel window as if the sound were so much louder above silence: 1 as it is, 0 silence; in [0, 2]."""
    if strength == 1:
        return window
    return np.asarray(np.minimum(SILENT_VALUE + strength * (window - SILENT_VALUE), LARGEST_VALUE), np.float32)


def mixed(mouth: Pixels, neutral: Pixels, silence: float) -> Pixels:
    """Return a face whose mouth is mixed with the neutral one; silence: its share, in [0, 1]."""
    return np.rint(mouth + (neutral.astype(np.float32) - mouth) * silence).astype(np.uint8)


def closed_share(face: Pixels, neutral: Pixels, spec: NetworkSpec) -> float:
    """Return how surely the mouth of a face is closed, in [0, 1], by the same face drawn as the neutral one.

    face, neutral: (face_px, face_px, 3). The share depends on this frame alone, and changes softly with it: what is
    mixed by it differs by OPEN_LEVELS at most.
    """
    sigma = SMOOTHING * spec.face_px
    one, other = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), sigma) for each in (face, neutral))
    differences = np.abs(one - other)[mouth_place(spec)].mean(axis=2)
    share = (OPEN_LEVELS - float(differences.max())) / (OPEN_LEVELS - CLOSED_LEVELS)
    return min(max(share, 0.0), 1.0)


def mouth_place(spec: NetworkSpec) -> tuple[slice, slice]:
    """Return the rows and columns of a network's face that hold the mouth."""
    box = spec.box
    rows = (round((box.top + share * (box.bottom - box.top)) * spec.face_px) for share in MOUTH_ROWS)
    columns = (round((box.left + share * (box.right - box.left)) * spec.face_px) for share in MOUTH_COLUMNS)
    return slice(*rows), slice(*columns)


def generate_lips(
    faces: Pixels, windows: NDArray[np.float32], neutrals: Sequence[Pixels | None], engine: Engine
) -> Iterator[tuple[Pixels, float]]:
    """Yield each face with its new mouth, and how surely its own is closed in silence, in [0, 1].

    faces: (n, face_px, face_px, 3), with as many mel windows. neutrals: the neutral faces of the same people, which are
    shown to the network in silence; None: silence is like any sound. Where a pause begins or ends, a face is drawn both
    ways.
    """
    silences = [0.0 if face is None else silence_of(window) for face, window in zip(neutrals, windows, strict=True)]
    heard = [at for at, silence in enumerate(silences) if silence < 1]
    mouths, closed = faces.copy(), [0.0] * len(faces)
    if heard:
        mouths[heard] = engine.render(faces[heard], windows[heard])
    quiet = [(at, face) for at, face in enumerate(neutrals) if face is not None and silences[at] > 0]
    if quiet:
        places = [at for at, _ in quiet]
        shown = np.stack([face for _, face in quiet])
        drawn = engine.render(faces[places], np.full_like(windows[places], SILENT_VALUE), shown)
        for at, mouth in zip(places, drawn, strict=True):
            mouths[at] = mixed(mouths[at], mouth, silences[at])
            closed[at] = silences[at] * closed_share(faces[at], mouth, engine.spec)
    yield from zip(mouths, closed, strict=True)
