"""PURE: which faces are judged when: those that are seen while the sound speaks.

speech      [-------)         [--)      [------------)
shots     |---------------|----------------------------------|
passages   [---------)       [----)    [--------------)            with a little around; none across a cut

Time is counted in steps of 1/25 s since the first frame: the network has a face for each, whatever the frame rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from media.faces import FacePath
from media.intervals import Interval, even_pieces, intersect, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, Shot

STEPS_PER_SECOND: Final = 25
MARGIN_STEPS: Final = 10
"""How much is judged around speech: mouths open before they are heard."""
JOINED_STEPS: Final = 25
"""A shorter pause, and a shorter absence of a face, is judged as well."""
LONGEST_STEPS: Final = 10 * STEPS_PER_SECOND
"""Of a passage, so that all cores have some, and what is held does not grow with the video."""
LEAST_STEPS: Final = 5
"""A face that is seen for less is not judged."""
MOST_FACES: Final = 4
"""Of a passage, the largest: in a crowd the others are hardly ever heard, and would cost more than the scan."""

Place = tuple[int, int]
"""A track: index of its shot, and its own index in the shot."""


@dataclass(frozen=True, slots=True)
class JudgedFace:
    """A face in a passage."""

    place: Place
    steps: Interval
    """When it is seen."""
    path: FacePath


@dataclass(frozen=True, slots=True)
class Passage:
    """Consecutive steps of one shot."""

    steps: Interval
    faces: tuple[JudgedFace, ...]


def plan_passages(
    identities: Identities, table: FrameTable, speech: Sequence[tuple[Fraction, Fraction]]
) -> tuple[Passage, ...]:
    """Return what is judged, in order. speech: when the sound speaks, in seconds since the first frame, sorted."""
    heard = merge(
        (int(start * STEPS_PER_SECOND) - MARGIN_STEPS, ceil(stop * STEPS_PER_SECOND) + MARGIN_STEPS)
        for start, stop in speech
    )
    heard = _joined(heard)
    return tuple(
        passage
        for number, shot in enumerate(identities.shots)
        for part in intersect(heard, [steps_of((shot.start, shot.stop), table)])
        for steps in even_pieces(*part, LONGEST_STEPS)
        for passage in _passage(number, shot, steps, table)
    )


def _passage(number: int, shot: Shot, steps: Interval, table: FrameTable) -> Iterator[Passage]:
    faces = []
    for index, track in enumerate(shot.tracks):
        seen = _joined([steps_of(part, table) for part in shot.seen(track)])
        path = FacePath(tuple(track), tuple(face.box for face in track.values()))
        frames = frame_at_step(steps[0], table), frame_at_step(steps[1], table) + 1
        faces += [
            JudgedFace((number, index), part, path.within(*frames))
            for part in intersect(seen, [steps])
            if part[1] - part[0] >= LEAST_STEPS
        ]
    largest = sorted(faces, key=lambda face: -_mean_area(face.path))[:MOST_FACES]
    faces = [face for face in faces if face in largest]
    if faces:
        yield Passage((min(face.steps[0] for face in faces), max(face.steps[1] for face in faces)), tuple(faces))


def _mean_area(path: FacePath) -> float:
    return sum(box.area for box in path.boxes) / len(path.boxes)


def _joined(parts: Sequence[Interval]) -> list[Interval]:
    """Return intervals of steps, without short gaps."""
    half = JOINED_STEPS // 2
    return [(start + half, stop - half) for start, stop in merge((start - half, stop + half) for start, stop in parts)]


def steps_of(frames: Interval, table: FrameTable) -> Interval:
    """Return the steps at which frames are shown."""
    start, stop = (ceil(table.seconds(frame) * STEPS_PER_SECOND) for frame in frames)
    return start, stop


def frames_of(steps: Interval, table: FrameTable) -> Interval:
    """Return the frames that begin to be shown in steps."""
    start, stop = (table.frame_at(Fraction(max(step, 0), STEPS_PER_SECOND)) for step in steps)
    return start, stop


def frame_at_step(step: int, table: FrameTable) -> int:
    """Return the frame that is shown at a step: the last one at or before it."""
    at = Fraction(step, STEPS_PER_SECOND)
    frame = table.frame_at(at)
    is_behind = frame == len(table) or table.seconds(frame) > at
    return max(frame - is_behind, 0)
