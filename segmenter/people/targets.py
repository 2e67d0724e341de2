"""PURE: whose mouth is to move: the choice of the user, met with the people of a video, as faces to follow in a shot.

target              choice                        lanes of a shot
main, largest  -->  one face, by its place   -->  one, the most prominent face and its successors
main, reference,
at, a number   -->  one person (or several   -->  one for each, where they are seen
                    that may be the same)
all            -->  everybody                -->  one for each person and each face that belongs to nobody
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot
from typing import Literal

from media.faces import Face
from media.identity import EmbedderSettings, Vector
from media.intervals import Interval, intersect
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, Shot, seconds_of, similarity
from segmenter.tracks import Track, choose_target, nearness_to_centre, total_area

ANOTHER = "another person"
UNLIKE_REFERENCE = "no face like the reference"
UNKNOWN = "a face that cannot be told"
NOT_TOLD_APART = (
    "people are not told apart without segmenter.embedder: in each shot the face that is large and near the centre is"
    " taken for the speaker, whoever it is"
)
ONE_KNOWN = (
    "person 1 alone can be told from others, and is rendered wherever they are known; elsewhere the face that is large"
    " and near the centre is taken for them, in each shot"
)
POINT_MARGIN = 0.25
"""How far beside a box a point may lie that means its face, as a share of the box."""
POINT_SECONDS = 1.0
"""How far in time a face may be seen from the moment that is named."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose mouth is to move."""

    kind: Literal["centre", "largest", "all", "people", "track"]
    """centre, largest: one face in each shot, by its place or size. people: certain people. track: one face alone."""
    people: tuple[int, ...] = ()
    """Numbers. For kind people, the first one is meant, and the others are likely the same person; for kind centre, who
    comes before all others wherever they are known."""
    track: Track = field(default_factory=dict)
    """For kind track, the one face; where a shot is seen in part, so is this."""
    other: str = ANOTHER
    """Why a face that is none of them is left alone."""
    note: str = ""
    """What could not be decided, as a sentence; empty if all could."""

    @property
    def is_made(self) -> bool:
        """Whether anybody is meant at all."""
        return self.kind != "people" or bool(self.people)


BY_PLACE = Choice("centre")


def lanes_of(shot: Shot, choice: Choice, upright_size: tuple[int, int]) -> list[Track]:
    """Return the faces to follow in a shot, each where it is seen: at least one lane, which may be empty."""
    if choice.kind in ("centre", "largest"):
        prominence = nearness_to_centre(upright_size) if choice.kind == "centre" else total_area
        rest = [track for track, known in zip(shot.tracks, shot.people, strict=True) if known not in choice.people]
        return [choose_target(sorted(rest, key=prominence, reverse=True), joined(shot, *choice.people))]
    if choice.kind == "track":
        return [track for track in shot.tracks if not track.items().isdisjoint(choice.track.items())] or [{}]
    lanes = [
        joined(shot, person)
        for person in sorted({known for known in shot.people if known is not None})
        if choice.kind == "all" or person in choice.people
    ]
    if choice.kind == "all":
        lanes += [track for track, known in zip(shot.tracks, shot.people, strict=True) if known is None]
    return lanes or [{}]


def joined(shot: Shot, *people: int) -> Track:
    """Return all tracks of people who are one in a shot as one; of two boxes in a frame the surer one counts."""
    whole: Track = {}
    for track, known in zip(shot.tracks, shot.people, strict=True):
        if known in people:
            for frame, face in track.items():
                if frame not in whole or whole[frame].score < face.score:
                    whole[frame] = face
    return dict(sorted(whole.items()))


def person_in(shot: Shot, track: Track, frames: Sequence[int]) -> int | None:
    """Return the one person that the faces of a lane belong to in some frames; None if there are several, or none."""
    people = {
        person
        for own, person in zip(shot.tracks, shot.people, strict=True)
        if any(frame in own and own[frame] is track.get(frame) for frame in frames)
    }
    return people.pop() if len(people) == 1 else None


def choose_main(
    cast: Identities, table: FrameTable, speech: Sequence[Interval], *, least_px: float, least_score: float
) -> Choice:
    """Choose the person who is on screen longest while the dub speaks (source frames); without speech, longest at all.

    least_px, least_score: what counts as on screen. Where fewer than two people were told apart, the choice is made in
    each shot by place, and a note says what could not be decided.
    """
    if len(cast.people) < 2:
        return _choose_by_place(cast, least_px, least_score)
    seconds = {person.number: 0.0 for person in cast.people}
    silent = dict(seconds)
    for shot in cast.shots:
        for track, person in zip(shot.tracks, shot.people, strict=True):
            if person is not None:
                seen = shot.seen(_large(track, least_px, least_score))
                seconds[person] += seconds_of(intersect(seen, speech), table)
                silent[person] += seconds_of(seen, table)
    counted = seconds if any(seconds.values()) else silent
    best = max(cast.people, key=lambda person: (round(counted[person.number], 6), -person.number))
    return Choice("people", (best.number,))


def _choose_by_place(cast: Identities, least_px: float, least_score: float) -> Choice:
    """Return the choice among at most one person and faces that belong to nobody, of which all count that are seen."""
    tracks = [
        person
        for shot in cast.shots
        for track, person in zip(shot.tracks, shot.people, strict=True)
        if _large(track, least_px, least_score)
    ]
    if not cast.people:
        return Choice("centre", note=NOT_TOLD_APART if len(tracks) > 1 else "")
    return Choice("centre", (1,), note=ONE_KNOWN if None in tracks else "")


def _large(track: Track, least_px: float, least_score: float) -> Track:
    return {frame: face for frame, face in track.items() if face.box.height >= least_px and face.score >= least_score}


def choose_like(
    cast: Identities, vector: Vector, settings: EmbedderSettings, *, key: str = "segmenter.target"
) -> Choice:
    """Choose the person who is most like a reference, and those like it that are never seen beside them.

    The choice holds nobody where nobody is like it. key: where the job file names the reference.
    """
    alike = sorted(cast.people, key=lambda person: (-similarity(person, vector), person.number))
    chosen: list[int] = []
    for person in alike:
        if similarity(person, vector) < settings.border:
            break
        if not any(cast.meet(person.number, other) for other in chosen):
            chosen.append(person.number)
    note = "" if chosen else f"nobody in the video is like {key}.reference"
    return Choice("people", tuple(chosen), other=UNLIKE_REFERENCE, note=note)


def choose_at(
    cast: Identities, table: FrameTable, frame: int, point: tuple[float, float], *, key: str = "segmenter.target"
) -> Choice | None:
    """Choose whom a point of the upright picture shows in a frame, or within a second of it; None if it shows nobody.

    A face that belongs to nobody is chosen alone, in its shot. key: where the job file names the moment.
    """
    shot = next((shot for shot in cast.shots if shot.start <= frame < shot.stop), None)
    if shot is None:
        return None
    now = table.seconds(frame)
    near = [
        (abs(float(table.seconds(other) - now)), *away, number)
        for number, track in enumerate(shot.tracks)
        for other, face in track.items()
        if (away := _away(face, point)) is not None
    ]
    distance, *_, number = min(near, default=(POINT_SECONDS + 1, 0))
    if distance > POINT_SECONDS:
        return None
    person = shot.people[number]
    if person is not None:
        return Choice("people", (person,))
    frames = f"frames {shot.start} to {shot.stop - 1}"
    note = f"whose face {key}.at shows cannot be told: it is followed in {frames} alone"
    return Choice("track", track=shot.tracks[number], other=UNKNOWN, note=note)


def _away(face: Face, point: tuple[float, float]) -> tuple[bool, float] | None:
    """Return whether a point lies beside a box, and how far from its centre in pixels; None if it lies too far away."""
    box, (x, y) = face.box, point
    aside, above = POINT_MARGIN * box.width, POINT_MARGIN * box.height
    if not (box.left - aside <= x <= box.right + aside and box.top - above <= y <= box.bottom + above):
        return None
    is_beside = not (box.left <= x <= box.right and box.top <= y <= box.bottom)
    return is_beside, hypot(x - (box.left + box.right) / 2, y - (box.top + box.bottom) / 2)
