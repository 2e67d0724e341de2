"""Choose which faces of a scan are shown to the embedder: each one once a second, as soon as it can be recognised."""

from __future__ import annotations

from dataclasses import replace
from math import floor

from media.faces import Face, FaceBox, FrameDetections
from media.packets.frame_table import FrameTable
from media.picture import PictureConverter, VideoFrame
from segmenter.people.embedder import FaceEmbedder
from segmenter.tracks import SAME_FACE, box_distance, estimate_yaw

LEAST_SCORE = 0.7
"""Detector score of a face that is worth a look."""
LEAST_PX = 40
"""Height of the smallest face that is recognised, in pixels of the upright picture: it is enlarged about twofold."""
LEAST_INSIDE = 0.95
"""How much of a face's box must lie inside the picture: half a face is like anybody's."""
MAX_YAW_DEGREES = 60
"""A face that is turned further shows too little of itself."""
MOST_FACES = 8
"""Faces of one frame that are looked at, the largest: crowds are not worth the time."""


class EmbeddingSampler:
    """Embeds faces of the looks at one shot; one for each shot.

    Which faces are chosen depends on the looks at the shot alone, so it is the same for any number of cores.

    seconds    |           |           |
    looks      *  *  *  *  *  *  *  *  *
    face       -  turned   ok ok ok ok ok
    embedded               !           !      once a second, at the first look in which it is fit
    """

    def __init__(
        self,
        embedder: FaceEmbedder,
        converter: PictureConverter,
        table: FrameTable,
        upright_size: tuple[int, int],
    ) -> None:
        self._embedder, self._converter, self._table = embedder, converter, table
        self._upright_size = upright_size
        self._last: list[tuple[FaceBox, int]] = []
        """The faces of the look before, each with the second in which it was last embedded (-1: never)."""

    def take(self, frame: VideoFrame, sample: FrameDetections) -> FrameDetections:
        """Return the sample of the next look with the embeddings of the faces whose turn it is."""
        second = floor(self._table.seconds(sample.frame))
        faces: list[Face] = []
        now: list[tuple[FaceBox, int]] = []
        for number, face in enumerate(sample.faces):
            done = self._done(face.box)
            if done < second and number < MOST_FACES and is_recognisable(face, self._upright_size):
                face = replace(face, embedding=self._embedder.embed(frame, face, self._converter))
                done = second
            faces.append(face)
            now.append((face.box, done))
        self._last = now
        return replace(sample, faces=tuple(faces))

    def _done(self, box: FaceBox) -> int:
        """Return the second in which the face that was nearest in the look before was embedded."""
        near = [(box_distance(box, other), done) for other, done in self._last]
        distance, done = min(near, default=(SAME_FACE + 1, -1))
        return done if distance <= SAME_FACE else -1


def is_recognisable(face: Face, upright_size: tuple[int, int]) -> bool:
    """Tell whether a face in a picture of some width and height shows enough to tell whose it is."""
    if face.landmarks is None or face.score < LEAST_SCORE or face.box.height < LEAST_PX:
        return False
    box, (width, height) = face.box, upright_size
    inside = FaceBox(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))
    if inside.area < LEAST_INSIDE * box.area:
        return False
    yaw = estimate_yaw(face)
    return yaw is not None and yaw <= MAX_YAW_DEGREES
