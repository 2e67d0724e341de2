"""Labelled faces: cut out of videos once, with room around them for augmentation, into one mapped file.

labels NAME.npz (tools/label_meshes.py) + NAME.mp4  ->  faces.raw, meshes.npy, faces.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lipstitch.progress import Reporter, stage
from media.affine import Affine, sample_shrunk
from media.base.errors import TrainingError
from media.base.files import atomic_file
from media.mesh import POINT_NUMBERS, Mesh, eye_distance
from media.picture import PictureConverter, Pixels
from media.reader import FrameReader
from media.source_video import scan_video
from segmenter.mesh.crop import MESH_PX, square_of_mesh

FACE_PX: Final = 176
"""Side of what is kept: the network's square and a rim, for faces that are turned, moved and seen from farther away."""
RIM_PX: Final = (FACE_PX - MESH_PX) // 2
LEAST_EYES_PX: Final = 24.0
"""Eye distance below which a face is too coarse to teach anything."""


@dataclass(frozen=True, slots=True)
class Track:
    """The faces of one video, in order; frames without a face, or with a small one, are left out."""

    name: str
    person: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class LabelledFaces:
    """All faces, each with its mesh in pixels of its picture."""

    faces: NDArray[np.uint8]
    """(faces, FACE_PX, FACE_PX, 3) BGR, mapped from the disk."""
    meshes: Mesh
    """(faces, NUM_POINTS, 3)."""
    tracks: tuple[Track, ...]

    def of(self, people: Iterable[str]) -> tuple[Track, ...]:
        """Return the tracks of people."""
        wanted = set(people)
        return tuple(track for track in self.tracks if track.person in wanted)

    @property
    def people(self) -> tuple[str, ...]:
        """Return everyone, sorted."""
        return tuple(sorted({track.person for track in self.tracks}))


def cut_faces(
    videos: Sequence[Path],
    labels: Path,
    out: Path,
    reporter: Reporter,
    *,
    people: Mapping[str, str],
    sparse: Mapping[str, int],
) -> None:
    """Cut the faces of all videos that are labelled. Raises TrainingError if none is.

    people: the person of each video, by its name; others are people of their own. sparse: of whose faces only each nth
    is kept: neighbours teach little.
    """
    out.mkdir(parents=True, exist_ok=True)
    meshes: list[Mesh] = []
    tracks: list[Track] = []
    labelled = [(video, labels / f"{video.stem}.npz") for video in videos]
    labelled = [(video, label) for video, label in labelled if label.is_file()]
    with (
        atomic_file(out / "faces.raw") as partial,
        partial.open("wb") as file,
        stage(reporter, "faces", len(labelled), "videos"),
    ):
        for number, (video, label) in enumerate(labelled, 1):
            person = people.get(video.stem, video.stem)
            points = np.load(label)["points"][:, POINT_NUMBERS]
            start = len(meshes)
            for face, mesh in _faces_of(video, points, sparse.get(person, 1)):
                file.write(face.tobytes())
                meshes.append(mesh)
            tracks.append(Track(video.stem, person, start, len(meshes)))
            reporter.advance(number)
    if not meshes:
        raise TrainingError(f"{labels}: no labelled face. Label the videos with tools/label_meshes.py first.")
    np.save(out / "meshes.npy", np.asarray(meshes, np.float32))
    listed = [[track.name, track.person, track.start, track.stop] for track in tracks]
    (out / "faces.json").write_text(json.dumps(listed), encoding="utf-8")


def _faces_of(video: Path, points: Mesh, every: int) -> Iterable[tuple[Pixels, Mesh]]:
    source = scan_video(video)
    converter = PictureConverter(source.video.orientation)
    with FrameReader(source, num_threads=1) as reader:
        for index, frame in reader.read(range(min(len(points), len(source.table)))):
            mesh = points[index]
            if index % every or not np.isfinite(mesh).all() or eye_distance(mesh) < LEAST_EYES_PX:
                continue
            affine = _with_rim(square_of_mesh(mesh))
            picture = converter.upright_bgr(frame)
            yield sample_shrunk(picture, affine, (FACE_PX, FACE_PX)), into(mesh, affine)


def _with_rim(affine: Affine) -> Affine:
    """Return the map of the kept picture, whose middle is the network's square."""
    return np.column_stack([affine[:, :2], affine @ (-RIM_PX, -RIM_PX, 1)])


def into(mesh: Mesh, affine: Affine) -> Mesh:
    """Return a mesh of the picture in the pixels of a map's face."""
    linear = np.linalg.inv(affine[:, :2])
    flat = (np.asarray(mesh[:, :2], np.float64) - affine[:, 2]) @ linear.T
    depth = mesh[:, 2:] / np.hypot(*affine[:, 0])
    return np.concatenate([flat, depth], axis=1).astype(np.float32)


def load_faces(folder: Path) -> LabelledFaces:
    """Return what cut_faces wrote. Raises TrainingError if it did not finish."""
    try:
        listed = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
        meshes = np.load(folder / "meshes.npy", mmap_mode="r")
        faces = np.memmap(folder / "faces.raw", np.uint8, "r", shape=(len(meshes), FACE_PX, FACE_PX, 3))
    except (OSError, ValueError) as exc:
        raise TrainingError(f"{folder}: no labelled faces ({exc}). Cut them out first.") from exc
    return LabelledFaces(faces, meshes, tuple(Track(*values) for values in listed))
