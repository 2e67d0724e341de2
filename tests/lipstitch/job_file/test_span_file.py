"""The span file as text: frame-exact there and back, whatever a spreadsheet makes of it; every fault by its line."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lipstitch.job_file.span_file import format_time, read_spans, write_spans
from media.base.errors import ConfigError
from segmenter.spans.changes import Change
from segmenter.spans.table import SpanRow
from tests.support.tables import table_of

TABLE = table_of(range(0, 20_000, 40))
"""20 s at 25 frames a second."""


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a span file with a text."""

    def load(text, table=TABLE):
        path = tmp_path / "spans.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_spans(path, table)

    return load


@pytest.fixture
def refusal(read):
    def load(text):
        with pytest.raises(ConfigError) as caught:
            read(text)
        said = str(caught.value)
        assert said.startswith("segmenter.spans: ")
        assert said.endswith(".")
        assert "\n" not in said
        return said

    return load


HEADER = "start,stop,person,kind,reason\n"


def fields(rows):
    return [(row.start_frame, row.stop_frame, row.person, row.kind, row.reason) for row in rows]


def test_rows_are_read(read):
    rows = read(HEADER + '0,1.2,,no_face,no face\n1.2,4,2,face,\n4,00:00:05.2,,no_face,"coughs, then sings"\n')
    assert fields(rows) == [
        (0, 30, None, "no_face", "no face"),
        (30, 100, 2, "face", ""),
        (100, 130, None, "no_face", "coughs, then sings"),
    ]
    assert [row.line for row in rows] == [2, 3, 4]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffstart,stop,person,kind,reason\r\n1,2,3,face,\r\n",
        "start;stop;person;kind;reason\n1,0;2,0;3;face;\n",
        "start;stop;person;kind;reason\r\n1.0;2.0;3.0;FACE;\r\n",
        "start\tstop\tperson\tkind\treason\n1\t2\t3\tface\t\n",
        '"start","stop","person","kind","reason"\n"1","2","3","face",""\n',
        "Start, Stop, Kind, Person\n 1 , 2 , face , 3\n\n,,,\n",
        "kind,person,start,stop\nface,3,0:01,0:02\n",
        "sep=;\r\nstart;stop;person;kind\r\n1,0;2,0;3;face\r\n",
        '\ufeff"sep=;"\nstart;stop;person;kind\n1;2;3;face\n',
        "SEP=\t\nstart\tstop\tperson\tkind\n1\t2\t3\tface\n",
        "sep=|\nstart|stop|person|kind\n1|2|3|face\n",
        'start,stop,person,kind\n"00:00:01,000","00:00:02,000",3,face\n',
        'start,stop,person,kind\n"1,0", "2,0", 3, "face"\n',
        "start;stop;person;kind;;\n00:00:01,000;00:00:02,000;3;face;;\n",
        'start,stop,note,person,kind,note\n1,2,"ask, again",3,face,more\n',
        '"note; of, all, sorts";start;stop;person;kind\nx;1;2;3;face\n',
        "\n;;;\nstart;stop;person;kind\n1;2;3;face\n",
        "start,stop,person,kind\n1.,20000e-4,3,face\n",
        "start\tstop\tperson\tkind\r\n1\t2\t3\tface\r\n".encode("utf-16"),
        "\ufeffstart\tstop\tperson\tkind\r\n1\t2\t3\tface\r\n".encode("utf-16-be"),
        "start,stop,person,kind\n1,2,3,face\n".encode("utf-16-le"),
        "start,stop,person,kind\r1,2,3,face\r",
    ],
)
def test_what_spreadsheets_write_is_read(read, text):
    assert fields(read(text)) == [(25, 50, 3, "face", "")]


def test_rows_may_come_in_any_order_and_two_people_may_be_seen_at_once(read):
    rows = read(HEADER + "3,5,2,face,\n0,2,,no_face,\n2,4,1,face,\n")
    assert fields(rows) == [(0, 50, None, "no_face", ""), (50, 100, 1, "face", ""), (75, 125, 2, "face", "")]


def test_a_row_says_how_far_its_mouths_move(read, tmp_path):
    text = "start,stop,kind,method,strength,length\n1,2,face,network,0.8,1\n2,3,face,,0,1\n3,4,face,footage,,1\n"
    rows = read(text)
    assert [(row.method, row.strength) for row in rows] == [("network", 0.8), (None, 0.0), ("footage", None)]
    assert [row.strength for row in read('start;stop;kind;strength\n1;2;face;"1,25"\n')] == [1.25]
    write_spans(rows, TABLE, tmp_path / "again.csv")
    assert read_spans(tmp_path / "again.csv", TABLE) == rows


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("face,2.1", "line 2: strength (now '2.1') is a number from 0 to 2, or empty"),
        ("face,-1", "line 2: strength (now '-1')"),
        ("face,loud", "line 2: strength (now 'loud')"),
        ("face,nan", "line 2: strength (now 'nan')"),
        ("no_face,1", "line 2: only a face has a strength"),
    ],
)
def test_a_strength_that_makes_no_sense_is_refused(refusal, cells, expected):
    assert expected in refusal(f"start,stop,kind,strength\n1,2,{cells}\n")


def test_rows_inside_a_row_change_some_of_its_frames(read, tmp_path):
    """In order of the file, wherever they stand; those of another person are rows of their own."""
    rows = read(
        "start,stop,person,kind,method,strength,quality\n"
        "2,3,1,face,keep,,\n"
        "1,4,1,face,footage,0.8,\n"
        "1,2,2,face,,,fast\n"
        "1,4,1,face,network,,Enhanced\n"
        "4,5,1,face,,,\n"
    )
    assert fields(rows) == [
        (25, 100, 1, "face", ""),
        (25, 50, 2, "face", ""),
        (100, 125, 1, "face", ""),
    ]
    assert [row.quality for row in rows] == [None, "fast", None]
    assert rows[0].changes == (
        Change(50, 75, 1, "keep"),
        Change(25, 100, 1, "network", quality="enhanced"),
    )
    write_spans(rows, TABLE, tmp_path / "again.csv")
    again = read_spans(tmp_path / "again.csv", TABLE)
    assert [(row.person, row.changes) for row in again] == [(row.person, row.changes) for row in rows]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "1,3,face,,,\n2,3,face,,,",
            "line 3: this row lies inside that of line 2; say what it changes: method",
        ),
        ("1,3,face,,,\n2,4,face,keep,,", "line 3: the span overlaps that of line 2"),
        ("1,3,face,keep,,\n2,3,face,network,,", "line 3: the span overlaps that of line 2"),
        ("1,3,no_face,,,\n2,3,face,network,,", "line 3: the span overlaps that of line 2"),
        ("1,3,face,,,\n2,3,no_face,,,", "line 3: the span overlaps that of line 2"),
        ("1,3,face,,,best", "line 2: quality (now 'best') is fast, improved or enhanced, or empty"),
        ("1,3,no_face,,,fast", "line 2: only a face has a quality"),
        ("1,3,face,keep,1,", "line 2: frames that are kept have neither strength nor quality"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(refusal, lines, expected):
    assert expected in refusal(f"start,stop,kind,method,strength,quality\n{lines}\n")


def test_an_empty_table_renders_nothing(read):
    assert read(HEADER) == ()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("1,2,,mouth,", "line 2: kind (now 'mouth') is face or no_face"),
        ("0,1,,face,\n3,2,,face,", "line 3: the span runs backwards: start 3, stop 2"),
        ("1,1,,face,", "line 2: the span holds no frame"),
        ("1,2,,face,\n\n1.5,3,,face,", "line 4: the span overlaps that of line 2"),
        ("1,3,1,face,\n2,4,1,face,", "line 3: the span overlaps"),
        ("1,9,1,face,\n2,3,2,face,\n4,5,2,face,\n8,10,,no_face,", "line 5: the span overlaps that of line 2"),
        ("2,4,,no_face,\n1,3,1,face,", "line 3: the span overlaps that of line 2"),
        ("1,20.04,,face,", "line 2: stop (now 20.04) lies beyond the end of the video, 20 s"),
        ("soon,2,,face,", "line 2: start (now 'soon'): give seconds or [hh:]mm:ss[.mmm]"),
        ("-1,2,,face,", "line 2: start (now '-1')"),
        ("1,,,face,", "line 2: stop (now '')"),
        ("1", "line 2: stop (now '')"),
        ("1,2,Anna,face,", "line 2: person (now 'Anna') is a number from 1 on, or empty"),
        ("1,2,0,face,", "line 2: person"),
        ("1,2,3,no_face,", "line 2: only a face has a person"),
        ("1,5,2,5,1,face,", "line 2: there are 7 cells here, and 5 columns"),
        ("00:00:01,500,00:00:02,500,,face,", "line 2: there are 7 cells here, and 5 columns; put what holds"),
        ('1,2,,no_face,"a\nb"\n\n3,4,,mouth,', "line 5: kind"),
        ('1,2,,no_face,"a\nb"\n3,4,,face,"he\n4,5,,face,', "line 4: this is not CSV"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(refusal, lines, expected):
    assert expected in refusal(HEADER + lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            "line 1: this line must name the columns start, stop, person, kind, method, strength, quality, reason;"
            " it lacks start, stop, kind",
        ),
        ("1,2,,face,\n", "line 1: this line must name the columns"),
        ("start,stop\n1,2\n", "it lacks kind (now 'start, stop')"),
        ("\n\nsep=;\nstart;stop\n", "line 3: this line must name"),
        ("sep=;\nstart,stop,kind\n", "line 2: this line must name the columns"),
        ("start,start,stop,kind\n", "stop, person, kind, method, strength, quality, reason; start is named twice"),
        ("start,stop,kind,persn\n", "'persn' looks like person: rename the column"),
        ("start,stop,kind,Person no.\n", "'person no.' looks like person: rename the column"),
        (b"start,stop,kind\n\xff\xfe,1,face\n", "line 2: this is not UTF-8 text"),
        ("start,stop,kind\n".encode("utf-32"), "line 1: this is not UTF-8 text; save the file in UTF-8"),
        ("start,stop,kind\n" + "9" * 200_000 + ",1,face", "line 2"),
        (HEADER + "1,2," + "9" * 5000 + ",face,", "line 2: person"),
    ],
)
def test_what_is_no_span_file_is_refused(refusal, text, expected):
    said = refusal(text)
    assert expected in said
    assert len(said) < 400


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(ConfigError, match=r"segmenter\.spans"):
            read_spans(path, TABLE)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([(1, 1000), (1001, 24000), (1001, 30000), (1001, 60000), (1, 90000), (1, 3)]),
    st.lists(st.integers(1, 400), min_size=2, max_size=40),
    st.data(),
)
def test_every_frame_is_found_again(tmp_path, base, steps, data):
    """Any time base, any distances of frames, down to a ninetieth of a millisecond."""
    pts = [0]
    for step in steps:
        pts.append(pts[-1] + step)
    table = table_of(pts, Fraction(*base))
    borders = sorted(data.draw(st.sets(st.integers(0, len(pts)), min_size=2)))
    rows = tuple(
        SpanRow(line, a, b, None, "face" if line % 2 else "no_face", "" if line % 2 else 'a "reason", with all')
        for line, (a, b) in enumerate(pairwise(borders), start=2)
    )
    write_spans(rows, table, tmp_path / "spans.csv")
    assert read_spans(tmp_path / "spans.csv", table) == rows


def test_times_are_short_where_they_can_be():
    assert [format_time(frame, TABLE) for frame in (0, 1, 30, 500)] == ["0", "0.04", "1.2", "20"]
    assert format_time(2, table_of([0, 1001, 2002], Fraction(1, 60000))) == "0.033"
