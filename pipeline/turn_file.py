"""Who speaks when: the turns of a dialogue from an RTTM, SRT or CSV file, checked before any work.

    SPEAKER talk 1 12.480 3.150 <NA> <NA> anna <NA> <NA>          .rttm, as diarizers write it

    1                                                             .srt; [anna] and upper case are as good
    00:00:12,480 --> 00:00:15,630
    Anna: Have you seen it?

    start,stop,speaker                                            .csv
    12.48,15.63,anna

Times are those of the dub. A turn ends before its `stop`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import srt

from media.errors import ConfigError
from media.settings import brief
from pipeline.config_fields import parse_time
from pipeline.config_speakers import SpeakerConfig, fold
from pipeline.table_file import UserFile

KEY = "input.speakers.turns"
COLUMNS = ("start", "stop", "speaker")
RTTM_TYPES = {"NOSCORE", "NO_RT_METADATA", "SEGMENT", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "SU"}
RTTM_TYPES |= {"IP", "CB", "A/P", "SPKR-INFO"}
"""What else a line may be about (NIST's Rich Transcription evaluation plan of 2009, appendix A)."""
RTTM_FIELDS = 8
"""Type, file, channel, start, duration, two that do not matter here, name; more may follow."""
SPEAKER_TEXT = re.compile(r"\s*(?:[-–—]\s*)?(?:\[([^\[\]]+)\]|([^:\[\]]+):)")
MARKUP = re.compile(r"<[^<>]*>|\{[^{}]*\}")
END_TOLERANCE_SECONDS = Fraction(1, 10)
"""How far a turn may reach beyond the end of the dub: diarizers round up to whole steps."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One stretch of somebody's speech."""

    where: str
    """How messages name it: its line or cue."""
    start: Fraction
    """Seconds of the dub."""
    stop: Fraction
    speaker: str
    """Name, as the cast of the job file spells it."""


def read_turns(path: Path, cast: Mapping[str, SpeakerConfig]) -> tuple[Turn, ...]:
    """Return the turns of a file in order of time.

    Raises ConfigError that names the line or cue: what cannot be read, an unknown name, a turn that runs backwards,
    turns of one speaker that overlap, and turns of two while one of them would be driven by what both say.
    """
    readers = {".rttm": _read_rttm, ".srt": _read_srt, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{KEY}: the ending {path.suffix!r} of {path.name} is unknown. Use .rttm, .srt or .csv.")
    file = UserFile(KEY, path, f"{path.suffix[1:].upper()} file of turns")
    names = {fold(name): name for name in cast}
    turns = []
    for turn in readers[path.suffix.lower()](file, names):
        if fold(turn.speaker) not in names:
            known = brief(", ".join(cast))
            raise file.fault(turn.where, f"speaker {brief(repr(turn.speaker))} is not in input.speakers.cast ({known})")
        if turn.stop <= turn.start:
            what = "runs backwards" if turn.stop < turn.start else "lasts no time"
            raise file.fault(turn.where, f"the turn {what}: {float(turn.start):g} s to {float(turn.stop):g} s")
        turns.append(Turn(turn.where, turn.start, turn.stop, names[fold(turn.speaker)]))
    if not turns:
        raise ConfigError(f"{KEY}: {path} holds no turn. Check the path.")
    turns.sort(key=lambda turn: (turn.start, turn.stop))
    _check_overlaps(file, turns, cast)
    return tuple(turns)


def check_end(path: Path, turns: Sequence[Turn], seconds: Fraction) -> None:
    """Raise ConfigError for a turn that reaches beyond the end of the dub, which lasts so many seconds."""
    for turn in turns:
        if turn.start >= seconds or turn.stop > seconds + END_TOLERANCE_SECONDS:
            problem = f"{float(turn.start):g} s to {float(turn.stop):g} s reaches beyond the end of the dub"
            raise UserFile(KEY, path, "").fault(turn.where, f"{problem}, {float(seconds):.3f} s")


def _check_overlaps(file: UserFile, turns: Sequence[Turn], cast: Mapping[str, SpeakerConfig]) -> None:
    latest: dict[str, Turn] = {}
    for turn in turns:
        for other in latest.values():
            if turn.start >= other.stop:
                continue
            if turn.speaker == other.speaker:
                raise file.fault(turn.where, f"the turn overlaps that of {other.where}, of the same speaker")
            needy = [each.speaker for each in (turn, other) if hears_all(cast[each.speaker])]
            if needy:
                problem = f"the turn overlaps that of {other.where}, and the dub, which holds both voices, would drive"
                raise file.fault(turn.where, f"{problem} {brief(needy[0])}; give {brief(needy[0])} a stem")
        latest[turn.speaker] = turn


def hears_all(speaker: SpeakerConfig) -> bool:
    """Tell whether a speaker is seen and driven by the dub, with whatever else is heard in it."""
    return speaker.person is not None and speaker.stem is None


def _read_csv(file: UserFile, _names: Mapping[str, str]) -> Iterator[Turn]:
    for row in file.rows(COLUMNS, COLUMNS):
        if not (speaker := row.cells.get("speaker", "")):
            raise row.fault("speaker is empty")
        yield Turn(row.where, row.seconds("start"), row.seconds("stop"), speaker)


def _read_rttm(file: UserFile, _names: Mapping[str, str]) -> Iterator[Turn]:
    recording = ""
    for number, line in enumerate(file.text().splitlines(), start=1):
        fields, where = line.split(), f"line {number}"
        if not fields or fields[0].startswith(";;") or fields[0] in RTTM_TYPES:
            continue
        if fields[0] != "SPEAKER" or len(fields) < RTTM_FIELDS:
            form = "SPEAKER file channel start duration <NA> <NA> name"
            raise file.fault(where, f"this is no line of an RTTM file ({form}): {brief(line)!r}")
        recording = recording or fields[1]
        if fields[1] != recording:
            both = f"{brief(recording)!r} and {brief(fields[1])!r}"
            raise file.fault(where, f"there are turns of two recordings here, {both}; keep those of one")
        try:
            start, duration = parse_time(fields[3]), parse_time(fields[4])
        except ValueError as exc:
            raise file.fault(where, f"start and duration (now {brief(' '.join(fields[3:5]))!r}): {exc}") from exc
        yield Turn(where, start, start + duration, fields[7])


def _read_srt(file: UserFile, names: Mapping[str, str]) -> Iterator[Turn]:
    text = file.text()
    try:
        cues = list(srt.parse(text))
    except srt.SRTParseError as exc:
        line = text.count("\n", 0, exc.expected_start) + 1
        raise file.fault(f"line {line}", "this is no SRT, which has a number, a line of times and text") from exc
    except (ValueError, OverflowError) as exc:
        raise ConfigError(f"{file.key}: {file.path} holds a time that is none ({brief(str(exc))}).") from exc
    for number, cue in enumerate(cues, start=1):
        start, stop = (Fraction(round(time.total_seconds() * 1000), 1000) for time in (cue.start, cue.end))
        where = f"cue {number if cue.index is None else cue.index}"
        if "-->" in cue.content:  # a cue whose times cannot be read counts as text of the one before it
            raise file.fault(where, "its text holds a line of times that is none; write 00:00:12,480 --> 00:00:15,630")
        for speaker in _speakers_of(file, where, cue.content, names):
            yield Turn(where, start, stop, speaker)


def _speakers_of(file: UserFile, where: str, text: str, names: Mapping[str, str]) -> list[str]:
    """Return who speaks in a cue: whom its first line names, and whom others name that are in the cast."""
    lines = [line for line in MARKUP.sub("", text).splitlines() if line.strip()]
    matches = [SPEAKER_TEXT.match(line) for line in lines]
    if not matches or matches[0] is None:
        raise file.fault(where, f"who says {brief(lines[0] if lines else '')!r}? Begin the text with name: or [name]")
    said = [(match[1] or match[2]).strip() for match in matches if match]
    return list(dict.fromkeys([said[0], *(name for name in said[1:] if fold(name) in names)]))
