"""input.speakers: who speaks when in a dialogue, and who each speaker is in the picture."""

from __future__ import annotations

import unicodedata

from pydantic import BaseModel, Field, model_validator

from base.settings import FilePath
from base.text import brief
from lipstitch.job_file.fields import Person

MAX_NAME = 100
"""Characters of a speaker's name."""


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
    """Who speaks when, and who that is."""

    turns: FilePath = Field(
        description="Who speaks when, on the clock of the dub: an RTTM file, an SRT file whose cues begin with `name:`"
        " or `[name]`, or a CSV file of start, stop, speaker."
    )
    cast: dict[str, SpeakerConfig] = Field(
        description="Every speaker by the name that the turns use; upper and lower case are the same."
    )

    @model_validator(mode="after")
    def _check(self) -> SpeakersConfig:
        if not self.cast:
            raise ValueError("cast is empty: name the speakers that the turns name")
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


def fold(name: str) -> str:
    """Return a name as names are compared.

    Upper and lower case, spaces around it or doubled, how its accents are coded, and marks that are not seen (as those
    for writing from right to left) play no part.
    """
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(seen.split()).casefold())
