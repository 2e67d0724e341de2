"""The bank: a speaker's usable mouths, cut out of the frames that show them, in one file; see bank_writer.

Memory holds the table, some kilobytes a mouth; samples are read when a mouth is drawn. They are not mapped: pages of a
mapped file count as the process's own, and a film's banks hold gigabytes.
"""

from __future__ import annotations

import io
import math
import struct
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.base.errors import RenderError, WorkspaceError
from media.mesh import Mesh, head_pose
from media.orientation import Orientation
from renderer.footage.choice import Candidates
from renderer.footage.covered import UsualDoubt
from renderer.footage.drawing.draw import Mouth
from renderer.footage.lip_shape import Normal, Points, Shapes, upright

MAGIC: Final = b"mouths1\n"
TAIL: Final = struct.Struct("<Q8s")
"""Where the table begins, and MAGIC: the last bytes of the file."""
Floats = NDArray[np.float32]


class Bank:
    """A finished bank. Thread-safe. It keeps no file open: a film may have hundreds."""

    def __init__(self, path: Path) -> None:
        """Read the table. Raises WorkspaceError if it is not one that was finished."""
        self._path = path
        try:
            num_bytes = path.stat().st_size
            begin, magic = TAIL.unpack(self._read(num_bytes - TAIL.size, TAIL.size))
            if magic != MAGIC:
                raise ValueError("not a bank of mouths")
            stored = self._read(begin, num_bytes - TAIL.size - begin)
            with np.load(io.BytesIO(stored), allow_pickle=False) as table:
                self._table = {name: table[name] for name in table.files}
        except (OSError, ValueError, struct.error) as exc:
            raise WorkspaceError(f"{path}: no finished bank of mouths ({exc}). Remove it and start again.") from exc
        self.normal = Normal.of(self._table["measured"]) if len(self) else None

    def _read(self, offset: int, num_bytes: int) -> bytes:
        """Return bytes of the file. Raises OSError, or ValueError where it ends before them."""
        with self._path.open("rb", buffering=0) as file:
            file.seek(offset)
            found = file.read(max(num_bytes, 0))
        if len(found) != num_bytes:
            raise ValueError("it is cut off")
        return found

    def __len__(self) -> int:
        return len(self._table["frames"])

    @property
    def num_seen(self) -> int:
        """How many mouths were looked at."""
        return int(self._table["num_seen"])

    @property
    def usual_doubt(self) -> UsualDoubt:
        """How far the lips are likely off in this person's footage."""
        return UsualDoubt(tuple(self._table["usual_doubt"].tolist()))

    @property
    def measured(self) -> Shapes:
        """(n, shapes), in eye distances."""
        measured: Shapes = self._table["measured"]
        return measured

    @property
    def shapes(self) -> Shapes:
        """(n, shapes), normalised."""
        return self.normal.normalise(self.measured) if self.normal else self.measured

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

    @cached_property
    def upright(self) -> Points:
        """The points of all mouths in one pose, (n, NUM_POINTS, 3)."""
        return upright(self.meshes, self.reference)[0]

    @cached_property
    def candidates(self) -> Candidates:
        """What there is to choose from."""
        table = self._table
        sharp = table["sharpness"]
        return Candidates(
            shapes=self.shapes,
            looks=table["looks"],
            pose=head_pose(self.meshes),
            light=table["light"],
            sharpness=np.log(sharp / np.median(sharp)) if len(sharp) else sharp,
            frames=table["frames"],
        )

    def mouth(self, number: int, orientation: Orientation) -> Mouth:
        """Return a mouth to draw. orientation: of the stored frames. Raises RenderError if the file is gone."""
        table, offset = self._table, int(self._table["offsets"][number])
        dtype = np.dtype(str(table["depth"]))
        shapes = table["plane_shapes"][number].tolist()
        try:
            samples = self._read(offset, dtype.itemsize * sum(map(math.prod, shapes)))
        except (OSError, ValueError) as exc:
            raise RenderError(f"{self._path}: the mouths of the footage cannot be read any more ({exc}).") from exc
        stored = np.frombuffer(samples, dtype)
        ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        planes = [plane.reshape(shape) for plane, shape in zip(np.split(stored, ends), shapes, strict=True)]
        left, top = table["corners"][number].tolist()
        size = table["sizes"][number].tolist()
        mesh, smooth = (orientation.points_to_stored(table[name][number], *size) for name in ("meshes", "steady"))
        return Mouth(tuple(planes), (left, top), mesh, smooth)
