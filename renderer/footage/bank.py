"""The bank: a speaker's usable mouths, cut out of the frames that show them, in one mapped file.

    frames, meshes --add--> samples of each mouth, on the disk at once
                   --finish--> which are usable, their shapes, looks, pose and light: a table behind the samples

Memory holds the table, some kilobytes a mouth; samples are mapped, and read when a mouth is drawn.
"""

from __future__ import annotations

import io
import mmap
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from base.errors import WorkspaceError
from media.affine import sample
from media.mesh import NUM_POINTS, Mesh, head_pose
from media.orientation import Orientation
from media.picture import PictureConverter, VideoFrame, chroma_step, plane_views, snap_to_chroma
from renderer.footage import looks
from renderer.footage.choice import Candidates
from renderer.footage.draw import SAMPLED_SHARE, Mouth, mouth_region
from renderer.footage.lip_shape import Normal, Points, Shapes, measure, steady, upright

MAGIC: Final = b"mouths1\n"
TAIL: Final = struct.Struct("<Q8s")
"""Where the table begins, and MAGIC: the last bytes of the file."""
MOST_LIPS_DOUBT: Final = 0.06
"""Eye distances by which the lips of a usable mouth may be off, as the mesh network itself thinks."""
LEAST_SHARPNESS: Final = 0.4
"""Of the footage's median: below it a mouth is blurred by motion or focus."""
LIGHT_RANGE: Final = (16.0, 250.0)
"""8-bit levels within which the light around a mouth tells anything."""
LEAST_SECONDS: Final = 5.0
"""Of usable mouths, below which there is too little to choose from."""
LEAST_GAP_SPREAD: Final = 0.012
"""Standard deviation of the gap between the lips, in eye distances, below which a speaker never opens the mouth."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A mouth that was added."""

    frame: int
    mesh: Mesh
    """In the upright picture."""
    doubts: tuple[float, float, float]
    offset: int
    corner: tuple[int, int]
    shapes: tuple[tuple[int, int], ...]
    """(height, width) of each plane."""


class BankWriter:
    """Writes a bank. Use it in a `with` statement, and call `finish` at its end."""

    def __init__(self, path: Path, orientation: Orientation, reference: Points) -> None:
        """path: of the file, which is overwritten. orientation: of all frames. reference: the speaker's upright face,
        in whose pose looks are taken; see lip_shape.upright.
        """
        self._orientation, self._converter = orientation, PictureConverter(orientation)
        self._file: BinaryIO = path.open("wb")
        self._seen: list[_Seen] = []
        self._pictures: list[Floats] = []
        self._light: list[Floats] = []
        self._sharpness: list[float] = []
        self._reference = reference
        self._depth = "u1"

    def __enter__(self) -> BankWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, number: int, frame: VideoFrame, mesh: Mesh, doubts: tuple[float, float, float]) -> None:
        """Add the mouth of a frame.

        number: of the source frame, ascending. mesh: in the upright picture. doubts: of the mesh; see FoundMesh.
        """
        stored = self._orientation.points_to_stored(mesh, frame.width, frame.height)
        steps = chroma_step(frame.format)
        left, top, right, bottom = mouth_region(stored, (frame.width, frame.height), steps, more=SAMPLED_SHARE)
        if left >= right or top >= bottom:
            return
        offset, shapes = self._file.tell(), []
        for plane in plane_views(frame):
            step_x, step_y = round(frame.width / plane.shape[1]), round(frame.height / plane.shape[0])
            part = plane[top // step_y : -(-bottom // step_y), left // step_x : -(-right // step_x)]
            shapes.append((part.shape[0], part.shape[1]))
            self._depth = part.dtype.str
            self._file.write(part.tobytes())
        region = snap_to_chroma((left, top, right, bottom), frame)
        corner = self._orientation.to_upright(region, frame.width, frame.height)[:2]
        picture = self._converter.region_bgr(frame, region)
        here = mesh - np.array([*corner, 0], np.float32)
        look, light = looks.look(picture, here, self._reference)
        self._pictures.append(look)
        self._light.append(light)
        self._sharpness.append(sharpness(picture, here, self._reference))
        self._seen.append(_Seen(number, mesh, doubts, offset, (left, top), tuple(shapes)))

    def __len__(self) -> int:
        return len(self._seen)

    def finish(self) -> None:
        """Write the table of what was added."""
        table: dict[str, Any] = {"depth": np.array(self._depth), "reference": self._reference}
        usable = np.flatnonzero(self._usable())
        table["steady"] = self._steady()[usable]
        seen = [self._seen[number] for number in usable]
        meshes = np.array([each.mesh for each in seen], np.float32).reshape(len(seen), NUM_POINTS, 3)
        table["meshes"] = meshes
        table["frames"] = np.array([each.frame for each in seen], np.int64)
        table["offsets"] = np.array([each.offset for each in seen], np.int64)
        table["corners"] = np.array([each.corner for each in seen], np.int64).reshape(-1, 2)
        table["plane_shapes"] = np.array([each.shapes for each in seen], np.int64)
        table["light"] = np.array([self._light[number] for number in usable], np.float32)
        pictures = np.array([self._pictures[number] for number in usable], np.float32)
        table["looks"] = looks.principal(pictures) if len(seen) > 1 else np.zeros((len(seen), looks.COMPONENTS), "f4")
        table["measured"] = measure(meshes, self._reference) if len(seen) else np.zeros((0, 6), np.float32)
        table["num_seen"] = np.array(len(self._seen))
        stored = io.BytesIO()
        np.savez(stored, **table)
        begin = self._file.tell()
        self._file.write(stored.getvalue())
        self._file.write(TAIL.pack(begin, MAGIC))
        self._file.flush()

    def _steady(self) -> Mesh:
        """Return all meshes smoothed over their neighbours, none across a gap in the footage."""
        meshes = np.array([each.mesh for each in self._seen], np.float32).reshape(len(self._seen), NUM_POINTS, 3)
        gaps = np.flatnonzero(np.diff([each.frame for each in self._seen]) != 1) + 1
        return np.concatenate([steady(run) for run in np.split(meshes, gaps)])

    def _usable(self) -> NDArray[np.bool_]:
        """Mark the mouths whose mesh is sure, which are sharp and neither dark nor burnt out."""
        if not self._seen:
            return np.zeros(0, np.bool_)
        sharp = np.array(self._sharpness)
        light = np.array(self._light).mean(axis=1)
        sure = np.array([each.doubts[0] for each in self._seen]) <= MOST_LIPS_DOUBT
        lit = (light >= LIGHT_RANGE[0]) & (light <= LIGHT_RANGE[1])
        return np.asarray(sure & lit & (sharp >= LEAST_SHARPNESS * np.median(sharp)))


def sharpness(picture: NDArray[np.uint8], mesh: Mesh, reference: Points) -> float:
    """Return how sharp a mouth is: the spread of the aligned mouth's second differences, as a share of its contrast."""
    aligned = sample(picture, looks.mouth_map(mesh, reference), looks.CROP)
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std() / (grey.std() + 1.0))


class Bank:
    """A finished bank. Thread-safe; its samples stay mapped until it is closed."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises WorkspaceError if it is not one that was finished."""
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            begin, magic = TAIL.unpack(self._map[-TAIL.size :])
            if magic != MAGIC:
                raise ValueError("not a bank of mouths")
            with np.load(io.BytesIO(self._map[begin : -TAIL.size]), allow_pickle=False) as table:
                self._table = {name: table[name] for name in table.files}
        except (OSError, ValueError, struct.error) as exc:
            raise WorkspaceError(f"{path}: no finished bank of mouths ({exc}). Remove it and start again.") from exc
        self.normal = Normal.of(self._table["measured"]) if len(self) else None

    def __enter__(self) -> Bank:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(BufferError):  # a mouth is still in use, and the map goes with it
            self._map.close()

    def __len__(self) -> int:
        return len(self._table["frames"])

    @property
    def num_seen(self) -> int:
        """How many mouths were looked at."""
        return int(self._table["num_seen"])

    @property
    def shapes(self) -> Shapes:
        """(n, shapes), normalised."""
        measured: Shapes = self._table["measured"]
        return self.normal.normalise(measured) if self.normal else measured

    @property
    def reference(self) -> Points:
        """The speaker's upright face, (NUM_POINTS, 3)."""
        reference: Points = self._table["reference"]
        return reference

    @property
    def meshes(self) -> Mesh:
        """(n, NUM_POINTS, 3), in the upright pictures."""
        meshes: Mesh = self._table["meshes"]
        return meshes

    def upright(self) -> Points:
        """Return the points of all mouths in one pose, (n, NUM_POINTS, 3)."""
        return upright(self.meshes, self.reference)[0]

    def candidates(self) -> Candidates:
        """Return what there is to choose from."""
        table = self._table
        return Candidates(self.shapes, table["looks"], head_pose(self.meshes), table["light"], table["frames"])

    def mouth(self, number: int, orientation: Orientation, size: tuple[int, int]) -> Mouth:
        """Return a mouth to draw. Its samples are mapped, not copied.

        orientation, size: of the stored frames, (width, height).
        """
        table, offset = self._table, int(self._table["offsets"][number])
        dtype = np.dtype(str(table["depth"]))
        planes = []
        for height, width in table["plane_shapes"][number].tolist():
            samples = np.frombuffer(self._map, dtype, height * width, offset)
            planes.append(samples.reshape(height, width))
            offset += samples.nbytes
        left, top = table["corners"][number].tolist()
        mesh, smooth = (orientation.points_to_stored(table[name][number], *size) for name in ("meshes", "steady"))
        return Mouth(tuple(planes), (left, top), mesh, smooth)

    def shortcoming(self, frame_rate: float) -> str:
        """Return why there is too little to choose from; empty if there is enough."""
        seconds = len(self) / frame_rate
        if seconds < LEAST_SECONDS:
            return f"only {seconds:.1f} s of usable footage, of {self.num_seen / frame_rate:.1f} s seen"
        if float(self._table["measured"][:, 0].std()) < LEAST_GAP_SPREAD:
            return "the speaker hardly opens the mouth in the footage"
        return ""
