"""What people said and how their mouths moved: the data of the sound-to-shape network.

labels NAME.npz (tools/label_meshes.py) + sound of NAME.mp4  ->  Person
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lipstitch.progress import Reporter, stage
from media.audio.reader import read_samples
from media.base.errors import MediaError, TrainingError
from media.mesh import POINT_NUMBERS, Mesh
from media.probe import probe
from renderer.footage.lip_shape import Normal, Shapes, measure
from renderer.footage.log_mel import SAMPLE_RATE, Columns, log_mel

LEAST_FRAMES: Final = 20
"""Frames with a face that a video must have."""


@dataclass(frozen=True, slots=True)
class Take:
    """One video of a person."""

    name: str
    first_column: int
    stop_column: int
    columns: NDArray[np.float32]
    """(frames,): where in the person's columns each frame lies, between columns in proportion."""
    shapes: Shapes
    """(frames, shapes), normalised over all of the person's takes."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone's sound and mouth."""

    name: str
    language: str
    columns: Columns
    """Log-mel columns of all takes, one after another, not normalised."""
    takes: tuple[Take, ...]

    @property
    def seconds(self) -> float:
        """Return how long they are seen and heard."""
        return len(self.columns) / 100


def read_people(
    videos: Sequence[Path],
    labels: Path,
    reporter: Reporter,
    *,
    people: Mapping[str, str],
    languages: Mapping[str, str],
    late: Mapping[str, float],
) -> tuple[Person, ...]:
    """Read all labelled videos that have sound.

    people, languages: person and language of a video, by its name. late: seconds by which its sound is known to be
    late. Videos without sound or a face are left out. Raises TrainingError if none is left.
    """
    found: dict[str, list[tuple[str, Columns, NDArray[np.float64], Mesh]]] = {}
    with stage(reporter, "sounds", len(videos), "videos"):
        for number, video in enumerate(videos, 1):
            label = labels / f"{video.stem}.npz"
            if label.is_file() and (read := _read(video, label, late.get(video.stem, 0.0))) is not None:
                found.setdefault(people.get(video.stem, video.stem), []).append((video.stem, *read))
            reporter.advance(number)
    if not found:
        raise TrainingError(
            f"{labels}: no labelled video with sound. Label the videos with tools/label_meshes.py first."
        )
    return tuple(_joined(name, takes, languages) for name, takes in sorted(found.items()))


def _read(video: Path, label: Path, late: float) -> tuple[Columns, NDArray[np.float64], Mesh] | None:
    """Return a video's columns, the seconds of its frames with a face, and their meshes."""
    with np.load(label) as stored:
        meshes, seconds = stored["points"][:, POINT_NUMBERS], stored["seconds"]
    seen = np.isfinite(meshes).all(axis=(1, 2))
    if seen.sum() < LEAST_FRAMES:
        return None
    try:
        columns = log_mel(own_sound(video))
    except MediaError:
        return None
    inside = seen & (seconds + late < (len(columns) - 1) / 100)
    return columns, (seconds + late)[inside], meshes[inside]


def own_sound(video: Path) -> NDArray[np.float32]:
    """Return a file's own sound, mono, 16 kHz; that of a video from its first frame on. Raises MediaError."""
    info = probe(video)
    zero, stream = info.video.clock.start_seconds if info.video else None, info.require_audio().index
    blocks = read_samples(video, stream_index=stream, rate=SAMPLE_RATE, layout="mono", zero=zero)
    return np.asarray(np.concatenate(list(blocks), axis=1)[0], np.float32)


def _joined(
    name: str, takes: Sequence[tuple[str, Columns, NDArray[np.float64], Mesh]], languages: Mapping[str, str]
) -> Person:
    shapes = measure(np.concatenate([meshes for _, _, _, meshes in takes]))
    shapes = Normal.of(shapes).normalise(shapes)
    joined: list[Take] = []
    column = row = 0
    for take, columns, seconds, meshes in takes:
        places = (column + seconds * 100).astype(np.float32)
        own = shapes[row : row + len(meshes)]
        joined.append(Take(take, column, column + len(columns), places, own))
        column, row = column + len(columns), row + len(meshes)
    return Person(name, languages.get(takes[0][0], ""), np.concatenate([take[1] for take in takes]), tuple(joined))
