"""PURE: whose footage is collected, from which frames, and how a head is held in the frames that were sampled."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lipstitch.footage.conform import ConformedVideo
from media.clips import FaceSpan, Span
from media.faces import FacePath, FaceView
from media.intervals import Interval
from media.mesh import NUM_LIGHTS
from media.packets.frame_table import FrameTable
from segmenter.people.identities import SAME_PLACE, Identities
from segmenter.scan import Scan
from segmenter.tracks import SAME_FACE, box_distance

STRETCH_SECONDS: Final = 3.0
"""Footage is read in pieces of this length, side by side; where there is more than enough, pieces are chosen."""
MOST_SECONDS: Final = 20.0
"""Of footage that is read of a person: enough for the ways they hold their head. One second says as much."""
JOB_SECONDS, LEAST_SECONDS = 600.0, 1.0
"""Of footage that is read for a job, shared by all; and what each gets at least. Where people are not told apart, each
shot of a film has faces of its own."""
MOST_MOUTHS: Final = 3000
MOST_BYTES: Final = 1 << 30
"""Of the samples of a person's mouths."""
MOUTH_AREA: Final = 0.8
"""Pixels of a mouth with its surroundings, as a multiple of the squared height of the face's box."""
TURN_SCALE, SIZE_SCALE, LIGHT_SCALE, TIME_SCALE = 10.0, 0.25, 25.0, 0.5
"""Degrees, logarithms, 8-bit levels and shares of the footage that make two pieces differ alike."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Subject:
    """One whose footage is collected: a person, or where people are not told apart, a face of one shot."""

    spans: tuple[FaceSpan, ...]
    """Where they are seen, in order."""

    @property
    def num_frames(self) -> int:
        """Frames that show them."""
        return sum(map(len, self.spans))

    @property
    def median_height(self) -> float:
        """How high the face usually is, in pixels."""
        return float(np.median([box.height for span in self.spans for box in span.path.boxes]))

    def holds(self, span: FaceSpan) -> bool:
        """Tell whether a span, which may be cut otherwise, shows this subject."""
        if span.person is not None:
            return self.spans[0].person == span.person
        return any(own.person is None and _is_same_face(own, span) for own in self.spans)

    def whole(self, span: FaceSpan) -> FaceSpan:
        """Return the subject's own span of which a span is a part; the span itself if it is none's."""
        same = (own for own in self.spans if own.start_frame <= span.start_frame and span.stop_frame <= own.stop_frame)
        return next((own for own in same if _is_same_face(own, span)), span)


def _is_same_face(own: FaceSpan, span: FaceSpan) -> bool:
    first, stop = max(own.start_frame, span.start_frame), min(own.stop_frame, span.stop_frame)
    return first < stop and own.path.box_at(first).overlap(span.path.box_at(first)) >= SAME_PLACE


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive frames of one shot that show a subject."""

    frames: Interval
    path: FacePath
    """Where the face is."""
    video: ConformedVideo | None = None
    """The further video that they are of; None: the job's own."""


def find_subjects(spans: Sequence[Span], identities: Identities) -> tuple[Subject, ...]:
    """Return everyone whom face spans show. Unidentified faces of one shot are one where they lie in one place."""
    shots = [shot.start for shot in identities.shots]
    people: dict[int, list[FaceSpan]] = {}
    unknown: list[tuple[int, list[FaceSpan]]] = []
    for span in spans:
        if not isinstance(span, FaceSpan):
            continue
        if span.person is not None:
            people.setdefault(span.person, []).append(span)
            continue
        shot = bisect_left(shots, span.start_frame + 1)
        for known_shot, known in unknown:
            if known_shot == shot and box_distance(known[-1].path.boxes[-1], span.path.boxes[0]) <= SAME_FACE:
                known.append(span)
                break
        else:
            unknown.append((shot, [span]))
    return tuple(Subject(tuple(found)) for found in [*people.values(), *(found for _, found in unknown)])


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """How the head of a span is held and lit at the frames that the scan sampled."""

    frames: NDArray[np.int64]
    pose: Floats
    """(frames, 4): as of FaceView."""
    light: Floats
    doubt: Floats

    def __len__(self) -> int:
        return len(self.frames)

    def at(self, frames: Sequence[int] | NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return pose and light at any frames, interpolated."""
        pose, light = (
            np.stack([np.interp(frames, self.frames, column) for column in values.T], axis=1)
            for values in (self.pose, self.light)
        )
        return pose, light


def views_of(span: FaceSpan, scan: Scan) -> Views:
    """Return what a scan has seen of the head of a span; none where no mesh was looked for."""
    found: list[tuple[int, FaceView]] = []
    for frame, box in zip(span.path.frames, span.path.boxes, strict=True):
        at = bisect_left(scan.samples, frame, key=lambda sample: sample.frame)
        faces = scan.samples[at].faces if at < len(scan.samples) and scan.samples[at].frame == frame else ()
        found += [(frame, face.view) for face in faces if face.view and face.box == box][:1]
    return Views(
        np.array([frame for frame, _ in found], np.int64),
        np.array([view.pose for _, view in found], np.float64).reshape(len(found), 4),
        np.array([view.light for _, view in found], np.float64).reshape(len(found), NUM_LIGHTS),
        np.array([view.doubt for _, view in found], np.float64),
    )


def seconds_of_each(num_subjects: int) -> float:
    """Return how much footage is read of each of some subjects at most."""
    return min(MOST_SECONDS, max(JOB_SECONDS / max(num_subjects, 1), LEAST_SECONDS))


def mouth_bytes(subject: Subject, bytes_per_pixel: float) -> float:
    """Return about how many bytes the samples of one of a subject's mouths take."""
    heights = [box.height for span in subject.spans for box in span.path.boxes]
    return MOUTH_AREA * float(np.mean(heights)) ** 2 * bytes_per_pixel


def choose_stretches(
    subject: Subject, scan: Scan, table: FrameTable, bytes_per_pixel: float, most_seconds: float = MOST_SECONDS
) -> tuple[Stretch, ...]:
    """Return the frames from which the mouths of a subject are read, in order.

    All of them if they are not more than most_seconds; else pieces that differ as much as possible in how the head is
    held and lit, and in time. bytes_per_pixel: of the video's samples.
    """
    rate = len(table) / float(table.seconds(len(table)))
    length = max(round(min(STRETCH_SECONDS, most_seconds / 2) * rate), 1)
    pieces = [
        Stretch((start, min(start + length, span.stop_frame)), span.path)
        for span in subject.spans
        for start in range(span.start_frame, span.stop_frame, length)
    ]
    most = min(round(most_seconds * rate), MOST_MOUTHS, int(MOST_BYTES / mouth_bytes(subject, bytes_per_pixel)))
    if subject.num_frames > most:
        pieces = _most_unlike(pieces, _features(subject, pieces, scan), most)
    return tuple(
        Stretch(piece.frames, piece.path.within(*piece.frames))
        for piece in sorted(pieces, key=lambda piece: piece.frames)
    )


def _features(subject: Subject, pieces: Sequence[Stretch], scan: Scan) -> Floats:
    """Return what pieces are told apart by, (pieces, features), in units of what makes two of them differ."""
    rows = []
    of_path = {id(span.path): views_of(span, scan) for span in subject.spans}
    whole = max(pieces[-1].frames[1] - pieces[0].frames[0], 1)
    for piece in pieces:
        views, middle = of_path[id(piece.path)], sum(piece.frames) / 2
        pose, light = views.at([round(middle)]) if len(views) else (np.zeros((1, 4)), np.zeros((1, 1)))
        yaw, pitch, _, size = pose[0]
        time = middle / whole / TIME_SCALE
        rows.append([yaw / TURN_SCALE, pitch / TURN_SCALE, size / SIZE_SCALE, light.mean() / LIGHT_SCALE, time])
    return np.array(rows)


def _most_unlike(pieces: Sequence[Stretch], features: Floats, most: int) -> list[Stretch]:
    """Return pieces of `most` frames in all, one after the other the one that is least like those before it.

    The first is the most usual one. (Gonzalez 1985, farthest-first traversal.)
    """
    usual = np.median(features, axis=0)
    at = int(np.linalg.norm(features - usual, axis=1).argmin())
    away = np.full(len(pieces), np.inf)
    chosen: list[Stretch] = []
    room = most
    while len(chosen) < len(pieces):
        start, stop = pieces[at].frames
        room -= stop - start
        if room < 0:
            break
        chosen.append(pieces[at])
        away = np.minimum(away, np.linalg.norm(features - features[at], axis=1))
        away[at] = -1
        at = int(away.argmax())
    return chosen or [pieces[at]]
