"""PURE: follow faces through the samples of one shot, and choose one by its position and size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import atan2, degrees, hypot, isinf, log

from media.faces import Face, FaceBox, FrameDetections

Track = dict[int, Face]
"""One face followed through a shot, by frame in increasing order."""

SAME_FACE = 1.0
"""Largest distance between one face in two neighbouring samples. At 8 frames a second a head that is thrown
about moves by 0.6; two people beside each other are 1.2 or more apart."""
MEMORY_SAMPLES = 25
"""A track that was not seen in so many samples (5 s) has ended. choose_target joins it to later tracks."""
SUCCESSOR_AREA = 0.25
"""A face takes the place of an absent target if it has at least this share of the target's mean area."""


def choose_target(tracks: Iterable[Track], known: Track | None = None) -> Track:
    """Return the target face of one shot by sample frame: the first track; tracks come in order of prominence.

    While it is away, the next track that is never seen together with it (and is not much smaller) takes its place: a
    person who came back elsewhere, or one the camera turned to. known: faces that are the target in any case; the
    tracks only take their place.
    """
    target: Track = dict(known or {})
    least_area = SUCCESSOR_AREA * mean_area(target) if target else 0.0
    for track in tracks:
        if not target:
            least_area = SUCCESSOR_AREA * mean_area(track)
        if target.keys().isdisjoint(track) and mean_area(track) >= least_area:
            target |= track
    return dict(sorted(target.items()))


def nearness_to_centre(upright_size: tuple[int, int]) -> Callable[[Track], float]:
    """Return a measure of prominence: the sum over a track's samples of area times nearness to the picture's centre."""
    width, height = upright_size

    def prominence(track: Track) -> float:
        total = 0.0
        for face in track.values():
            away = hypot(face.box.left + face.box.right - width, face.box.top + face.box.bottom - height)
            total += face.box.area * max(0.0, 1 - away / hypot(width, height))
        return total

    return prominence


def total_area(track: Track) -> float:
    """Return the sum of the areas over a track's samples: a measure of prominence that ignores the place."""
    return sum(face.box.area for face in track.values())


def mean_area(track: Track) -> float:
    """Return the mean area of a track's boxes in square pixels."""
    return total_area(track) / len(track)


def build_tracks(samples: Iterable[FrameDetections]) -> list[Track]:
    """Follow every face through the samples of one shot; each track holds its face by frame.

    In each sample the closest pairs of a track's last face and a new one are joined first; a face further than
    SAME_FACE from every track begins a track of its own.
    """
    tracks: list[Track] = []
    missed: dict[int, int] = {}  # for each track that has not ended, the samples in which it was not seen
    for sample in samples:
        pairs = sorted(
            (face_distance(next(reversed(tracks[old].values())), face), old, new)
            for old in missed
            for new, face in enumerate(sample.faces)
        )
        missed = {old: count + 1 for old, count in missed.items() if count < MEMORY_SAMPLES}
        free_faces = set(range(len(sample.faces)))
        for distance, old, new in pairs:
            if distance <= SAME_FACE and missed.get(old) and new in free_faces:
                tracks[old][sample.frame] = sample.faces[new]
                missed[old] = 0
                free_faces.remove(new)
        for new in sorted(free_faces):
            missed[len(tracks)] = 0
            tracks.append({sample.frame: sample.faces[new]})
    return tracks


def box_distance(a: FaceBox, b: FaceBox) -> float:
    """Return how much two boxes differ: distance of the centres in mean widths, plus the logarithm of their ratio.

    Unlike overlap it still tells near from far when a fast face has left its old box altogether. Infinite if a box
    is empty.
    """
    if not a.area or not b.area:
        return float("inf")
    shift = hypot(a.left + a.right - b.left - b.right, a.top + a.bottom - b.top - b.bottom) / 2
    return shift / ((a.width + b.width) / 2) + abs(log(a.width / b.width))


def face_distance(a: Face, b: Face) -> float:
    """Return how much two faces in neighbouring samples differ: box_distance, averaged with that of their landmarks.

    Where two boxes overlap, eyes, nose and mouth still tell which face is which. The landmarks' distance is their mean
    shift in mean widths of the boxes; without landmarks, boxes alone count.
    """
    boxes = box_distance(a.box, b.box)
    if a.landmarks is None or b.landmarks is None or isinf(boxes):
        return boxes
    shift = sum(hypot(x - u, y - v) for (x, y), (u, v) in zip(a.landmarks, b.landmarks, strict=True)) / 5
    return (boxes + shift / ((a.box.width + b.box.width) / 2)) / 2


def estimate_yaw(face: Face) -> float | None:
    """Return how far a face is turned to a side in degrees, 0 to 90; None without landmarks.

    The tip of the nose stands about as far in front of the eyes as half the distance between them. Turned by an
    angle, it moves along the line of the eyes by the sine while the eyes close up by the cosine: the tangent is the
    nose's shift from the middle of the eyes, in halves of their distance. Accurate to some 10 degrees, enough to
    detect a profile; head tilt does not matter.
    """
    if face.landmarks is None:
        return None
    (x1, y1), (x2, y2), (nose_x, nose_y) = face.landmarks[:3]
    half_x, half_y = (x2 - x1) / 2, (y2 - y1) / 2
    half_squared = half_x**2 + half_y**2
    along = (nose_x - x1 - half_x) * half_x + (nose_y - y1 - half_y) * half_y
    return degrees(atan2(abs(along), half_squared))
