"""PURE: who was found to speak, and in which frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, seconds_of
from segmenter.speaking.passages import Place


@dataclass(frozen=True, slots=True)
class FoundSpeakers:
    """Which faces of a video speak when."""

    spoken: Mapping[Place, tuple[Interval, ...]]
    """Frames in which each track speaks; tracks that never do are left out."""

    def of_people(self, identities: Identities) -> dict[int, list[Interval]]:
        """Return the frames in which each identified person speaks, by number; those who never do are left out."""
        people: dict[int, list[Interval]] = {}
        for (shot, track), frames in self.spoken.items():
            if (person := identities.shots[shot].people[track]) is not None:
                people.setdefault(person, []).extend(frames)
        return {person: merge(people[person]) for person in sorted(people)}

    def of_unidentified(self, identities: Identities) -> list[Interval]:
        """Return the frames in which faces speak that are not known to be anyone's."""
        unknown = (
            frames for (shot, track), frames in self.spoken.items() if identities.shots[shot].people[track] is None
        )
        return merge(chain.from_iterable(unknown))

    def describe(self, identities: Identities, table: FrameTable) -> str:
        """Return in one line how long who speaks."""
        shares = [
            f"person {number} {seconds_of(frames, table):.1f} s"
            for number, frames in self.of_people(identities).items()
        ]
        if unknown := self.of_unidentified(identities):
            shares.append(f"unidentified faces {seconds_of(unknown, table):.1f} s")
        return ", ".join(shares) or "no face speaks"
