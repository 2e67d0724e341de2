"""Who speaks when, as text: RTTM, SRT and CSV; every fault by its line or cue."""

from fractions import Fraction

import pytest

from media.errors import ConfigError
from pipeline.config_speakers import SpeakerConfig
from pipeline.turn_file import check_end, read_turns

CAST = {
    "Anna": SpeakerConfig(person=1, stem="anna.wav"),
    "Ben Bo": SpeakerConfig(person=2, stem="ben.wav"),
    "7": SpeakerConfig(person=3),
    "narrator": SpeakerConfig(),
}
RTTM = "SPEAKER talk 1 {} {} <NA> <NA> {} <NA> <NA>\n"
CUE = "{}\n{} --> {}\n{}\n\n"


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a file of turns and returns (start, stop, speaker) of each."""

    def load(text, ending=".csv"):
        path = tmp_path / f"turns{ending}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return [(float(turn.start), float(turn.stop), turn.speaker) for turn in read_turns(path, CAST)]

    return load


@pytest.fixture
def refusal(read):
    def load(text, ending=".csv"):
        with pytest.raises(ConfigError) as caught:
            read(text, ending)
        said = str(caught.value)
        assert said.startswith("input.speakers.turns: ")
        assert said.endswith(".")
        assert "\n" not in said
        assert len(said) < 500
        return said

    return load


def test_csv_is_read(read):
    text = "\ufeffspeaker;start;stop\r\n7;00:01:05,5;1:06,25\r\n ANNA ;0,5;2\r\n"
    assert read(text) == [(0.5, 2, "Anna"), (65.5, 66.25, "7")]


def test_rttm_is_read(read):
    text = ";; by a diarizer\nSPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA>\n\n"
    text += RTTM.format("3.25", "0.50", "7") + RTTM.format(0, 1, "anna") + "LEXEME talk 1 0 1 hello lex anna <NA>\n"
    assert read(text, ".rttm") == [(0, 1, "Anna"), (3.25, 3.75, "7")]


def test_srt_is_read(read):
    text = CUE.format(1, "00:00:01,000", "00:00:02,500", "ANNA: Have you seen: this?\nAnd that?")
    text += CUE.format(2, "00:00:02,500", "00:00:03.000", "<i>[Ben  Bo] No.</i>")
    text += CUE.format(3, "01:00:00,040", "01:00:01,000", "{\\an8}- Anna: Oh!\n- Ben Bo: Oh!").replace("\n", "\r\n")
    assert read(text, ".srt") == [
        (1, 2.5, "Anna"),
        (2.5, 3, "Ben Bo"),
        (3600.04, 3601, "Anna"),
        (3600.04, 3601, "Ben Bo"),
    ]


def test_who_is_not_seen_may_speak_at_the_same_time(read):
    assert len(read("start,stop,speaker\n0,2,narrator\n1,3,Anna\n")) == 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("0,1,Carl", "line 2: speaker 'Carl' is not in input.speakers.cast (Anna, Ben Bo, 7, narrator)"),
        ("0,1,", "line 2: speaker is empty"),
        ("2,1,7", "line 2: the turn runs backwards: 2 s to 1 s"),
        ("2,2,7", "line 2: the turn lasts no time"),
        ("x,2,7", "line 2: start (now 'x'): give seconds"),
        ("0,9,Anna\n1,2,Ben Bo\n8,9,Anna", "line 4: the turn overlaps that of line 2, of the same speaker"),
        (
            "0,9,Anna\n1,2,7",
            "line 3: the turn overlaps that of line 2, and the dub, which holds both voices, would drive 7",
        ),
        ("0,9,7\n1,2,narrator", "would drive 7; give 7 a stem"),
        ("", "holds no turn"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(refusal, lines, expected):
    assert expected in refusal(f"start,stop,speaker\n{lines}\n")


@pytest.mark.parametrize(
    ("text", "ending", "expected"),
    [
        (RTTM.format(0, 1, 7) + "SPEAKER talk 1 2 3", ".rttm", "line 2: this is no line of an RTTM file"),
        ("start,stop,speaker", ".rttm", "line 1: this is no line of an RTTM file"),
        (RTTM.format(-1, 1, 7), ".rttm", "line 1: start and duration (now '-1 1'): give seconds"),
        (
            RTTM.format(0, 1, 7) + RTTM.format(2, 1, 7).replace("talk", "more"),
            ".rttm",
            "line 2: there are turns of two",
        ),
        (CUE.format(4, "00:00:01,0", "00:00:02,0", "Hello."), ".srt", "cue 4: who says 'Hello.'?"),
        (CUE.format(4, "00:00:01,0", "00:00:02,0", "Carl: Hi."), ".srt", "cue 4: speaker 'Carl' is not in"),
        ("Anna: hello\n", ".srt", "line 1: this is no SRT"),
        (
            CUE.format(1, "00:00:01,0", "00:00:02,0", "7: a") + CUE.format(2, "3", "4", "7: b"),
            ".srt",
            "cue 1: its text holds a line of times that is none",
        ),
        (CUE.format(1, "9" * 20 + ":00:01,0", "00:00:02,0", "7: a"), ".srt", "holds a time that is none"),
        ("", ".srt", "holds no turn"),
        (b"\xff\xfe\x00", ".rttm", "no UTF-8 text"),
        ("a", ".txt", "the ending '.txt' of turns.txt is unknown. Use .rttm, .srt or .csv"),
    ],
)
def test_what_is_no_file_of_turns_is_refused(refusal, text, ending, expected):
    assert expected in refusal(text, ending)


def test_the_end_of_the_dub_is_the_end(tmp_path):
    """A diarizer may round up by a step, and no more."""
    path = tmp_path / "turns.csv"
    path.write_text("start,stop,speaker\n1,4.1,7\n")
    turns = read_turns(path, CAST)
    check_end(path, turns, Fraction(4))
    with pytest.raises(ConfigError, match=r"line 2: 1 s to 4\.1 s reaches beyond the end of the dub, 3\.900 s"):
        check_end(path, turns, Fraction("3.9"))
