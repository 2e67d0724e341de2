"""Follow the faces to render: their exact boxes in every frame of a clip, wherever the clip begins."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from media.clips import FaceSpan, TrackedFace
from media.faces import Face, FaceBox
from media.orientation import Rectangle
from media.picture import PictureConverter, Pixels, VideoFrame, snap_to_chroma
from segmenter.detectors.base import FaceDetector
from segmenter.pose import MOST_ROLL_DEGREES, estimate_roll, upright_box
from segmenter.smoothing import filter_weights, needed_frames, reach_of
from segmenter.tracks import SAME_FACE, box_distance

CROP_SIZE = 2.0
"""Side of the square that is searched, in units of the longer side of the expected box."""
SMALLEST_SHARE = 0.25
"""Height of the smallest face of interest in it, as a share of the side."""
SPARE = 2
"""How many times finer than the searched picture the pixels stay that it is resampled from."""
CHROMA_PX = 4
"""A multiple of the pixels that share a chroma sample, in all formats (4:1:1 has four)."""

Align = Literal["box", "similarity"]
"""box: faces are cropped as they are in the picture. similarity: they are turned upright first."""
ALIGN: Align = "similarity"
"""The default of jobs and training. Measured with the network that ships, which was trained on boxes, and the clips'
own sound: error of the lower face against the source in levels of 255, and structural similarity:

    tilt of the head              box            similarity
    2 to 8 degrees, 13 clips      3.00  0.939    3.00  0.939    as filmed
    15 degrees more, 4 clips      3.37  0.932    3.13  0.934    frames turned
    30 degrees more, 4 clips      4.42  0.912    2.88  0.940    frames turned; with box the lower eye is drawn over
"""


@dataclass(frozen=True, slots=True)
class _Followed:
    """A face span that is followed, and its number among all that are."""

    number: int
    span: FaceSpan

    def expected(self, frame: int) -> FaceBox:
        """Return where the scan saw the face, interpolated between samples."""
        return self.span.path.box_at(frame)


class BoxTracker:
    """A FaceTracker that detects in a small crop around the expected box, at fixed frames of the span.

    frame       0   1   2   3   4   5   6   7   8      span of 9, every 3rd
    detected    #           #           #       #      first, every 3rd from there, last
    between     interpolated, then filtered inside the span alone (smoothing.py)

    Which frames are searched depends on their place in the span alone, and where they are searched on the span's path
    alone, never on what was found in an earlier frame: a box is the same wherever reading began. Not thread-safe.
    """

    def __init__(
        self,
        detector: FaceDetector,
        converter: PictureConverter,
        *,
        every_frames: int = 2,
        smoothing_frames: int | None = None,
        crop_px: int | None = None,
        align: Align = ALIGN,
    ) -> None:
        """every_frames: distance of detections. smoothing_frames: odd length of the filter's window, 1 for none.
        crop_px: side of the searched pictures. None: what suits the detector. align: whether faces are turned upright,
        which needs landmarks.
        """
        smoothing_frames = smoothing_frames or detector.smoothing_frames
        crop_px = crop_px or detector.crop_px
        self._detector = detector
        self._converter = converter
        self._every = every_frames
        self._window_frames = smoothing_frames // 2 * 2 + 1
        self._crop_px = crop_px
        self._turns = align == "similarity"
        self._found: OrderedDict[tuple[int, int], Face] = OrderedDict()
        """A cache of recent detections, by number of the span and frame: searching again would find the same."""
        self._remembered = 0
        """How many detections it keeps."""

    @property
    def reach_frames(self) -> int:
        """Frames beyond a frame, on either side, that its box may depend on."""
        return reach_of(self._window_frames) + self._every - 1

    def track(
        self, frames: Iterable[tuple[int, VideoFrame]], spans: Sequence[FaceSpan]
    ) -> Iterator[tuple[int, VideoFrame, tuple[TrackedFace, ...]]]:
        """Yield each frame in the order given with its faces, in upright pixels; see FaceTracker.

        A frame waits until the frames within reach were seen, at most reach_frames further ones. If some of these are
        not among the frames given, the span's path stands in for them.
        """
        followed = [_Followed(number, span) for number, span in enumerate(spans)]
        self._remembered = (4 * self.reach_frames + 4) * len(followed)
        waiting: deque[tuple[int, VideoFrame, list[_Followed]]] = deque()
        self._found.clear()
        for index, frame in frames:
            faces = [face for face in followed if face.span.start_frame <= index < face.span.stop_frame]
            for face in faces:
                self._detect(index, frame, face)
            waiting.append((index, frame, faces))
            while waiting and (len(waiting) > self.reach_frames or self._is_ready(waiting[0][0], waiting[0][2])):
                yield self._boxed(*waiting.popleft())
        while waiting:
            yield self._boxed(*waiting.popleft())

    def _is_ready(self, index: int, faces: Sequence[_Followed]) -> bool:
        return all(
            (face.number, anchor) in self._found
            for face in faces
            for frame in self._window(index, face.span)
            for anchor in self._anchors(frame, face.span)
        )

    def pose(self, face: Face) -> tuple[FaceBox, float]:
        """Return the box of a face seen in one frame, and how far it is turned; see FaceTracker."""
        roll = self._rolls([0], [face])[0]
        turned = min(max(roll, -MOST_ROLL_DEGREES), MOST_ROLL_DEGREES)
        return (upright_box(face.box, roll) if roll else face.box), turned

    def _boxed(
        self, index: int, frame: VideoFrame, faces: Sequence[_Followed]
    ) -> tuple[int, VideoFrame, tuple[TrackedFace, ...]]:
        return index, frame, tuple(self._smoothed(index, face) for face in faces)

    def _smoothed(self, index: int, face: _Followed) -> TrackedFace:
        window = self._window(index, face.span)
        offset = index - window.start
        weights = filter_weights(len(window), offset, self._window_frames)
        poses = self._poses(window, face)
        # As differences from the frame itself, so that a face which does not move gets exactly its own box.
        smoothed = poses[offset] + (weights[:, None] * (poses - poses[offset])).sum(axis=0)
        left, top, right, bottom, roll = map(float, smoothed)
        roll = min(max(roll, -MOST_ROLL_DEGREES), MOST_ROLL_DEGREES)
        return TrackedFace(face.span, FaceBox(left, top, right, bottom), roll)

    def _window(self, index: int, span: FaceSpan) -> range:
        """Return the frames whose detections a frame's box depends on."""
        return needed_frames(index, span.start_frame, span.stop_frame, self._window_frames)

    def _anchors(self, index: int, span: FaceSpan) -> tuple[int, int]:
        """Return the detected frames at or before a frame and at or after it."""
        before = index - (index - span.start_frame) % self._every
        last = span.stop_frame - 1
        return (index, index) if index in (before, last) else (before, min(before + self._every, last))

    def _poses(self, window: range, face: _Followed) -> NDArray[np.float64]:
        """Return left, top, right, bottom and roll for each frame of a window: detected, or interpolated between."""
        anchors = sorted({anchor for frame in window for anchor in self._anchors(frame, face.span)})
        seen = [self._face_at(anchor, face) for anchor in anchors]
        rolls = self._rolls(anchors, seen)
        boxes = [upright_box(found.box, roll) if roll else found.box for found, roll in zip(seen, rolls, strict=True)]
        columns = np.transpose([(*_edges(box), roll) for box, roll in zip(boxes, rolls, strict=True)])
        return np.stack([np.interp(window, anchors, column) for column in columns], axis=1)

    def _rolls(self, anchors: Sequence[int], seen: Sequence[Face]) -> list[float]:
        """Return the tilt of faces, interpolated where a face was missed; 0 if crops are not turned."""
        found = [estimate_roll(face) if self._turns else None for face in seen]
        known = [(anchor, roll) for anchor, roll in zip(anchors, found, strict=True) if roll is not None]
        if not known:
            return [0.0] * len(seen)
        return list(map(float, np.interp(anchors, [anchor for anchor, _ in known], [roll for _, roll in known])))

    def _face_at(self, anchor: int, face: _Followed) -> Face:
        return self._found.get((face.number, anchor)) or Face(face.expected(anchor), 0.0)

    def _detect(self, index: int, frame: VideoFrame, face: _Followed) -> None:
        """Search a frame for a face, if detections are due there and none is in the cache."""
        if self._anchors(index, face.span) != (index, index):
            return
        key = face.number, index
        if key in self._found:
            self._found.move_to_end(key)
            return
        expected = face.expected(index)
        self._found[key] = self.search(frame, expected) or Face(expected, 0.0)
        if len(self._found) > self._remembered:
            self._found.popitem(last=False)

    def search(self, frame: VideoFrame, expected: FaceBox) -> Face | None:
        """Return the detected face of one frame whose box is nearest to the expected one; None if none is near it."""
        side = CROP_SIZE * max(expected.width, expected.height)
        left, top, right, bottom = self._region(expected, side, frame)
        if left >= right or top >= bottom:
            return None
        longest = max(side, right - left, bottom - top)
        # Close faces of large frames are shrunk as they are converted, which costs the least, but never to less than
        # twice what the picture needs: the converter's means are coarser than those of the resampling behind it.
        shrink = max(int(min(longest, right - left, bottom - top) / self._crop_px / SPARE), 1)
        (left, top), pixels = self._shrunk(frame, (left, top, right, bottom), shrink)
        picture, scale = self._fitted(pixels, self._crop_px * shrink / longest), self._crop_px / longest
        found = self._detector.detect(picture, smallest_px=SMALLEST_SHARE * self._crop_px)
        faces = [face.scaled(1 / scale, 1 / scale, left=left, top=top) for face in found]
        best = min(faces, key=lambda face: box_distance(face.box, expected), default=None)
        return best if best and box_distance(best.box, expected) <= SAME_FACE else None

    def _region(self, expected: FaceBox, side: float, frame: VideoFrame) -> Rectangle:
        """Return the square around a box as an upright rectangle of whole pixels and chroma samples in the frame."""
        x, y = (expected.left + expected.right) / 2, (expected.top + expected.bottom) / 2
        upright = (round(x - side / 2), round(y - side / 2), round(x + side / 2), round(y + side / 2))
        orientation = self._converter.orientation
        stored = snap_to_chroma(orientation.to_stored(upright, frame.width, frame.height), frame)
        return orientation.to_upright(stored, frame.width, frame.height)

    def _shrunk(self, frame: VideoFrame, region: Rectangle, shrink: int) -> tuple[tuple[int, int], Pixels]:
        """Return the upright pixels of a region, `shrink` of them on a side as one, and its corner (left, top).

        region: as from _region; where its sides are no multiples of what is shrunk, it loses some pixels.
        """
        orientation, size = self._converter.orientation, (frame.width, frame.height)
        left, top, right, bottom = orientation.to_stored(region, *size)
        if shrink > 1:
            whole = shrink * CHROMA_PX
            right, bottom = right - (right - left) % whole, bottom - (bottom - top) % whole
        stored = (left, top, right, bottom)
        return orientation.to_upright(stored, *size)[:2], self._converter.region_bgr(frame, stored, shrink=shrink)

    def _fitted(self, pixels: Pixels, scale: float) -> Pixels:
        """Return pixels, scaled, in the top left corner of a black square of crop_px: every picture has one size."""
        height, width = (max(round(edge * scale), 1) for edge in pixels.shape[:2])
        square = np.zeros((self._crop_px, self._crop_px, 3), np.uint8)
        square[:height, :width] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        return square


def _edges(box: FaceBox) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom
