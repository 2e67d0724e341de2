"""Meshes of faces in every frame of a clip, wherever the clip begins; and along footage that is read as a whole."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from media.clips import FaceSpan, TrackedFace, TrackedMesh
from media.faces import Face, FaceBox, FacePath
from media.mesh import DOUBT_REACH, STEADY_REACH, FoundMesh, Mesh, steady, steady_doubt
from media.picture import VideoFrame
from media.reader import FaceTracker
from segmenter.mesh.crop import box_of_mesh, square_of_box, square_of_mesh
from segmenter.mesh.mesher import FaceMesher

REACH: Final = max(STEADY_REACH, DOUBT_REACH)
"""Frames on either side of a frame that what is tracked of a mesh depends on."""
STRAYED: Final = 0.35
"""Of the height of a face's box: how far a mesh may lie from where the scan saw the face."""


class MeshTracker:
    """A FaceTracker that finds meshes for spans whose mouths come from footage, and has another one track the rest.

    A mesh is looked for where the scan saw the face, in two passes: from there it ends within 0.6 % of an eye distance
    (median of four clips) of where following it through all frames leads. So it depends on its frame alone, and a
    steady mesh, and the doubt about it, on those within REACH frames of it inside the span: all are the same wherever
    reading began.
    Not thread-safe.
    """

    def __init__(self, boxes: FaceTracker, mesher: FaceMesher) -> None:
        self._boxes, self._mesher = boxes, mesher
        self._found: OrderedDict[tuple[int, int], FoundMesh] = OrderedDict()
        """Recent meshes, by number of the span and frame."""

    @property
    def reach_frames(self) -> int:
        """Frames beyond a frame, on either side, that its face may depend on."""
        return self._boxes.reach_frames + REACH

    def pose(self, face: Face) -> tuple[FaceBox, float]:
        """Return the box of a face seen in one frame, and how far it is turned; see FaceTracker."""
        return self._boxes.pose(face)

    def track(
        self, frames: Iterable[tuple[int, VideoFrame]], spans: Sequence[FaceSpan]
    ) -> Iterator[tuple[int, VideoFrame, tuple[TrackedFace, ...]]]:
        """Yield each frame in the order given with its faces; see FaceTracker.

        A frame waits for the meshes of the frames within REACH, at most so many further frames.
        """
        self._found.clear()
        waiting: deque[tuple[int, VideoFrame, tuple[TrackedFace, ...]]] = deque()
        drawn = [span for span in spans if span.source.method == "network"]
        for index, frame, faces in self._boxes.track(frames, drawn):
            for number, span in enumerate(spans):
                if span.source.method == "footage" and span.start_frame <= index < span.stop_frame:
                    self._look((number, index), frame, span, len(spans))
            waiting.append((index, frame, faces))
            if len(waiting) > REACH:
                yield self._with_meshes(*waiting.popleft(), spans)
        while waiting:
            yield self._with_meshes(*waiting.popleft(), spans)

    def _look(self, key: tuple[int, int], frame: VideoFrame, span: FaceSpan, num_spans: int) -> None:
        if key in self._found:
            self._found.move_to_end(key)
            return
        self._found[key] = self._mesher.find(frame, square_of_box(span.path.box_at(key[1])))
        if len(self._found) > (4 * REACH + 4) * num_spans:
            self._found.popitem(last=False)

    def _with_meshes(
        self, index: int, frame: VideoFrame, faces: tuple[TrackedFace, ...], spans: Sequence[FaceSpan]
    ) -> tuple[int, VideoFrame, tuple[TrackedFace, ...]]:
        """Return a frame with all its faces, in the order of their spans."""
        tracked = {id(face.span): face for face in faces}
        every = [
            TrackedFace(span, span.path.box_at(index), mesh=self._mesh(index, number, span))
            if span.source.method == "footage"
            else tracked.get(id(span))
            for number, span in enumerate(spans)
            if span.start_frame <= index < span.stop_frame
        ]
        return index, frame, tuple(face for face in every if face is not None)

    def _mesh(self, index: int, number: int, span: FaceSpan) -> TrackedMesh:
        near, at = self._window(index, number, span, STEADY_REACH)
        smooth = steady(np.stack([found.mesh for found in near]))[at]
        around, middle = self._window(index, number, span, DOUBT_REACH)
        doubt = steady_doubt([found.doubts[0] for found in around], middle)
        return TrackedMesh(near[at].mesh, smooth, doubt)

    def _window(self, index: int, number: int, span: FaceSpan, reach: int) -> tuple[list[FoundMesh], int]:
        """Return what was found around a frame inside a span, and where among that the frame itself is."""
        first, stop = max(index - reach, span.start_frame), min(index + reach + 1, span.stop_frame)
        own = self._found[number, index]
        return [self._found.get((number, frame), own) for frame in range(first, stop)], index - first


def follow(
    frames: Iterable[tuple[int, VideoFrame]], path: FacePath, mesher: FaceMesher
) -> Iterator[tuple[int, VideoFrame, FoundMesh]]:
    """Yield consecutive frames with the mesh of one face, looked for where it was in the frame before.

    path: where the scan saw the face; a mesh that has strayed from it is looked for there again.
    """
    square = None
    for index, frame in frames:
        box = path.box_at(index)
        found = mesher.find(frame, square, passes=1) if square is not None else None
        if found is None or _has_strayed(found.mesh, box):
            found = mesher.find(frame, square_of_box(box), passes=3)
        square = square_of_mesh(found.mesh)
        yield index, frame, found


def _has_strayed(mesh: Mesh, box: FaceBox) -> bool:
    seen = box_of_mesh(mesh)
    aside = (seen.left + seen.right - box.left - box.right) / 2, (seen.top + seen.bottom - box.top - box.bottom) / 2
    return max(abs(aside[0]), abs(aside[1]), abs(seen.height - box.height)) > STRAYED * box.height
