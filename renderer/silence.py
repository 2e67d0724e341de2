"""What a mouth does while nobody speaks: it is drawn shut, the way it looks at rest.

A network takes the look of a mouth from the face that it is shown, and with it some of its movement: in silence the
compact network still moves a mouth three quarters as much as in speech, after the mouth in the source. So it is shown
the face at rest then; and where the source's own mouth is shut anyway, that one stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from media.picture import Pixels
from renderer.mel import LARGEST_VALUE, MEL_BANDS, WINDOW_COLUMNS

SILENT_WINDOW = np.full((MEL_BANDS, WINDOW_COLUMNS), -LARGEST_VALUE, np.float32)
"""The mel window of digital silence."""
LEAST_SILENT = 0.5
"""Share of silent columns in a window up to which it counts as speech: 0.1 s, as between two words."""
MOUTH_ROWS, MOUTH_COLUMNS = slice(58, 90), slice(26, 70)
"""Where the mouth is in a face of 96 x 96."""
SMOOTHING_PX = 2.5
"""Sigma of the blur before mouths are compared: what is finer is skin, and the network's blur."""
CLOSED_LEVELS, OPEN_LEVELS = 10.0, 16.0
"""Greatest difference to the mouth at rest, in levels of 255, up to which a mouth counts as shut, and from which on it
does not. On clips of six people mouths that show teeth differ by 17 and more, open ones by 30 to 120."""


class Engine(Protocol):
    """Draws mouths."""

    @property
    def batch_size(self) -> int:
        """Faces a pass."""
        ...

    def render(self, faces: Pixels, mel_windows: NDArray[np.float32], references: Pixels | None = None) -> Pixels:
        """Return the faces (n, 96, 96, 3) uint8 BGR with mouths for mel windows (n, 80, 16).

        references: faces of the same people that show what their mouths look like; None: the faces themselves.
        """
        ...


def silence_of(window: NDArray[np.float32]) -> float:
    """Return how far a mel window (80, 16) is silent, in [0, 1]; it rises over some frames as a pause begins."""
    share = float((window <= SILENT_WINDOW).all(axis=0).mean())
    return max(share - LEAST_SILENT, 0.0) / (1 - LEAST_SILENT)


def mixed(mouth: Pixels, at_rest: Pixels, silence: float) -> Pixels:
    """Return a face with a mouth that is so far, 0 to 1, at rest."""
    return np.rint(mouth + (at_rest.astype(np.float32) - mouth) * silence).astype(np.uint8)


def closed_share(face: Pixels, at_rest: Pixels) -> float:
    """Return how surely the mouth of a face is shut, in [0, 1], by the same face drawn at rest; both (96, 96, 3).

    It depends on this frame alone, and changes softly with it: what is mixed by it differs by OPEN_LEVELS at most.
    """
    one, other = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), SMOOTHING_PX) for each in (face, at_rest))
    differences = np.abs(one - other)[MOUTH_ROWS, MOUTH_COLUMNS].mean(axis=2)
    share = (OPEN_LEVELS - float(differences.max())) / (OPEN_LEVELS - CLOSED_LEVELS)
    return min(max(share, 0.0), 1.0)


def generate_lips(
    faces: Pixels, windows: NDArray[np.float32], rests: Sequence[Pixels | None], engine: Engine
) -> Iterator[tuple[Pixels, float]]:
    """Yield the new mouth of each face (96, 96, 3), and how surely its own is shut in silence, in [0, 1].

    faces: (n, 96, 96, 3), with as many mel windows (n, 80, 16). rests: the same faces at rest, which are shown to the
    network in silence; None: silence is like any sound. Where a pause begins or ends, a face is drawn both ways.
    """
    silences = [0.0 if rest is None else silence_of(window) for rest, window in zip(rests, windows, strict=True)]
    heard = [at for at, silence in enumerate(silences) if silence < 1]
    mouths, shut = faces.copy(), [0.0] * len(faces)
    if heard:
        mouths[heard] = engine.render(faces[heard], windows[heard])
    quiet = [(at, rest) for at, rest in enumerate(rests) if rest is not None and silences[at] > 0]
    if quiet:
        places = [at for at, _ in quiet]
        shown = np.stack([rest for _, rest in quiet])
        drawn = engine.render(faces[places], np.stack([SILENT_WINDOW] * len(quiet)), shown)
        for at, mouth in zip(places, drawn, strict=True):
            mouths[at] = mixed(mouths[at], mouth, silences[at])
            shut[at] = silences[at] * closed_share(faces[at], mouth)
    yield from zip(mouths, shut, strict=True)
