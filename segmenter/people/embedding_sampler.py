"""Choose which faces of a scan are embedded: each one once a second, as soon as it can be recognised."""

from __future__ import annotations

from dataclasses import replace
from math import floor

from media.faces import Face, FaceBox, FrameDetections
from media.packets.frame_table import FrameTable
from media.picture import PictureConverter, VideoFrame
from segmenter.people.embedder import FaceEmbedder
from segmenter.tracks import SAME_FACE, box_distance, estimate_yaw

LEAST_SCORE = 0.7
"""Least detector score of a face that is embedded."""
LEAST_PX = 40
"""Height of the smallest face that is recognised, in pixels of the upright picture: it is enlarged about twofold."""
LEAST_INSIDE = 0.95
"""How much of a face's box must lie inside the picture: half faces are all alike."""
MAX_YAW_DEGREES = 60
"""A face that is turned further shows too little of itself."""
MOST_FACES = 8
"""Most faces of one frame that are embedded, the largest ones: crowds are not worth the time."""


class EmbeddingSampler:
    """Adds embeddings to the samples of one shot.

    Which faces are chosen depends on the samples of the shot alone, so it is the same for any number of cores.

    seconds    |           |           |
    samples    *  *  *  *  *  *  *  *  *
    face       -  turned   ok ok ok ok ok
    embedded               !           !      once a second, at the first sample in which it can be recognised
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
        """The faces of the last sample, each with the second in which it was last embedded (-1: never)."""

    def add_to(self, sample: FrameDetections, frame: VideoFrame) -> FrameDetections:
        """Return the next sample of the shot with the embeddings that are due; frame: its picture."""
        second = floor(self._table.seconds(sample.frame))
        faces: list[Face] = []
        embedded: list[tuple[FaceBox, int]] = []
        for number, face in enumerate(sample.faces):
            last_second = self._last_second(face.box)
            if last_second < second and number < MOST_FACES and is_recognisable(face, self._upright_size):
                face = replace(face, embedding=self._embedder.embed(frame, face, self._converter))
                last_second = second
            faces.append(face)
            embedded.append((face.box, last_second))
        self._last = embedded
        return replace(sample, faces=tuple(faces))

    def _last_second(self, box: FaceBox) -> int:
        """Return the second in which the nearest face of the last sample was last embedded; -1 if never."""
        near = [(box_distance(box, last_box), second) for last_box, second in self._last]
        distance, second = min(near, default=(SAME_FACE + 1, -1))
        return second if distance <= SAME_FACE else -1


def is_recognisable(face: Face, upright_size: tuple[int, int]) -> bool:
    """Tell whether a face shows enough to be recognised; upright_size: width and height of the picture."""
    if face.landmarks is None or face.score < LEAST_SCORE or face.box.height < LEAST_PX:
        return False
    box, (width, height) = face.box, upright_size
    inside = FaceBox(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))
    if inside.area < LEAST_INSIDE * box.area:
        return False
    yaw = estimate_yaw(face)
    return yaw is not None and yaw <= MAX_YAW_DEGREES
