"""Measure how steadily faces are followed, and how close to their true positions.

    python -m benchmarks.jitter [CLIP ...] [--frames 400] [--detector retinaface] [--align similarity]

CLIP: names or paths of videos; by default some of the shared clips ($LIPSTITCH_SHARED, or `shared` beside the project).
Three paths are followed through the frames of each face span, in pixels of the picture:

    box      the four edges of the face's box
    crop     the two places of the picture at which the crop has the corners of the mouth (CORNERS): how much
             a drawn mouth jitters, rounding and turning included
    mouth    the two corners of the mouth as the detector sees them, each steadied as the box is

each for the same detector, looked up in every frame and steadied by Wav2Lip's mean over a frame and the 4 after it (the
last 5 at the end), and as a job steadies it: BoxTracker with its defaults, cut by the Compositor.

    jitter     mean square of the second difference from frame to frame, by the width of the face (pixels)
    lag        frames at which the velocity of the path fits that of the unsteadied detections best: cross-correlation,
               fractions from the parabola through its peak; positive runs behind, negative ahead
    distance   mean distance of a coordinate from the unsteadied detection, in percent of the width of the face: the
               detector's own jitter, and motion that is hidden. Wav2Lip's crop is not turned: with align similarity
               that is part of its distance
    noise      what the detector's own jitter makes of it: 0.8 standard deviations of white noise that has the
               unsteadied path's second differences

Spans are measured each by itself, as they are filtered, and count by their length.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.material import shared_folder
from media.clips import FaceSpan
from media.faces import Face
from media.info import MediaInfo
from media.packets.frame_table import FrameTable
from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.compositor import Compositor, Pads
from renderer.networks.base import WAV2LIP_SPEC
from segmenter.detectors.base import FaceDetector
from segmenter.find_detector import build_detector
from segmenter.pose import estimate_roll, upright_box
from segmenter.scanner import FaceScanner, scan_faces
from segmenter.smoothing import filter_weights, needed_frames
from segmenter.spans.find import find_spans
from segmenter.spans.presence import SpanSettings
from segmenter.tracker import ALIGN, Align, BoxTracker

CLIPS = (
    "speaker_a_1080x1920_hevc.mp4",
    "sitcom_multi_face_988_8fps.mp4",
    "head_01_512.mp4",
    "head_05_512.mp4",
    "head_09_512.mp4",
    "vlog_512_30fps.mp4",
)
FORWARD_FRAMES = 5
"""Wav2Lip's window."""
EVERY_FRAMES = 2
"""As a job detects, by default."""
CORNERS = ((0.317, 0.751), (0.696, 0.748))
"""Corners of the mouth in an upright face's box: means over 120 frames of 15 people."""
MOST_LAG = 5
LEAST_RATIO = 3
"""How much steadier than Wav2Lip's way a face is to be held."""

Path2D = NDArray[np.float64]
"""(frames, coordinates) in pixels."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One path through one clip."""

    jitter: float
    lag: float
    distance: float


def jitter_of(path: Path2D) -> float:
    """Return the mean squared second difference."""
    return float(np.square(np.diff(path, 2, axis=0)).mean())


def lag_of(path: Path2D, reference: Path2D) -> float:
    """Return how many frames a path runs behind another one."""
    own, other = (np.diff(each, axis=0) for each in (path, reference))
    own, other = own - own.mean(axis=0), other - other.mean(axis=0)
    lags = range(-MOST_LAG, MOST_LAG + 1)
    inner = slice(MOST_LAG, len(own) - MOST_LAG)
    fits = np.array([(own[inner.start + lag : inner.stop + lag] * other[inner]).sum() for lag in lags])
    best = int(np.argmax(fits))
    if not 0 < best < len(fits) - 1:
        return float(lags[best])
    before, peak, after = fits[best - 1 : best + 2]
    return lags[best] + (before - after) / (before - 2 * peak + after) / 2


def forward_mean(path: Path2D) -> Path2D:
    """Return the path as Wav2Lip steadies it."""
    last = max(len(path) - FORWARD_FRAMES, 0)
    return np.stack([path[min(at, last) : at + FORWARD_FRAMES].mean(axis=0) for at in range(len(path))])


def filtered(path: Path2D, window: int) -> Path2D:
    """Return a path that is looked up in every second frame and steadied as BoxTracker steadies boxes."""
    frames = np.arange(len(path))
    anchors = sorted({*range(0, len(path), EVERY_FRAMES), len(path) - 1})
    between = np.stack([np.interp(frames, anchors, column[anchors]) for column in path.T], axis=1)
    steadied = []
    for frame in range(len(path)):
        needed = needed_frames(frame, 0, len(path), window)
        steadied.append(filter_weights(len(needed), frame - needed.start, window) @ between[needed])
    return np.array(steadied)


def corners_in(boxes: Path2D, rolls: NDArray[np.float64] | float = 0.0) -> Path2D:
    """Return where boxes, turned about their centres by some degrees, have the corners of the mouth."""
    left, top, right, bottom = boxes.T
    cosine, sine = np.cos(np.radians(rolls)), np.sin(np.radians(rolls))
    corners = []
    for x, y in CORNERS:
        across, down = (x - 0.5) * (right - left), (y - 0.5) * (bottom - top)
        corners += [
            (left + right) / 2 + cosine * across - sine * down,
            (top + bottom) / 2 + sine * across + cosine * down,
        ]
    return np.stack(corners, axis=1)


class Followed:
    """One span, frame by frame: where the detector sees the face, and where a job has it."""

    def __init__(self, span: FaceSpan) -> None:
        self.span = span
        self.seen: list[Face] = []
        self.box: list[tuple[float, ...]] = []
        self.crop: list[tuple[float, ...]] = []

    def paths(self, window: int, *, turned: bool) -> dict[str, tuple[Path2D, Path2D, Path2D, float]]:
        """Return for each path: unsteadied, Wav2Lip's, ours, and the width of the face."""
        raw = np.array([_edges(face) for face in self.seen])
        ours = np.array(self.box)
        width = float((ours[:, 2] - ours[:, 0]).mean())
        rolls = np.array([estimate_roll(face) or 0.0 if turned else 0.0 for face in self.seen])
        boxes = [upright_box(face.box, roll) for face, roll in zip(self.seen, rolls, strict=True)]
        upright = np.array([(box.left, box.top, box.right, box.bottom) for box in boxes]) if turned else raw
        paths = {
            "box": (upright, forward_mean(raw), ours, width),
            "crop": (corners_in(upright, rolls), corners_in(forward_mean(raw)), np.array(self.crop), width),
        }
        if all(face.landmarks for face in self.seen):
            mouth = np.array([[edge for point in (face.landmarks or ())[3:] for edge in point] for face in self.seen])
            paths["mouth"] = mouth, forward_mean(mouth), filtered(mouth, window), width
        return paths


def _edges(face: Face) -> tuple[float, float, float, float]:
    return face.box.left, face.box.top, face.box.right, face.box.bottom


def find_face_spans(info: MediaInfo, table: FrameTable, detector: FaceDetector, num_frames: int) -> list[FaceSpan]:
    """Return the face spans of the first frames, as a job finds them."""
    video = info.require_video()
    with FrameReader(SourceVideo(info, table), roughly=True) as reader:
        scanner = FaceScanner(table, video.upright_size, detector, PictureConverter(video.orientation))
        scan = scan_faces(reader.read(range(num_frames)), scanner)
    return [span for span in find_spans(scan, table, [(0, num_frames)], SpanSettings()) if isinstance(span, FaceSpan)]


def follow(
    info: MediaInfo, table: FrameTable, spans: Sequence[FaceSpan], detector: FaceDetector, align: Align
) -> list[Followed]:
    """Follow the faces of spans, in every frame and as a job does."""
    orientation = info.require_video().orientation
    converter = PictureConverter(orientation)
    tracker = BoxTracker(detector, converter, every_frames=EVERY_FRAMES, align=align)
    dense = BoxTracker(detector, PictureConverter(orientation))
    compositor = Compositor(orientation, pads=Pads(0, 0, 0, 0))
    side = WAV2LIP_SPEC.face_px
    places = np.array([[x * side - 0.5, y * side - 0.5, 1] for x, y in CORNERS])
    found = {id(span): Followed(span) for span in spans}
    with FrameReader(SourceVideo(info, table)) as reader:
        for index, frame, faces in tracker.track(reader.read(range(spans[0].start_frame, spans[-1].stop_frame)), spans):
            for face in faces:
                followed, path = found[id(face.span)], face.span.path
                assert path is not None
                expected = path.box_at(index)
                followed.seen.append(dense.search(frame, expected) or Face(expected, 0.0))
                followed.box.append((face.box.left, face.box.top, face.box.right, face.box.bottom))
                crop = compositor.crop(frame, face.box, face.roll_degrees)
                assert crop is not None, "a span's face lies in the picture"
                followed.crop.append(tuple((crop.affine @ places.T + 0.5).T.ravel()))
    return list(found.values())


def measure(spans: Iterable[Followed], window: int, *, turned: bool) -> dict[str, tuple[Figures, Figures, float]]:
    """Return for each path the figures of Wav2Lip's way and of ours, and the detector's own jitter."""
    parts: dict[str, list[tuple[int, NDArray[np.float64]]]] = {}
    for followed in spans:
        if len(followed.seen) <= 2 * MOST_LAG + 2:
            continue
        for name, (raw, common, ours, width) in followed.paths(window, turned=turned).items():
            noise = 100 * 0.8 * np.sqrt(jitter_of(raw) / 6) / width
            row = [
                figure
                for path in (common, ours)
                for figure in (jitter_of(path) / width, lag_of(path, raw), 100 * np.abs(path - raw).mean() / width)
            ]
            parts.setdefault(name, []).append((len(raw), np.array([*row, noise])))
    means = {
        name: np.average([row for _, row in rows], axis=0, weights=[count for count, _ in rows])
        for name, rows in parts.items()
    }
    return {name: (Figures(*row[:3]), Figures(*row[3:6]), float(row[6])) for name, row in means.items()}


def main() -> int:
    """Measure and print; return 1 if a box or a crop is not LEAST_RATIO times steadier, or runs behind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="*", help="names of shared clips, or paths")
    parser.add_argument("--frames", type=int, default=400, help="of each clip, from its beginning (default: 400)")
    parser.add_argument("--detector", choices=("retinaface", "cascade"), default="retinaface")
    parser.add_argument("--align", choices=("box", "similarity"), default=ALIGN)
    arguments = parser.parse_args()
    shared = shared_folder()
    if shared is None:
        sys.exit("There is no shared folder: name it in LIPSTITCH_SHARED. It holds the clips and RetinaFace's weights.")
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    finder = build_detector("retinaface", weights)  # the spans are the same whichever detector follows
    detector = finder if arguments.detector == "retinaface" else build_detector("cascade", None)
    print(f"{arguments.detector}, align {arguments.align}; Wav2Lip's mean of {FORWARD_FRAMES} -> ours")
    print(
        f"{'clip':<34} {'path':<6} {'jitter, px':>20} {'ratio':>6} {'lag, frames':>15} {'distance, %':>15} {'noise':>6}"
    )
    falls_short = False
    for name in arguments.clips or CLIPS:
        path = Path(name) if Path(name).exists() else shared / "clips" / name
        info = probe(path)
        table = scan_packets(info)
        spans = find_face_spans(info, table, finder, min(len(table), arguments.frames))
        if not spans:
            print(f"{path.name:<34} no face")
            continue
        found = follow(info, table, spans, detector, arguments.align)
        turned = arguments.align == "similarity"
        for kind, (common, ours, noise) in measure(found, detector.smoothing_frames, turned=turned).items():
            print(
                f"{path.name:<34} {kind:<6} {common.jitter:>8.5f} -> {ours.jitter:>8.5f}"
                f" {common.jitter / ours.jitter:>6.1f} {common.lag:>6.2f} -> {ours.lag:>5.2f}"
                f" {common.distance:>6.2f} -> {ours.distance:>5.2f} {noise:>6.2f}",
                flush=True,
            )
            is_steady = common.jitter >= LEAST_RATIO * ours.jitter and abs(ours.lag) < 0.5
            falls_short |= kind != "mouth" and not is_steady
    return int(falls_short)


if __name__ == "__main__":
    sys.exit(main())
