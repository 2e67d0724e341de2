"""What a page says of a dialogue with ranges: lanes, people, reasons, warnings, and times that lead to their frames."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from lipstitch.report.page.material import Lanes, TurnsRecord, build_material
from lipstitch.report.page.page import read_page, rewrite_page, write_page
from lipstitch.report.page.ranking import Overlaps
from lipstitch.report.page.view import build_view
from lipstitch.report.records import SpanRecord
from lipstitch.report.report import Report, load_report
from segmenter.spans.table import SpanRow
from tests.support.tables import table_of

REPORT = load_report(Path(__file__).with_name("report_without_indexes.json"))
"""Of a dialogue; damaged, with streams that were lost, and a source whose name is not UTF-8."""
TABLE = table_of([*range(0, 100 * 3003, 3003)], Fraction(1, 90_000))


@pytest.fixture(scope="module")
def material():
    lanes = Lanes(
        clips=tuple((clip.start_frame, clip.stop_frame) for clip in REPORT.clips),
        shots=((0, 33), (33, 100)),
        ranges=((0, 60),),
        speakers=tuple(TurnsRecord(name=name, frames=((5, 20), (45, 55))) for name in ("anna", "ben")),
    )
    rows = [SpanRow(2, 0, 100, None, "no_face", 'no, "no" face')]
    return build_material(rows, lanes, REPORT.spans, TABLE, keeps_clips=False)


def test_every_time_leads_back_to_its_frame(material):
    assert {0, 33, 60, 100} <= material.times.keys()
    assert {frame: TABLE.frame_at(Fraction(text)) for frame, text in material.times.items()} == {
        frame: frame for frame in material.times
    }


def test_lanes_of_ranges_people_and_speakers(material):
    lanes = {lane.name: lane for lane in build_view(REPORT, material).lanes}
    assert [*lanes] == ["Ranges", "Shots", "Person 1", "Person 2", "Left as it is", "Clips", "anna", "ben"]
    (whole,) = lanes["Ranges"].blocks
    assert (float(whole.left), float(whole.width)) == (0, pytest.approx(60, abs=0.1))
    assert [block.kind for block in lanes["Shots"].blocks] == ["shot1", "shot0"]
    assert len(lanes["Clips"].blocks) == len(REPORT.clips)
    assert lanes["Clips"].summary == "Clips: 1 copied, 1 with new mouths"


def test_cards_say_who_is_seen_and_who_speaks(material):
    cards = {card.index: card for card in build_view(REPORT, material).cards}
    shown = [card.who for card in cards.values() if card.outcome == "rendered"]
    assert all(any(each.startswith("person ") for each in who) for who in shown)
    assert any("anna" in who for who in shown)
    assert all(card.who == () for card in cards.values() if card.outcome == "copied")


def test_reasons_are_summed_up(material):
    view = build_view(REPORT, material)
    keys = {block.key for lane in view.lanes if lane.name == "Left as it is" for block in lane.blocks}
    assert keys == {*range(len(view.reasons))}
    assert {reason for reason, _ in view.reasons} == {span.reason for span in REPORT.spans if span.kind == "no_face"}


def test_warnings_are_sentences(material):
    notices = build_view(REPORT, material).notices
    assert "1 frames of the source are damaged." in notices
    assert "Input.audio begins at 0.5 s." in notices or "input.audio begins at 0.5 s." in notices
    assert "The output lacks stream 2 (subtitle, ass): mp4 cannot hold it." in notices


def test_a_page_is_written_anew_from_itself(material, tmp_path):
    path = tmp_path / "page.html"
    write_page(REPORT, material, path, [1, 3], {1: b"\xff\xd8 one", 3: b"\xff\xd8 three"}.__getitem__)
    first = path.read_bytes()
    assert b"\\udcff" in first
    assert read_page(path)[0] == material
    rewrite_page(REPORT, path)
    assert path.read_bytes() == first
    other = Report(**{**json.loads(json.dumps(REPORT.model_dump())), "clips": []})
    with pytest.raises(ValueError, match="not that of the report"):
        rewrite_page(other, path)


def test_what_is_not_a_page_is_refused(tmp_path):
    (tmp_path / "page.html").write_text("<p>Another page.</p>")
    with pytest.raises(ValueError, match="Expecting value"):
        rewrite_page(REPORT, tmp_path / "page.html")


@pytest.mark.parametrize("frames", [(0, 1), (5, 6), (9, 31), (0, 100), (99, 100)])
def test_overlaps_are_those_of_looking_at_every_span(frames):
    bounds = [(0, 10), (5, 6), (5, 40), (30, 31), (31, 60), (60, 99)]
    spans = [
        SpanRecord(start_frame=start, stop_frame=stop, kind="face", person=number, reason="")
        for number, (start, stop) in enumerate(bounds)
    ]
    wanted = [span for span in spans if span.start_frame < frames[1] and frames[0] < span.stop_frame]
    assert Overlaps(spans).of(frames) == wanted
