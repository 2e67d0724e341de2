"""Who speaks when, as text: RTTM, SRT and CSV; every fault by its line or cue."""

from fractions import Fraction

import pytest

from lipstitch.job_file.speakers import SpeakerConfig
from lipstitch.job_file.turn_file import check_end, read_turns, write_turns
from media.base.errors import ConfigError

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


def test_srt_as_other_programs_write_it_is_read(read):
    """No numbers, no blank lines, hours left out or beyond 99, points, text that looks like a number, broken lines."""
    text = "00:00:01.5 --> 00:00:02.25\n>> Anna : How many?\n3\n00:03,000-->00:04,000 X1:10 X2:20\n[Ben  Bo]: 4\n5\n\n"
    text += "7\n100:00:01,000 --> 100:00:01,500\n\nAnna：Oh!\\NBen Bo: Oh!\n6\n\n00:00:05:250 --> 00:00:06，5\n7: 1\n2"
    assert read(text, ".srt") == [
        (1.5, 2.25, "Anna"),
        (3, 4, "Ben Bo"),
        (5.25, 6.5, "7"),
        (360_001, 360_001.5, "Anna"),
        (360_001, 360_001.5, "Ben Bo"),
    ]


def test_a_table_may_have_further_columns_and_tell_its_delimiter(read):
    text = 'sep=;\r\n"Start";"Stop";"Speaker";"Text";\r\n00:00:01,500;"00:00:02,250";anna;"One; two";\r\n'
    assert read(text) == read(text.encode("utf-16")) == [(1.5, 2.25, "Anna")]
    text = "speaker\ttext\tstart\tstop\nanna\tHi, you\t1e-05\t2\n"
    assert read(text.encode("utf-16-le")) == [(0.00001, 2, "Anna")]
    assert read('start,stop,speaker,text\n"00:00:01,500","2,25",anna,"a\nb"\n') == [(1.5, 2.25, "Anna")]


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        (RTTM.format(0, 2, "anna") + RTTM.format(1, 3, "Anna") + RTTM.format(1, 0.5, "ANNA") * 2, ".rttm"),
        ("start,stop,speaker\n1,1.5,anna\n0,2,anna\n1,1.5,anna\n1,4,anna\n", ".csv"),
        (
            "".join(
                CUE.format(1, f"00:00:0{start}", f"00:00:0{stop}", "Anna: a")
                for start, stop in ((0, 2), (1, 4), ("1", "1.5"), ("1,0", "1,5"))
            ),
            ".srt",
        ),
    ],
)
def test_turns_of_one_speaker_may_overlap(read, text, ending):
    assert read(text, ending) == [(0, 2, "Anna"), (1, 1.5, "Anna"), (1, 1.5, "Anna"), (1, 4, "Anna")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("talk 1 0.5 2.0 <NA> <NA> Anna Smith <NA> <NA>", "the name of the speaker, 'Anna Smith', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> Anna Smith <NA>", "'Anna Smith', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> Anna Smith", "'Anna Smith', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> Anna Smith 0.9 <NA>", "'Anna Smith', holds a space"),
        (
            "talk 1 0.5 2.0 <NA> <NA> Anna Maria Smith <NA> <NA>",
            "write Anna_Maria_Smith here and in input.speakers.cast",
        ),
        ('talk 1 0.5 2.0 <NA> <NA> "Anna Smith" <NA> <NA>', "Anna Smith"),
        ("talk\t1\t0.5\t2.0\t<NA>\t<NA>\tAnna Smith\t<NA>\t<NA>", "'Anna Smith', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> Anna\xa0Smith <NA> <NA>", "'Anna Smith', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> Anna 2 <NA> <NA>", "'Anna 2', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> Anna 2 <NA>", "'Anna 2', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> 7 1 <NA>", "'7 1', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> ben BO <NA> <NA>", "write ben_BO here and in input.speakers.cast"),
        ("my talk 1 0.5 2.0 <NA> <NA> anna <NA> <NA>", "the name of the recording, 'my talk', holds a space"),
        ("my talk 1 0.5 2.0 <NA> <NA> anna <NA>", "'my talk', holds a space"),
        ("my talk 1 0.5 2.0 <NA> <NA> anna", "'my talk', holds a space"),
        ("my talk <NA> 0.5 2.0 <NA> <NA> anna", "'my talk', holds a space"),
        ("the talk of May 3 1 0.5 2.0 <NA> <NA> anna <NA> <NA>", "write the_talk_of_May_3."),
        ("talk 2 1 0.5 2.0 <NA> <NA> anna <NA> <NA>", "'talk 2', holds a space"),
        ("my talk 1 0.5 2.0 <NA> <NA> Anna Smith <NA> <NA>", "'my talk', holds a space"),
        ("talk 1 0.5 2.0 <NA> <NA> " + "x " * 20_000, "holds a space"),
        ("talk 1 0.5 <NA> <NA> <NA> anna <NA> <NA>", "start and duration (now '0.5 <NA>')"),
        ("talk 1 0.5 2.0 <NA> anna <NA> <NA>", "the name of the speaker, the eighth field, is missing"),
        ("talk 1 0.5 0.000 <NA> <NA> anna <NA> <NA>", "lasts no time: 0.5 s to 0.5 s; correct its times, or remove it"),
    ],
)
def test_a_name_with_a_space_in_rttm_is_refused(read, tmp_path, line, expected):
    path = tmp_path / "turns.rttm"
    path.write_text(f";; a comment\nSPEAKER {line}\n", encoding="utf-8")
    cast = {**CAST, "7 1": SpeakerConfig()}
    with pytest.raises(ConfigError) as caught:
        read_turns(path, cast)
    assert f"{path}, line 2: " in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "talk 1 0.5 2.0 <NA> <NA> anna <NA> <NA>",
        "talk 1 0.5 2.0 <NA> <NA> anna <NA>",
        "talk 1 0.5 2.0 <NA> <NA> anna",
        "talk 1 0.5 2.0 <NA> <NA> anna 0.98 <NA>",
        "talk 1 0.5 2.0 <NA> <NA> anna 1",
        "talk 0 5.0e-1 2 <NA> unknown ANNA <NA> 3.5",
        "talk\t1\t0.5\t2.0\t<NA>\t<NA>\tanna\t<NA>\t<NA>\r",
        "talk <NA>   0.500   2.000 <NA> <NA> Anna <NA> <NA>  ",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_rttm_as_other_programs_write_it_is_read(read, line, encoding):
    assert read(f"SPEAKER {line}\n".encode(encoding), ".rttm") == [(0.5, 2.5, "Anna")]


def test_names_are_the_same_however_they_are_coded(tmp_path):
    """Accents as one character or as two, marks for writing from right to left, double spaces."""
    path = tmp_path / "turns.csv"
    path.write_text("start,stop,speaker\n0,1,\u202bJose\u0301  RUIZ\u202c\n", encoding="utf-8")
    (turn,) = read_turns(path, {"Jos\xe9 Ruiz": SpeakerConfig()})
    assert turn.speaker == "Jos\xe9 Ruiz"


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
        ("0,9,Anna\n1,2,Anna\n8,9,7", "line 4: the turn overlaps that of line 2, and the dub"),
        ("0,1,Anna,Hello\n", "line 2: there are 4 cells here, and 3 columns"),
        ("0,5,2,0,Anna", "line 2: there are 5 cells here, and 3 columns"),
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
        (RTTM.format(0, 1, 7) + "SPEAKER talk 1 2 3", ".rttm", "line 2: this is not a line of an RTTM file"),
        ("start,stop,speaker", ".rttm", "line 1: this is not a line of an RTTM file"),
        (RTTM.format(-1, 1, 7), ".rttm", "line 1: start and duration (now '-1 1'): give seconds"),
        (
            RTTM.format(0, 1, 7) + RTTM.format(2, 1, 7).replace("talk", "more"),
            ".rttm",
            "line 2: the turns of two",
        ),
        (CUE.format(4, "00:00:01,0", "00:00:02,0", "Hello."), ".srt", "cue 4: who says 'Hello.'?"),
        (CUE.format(4, "00:00:01,0", "00:00:02,0", "Carl: Hi."), ".srt", "cue 4: speaker 'Carl' is not in"),
        ("Anna: hello\n", ".srt", "line 1: this is not SRT"),
        (
            CUE.format(1, "00:00:01,0", "00:00:02,0", "7: a") + CUE.format(2, "3", "4", "7: b"),
            ".srt",
            "line 6, cue 2: these are not the times of a cue, '3 --> 4'; write 00:00:12,480 --> 00:00:15,630",
        ),
        (CUE.format(1, "9" * 20 + ":00:01,0", "00:00:02,0", "7: a"), ".srt", "line 2, cue 1: the times"),
        (
            CUE.format(1, "00:00:01,0", "00:00:02,0", "7: a") + "00:00:03,0 --> \n7: b",
            ".srt",
            "line 5: these are not the times",
        ),
        (CUE.format(1, "00:00:01,0", "00:00:02:12", "7: a"), ".srt", "line 2, cue 1: the times"),
        (CUE.format(1, "-00:00:01,0", "00:00:02,0", "7: a"), ".srt", "not negative"),
        (CUE.format(1, "00:75:01,0", "01:16:02,0", "7: a"), ".srt", "below 60"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n7: a\n", ".srt", "line 1: this is not SRT"),
        ("WEBVTT", ".vtt", "the ending '.vtt' of turns.vtt is unknown. Use .rttm, .srt or .csv"),
        ("caf\xe9".encode("cp1252"), ".srt", "line 1: this is not UTF-8 text; save the file in UTF-8"),
        ("", ".srt", "holds no turn"),
        (b"\xff\xfe\x00", ".rttm", "not UTF-8 text"),
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


def test_turns_without_a_cast_name_people_by_number(tmp_path):
    path = tmp_path / "turns.csv"
    path.write_text("start,stop,speaker\n0,1,Person 2\n1,2,3\n2,3,person_2\n")
    assert [turn.speaker for turn in read_turns(path, {})] == ["person 2", "person 3", "person 2"]
    path.write_text("start,stop,speaker\n0,1,person 2\n1,2,ben\n")
    with pytest.raises(ConfigError, match=r"line 3: who is 'ben'\? .* name a person by number, as person 1"):
        read_turns(path, {})
    path.write_text("start,stop,speaker\n0,1,person 0\n")
    with pytest.raises(ConfigError, match="who is 'person 0'"):
        read_turns(path, {})


def test_written_turns_are_read_again(tmp_path):
    path = tmp_path / "turns.csv"
    third = Fraction(1, 3)
    write_turns([(Fraction(2), Fraction(5, 2), "person 1"), (third, 2 * third, "person 2")], path)
    assert path.read_text() == "start,stop,speaker\n0.333,0.666,person 2\n2.000,2.500,person 1\n"
    assert [turn.speaker for turn in read_turns(path, {})] == ["person 2", "person 1"]
