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

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from lipstitch.job_file.fields import parse_time
from lipstitch.job_file.speakers import SpeakerConfig, cast_by_number, fold, number_in, person_name
from lipstitch.job_file.table import UserFile
from media.base.errors import ConfigError
from media.base.files import atomic_file
from media.base.text import brief

KEY = "input.speakers.turns"
COLUMNS = ("start", "stop", "speaker")
RTTM_TYPES = {"NOSCORE", "NO_RT_METADATA", "SEGMENT", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "SU"}
RTTM_TYPES |= {"IP", "CB", "A/P", "SPKR-INFO"}
"""What else a line may be about (NIST's Rich Transcription evaluation plan of 2009, appendix A)."""
LEAST_FIELDS, MOST_FIELDS, NAME_FIELD = 8, 10, 7
"""Type, file, channel, start, duration, two that do not matter here, name; a confidence and a time may follow."""
ABSENT, ABSENT_FIELD = "<NA>", 5
NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)
CONFIDENCE = re.compile(rf"<NA>|[01]|(?!-?\d+$){NUMBER.pattern}", re.IGNORECASE)
"""What may follow a name; any other whole number is part of it, as in `Speaker 2`."""
CUE_NUMBER = re.compile(r"\s*-?\d+\.?\d*\s*")
CUE_TIMES = re.compile(r"\s*(-?\d[\d:.,，．：]*)\s*-[- ]*>\s*(-?\d[\d:.,，．：]*)(?:\s.*)?")
"""Times, and what some programs write behind them: where the text stands."""
COLON_MILLISECONDS = re.compile(r"(\d+:\d+:\d+):(\d{3})")
WIDE = str.maketrans("，．：", ",.:")
"""Punctuation as wide as a Chinese or Japanese letter, which editors there write."""
SPEAKER_TEXT = re.compile(r"\s*(?:[-–—>]+\s*)?(?:\[([^\[\]]+)\]|([^:：\[\]]+)[:：])")
MARKUP = re.compile(r"<[^<>]*>|\{[^{}]*\}")
END_TOLERANCE_SECONDS = Fraction(1, 10)
"""How far a turn may reach beyond the end of the dub: diarizers round up to whole steps."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One stretch of a speaker's speech."""

    where: str
    """How messages name it: its line, and its cue."""
    start: Fraction
    """Seconds of the dub."""
    stop: Fraction
    speaker: str
    """Name, as the cast of the job file spells it."""


def read_turns(path: Path, cast: Mapping[str, SpeakerConfig]) -> tuple[Turn, ...]:
    """Return the turns of a file in order of time.

    Raises ConfigError that names the line: for what cannot be read, an unknown name, a turn that runs backwards, and
    overlapping turns of two speakers if the dub drives either. Turns of one speaker may overlap. cast: empty if the
    turns name people by their numbers.
    """
    readers = {".rttm": _read_rttm, ".srt": _read_srt, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{KEY}: the ending {path.suffix!r} of {path.name} is unknown. Use .rttm, .srt or .csv.")
    file = UserFile(KEY, path, f"{path.suffix[1:].upper()} file of turns")
    names = {fold(name): name for name in cast}
    turns = []
    for read in readers[path.suffix.lower()](file, names):
        turn = read if cast else _by_number(file, read)
        if cast and fold(turn.speaker) not in names:
            known = brief(", ".join(cast))
            raise file.fault(turn.where, f"speaker {brief(repr(turn.speaker))} is not in input.speakers.cast ({known})")
        if turn.stop <= turn.start:
            what = "runs backwards" if turn.stop < turn.start else "lasts no time"
            times = f"{float(turn.start):g} s to {float(turn.stop):g} s"
            raise file.fault(turn.where, f"the turn {what}: {times}; correct its times, or remove it")
        turns.append(replace(turn, speaker=names.get(fold(turn.speaker), turn.speaker)))
    if not turns:
        raise ConfigError(f"{KEY}: {path} holds no turn. Check the path.")
    turns.sort(key=lambda turn: (turn.start, turn.stop))
    _check_overlaps(file, turns, cast or cast_by_number(turn.speaker for turn in turns))
    return tuple(turns)


def _by_number(file: UserFile, turn: Turn) -> Turn:
    number = number_in(turn.speaker)
    if number is None:
        advice = "name a person by number, as person 1, or say in input.speakers.cast who that is"
        raise file.fault(turn.where, f"who is {brief(repr(turn.speaker))}? There is no input.speakers.cast; {advice}")
    return replace(turn, speaker=person_name(number))


def write_turns(turns: Iterable[tuple[Fraction, Fraction, str]], path: Path) -> None:
    """Write turns (start, stop, speaker) to a CSV file, atomically, to the millisecond.

    Raises WorkspaceError if it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for start, stop, speaker in sorted(turns):
        # Rounded down, as in span files: a frame at or after such a time is the one that was meant.
        writer.writerow(
            [*(f"{max(seconds, Fraction(0)) * 1000 // 1 / 1000:.3f}" for seconds in (start, stop)), speaker]
        )
    with atomic_file(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def check_end(path: Path, turns: Sequence[Turn], seconds: Fraction) -> None:
    """Raise ConfigError for a turn that reaches beyond the end of the dub, which lasts so many seconds."""
    for turn in turns:
        if turn.start >= seconds or turn.stop > seconds + END_TOLERANCE_SECONDS:
            problem = f"{float(turn.start):g} s to {float(turn.stop):g} s reaches beyond the end of the dub"
            raise UserFile(KEY, path, "").fault(turn.where, f"{problem}, {float(seconds):.3f} s")


def _check_overlaps(file: UserFile, turns: Sequence[Turn], cast: Mapping[str, SpeakerConfig]) -> None:
    """Raise ConfigError where two speakers overlap and the dub, which holds both voices, would drive one of them.

    Turns of one speaker may overlap, as subtitles and diarizers write them; they are joined later.
    """
    latest: dict[str, Turn] = {}
    for turn in turns:
        for other in latest.values():
            needy = [each.speaker for each in (turn, other) if is_driven_by_dub(cast[each.speaker])]
            if needy and turn.speaker != other.speaker and turn.start < other.stop:
                problem = f"the turn overlaps that of {other.where}, and the dub, which holds both voices, would drive"
                raise file.fault(turn.where, f"{problem} {brief(needy[0])}; give {brief(needy[0])} a stem")
        if turn.speaker not in latest or latest[turn.speaker].stop < turn.stop:
            latest[turn.speaker] = turn


def is_driven_by_dub(speaker: SpeakerConfig) -> bool:
    """Tell whether a speaker is seen, and driven by the dub with all the voices in it."""
    return speaker.person is not None and speaker.stem is None


def _read_csv(file: UserFile, _names: Mapping[str, str]) -> Iterator[Turn]:
    for row in file.rows(COLUMNS, COLUMNS):
        if not (speaker := row.cells.get("speaker", "")):
            raise row.fault("speaker is empty")
        yield Turn(row.where, row.seconds("start"), row.seconds("stop"), speaker)


def _read_rttm(file: UserFile, names: Mapping[str, str]) -> Iterator[Turn]:
    recording = ""
    for number, line in enumerate(file.text().split("\n"), start=1):
        fields, where = line.split(), f"line {number}"
        if not fields or fields[0].startswith(";;") or fields[0] in RTTM_TYPES:
            continue
        if fields[0] != "SPEAKER" or len(fields) < LEAST_FIELDS:
            form = "SPEAKER file channel start duration <NA> <NA> name"
            raise file.fault(where, f"this is not a line of an RTTM file ({form}): {brief(line)!r}")
        _check_spaces(file, where, fields, names)
        if fields[NAME_FIELD] == ABSENT:
            raise file.fault(where, "the name of the speaker, the eighth field, is missing")
        recording = recording or fields[1]
        if fields[1] != recording:
            both = f"{brief(recording)!r} and {brief(fields[1])!r}"
            raise file.fault(where, f"the turns of two recordings stand here, {both}; keep those of one")
        try:
            start, duration = parse_time(fields[3]), parse_time(fields[4])
        except ValueError as exc:
            raise file.fault(where, f"start and duration (now {brief(' '.join(fields[3:5]))!r}): {exc}") from exc
        yield Turn(where, start, start + duration, fields[NAME_FIELD])


def _check_spaces(file: UserFile, where: str, fields: Sequence[str], names: Mapping[str, str]) -> None:
    """Raise ConfigError if the name of the recording or of the speaker holds a space, which separates fields.

    names: the cast, folded; a number after a name is not a confidence where both together are a name in the cast.
    """
    absent = next((n for n in range(ABSENT_FIELD, len(fields) - 1) if fields[n : n + 2] == [ABSENT, ABSENT]), 0)
    if absent > ABSENT_FIELD and all(NUMBER.fullmatch(time) for time in fields[absent - 2 : absent]):
        what, advice, words = "recording", "", fields[1 : absent - 3]
    else:
        what, advice, words = "speaker", " here and in input.speakers.cast", list(fields[NAME_FIELD:])
        for _ in range(MOST_FIELDS - LEAST_FIELDS):
            if len(words) > 1 and CONFIDENCE.fullmatch(words[-1]):
                words.pop()
        longer = (fields[NAME_FIELD:n] for n in range(NAME_FIELD + 2, min(len(fields), 2 * MOST_FIELDS) + 1))
        words = next((each for each in longer if fold(" ".join(each)) in names), words)
    if len(words) > 1:
        name, better = brief(" ".join(words)), brief("_".join(words))
        problem = f"the name of the {what}, {name!r}, holds a space, which separates the fields of an RTTM file"
        raise file.fault(where, f"{problem}; write {better}{advice}")


def _read_srt(file: UserFile, names: Mapping[str, str]) -> Iterator[Turn]:
    lines = file.text().split("\n")
    heads = [number for number, line in enumerate(lines) if "-->" in line or (":" in line and CUE_TIMES.match(line))]
    borders = [*(_number_line(lines, head) for head in heads), len(lines)]
    for number, line in enumerate(lines[: borders[0]], start=1):
        if line.strip():
            raise file.fault(f"line {number}", "this is not SRT; a cue has a number, a line of times and text")
    for head, (number, stop) in zip(heads, pairwise(borders), strict=True):
        where = f"line {head + 1}" + (f", cue {brief(lines[number].strip())}" if number < head else "")
        start, end = _cue_times(file, where, lines[head])
        for speaker in _speakers_of(file, where, "\n".join(lines[head + 1 : stop]), names):
            yield Turn(where, start, end, speaker)


def _number_line(lines: Sequence[str], head: int) -> int:
    """Return which line holds the number of a cue, or `head`, that of its times, if it has none."""
    above = next((number for number in range(head - 1, -1, -1) if lines[number].strip()), None)
    return above if above is not None and CUE_NUMBER.fullmatch(lines[above]) else head


def _cue_times(file: UserFile, where: str, line: str) -> tuple[Fraction, Fraction]:
    match = CUE_TIMES.fullmatch(line)
    texts = [COLON_MILLISECONDS.sub(r"\1.\2", text.translate(WIDE)) for text in match.groups()] if match else []
    if not texts or not all(":" in text for text in texts):
        raise file.fault(
            where, f"these are not the times of a cue, {brief(line)!r}; write 00:00:12,480 --> 00:00:15,630"
        )
    try:
        return parse_time(texts[0]), parse_time(texts[1])
    except ValueError as exc:
        raise file.fault(where, f"the times of the cue (now {brief(line)!r}): {exc}") from exc


def _speakers_of(file: UserFile, where: str, text: str, names: Mapping[str, str]) -> list[str]:
    """Return who speaks in a cue: the speaker its first line names, and those of the cast that other lines name."""
    lines = [line for line in MARKUP.sub("", text.replace("\\N", "\n")).split("\n") if line.strip()]
    matches = [SPEAKER_TEXT.match(line) for line in lines]
    if not matches or matches[0] is None:
        raise file.fault(where, f"who says {brief(lines[0] if lines else '')!r}? Begin the text with name: or [name]")
    said = [(match[1] or match[2]).strip() for match in matches if match]
    return list(dict.fromkeys([said[0], *(name for name in said[1:] if fold(name) in names)]))
