"""A bank in the making: mouths are cut out of frames, side by side on several threads, and written as they come.

frame, mesh --MouthCutter--> a mouth with its surroundings, its look, its light
            --BankWriter---> samples on the disk at once; the table of the usable ones at the end
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import cut_out, sample
from media.mesh import NUM_POINTS, FoundMesh, Mesh, eye_distance, head_pose, light_around, steady
from media.orientation import Plane
from media.picture import PictureConverter, Pixels, VideoFrame, chroma_step, plane_views, snap_to_chroma
from renderer.footage import looks
from renderer.footage.bank import MAGIC, TAIL
from renderer.footage.covered import UsualDoubt
from renderer.footage.drawing.draw import kept_region
from renderer.footage.lip_shape import SHAPES, Points, measure

MOST_LIPS_DOUBT: Final = 0.06
"""Eye distances by which the lips of a usable mouth may be off, as the mesh network itself thinks."""
LEAST_SHARPNESS: Final = 0.6
"""Of the footage's median: below it a mouth is blurred by motion or focus."""
LIGHT_RANGE: Final = (16.0, 250.0)
"""8-bit levels within which the light around a mouth tells anything."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class CutMouth:
    """A mouth of one frame, with all that is known of it."""

    frame: int
    """Number of the source frame."""
    found: FoundMesh
    size: tuple[int, int]
    """Width and height of the stored frame: those of further videos have their own."""
    corner: tuple[int, int]
    """(left, top) of its samples in the stored frame."""
    planes: tuple[Plane, ...]
    look: Floats
    light: Floats
    """As renderer.footage.looks and media.mesh.light_around have them."""
    sharpness: float


class MouthCutter:
    """Cuts mouths out of the frames of one video, for one thread."""

    def __init__(self, converter: PictureConverter, reference: Points) -> None:
        """reference: the speaker's upright face, in whose pose looks are taken; see lip_shape.upright."""
        cv2.setNumThreads(1)  # other footage is read on the other cores
        self._converter, self._reference = converter, reference

    def cut(self, number: int, frame: VideoFrame, found: FoundMesh) -> CutMouth | None:
        """Return the mouth of a frame; None if it lies beyond the picture. number: of the source frame."""
        orientation = self._converter.orientation
        stored = orientation.points_to_stored(found.mesh, frame.width, frame.height)
        steps = chroma_step(frame.format)
        left, top, right, bottom = kept_region(stored, (frame.width, frame.height), steps)
        if left >= right or top >= bottom:
            return None
        planes = []
        for plane in plane_views(frame):
            step_x, step_y = round(frame.width / plane.shape[1]), round(frame.height / plane.shape[0])
            planes.append(plane[top // step_y : -(-bottom // step_y), left // step_x : -(-right // step_x)].copy())
        shrink = max(int(float(eye_distance(found.mesh)) / looks.PIXELS_PER_UNIT), 1)
        region = snap_to_chroma((left, top, right, bottom), frame)
        cutout = cut_out(frame, region, self._converter, shrink) or cut_out(frame, region, self._converter, 1)
        assert cutout is not None
        picture, here = cutout.pixels, cutout.points(found.mesh)
        return CutMouth(
            frame=number,
            found=found,
            size=(frame.width, frame.height),
            corner=(left, top),
            planes=tuple(planes),
            look=looks.look(picture, here, self._reference),
            light=light_around(picture, here),
            sharpness=sharpness(picture, here, self._reference),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """A mouth that was added: all of it but its samples."""

    mouth: CutMouth
    offset: int
    shapes: tuple[tuple[int, ...], ...]
    """(height, width) of each plane."""


class BankWriter:
    """Writes a bank. Use it in a `with` statement, and call `finish` at its end."""

    def __init__(self, path: Path, reference: Points) -> None:
        """path: of the file, which is overwritten. reference: as of MouthCutter."""
        self._file: BinaryIO = path.open("wb")
        self._seen: list[_Written] = []
        self._reference = reference
        self._depth = "u1"

    def __enter__(self) -> BankWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, mouth: CutMouth) -> None:
        """Add a mouth, in any order of frames."""
        offset = self._file.tell()
        for plane in mouth.planes:
            self._depth = plane.dtype.str
            self._file.write(plane.tobytes())
        shapes = tuple(plane.shape for plane in mouth.planes)
        known = replace(mouth, planes=())
        self._seen.append(_Written(known, offset, shapes))

    def __len__(self) -> int:
        return len(self._seen)

    def finish(self) -> None:
        """Write the table of what was added, by frame: it is the same however mouths came in."""
        self._seen.sort(key=lambda each: each.mouth.frame)
        usable = np.flatnonzero(self._usable())
        seen = [self._seen[number] for number in usable]
        mouths = [each.mouth for each in seen]
        meshes = np.array([mouth.found.mesh for mouth in mouths], np.float32).reshape(len(seen), NUM_POINTS, 3)
        pictures = np.array([mouth.look for mouth in mouths], np.float32)
        table: dict[str, Any] = {
            "depth": np.array(self._depth),
            "reference": self._reference,
            "num_seen": np.array(len(self._seen)),
            "usual_doubt": np.array(UsualDoubt.of(*self._doubts()).doubts),
            "meshes": meshes,
            "steady": self._steady()[usable],
            "frames": np.array([mouth.frame for mouth in mouths], np.int64),
            "offsets": np.array([each.offset for each in seen], np.int64),
            "sizes": np.array([mouth.size for mouth in mouths], np.int64).reshape(-1, 2),
            "corners": np.array([mouth.corner for mouth in mouths], np.int64).reshape(-1, 2),
            "plane_shapes": np.array([each.shapes for each in seen], np.int64),
            "sharpness": np.array([max(mouth.sharpness, 1e-6) for mouth in mouths], np.float32),
            "light": np.array([mouth.light for mouth in mouths], np.float32),
            "looks": looks.principal(pictures) if len(seen) > 1 else np.zeros((len(seen), looks.COMPONENTS), "f4"),
            "measured": measure(meshes, self._reference) if seen else np.zeros((0, len(SHAPES)), np.float32),
        }
        stored = io.BytesIO()
        np.savez(stored, **table)
        begin = self._file.tell()
        self._file.write(stored.getvalue())
        self._file.write(TAIL.pack(begin, MAGIC))
        self._file.flush()

    def _steady(self) -> Mesh:
        """Return all meshes smoothed over their neighbours, none across a gap in the footage."""
        meshes = np.array([each.mouth.found.mesh for each in self._seen], np.float32)
        gaps = np.flatnonzero(np.diff([each.mouth.frame for each in self._seen]) != 1) + 1
        runs = np.split(meshes.reshape(len(self._seen), NUM_POINTS, 3), gaps)
        return np.concatenate([steady(run) for run in runs])

    def _doubts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the doubt about the lips of each mouth that was added, and by how many degrees its head is turned."""
        found = [each.mouth.found for each in self._seen]
        doubts = np.array([each.doubts[0] for each in found], np.float64)
        return doubts, np.array([head_pose(each.mesh)[0] for each in found], np.float64)

    def _usable(self) -> NDArray[np.bool_]:
        """Mark the mouths whose mesh is sure, which are sharp, neither dark nor burnt out, and not covered."""
        if not self._seen:
            return np.zeros(0, np.bool_)
        mouths = [each.mouth for each in self._seen]
        sharp = np.array([mouth.sharpness for mouth in mouths])
        light = np.array([mouth.light for mouth in mouths]).mean(axis=1)
        doubts, yaws = self._doubts()
        sure = (doubts <= MOST_LIPS_DOUBT) & (UsualDoubt.of(doubts, yaws).uncovered(doubts, yaws) == 1)
        lit = (light >= LIGHT_RANGE[0]) & (light <= LIGHT_RANGE[1])
        return np.asarray(sure & lit & (sharp >= LEAST_SHARPNESS * np.median(sharp)))


def sharpness(picture: Pixels, mesh: Mesh, reference: Points) -> float:
    """Return how sharp a mouth is: the spread of the aligned mouth's second differences, as a share of its contrast."""
    aligned = sample(picture, looks.mouth_map(mesh, reference), looks.CROP)
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std() / (grey.std() + 1.0))
