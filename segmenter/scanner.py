"""Scan a video for faces: a few frames a second, and more where faces come or go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from math import ceil, floor
from operator import itemgetter
from typing import TypeVar

import cv2

from media.faces import Face, FaceBox, FrameDetections
from media.intervals import Interval
from media.packets.frame_table import FrameTable
from media.picture import PictureConverter, Pixels, VideoFrame
from segmenter.cuts import CUT_PICTURE_PX, CutDetector
from segmenter.detectors.base import FaceDetector
from segmenter.face_quality import with_quality
from segmenter.mesh.crop import square_of_face
from segmenter.mesh.mesher import FaceMesher
from segmenter.people.embedder import FaceEmbedder
from segmenter.people.embedding_sampler import EmbeddingSampler
from segmenter.scan import Scan, ScanSettings
from segmenter.tracks import SAME_FACE, box_distance

T = TypeVar("T")

LEGIBLE_PX = 24
"""Height of a face in the picture at which RetinaFace always finds it (17 px: 3 of 4, 13 px: 1 of 5). OpenCV's cascade
needs 30."""
DETECTION_PX = (320, 640)
"""Least and greatest longer side of the pictures that faces are looked for in; time grows with its square."""
LONGEST_GAP_FRAMES = 12
"""Most frames between two samples. It bounds the decoded frames that are held: 15, with the lag of the cuts."""
CLEAR_SCORE = 0.5
"""Faces below this score do not call for a closer look."""
RIVAL_AREA = 0.25
"""Faces with less than this share of the largest one's area do not either: they are hardly ever the target."""
MOST_VIEWED = 4
"""Most faces of one frame whose mesh is looked for, the largest ones."""
PART_SECONDS = 10
"""Least length of a part that is scanned by itself: short enough to share a minute among the cores, long enough that
decoding up to a border and beyond it costs little."""


@dataclass(frozen=True, slots=True)
class ScanPart:
    """Consecutive frames that are scanned by themselves. Where the borders lie depends on the video alone.

    parts        |---------- A ----------|---------- B ----------|
    A reads      |-----------------------|=====|                    to know the cuts just behind the border
    cuts of A     (------------------------]
    cuts of B                               (--------------------|  those before look different from B's side
    """

    start: int
    stop: int
    read_stop: int
    """Frames up to here must be read."""
    first_cut: int
    stop_cut: int
    """The part finds the cuts from first_cut to stop_cut, exclusive."""


def plan_scan(table: FrameTable, intervals: Sequence[Interval]) -> tuple[ScanPart, ...]:
    """Cut intervals of frames at keyframes into parts of at least PART_SECONDS, for scan_faces."""
    lag = CutDetector.LAG_FRAMES
    parts = []
    for start, stop in intervals:
        borders = [start]
        for frame in range(start + 1, stop):
            long_enough = table.keyframe[frame] and table.seconds(frame) - table.seconds(borders[-1]) >= PART_SECONDS
            if long_enough and stop - frame > 2 * lag:
                borders.append(frame)
        for first, last in zip(borders, [*borders[1:], stop], strict=True):
            first_cut = first + 1 + lag * (first > start)
            stop_cut = last + (lag + 1) * (last < stop)
            parts.append(ScanPart(first, last, min(last + 2 * lag + 1, stop), first_cut, stop_cut))
    return tuple(parts)


def join_scans(scans: Sequence[Scan], detector: str, upright_size: tuple[int, int]) -> Scan:
    """Return the scans of parts, given in order, as one."""
    samples = tuple(chain.from_iterable(scan.samples for scan in scans))
    cuts = tuple(sorted(chain.from_iterable(scan.cuts for scan in scans)))
    return Scan(samples, cuts, detector, upright_size)


def scan_faces(
    frames: Iterable[tuple[int, VideoFrame]],
    scanner: FaceScanner,
    *,
    part: ScanPart | None = None,
    on_progress: Callable[[int], None] = lambda num_frames: None,
) -> Scan:
    """Look for cuts and faces in frames, given in ascending order; where indexes are left out, a shot ends.

    Faces are looked for on a grid of times (the same wherever scanning begins), in the first and last frame of every
    shot, and, where faces come or go between two of these, in further frames until the frame of the change is found.
    part: which part of the result is wanted; None for all. on_progress: called with the number of frames done. Holds at
    most 15 frames, however long the video.
    """
    cv2.setNumThreads(1)  # other parts are scanned on the other cores
    cuts: list[int] = []
    samples: list[FrameDetections] = []
    numbered = enumerate(_reported(frames, on_progress))
    for _, consecutive in groupby(numbered, key=lambda item: item[1][0] - item[0]):
        shots = groupby(with_shot((frame for _, frame in consecutive), scanner.thumbnail), key=itemgetter(0))
        for shot_number, (first_frame, shot) in enumerate(shots):
            if shot_number:
                cuts.append(first_frame)
            wanted = ((index, frame) for _, index, frame in shot if not part or index < part.stop)
            samples += scanner.scan_shot(wanted)
    if part:
        cuts = [cut for cut in cuts if part.first_cut <= cut < part.stop_cut]
    return Scan(tuple(samples), tuple(cuts), scanner.detector.name, scanner.upright_size)


def _reported(frames: Iterable[T], on_progress: Callable[[int], None]) -> Iterator[T]:
    for num_done, frame in enumerate(frames, start=1):
        yield frame
        on_progress(num_done)


def with_shot(
    frames: Iterable[tuple[int, VideoFrame]], thumbnail: Callable[[VideoFrame], Pixels]
) -> Iterator[tuple[int, int, VideoFrame]]:
    """Yield (first frame of its shot, index, frame) for consecutive frames, as soon as that is known."""
    detector = CutDetector()
    held: deque[tuple[int, VideoFrame]] = deque()
    cuts: set[int] = set()
    shot = -1

    def release() -> tuple[int, int, VideoFrame]:
        nonlocal shot
        index, frame = held.popleft()
        if shot < 0 or index in cuts:
            shot = index
            cuts.discard(index)
        return shot, index, frame

    for index, frame in frames:
        cuts.update(detector.push(index, thumbnail(frame)))
        held.append((index, frame))
        if len(held) > detector.LAG_FRAMES:
            yield release()
    cuts.update(detector.finish())
    while held:
        yield release()


@dataclass(frozen=True, slots=True)
class FaceScanner:
    """Looks for faces in the frames of a video, and decides in which ones. Not thread-safe."""

    table: FrameTable
    upright_size: tuple[int, int]
    """Width and height of the upright picture."""
    detector: FaceDetector
    converter: PictureConverter
    settings: ScanSettings = field(default_factory=ScanSettings)
    embedder: FaceEmbedder | None = None
    """Embeds faces once a second; None: people are not recognised."""
    mesher: FaceMesher | None = None
    """Finds how heads are held and lit; None: that is not asked for."""

    def thumbnail(self, frame: VideoFrame) -> Pixels:
        """Return a frame as the cut detector takes it."""
        return self.converter.upright_bgr(frame, _fitted(self.upright_size, CUT_PICTURE_PX))

    def detect_at(self, index: int, frame: VideoFrame) -> FrameDetections:
        """Find the faces of a frame, or take the one that is given."""
        box = self.settings.box
        faces = iter([Face(box, 1.0)]) if box else self._detect(frame)
        return FrameDetections(index, tuple(with_quality(face, frame, self.converter.orientation) for face in faces))

    def _detect(self, frame: VideoFrame) -> Iterator[Face]:
        size = detection_size(self.upright_size, self.settings.min_face_px)
        scale_x, scale_y = self.upright_size[0] / size[0], self.upright_size[1] / size[1]
        found = self.detector.detect(self.converter.upright_bgr(frame, size))
        return (_rounded(face.scaled(scale_x, scale_y)) for face in found)

    def scan_shot(self, shot: Iterable[tuple[int, VideoFrame]]) -> Iterator[FrameDetections]:
        """Yield the detections in the sampled frames of one shot."""
        before: FrameDetections | None = None
        embeddings = self._embedding_sampler()
        for block in self._blocks(shot):
            after = self.detect_at(*block[-1])
            if embeddings:
                after = embeddings.add_to(after, block[-1][1])
            after = self._with_views(after, block[-1][1])
            if before:
                yield from self._between(before, block[:-1], after)
            yield after
            before = after

    def _with_views(self, sample: FrameDetections, frame: VideoFrame) -> FrameDetections:
        if self.mesher is None:
            return sample
        faces = list(sample.faces)
        for number, face in enumerate(faces[:MOST_VIEWED]):
            if face.score >= CLEAR_SCORE and face.box.height >= self.settings.min_face_px:
                view = self.mesher.view(frame, square_of_face(face), passes=1 if face.landmarks else 2)
                faces[number] = replace(face, view=view)
        return replace(sample, faces=tuple(faces))

    def _embedding_sampler(self) -> EmbeddingSampler | None:
        if self.embedder is None:
            return None
        return EmbeddingSampler(self.embedder, self.converter, self.table, self.upright_size)

    def _blocks(self, shot: Iterable[tuple[int, VideoFrame]]) -> Iterator[list[tuple[int, VideoFrame]]]:
        """Cut a shot into blocks that end with a frame to search; the first frame is a block of its own.

        All blocks are one list, emptied for the next one, so that no two blocks of frames are held.
        """
        block: list[tuple[int, VideoFrame]] = []
        first = True
        for index, frame in shot:
            block.append((index, frame))
            if first or self.is_due(index) or len(block) == LONGEST_GAP_FRAMES:
                yield block
                block.clear()
                first = False
        if block:
            yield block

    def is_due(self, index: int) -> bool:
        """Tell whether a frame is the first one at or after a point of the grid of times."""
        now, before = (
            self.table.seconds(frame) * self.settings.samples_per_second for frame in (index, max(index - 1, 0))
        )
        return floor(now) > floor(before)

    def _between(
        self, before: FrameDetections, frames: list[tuple[int, VideoFrame]], after: FrameDetections
    ) -> Iterator[FrameDetections]:
        """Yield the samples that find the frame in which faces come or go between two samples, by bisection."""
        if not frames or not _differ(before, after):
            return
        middle = len(frames) // 2
        sample = self.detect_at(*frames[middle])
        yield from self._between(before, frames[:middle], sample)
        yield sample
        yield from self._between(sample, frames[middle + 1 :], after)


def _differ(a: FrameDetections, b: FrameDetections) -> bool:
    """Tell whether a face that could be the target is clearly seen in one sample and not at all in the other."""
    clear = [[face for face in sample.faces if face.score >= CLEAR_SCORE] for sample in (a, b)]
    least_area = RIVAL_AREA * max((face.box.area for face in chain(*clear)), default=0.0)
    return any(
        face.box.area >= least_area and all(box_distance(face.box, seen.box) > SAME_FACE for seen in opposite.faces)
        for faces, opposite in zip(clear, (b, a), strict=True)
        for face in faces
    )


def detection_size(upright_size: tuple[int, int], min_face_px: float) -> tuple[int, int]:
    """Return (width, height) of the pictures in which to look for faces of at least min_face_px upright pixels."""
    least, greatest = DETECTION_PX
    wanted = ceil(max(upright_size) * LEGIBLE_PX / min_face_px)
    return _fitted(upright_size, min(max(wanted, least), greatest))


def _fitted(size: tuple[int, int], longer_px: int) -> tuple[int, int]:
    """Scale (width, height) to a longer side; never enlarge."""
    scale = min(longer_px / max(size), 1)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _rounded(face: Face) -> Face:
    """Return a face with its score, box and landmarks to a hundredth."""
    box = FaceBox(round(face.box.left, 2), round(face.box.top, 2), round(face.box.right, 2), round(face.box.bottom, 2))
    if face.landmarks is None:
        return Face(box, round(face.score, 2))
    first, second, third, fourth, fifth = ((round(x, 2), round(y, 2)) for x, y in face.landmarks)
    return Face(box, round(face.score, 2), (first, second, third, fourth, fifth))
