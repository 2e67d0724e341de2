"""input.speakers: who speaks when in a dialogue, and who each speaker is in the picture."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field, model_validator

from lipstitch.job_file.fields import MAX_PEOPLE, Person, Turns
from media.base.settings import FilePath
from media.base.text import brief

MAX_NAME = 100
"""Characters of a speaker's name."""
PERSON_NAME = re.compile(r"(?:person[ _]?)?(\d{1,7})")
"""How a speaker is called who is known by number alone."""


class SpeakerConfig(BaseModel, frozen=True, extra="forbid"):
    """One speaker of a dialogue."""

    person: Person | None = Field(
        default=None,
        description="Whose lips: a number that python main.py people shows, {reference: photo.jpg} or {at: time, point:"
        " [x, y]}. Omitted: a speaker who is never seen, such as a narrator.",
    )
    stem: FilePath | None = Field(
        default=None,
        description="What drives these lips: this speaker's voice alone, as long as the dub. Omitted: the dub.",
    )


class SpeakersConfig(BaseModel, frozen=True, extra="forbid"):
    """Who speaks when, and who that is. `speakers: auto` is short for `speakers: {turns: auto}`."""

    turns: Turns = Field(
        description="Who speaks when, on the clock of the dub: an RTTM file, an SRT file whose cues begin with `name:`"
        " or `[name]`, or a CSV file of start, stop, speaker. auto: who is seen to speak in the video's own sound"
        " (--plan --turns writes that as a CSV file to correct)."
    )
    cast: dict[str, SpeakerConfig] = Field(
        default_factory=dict,
        description="Every speaker by the name that the turns use; upper and lower case are the same. Omitted: the"
        " turns name people by their numbers, as `person 1`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, given: Any) -> Any:
        return {"turns": "auto"} if given == "auto" else given

    @model_validator(mode="after")
    def _check(self) -> SpeakersConfig:
        if self.is_auto and self.cast:
            raise ValueError(
                "turns auto names people by their numbers; leave out cast, or write the turns to a file first"
                " (--plan --turns turns.csv) and name that"
            )
        known: dict[str, str] = {}
        numbers: dict[int, str] = {}
        for name, speaker in self.cast.items():
            if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
                raise ValueError(f"cast: {brief(repr(name))} cannot be a name; give one of 1 to {MAX_NAME} characters")
            other = known.setdefault(fold(name), name)
            if other != name:
                raise ValueError(f"cast: {brief(other)} and {brief(name)} are the same name")
            if isinstance(speaker.person, int):
                other = numbers.setdefault(speaker.person, name)
                if other != name:
                    raise ValueError(f"cast: {brief(other)} and {brief(name)} are both person {speaker.person}")
        return self

    @property
    def is_auto(self) -> bool:
        """Whether who speaks when is told by the picture and the video's own sound."""
        return self.turns == "auto"


def person_name(number: int) -> str:
    """Return how a speaker is called who is known by number alone."""
    return f"person {number}"


def number_in(name: str) -> int | None:
    """Return the number of the person that a name means, as `person 2` or `2`; None if it means none."""
    match = PERSON_NAME.fullmatch(fold(name))
    number = int(match[1]) if match else 0
    return number if 1 <= number <= MAX_PEOPLE else None


def cast_by_number(names: Iterable[str]) -> dict[str, SpeakerConfig]:
    """Return the cast of turns that name people by their numbers, lowest first; other names are left out."""
    numbers = {number for name in names if (number := number_in(name)) is not None}
    return {person_name(number): SpeakerConfig(person=number) for number in sorted(numbers)}


def fold(name: str) -> str:
    """Return a name as names are compared.

    Upper and lower case, spaces around it or doubled, how its accents are coded, and marks that are not seen (as those
    for writing from right to left) play no part.
    """
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(seen.split()).casefold())
