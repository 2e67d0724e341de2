"""PURE: when a face is rendered, and why not: thresholds with hysteresis, gaps, appearances that are too short."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from media.faces import Face, FacePath
from media.intervals import Interval, complement, intersect
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Shot
from segmenter.people.targets import Choice, WhoSpeaks
from segmenter.scan import MIN_FACE_PX
from segmenter.tracks import SAME_FACE, Track, box_distance, estimate_yaw

NO_FACE = "no face"
NOT_SCANNED = "no frame scanned"
DOES_NOT_SPEAK = "does not speak"
MOUTH_MARGIN = 0.06
"""Least distance of the corners of the mouth from the picture's border, as a share of the face's height: if the picture
cuts the mouth off, detectors place it up to 0.05 inside."""
SLACK = 0.85
"""A rendered face stays rendered until it misses a threshold by more than this. The score has two thresholds of its
own."""


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """When a face is rendered. The defaults are those of a job file."""

    onset: float = 0.6
    """Detector score in [0, 1] at which a face appears."""
    offset: float = 0.4
    """Score below which it is gone; at most the onset."""
    min_on_seconds: float = 0.4
    """Shorter appearances are not rendered, unless they may go on beyond the border of the frames of the job."""
    min_off_seconds: float = 0.4
    """Shorter gaps inside a shot are filled."""
    min_face_px: int = MIN_FACE_PX
    """Lower faces are not rendered."""
    max_yaw_degrees: float = 60
    """Faces turned further to a side are not rendered. Needs a detector that gives landmarks."""
    min_sharpness: float = 0.04
    """Less sharp faces (segmenter.face_quality) are not rendered: blurred by a sigma of about 3 % of their height."""
    min_light: float = 0.07
    """Faces with a lower mean luma, 0 being black and 1 white, are not rendered."""


@dataclass(frozen=True, slots=True)
class PresenceInterval:
    """Frames of a shot in one state."""

    start: int
    stop: int
    reason: str
    """Why the face is not rendered; empty where it is."""


@dataclass(frozen=True, slots=True)
class SpanRule:
    """Decides which faces are rendered, and in which frames."""

    table: FrameTable
    settings: SpanSettings
    choice: Choice
    """Whose faces."""

    def find_presence(self, shot: Shot, face: Track, frames: Interval, within: Interval) -> list[PresenceInterval]:
        """Tile frames of a shot with intervals in which a face is rendered or, for one reason, is not.

        within: the frames of the job; an appearance that touches their border may be longer than was seen.
        """
        presence = self._tile(shot.within(*frames), face)
        presence = self._fill_gaps(shot, face, presence)
        presence = self._drop_short(presence, within)
        if not isinstance(self.choice, WhoSpeaks):
            return presence
        return _joined([part for whole in presence for part in _while_speaking(whole, self.choice.frames_of(face))])

    def _tile(self, shot: Shot, target: Track) -> list[PresenceInterval]:
        """Tile a shot with intervals of one state, whose borders lie half way between two samples of different states.

        samples      #     #     .     .
        intervals    [--------)[---------
        """
        if not shot.samples:
            return [PresenceInterval(shot.start, shot.stop, NOT_SCANNED)]
        states = list(self._states(shot, target))
        tiles: list[PresenceInterval] = []
        start = shot.start
        for (frame, reason), (later, later_reason) in pairwise(states):
            if reason != later_reason:
                border = (frame + later + 1) // 2
                tiles.append(PresenceInterval(start, border, reason))
                start = border
        return [*tiles, PresenceInterval(start, shot.stop, states[-1][1])]

    def _states(self, shot: Shot, target: Track) -> Iterator[tuple[int, str]]:
        """Yield (frame, reason) for each sample, with hysteresis; the reason is empty where the face is rendered."""
        is_on = False
        faces = _faces_by_frame(shot)
        for sample in shot.samples:
            face = target.get(sample.frame)
            if face is None:
                reason = self._why_absent(faces.get(sample.frame, []), shot.upright_size)
            elif face.score < (self.settings.offset if is_on else self.settings.onset):
                reason = NO_FACE
            else:
                reason = self._why_unfit(face, shot.upright_size, SLACK if is_on else 1.0)
            is_on = not reason
            yield sample.frame, reason

    def _why_absent(self, faces: Sequence[Face], upright_size: tuple[int, int]) -> str:
        """Return why nothing is rendered where the target is not seen: there is no face, or only other ones."""
        is_another_seen = any(
            face.score >= self.settings.onset and not self._why_unfit(face, upright_size) for face in faces
        )
        return self.choice.other_reason if is_another_seen else NO_FACE

    def _why_unfit(self, face: Face, upright_size: tuple[int, int], slack: float = 1.0) -> str:
        """Return why a detected face is not rendered; empty if it is. slack: in (0, 1], 1 for none.

        A mouth behind a hand or a microphone is not noticed: the detector invents the hidden mouth, with as high a
        score as before (0.92 and more, of 1.00).
        """
        settings = self.settings
        if face.box.height < slack * settings.min_face_px:
            return f"face smaller than {settings.min_face_px:g} px"
        yaw = estimate_yaw(face)
        if yaw is not None and slack * yaw > settings.max_yaw_degrees:
            return "face turned away"
        if _is_mouth_outside(face, upright_size, slack * MOUTH_MARGIN):
            return "mouth outside the picture"
        if face.light is not None and face.light < slack * settings.min_light:
            return "face too dark"
        is_blurred = face.sharpness is not None and face.sharpness < slack * settings.min_sharpness
        return "face too blurred" if is_blurred else ""

    def _fill_gaps(self, shot: Shot, target: Track, presence: list[PresenceInterval]) -> list[PresenceInterval]:
        """Fill short gaps between two appearances of a face, unless another face takes its place in the gap.

        ####..####      ->  ##########
        ####......####  ->  ####......####      too long; gaps at the edges of the shot stay, too
        ####BB####      ->  ####BB####          another face in front is not rendered
        """
        seen = [index for index, part in enumerate(presence) if not part.reason]
        filled = list(presence)
        path = FacePath(tuple(target), tuple(face.box for face in target.values()))
        for before, after in pairwise(seen):
            gap = presence[before].stop, presence[after].start
            if self._seconds(*gap) < self.settings.min_off_seconds and not _is_taken(shot, path, gap):
                filled[before + 1 : after] = [replace(part, reason="") for part in presence[before + 1 : after]]
        return _joined(filled)

    def _drop_short(self, presence: list[PresenceInterval], within: Interval) -> list[PresenceInterval]:
        """Drop appearances that are too short, unless they touch a border of the frames of the job.

        ..##..####  ->  ......####
        """
        least = self.settings.min_on_seconds
        reason = f"face seen for less than {least:g} s"
        kept = [
            replace(part, reason=reason)
            if not part.reason
            and within[0] < part.start
            and part.stop < within[1]
            and self._seconds(part.start, part.stop) < least
            else part
            for part in presence
        ]
        return _joined(kept)

    def _seconds(self, start: int, stop: int) -> float:
        return float(self.table.seconds(stop) - self.table.seconds(start))


def _while_speaking(part: PresenceInterval, spoken: Sequence[Interval]) -> list[PresenceInterval]:
    """Return a part in which a face is rendered without the frames in which it does not speak; others as they are."""
    if part.reason:
        return [part]
    whole = (part.start, part.stop)
    said = [replace(part, start=start, stop=stop) for start, stop in intersect(spoken, [whole])]
    still = [PresenceInterval(start, stop, DOES_NOT_SPEAK) for start, stop in complement(spoken, *whole)]
    return sorted([*said, *still], key=lambda piece: piece.start)


def explain_gap(presences: Sequence[Sequence[PresenceInterval]], start: int, stop: int) -> list[PresenceInterval]:
    """Return why no target is rendered in [start, stop); that a face is unfit says more than that there is no face."""
    edges = {
        edge for presence in presences for part in presence for edge in (part.start, part.stop) if start < edge < stop
    }
    explained = []
    for first, last in pairwise([start, *sorted(edges), stop]):
        reasons = [part.reason for presence in presences for part in presence if part.start <= first < part.stop]
        explained.append(PresenceInterval(first, last, min(reasons, key=lambda reason: reason == NO_FACE)))
    return _joined(explained)


def _faces_by_frame(shot: Shot) -> dict[int, list[Face]]:
    faces: dict[int, list[Face]] = {}
    for track in shot.tracks:
        for frame, face in track.items():
            faces.setdefault(frame, []).append(face)
    return faces


def _is_mouth_outside(face: Face, upright_size: tuple[int, int], margin: float) -> bool:
    """Tell whether a corner of the mouth lies outside the picture, or nearer to its border than a share of the face."""
    if face.landmarks is None:
        return False
    (width, height), least = upright_size, margin * face.box.height
    return any(min(x, width - x, y, height - y) < least for x, y in face.landmarks[3:])


def _is_taken(shot: Shot, path: FacePath, gap: Interval) -> bool:
    """Tell whether, while the face of a path is not seen, another one is where it would be looked for."""
    first, last = (bisect_left(shot.samples, frame, key=lambda sample: sample.frame) for frame in gap)
    seen = path.frames[bisect_left(path.frames, gap[0]) : bisect_left(path.frames, gap[1])]
    return any(
        box_distance(face.box, path.box_at(sample.frame)) <= SAME_FACE
        for sample in shot.samples[first:last]
        if sample.frame not in seen
        for face in sample.faces
    )


def _joined(presence: list[PresenceInterval]) -> list[PresenceInterval]:
    groups = (list(group) for _, group in groupby(presence, key=lambda part: part.reason))
    return [PresenceInterval(group[0].start, group[-1].stop, group[0].reason) for group in groups]
