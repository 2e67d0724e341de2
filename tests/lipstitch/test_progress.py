"""What a run says while it works: lines for machines, lines for logs, a live line, or nothing."""

import io
import json

import pytest

from lipstitch import progress
from lipstitch.progress import JsonLines, LiveLine, PlainLines, Silent, Timings, choose_reporter, stage


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


REPORTERS = [Silent, JsonLines, PlainLines, LiveLine]


@pytest.mark.parametrize("make", REPORTERS)
def test_warnings_go_to_stderr_and_nowhere_else(capsys, make):
    make().warning("look at clip 3")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Warning: look at clip 3\n")


@pytest.mark.parametrize("make", REPORTERS)
def test_a_stage_ends_even_if_it_fails(capsys, make):
    reporter = make()
    ends = []
    original = reporter.end
    reporter.end = lambda: (ends.append(1), original())
    with pytest.raises(KeyError), stage(reporter, "render", 4, "frames"):
        raise KeyError
    assert ends == [1]


@pytest.mark.parametrize("make", REPORTERS)
def test_a_stage_of_unknown_length_is_shown(capsys, make):
    with stage(make(), "download", 0, "bytes") as reporter:
        reporter.advance(0)
        reporter.advance(5)
    assert "Traceback" not in capsys.readouterr().err


def test_json_lines_say_what_a_machine_needs(clock):
    stream = io.StringIO()
    with stage(JsonLines(stream), "render", 100, "frames") as reporter:
        clock.now += 2
        reporter.advance(25, "clip 1 of 4")
        clock.now += 6
        reporter.advance(100)
    reporter.info('done: "ü"\nand more')
    begin, first, last, end, said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert begin == {"event": "begin", "stage": "render", "total": 100, "unit": "frames"}
    assert first == {
        "event": "advance",
        "stage": "render",
        "done": 25,
        "total": 100,
        "seconds": 2.0,
        "eta_seconds": 6.0,
        "note": "clip 1 of 4",
    }
    assert (last["done"], last["eta_seconds"]) == (100, 0.0)
    assert end == {"event": "end", "stage": "render", "seconds": 8.0}
    assert said == {"event": "say", "text": 'done: "ü"\nand more'}


def test_json_lines_are_few_even_if_a_stage_advances_often(clock):
    stream = io.StringIO()
    with stage(JsonLines(stream), "assemble", 10_000, "frames") as reporter:
        for done in range(1, 10_001):
            clock.now += 0.0001
            reporter.advance(done)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) < 12
    assert lines[-2]["done"] == 10_000


def test_plain_lines_are_seconds_apart(clock, capsys):
    with stage(PlainLines(), "scan", 1000, "frames") as reporter:
        for done in range(1, 1001):
            clock.now += 0.012
            reporter.advance(done)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("scan: 417/1000 frames, 83.3/s, 7 s left")
    assert lines[-1] == "scan: 1000 frames in 12.0 s"


def test_the_live_line_shows_stage_and_count(capsys):
    with stage(LiveLine(), "render", 4, "frames") as reporter:
        reporter.advance(3, "clip 2 of 3")
        reporter.info("[bold]not markup[/bold]")
    out = capsys.readouterr().out
    assert "render" in out
    assert "3/4 frames" in out
    assert "[bold]not markup[/bold]" in out


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("options", "terminal", "kind"),
    [
        ({"quiet": False, "progress": "auto"}, True, LiveLine),
        ({"quiet": False, "progress": "auto"}, False, PlainLines),
        ({"quiet": True, "progress": "auto"}, True, Silent),
        ({"quiet": False, "progress": "json"}, True, JsonLines),
        ({"quiet": True, "progress": "json"}, True, Silent),
    ],
)
def test_the_reporter_fits_where_the_output_goes(monkeypatch, options, terminal, kind):
    monkeypatch.setattr("sys.stdout", _Terminal() if terminal else io.StringIO())
    assert type(choose_reporter(**options)) is kind


def test_a_stage_adds_its_seconds_even_if_it_fails(clock):
    timings = Timings()

    def fail():
        clock.now += 2
        raise KeyError

    with pytest.raises(KeyError), stage(Silent(), "scan", 1, "frames", timings):
        fail()
    with stage(Silent(), "scan", 1, "frames", timings):
        clock.now += 3
    with stage(Silent(), "render", 1, "frames"):
        clock.now += 5
    assert timings.seconds == {"scan": 5}
