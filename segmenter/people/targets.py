"""PURE: whose mouth is rendered: the user's choice among the people of a video, and the tracks it means in a shot.

target              choice                       target tracks of a shot
main, largest  -->  ByPlace: one face a shot --> one: the most prominent face and its successors
main, reference,
at, a number   -->  ChosenPeople             --> one a person, where that person is seen
all            -->  Everyone                 --> one a person, and one for each unidentified face
at             -->  SingleTrack              --> the one track, where it is seen
speaker        -->  WhoSpeaks                --> as for all; each is rendered while it speaks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import hypot
from typing import ClassVar, Literal

from media.faces import Face, FaceBox
from media.identity import EmbedderSettings, Vector
from media.intervals import Interval, intersect, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, Shot, seconds_of, similarity
from segmenter.tracks import Track, choose_target, nearness_to_centre, total_area

ANOTHER = "another person"
UNLIKE_REFERENCE = "no face like the reference"
OTHER_FACE = "another face"
NOT_TOLD_APART = (
    "people are not recognised without segmenter.embedder: in each shot the face that is large and near the centre is"
    " taken for the speaker"
)
ONE_KNOWN = (
    "only person 1 was identified, and is rendered wherever recognised; elsewhere the face that is large and near the"
    " centre is taken for that person, in each shot"
)
POINT_MARGIN = 0.25
"""How far outside a box a point may lie and still mean its face, as a share of the box."""
POINT_SECONDS = 1.0
"""How far in time a face may be seen from the moment that the user names."""


@dataclass(frozen=True, slots=True)
class ByPlace:
    """One face in each shot: the most prominent one and those that take its place while it is away."""

    is_made: ClassVar[bool] = True
    other_reason: ClassVar[str] = ANOTHER

    prominence: Literal["centre", "largest"] = "centre"
    """centre: large and near the centre. largest: large."""
    people: tuple[int, ...] = ()
    """Numbers of people who come first wherever they are recognised."""
    note: str = ""
    """What could not be decided, as a sentence; empty if everything could."""

    def tracks_in(self, shot: Shot) -> list[Track]:
        """Return the target track of a shot, which may be empty."""
        prominence = nearness_to_centre(shot.upright_size) if self.prominence == "centre" else total_area
        candidates = [track for track, person in shot.identified_tracks() if person not in self.people]
        known = joined(shot, *self.people)
        return [choose_target(sorted(candidates, key=prominence, reverse=True), known)]

    def describe(self, num_people: int) -> str:
        """Return the choice in words; num_people: how many people were identified."""
        face = {
            "centre": "the face that is large and near the centre, in each shot",
            "largest": "the largest face of each shot",
        }[self.prominence]
        return f"person 1, else {face}" if self.people else face


@dataclass(frozen=True, slots=True)
class Everyone:
    """Every face, identified or not."""

    is_made: ClassVar[bool] = True
    other_reason: ClassVar[str] = ANOTHER
    people: ClassVar[tuple[int, ...]] = ()
    note: ClassVar[str] = ""

    def tracks_in(self, shot: Shot) -> list[Track]:
        """Return a track for each person of a shot, and one for each unidentified face; one empty track if none."""
        people = sorted({person for person in shot.people if person is not None})
        return [*(joined(shot, person) for person in people), *shot.unidentified_tracks()] or [{}]

    def describe(self, num_people: int) -> str:
        """Return the choice in words."""
        return "everyone"


@dataclass(frozen=True, slots=True)
class ChosenPeople:
    """Certain people, wherever they are recognised."""

    people: tuple[int, ...]
    """Numbers. The first one is meant; the others are probably the same person. Empty if no one was found."""
    other_reason: str = ANOTHER
    """Why a face of anyone else is not rendered."""
    note: str = ""
    """What could not be decided, as a sentence; empty if everything could."""

    @property
    def is_made(self) -> bool:
        """Whether the choice means anyone at all."""
        return bool(self.people)

    def tracks_in(self, shot: Shot) -> list[Track]:
        """Return a track for each chosen person who is seen in a shot; one empty track if none is."""
        return [joined(shot, person) for person in sorted({*self.people}.intersection(shot.people))] or [{}]

    def describe(self, num_people: int) -> str:
        """Return the choice in words; num_people: how many people were identified."""
        people = ", ".join(f"person {number}" for number in self.people) or "none"
        return f"{people} of {num_people}"


@dataclass(frozen=True, slots=True)
class SingleTrack:
    """One unidentified face, in its own shot alone."""

    is_made: ClassVar[bool] = True
    other_reason: ClassVar[str] = OTHER_FACE
    people: ClassVar[tuple[int, ...]] = ()

    track: Track
    note: str
    """Why only one shot is rendered, as a sentence."""

    def tracks_in(self, shot: Shot) -> list[Track]:
        """Return the track, as far as a shot (or a part of it) shows it; one empty track elsewhere."""
        return [track for track in shot.tracks if not track.items().isdisjoint(self.track.items())] or [{}]

    def describe(self, num_people: int) -> str:
        """Return the choice in words."""
        return "one face"


@dataclass(frozen=True, slots=True)
class WhoSpeaks:
    """Every face, in the frames in which it speaks in the video's own sound."""

    is_made: ClassVar[bool] = True
    other_reason: ClassVar[str] = ANOTHER
    people: ClassVar[tuple[int, ...]] = ()

    spoken: Mapping[tuple[int, FaceBox], tuple[Interval, ...]]
    """Of each face that ever speaks, by each frame and box in which the scan saw it: the frames in which it speaks."""
    summary: str
    """How long who speaks."""
    note: str = ""
    """What could not be decided, as a sentence; empty if everything could."""

    def tracks_in(self, shot: Shot) -> list[Track]:
        """Return a track for each person of a shot, and one for each unidentified face; one empty track if none."""
        return Everyone().tracks_in(shot)

    def frames_of(self, track: Track) -> list[Interval]:
        """Return the frames in which the faces of a track speak."""
        parts = {self.spoken.get((frame, face.box), ()) for frame, face in track.items()}
        return merge(chain.from_iterable(parts))

    def describe(self, num_people: int) -> str:
        """Return the choice in words."""
        return f"who speaks at the time: {self.summary}"


Choice = ByPlace | Everyone | ChosenPeople | SingleTrack | WhoSpeaks
"""Whose mouth is rendered."""


def joined(shot: Shot, *people: int) -> Track:
    """Return all tracks of some people in a shot as one track; of two boxes in a frame the surer one counts."""
    whole: Track = {}
    for track, person in shot.identified_tracks():
        if person in people:
            for frame, face in track.items():
                if frame not in whole or whole[frame].score < face.score:
                    whole[frame] = face
    return dict(sorted(whole.items()))


def person_in(shot: Shot, track: Track, frames: Sequence[int]) -> int | None:
    """Return the one person whose face a target track shows in some frames; None if there are several, or none."""
    people = {
        person
        for known, person in shot.identified_tracks()
        if any(frame in known and known[frame] is track.get(frame) for frame in frames)
    }
    return people.pop() if len(people) == 1 else None


def choose_main(
    identities: Identities, table: FrameTable, speech: Sequence[Interval], *, least_px: float, least_score: float
) -> Choice:
    """Choose the person who is on screen longest while the dub speaks (source frames); without speech, longest at all.

    least_px, least_score: what counts as on screen. If fewer than two people were identified, the face is chosen by its
    place in each shot, and a note says what could not be decided.
    """
    if len(identities.people) < 2:
        return _choose_by_place(identities, least_px, least_score)
    with_speech = {person.number: 0.0 for person in identities.people}
    at_all = dict(with_speech)
    for shot in identities.shots:
        for track, person in shot.identified_tracks():
            if person is not None:
                seen = shot.seen(_large(track, least_px, least_score))
                with_speech[person] += seconds_of(intersect(seen, speech), table)
                at_all[person] += seconds_of(seen, table)
    seconds = with_speech if any(with_speech.values()) else at_all
    best = max(identities.people, key=lambda person: (round(seconds[person.number], 6), -person.number))
    return ChosenPeople((best.number,))


def _choose_by_place(identities: Identities, least_px: float, least_score: float) -> ByPlace:
    """Choose by place when at most one person was identified; the note depends on the other faces that are seen."""
    seen = [
        person
        for shot in identities.shots
        for track, person in shot.identified_tracks()
        if _large(track, least_px, least_score)
    ]
    if not identities.people:
        return ByPlace(note=NOT_TOLD_APART if len(seen) > 1 else "")
    return ByPlace(people=(1,), note=ONE_KNOWN if None in seen else "")


def _large(track: Track, least_px: float, least_score: float) -> Track:
    return {frame: face for frame, face in track.items() if face.box.height >= least_px and face.score >= least_score}


def choose_like(
    identities: Identities, vector: Vector, settings: EmbedderSettings, *, key: str = "segmenter.target"
) -> ChosenPeople:
    """Choose the person most like a reference, and similar people who are never seen together with those chosen.

    The choice is empty if no one is similar enough. key: where the job file names the reference.
    """
    alike = sorted(identities.people, key=lambda person: (-similarity(person, vector), person.number))
    chosen: list[int] = []
    for person in alike:
        if similarity(person, vector) < settings.border:
            break
        if not any(identities.meet(person.number, other) for other in chosen):
            chosen.append(person.number)
    note = "" if chosen else f"no one in the video resembles {key}.reference"
    return ChosenPeople(tuple(chosen), UNLIKE_REFERENCE, note)


def choose_at(
    identities: Identities, table: FrameTable, frame: int, point: tuple[float, float], *, key: str = "segmenter.target"
) -> ChosenPeople | SingleTrack | None:
    """Choose the face that a point of the upright picture shows in a frame, or within a second of it; None if none.

    An unidentified face is chosen in its own shot alone. key: where the job file names the moment.
    """
    shot = next((shot for shot in identities.shots if shot.start <= frame < shot.stop), None)
    if shot is None:
        return None
    now = table.seconds(frame)
    near = [
        (abs(float(table.seconds(seen_at) - now)), *distance, index)
        for index, track in enumerate(shot.tracks)
        for seen_at, face in track.items()
        if (distance := _distance(face, point)) is not None
    ]
    seconds, *_, index = min(near, default=(POINT_SECONDS + 1, 0))
    if seconds > POINT_SECONDS:
        return None
    person = shot.people[index]
    if person is not None:
        return ChosenPeople((person,))
    frames = f"frames {shot.start} to {shot.stop - 1}"
    note = f"the face that {key}.at shows cannot be identified: it is followed in {frames} only"
    return SingleTrack(shot.tracks[index], note)


def _distance(face: Face, point: tuple[float, float]) -> tuple[bool, float] | None:
    """Return whether a point lies beside a box, and how far from its centre in pixels; None if it is too far away."""
    box, (x, y) = face.box, point
    aside, above = POINT_MARGIN * box.width, POINT_MARGIN * box.height
    if not (box.left - aside <= x <= box.right + aside and box.top - above <= y <= box.bottom + above):
        return None
    is_beside = not (box.left <= x <= box.right and box.top <= y <= box.bottom)
    return is_beside, hypot(x - (box.left + box.right) / 2, y - (box.top + box.bottom) / 2)
