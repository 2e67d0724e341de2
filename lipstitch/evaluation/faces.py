"""Follow every face of a video in one pass: where it is in each frame, and its mesh, as steady as what draws mouths.

    frames       |  |  |  |  |  |  |  |  |  |  |  |  |  |  |  |
    looked for   x              x              x                    by the detector, five times a second
    mesh         m  m  m  m  m  m  m  m  m  m  m  m  m              in each frame, from the one before
    given out    ...............]                                   up to six frames before the last look

Public tools detect in every frame. Here the mesh gives the box of every frame; the detector finds who comes and who
has gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from media.affine import Affine
from media.faces import Face, FaceBox
from media.mesh import STEADY_REACH, FoundMesh, Mesh, head_pose, steady
from media.picture import VideoFrame
from renderer.footage.lip_shape import Points, upright
from segmenter.mesh.crop import box_of_mesh, square_of_face, square_of_mesh
from segmenter.mesh.mesher import FaceMesher
from segmenter.pose import upright_box
from segmenter.scanner import CLEAR_SCORE, LONGEST_GAP_FRAMES, FaceScanner, with_shot
from segmenter.tracks import box_distance

SAME_PLACE: Final = 0.5
"""Largest distance (segmenter.tracks.box_distance) of a detected face from the mesh that follows it."""
SURE: Final = 0.06
"""Eye distances by which lips may be off, as the mesh network itself thinks, where the detector misses a face."""
MOST_MISSED: Final = 5
"""Looks (1 s) that a sure mesh is believed without the detector."""
MEDIAN_REACH: Final = 6
"""Frames on either side whose median place is the place of a crop: 13 in all, as in syncnet_python."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """A face in one frame, in upright pixels."""

    track: int
    """Number of the face's track: faces are followed to the end of a shot, or until they are out of sight."""
    mesh: Mesh
    """Steadied over its neighbours."""
    raw: Mesh
    """As found in this frame."""
    reference: Points
    """The person's upright face; see renderer.footage.lip_shape."""
    place: tuple[float, float, float]
    """Middle (x, y) of the face's box and half its longer side, medians over 13 frames."""

    @property
    def roll_degrees(self) -> float:
        """How far the face is tilted, clockwise."""
        return float(head_pose(self.mesh)[2])

    @property
    def box(self) -> FaceBox:
        """The face's box, turned upright."""
        return upright_box(box_of_mesh(self.mesh), self.roll_degrees)


FrameWithFaces = tuple[int, VideoFrame, tuple[SeenFace, ...]]
"""(index, frame, its faces)."""


@dataclass(slots=True)
class _Track:
    number: int
    start: int
    """Its first frame."""
    square: Affine
    """Where the mesh is looked for next."""
    meshes: dict[int, FoundMesh] = field(default_factory=dict)
    """Of recent frames."""
    stop: int | None = None
    """Frame behind its last one; None while it is followed."""
    num_missed: int = 0
    reference: Points | None = None

    @property
    def box(self) -> FaceBox:
        return box_of_mesh(self.last.mesh)

    @property
    def last(self) -> FoundMesh:
        return next(reversed(self.meshes.values()))

    def add(self, index: int, found: FoundMesh) -> None:
        self.meshes[index] = found
        self.square = square_of_mesh(found.mesh)

    def seen(self, index: int) -> SeenFace:
        """Return the face of a frame: what it is steadied by is known."""
        if self.reference is None:
            _, self.reference = upright(np.stack([found.mesh for found in self.meshes.values()]))
        near = self._window(index, STEADY_REACH)
        meshes = steady(np.stack([found.mesh for found in near.values()]))
        around = self._window(index, MEDIAN_REACH)
        return SeenFace(
            self.number,
            meshes[[*near].index(index)],
            self.meshes[index].mesh,
            self.reference,
            median_place([box_of_mesh(found.mesh) for found in around.values()]),
        )

    def _window(self, index: int, reach: int) -> dict[int, FoundMesh]:
        frames = range(max(index - reach, self.start), index + reach + 1)
        return {frame: self.meshes[frame] for frame in frames if frame in self.meshes and self._holds(frame)}

    def _holds(self, frame: int) -> bool:
        return self.start <= frame and (self.stop is None or frame < self.stop)

    def shows(self, frame: int) -> bool:
        """Tell whether the track holds a frame."""
        return self._holds(frame) and frame in self.meshes

    def forget(self, before: int) -> None:
        for frame in [frame for frame in self.meshes if frame < before - MEDIAN_REACH]:
            del self.meshes[frame]


def median_place(boxes: Sequence[FaceBox]) -> tuple[float, float, float]:
    """Return the median middle (x, y) of boxes and that of half their longer sides.

    At the ends of a track, where there are fewer than 13, syncnet_python's filter fills up with zeros: what is least of
    the boxes there stands for their median, as in that tool, once half are missing.
    """
    numbers = np.array(
        [
            [
                (box.left + box.right) / 2,
                (box.top + box.bottom) / 2,
                max(box.width, box.height) / 2,
            ]
            for box in boxes
        ]
    )
    missing = np.zeros((2 * MEDIAN_REACH + 1 - len(numbers), 3))
    x, y, half = np.median(np.concatenate([numbers, missing]), axis=0)
    return float(x), float(y), float(half)


class FaceFollower:
    """Follows faces through frames. Holds at most 21 frames, however long the video."""

    def __init__(self, scanner: FaceScanner, mesher: FaceMesher) -> None:
        """Take over a scanner and a mesher of the video; both are one thread's own."""
        self._scanner, self._mesher = scanner, mesher
        self._tracks: list[_Track] = []
        self._held: deque[tuple[int, VideoFrame]] = deque()
        self._num_tracks = 0
        self._next = 0
        """Frame behind the last one that was given out."""
        self._looked = -1
        """Frame of the last look."""

    def follow(self, frames: Iterable[tuple[int, VideoFrame]]) -> Iterator[FrameWithFaces]:
        """Yield each frame in order with the faces seen in it. Where indexes are left out, a shot ends."""
        current: tuple[int, int] | None = None
        for shot, index, frame in self._shots(frames):
            if current is not None and current != shot:
                yield from self._end_shot()
            is_first, current = current != shot, shot
            self._held.append((index, frame))
            for track in self._tracks:
                if track.stop is None:
                    track.add(index, self._mesher.find(frame, track.square, passes=1))
            if is_first or self._scanner.is_due(index) or index - self._looked >= LONGEST_GAP_FRAMES:
                self._look(index, frame)
                yield from self._release(index - MEDIAN_REACH)
        yield from self._end_shot()

    def _shots(self, frames: Iterable[tuple[int, VideoFrame]]) -> Iterator[tuple[tuple[int, int], int, VideoFrame]]:
        """Yield (shot, index, frame); stretches of consecutive frames, and shots in them, are numbered by a pair."""
        stretch, waiting = 0, iter(frames)
        ahead: deque[tuple[int, VideoFrame]] = deque()

        def consecutive() -> Iterator[tuple[int, VideoFrame]]:
            last: int | None = None
            while (item := ahead.popleft() if ahead else next(waiting, None)) is not None:
                if last is not None and item[0] != last + 1:
                    ahead.append(item)
                    return
                last = item[0]
                yield item

        while True:
            is_empty = True
            for first, index, frame in with_shot(consecutive(), self._scanner.thumbnail):
                is_empty = False
                yield (stretch, first), index, frame
            if is_empty:
                return
            stretch += 1

    def _look(self, index: int, frame: VideoFrame) -> None:
        """Match what the detector sees with the meshes; begin tracks, and end those that are out of sight."""
        least = self._scanner.settings.min_face_px
        faces = [
            face
            for face in self._scanner.detect_at(index, frame).faces
            if face.score >= CLEAR_SCORE and face.box.height >= least
        ]
        going = [track for track in self._tracks if track.stop is None]
        pairs = sorted(
            (box_distance(track.box, face.box), old, new)
            for old, track in enumerate(going)
            for new, face in enumerate(faces)
        )
        matched: dict[int, int] = {}
        for distance, old, new in pairs:
            if distance <= SAME_PLACE and old not in matched and new not in matched.values():
                matched[old] = new
        kept = [going[old].box for old in matched]
        for old, track in enumerate(going):
            if old in matched:
                track.num_missed = 0
                continue
            track.num_missed += 1
            is_sure = track.num_missed <= MOST_MISSED and track.last.doubts[0] <= SURE
            if not is_sure or any(box_distance(track.box, box) <= SAME_PLACE for box in kept):
                track.stop = self._looked + 1
        for new, face in enumerate(faces):
            if new not in matched.values():
                self._begin(index, frame, face)
        self._looked = index

    def _begin(self, index: int, frame: VideoFrame, face: Face) -> None:
        square = square_of_face(face)
        track = _Track(self._num_tracks, index, square)
        track.add(index, self._mesher.find(frame, square, passes=1 if face.landmarks else 2))
        self._tracks.append(track)
        self._num_tracks += 1

    def _end_shot(self) -> Iterator[FrameWithFaces]:
        for track in self._tracks:
            track.stop = self._held[-1][0] + 1 if track.stop is None else track.stop
        yield from self._release(None)
        self._tracks.clear()

    def _release(self, last: int | None) -> Iterator[FrameWithFaces]:
        """Yield the held frames up to one; None: all."""
        while self._held and (last is None or self._held[0][0] <= last):
            index, frame = self._held.popleft()
            self._next = index + 1
            yield index, frame, tuple(track.seen(index) for track in self._tracks if track.shows(index))
            for track in self._tracks:
                track.forget(index)
        self._tracks = [track for track in self._tracks if track.stop is None or track.stop > self._next]
