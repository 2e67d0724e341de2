"""PURE: how a source's sound lies against its picture, and by how much it is heard later or earlier for that.

picture           |  |  |  |  |  |  |  |  |  |
its own sound     .....|--------------------|         late, as the file has it
a dub made to it  .....|--------------------|         late alike
moved by offset   |--------------------|
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Final

from lipstitch.job_file.config import JobConfig
from media.base.errors import ConfigError

SURE_LEAD: Final = 0.22
"""Lead that would be certain over one second of faces. Chance falls with the square root of the seconds: of 1,068
foreign sounds over 5 to 15 s the largest lead came to 0.97 of what this asks for."""
LEAST_LEAD: Final = 0.025
"""That is certain over however many."""
LEAST_SECONDS: Final = 5.0
"""Of faces, below which nothing is certain."""
IN_TIME_MS: Final = 40
"""A smaller offset, of less than a frame of 25 a second, is left alone: viewers notice sound from 45 ms early or 125 ms
late on (ITU-R BT.1359), and of recordings that are thought to be in time 90 % are found within 42 ms."""
FARTHEST_MS: Final = 600
"""Sound is compared with lips up to this far away; what fits best there may fit better beyond."""


@dataclass(frozen=True, slots=True)
class FoundOffset:
    """What was measured of a source's own sound."""

    milliseconds: int
    """By which it would have to be heard later to fit its lips best; negative: earlier."""
    lead: float
    """How much nearer lips and sound are there than at any other place, as the project's sync expert sees it."""
    seconds: float
    """Of faces that were looked at."""

    @property
    def certainty(self) -> float:
        """The lead as a multiple of what chance does not reach."""
        if self.seconds < LEAST_SECONDS or abs(self.milliseconds) >= FARTHEST_MS:
            return 0.0
        return self.lead / max(SURE_LEAD / sqrt(self.seconds), LEAST_LEAD)

    @property
    def is_certain(self) -> bool:
        """Whether that is no chance."""
        return self.certainty >= 1

    @property
    def is_in_time(self) -> bool:
        """Whether the sound fits as it is."""
        return abs(self.milliseconds) < IN_TIME_MS

    def describe(self) -> str:
        """Return what was found and how sure it is, in a few words."""
        lies = f"{abs(self.milliseconds)} ms {'late' if self.milliseconds < 0 else 'early'}"
        sure = f"certainty {self.certainty:.1f}, where 1 is enough; {self.seconds:.0f} s of faces"
        return f"the video's own sound fits its lips best if it is {lies} ({sure})"


@dataclass(frozen=True, slots=True)
class SoundOffset:
    """By how much sounds are moved against the picture, and why."""

    seconds: Fraction = Fraction(0)
    """By which the source's own sound, and what was made from it, is heard later than its file says."""
    text: str = ""
    """One sentence for plan, console and report; empty if the job does not ask."""
    found: FoundOffset | None = None
    """What was measured; None if nothing was."""


IN_PLACE: Final = SoundOffset()


def given_offset(config: JobConfig) -> SoundOffset:
    """Return the offset that a job file gives; none as long as it has to be measured.

    Raises ConfigError where there is no dub that could be moved.
    """
    given = config.input.audio_offset
    if given == "auto" or not given:
        return IN_PLACE
    if config.input.audio is None:
        raise ConfigError(
            f"input.audio_offset (now {given:g}): there is no dub to move. Give input.audio; to move the video's"
            " own sound, name the video there."
        )
    return SoundOffset(Fraction(str(given)) / 1000, f"{_moved(given)}, as input.audio_offset says")


def measured_offset(config: JobConfig, found: FoundOffset | None) -> SoundOffset:
    """Return the offset that follows from a measurement. found: None where nothing could be measured."""
    if found is None:
        text = "input.audio_offset: auto found no face with the video's own sound to measure; nothing is moved"
        return SoundOffset(text=text)
    if not found.is_certain or found.is_in_time:
        why = "in time" if found.is_certain else "not certain"
        return SoundOffset(text=f"{found.describe()}: {why}, so nothing is moved", found=found)
    done = _moved(found.milliseconds)
    if config.input.audio is None:
        done = "where it is learned from, it is moved by that; in the output it stays as it is"
    return SoundOffset(Fraction(found.milliseconds, 1000), f"{found.describe()}; {done}", found)


def _moved(milliseconds: float) -> str:
    way = "later" if milliseconds > 0 else "earlier"
    return f"the dub, and the video's own sound where it is learned from, is taken {abs(milliseconds):g} ms {way}"
