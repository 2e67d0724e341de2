"""The report: its JSON, its schema, and reports that earlier versions wrote."""

import json
from pathlib import Path

import pydantic
import pytest

from lipstitch.report.report import ProvenanceRecord, Report, load_report, write_report
from media.clips import Clip, RenderedClip
from stitcher.verify.provenance import FrameProvenance
from tests.support.commands import ROOT

EARLIER = Path(__file__).with_name("report_without_indexes.json")
"""Written before a report held the indexes of the dropped streams. The name of its source is not UTF-8."""


def test_a_report_keeps_its_keys_their_order_and_its_values(tmp_path):
    write_report(load_report(EARLIER), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == EARLIER.read_text()


def test_the_schema_in_docs_is_current():
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text())
    assert schema == Report.model_json_schema(), "python -m lipstitch.report.report > docs/report.schema.json"


def test_the_schema_tells_what_each_key_means():
    schema = Report.model_json_schema()
    assert schema["$defs"]["ClipRecord"]["properties"]["outcome"]["enum"] == [
        "rendered",
        "copied",
        "coded_again",
        "fell_back",
    ]
    assert "x, y, width and height" in schema["$defs"]["ProvenanceRecord"]["properties"]["boxes"]["description"]


def content(**changes):
    return {**json.loads(EARLIER.read_text()), **changes}


def test_indexes_of_dropped_streams_come_from_the_sentences_only_where_there_are_no_others():
    output = content()["output"]
    assert Report(**content()).output.lost_streams == (2, 11)
    for indexes in ([], [4]):
        later = Report(**content(output={**output, "dropped_stream_indexes": indexes}))
        assert later.output.lost_streams == tuple(indexes)


ADDED_LATER = ("align", "target", "speakers", "silence", "damaged_frames", "video")


def test_a_report_of_the_first_version_is_read():
    first = content()
    for key in ADDED_LATER:
        del first[key]
    del first["source"]["orientation"], first["soundtrack"]["notes"]
    for span in first["spans"]:
        del span["person"]
    report = Report(**first)
    assert report.video is None
    assert report.check.provenance() == Report(**content()).check.provenance()


@pytest.mark.parametrize("key", ["check", "hashes", "output"])
def test_a_report_without_what_its_check_needs_is_refused(key):
    wrong = content()
    del wrong[key]
    with pytest.raises(pydantic.ValidationError):
        Report(**wrong)


def test_a_report_whose_boxes_are_not_those_of_its_spans_is_refused(tmp_path):
    wrong = content()
    wrong["check"]["boxes"].pop()
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match="shorter"):
        load_report(tmp_path / "wrong.json")


def test_a_report_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Report(**content()).detector = "another"


# What was done with the frames


def finished(start, stop, outcome, rendered=(), boxes=(), reason="", least_psnr=99.0):
    action = "copy" if outcome == "copied" else "render"
    clip = Clip(0, start, stop, action, reason, range(start, stop), (), tuple(rendered))
    return RenderedClip(clip, None, outcome, reason, 0, 0.0, boxes=boxes, least_psnr=least_psnr)


CLIPS = [
    finished(0, 10, "copied"),
    finished(10, 30, "rendered", [(12, 20), (22, 28)], ((16, 8, 80, 40), None), "seam", 41.23456),
    finished(30, 40, "fell_back", [(30, 40)], reason="out of memory"),
    finished(40, 50, "reencoded", reason="seam", least_psnr=50.0),
    finished(50, 60, "rendered", [(52, 60)], ((0, 0, 4, 4),), "seam", 44.0),
]


def test_boxes_are_x_y_width_height_in_the_json_alone():
    record = ProvenanceRecord.of(CLIPS)
    assert record.boxes == ((16, 8, 64, 32), None, (0, 0, 4, 4))
    assert FrameProvenance.of(CLIPS).rendered == (
        ((12, 20), (16, 8, 80, 40)),
        ((22, 28), None),
        ((52, 60), (0, 0, 4, 4)),
    )


def test_neighbours_with_one_reason_are_one_span_with_the_worst_of_their_psnr():
    assert [span.model_dump(exclude_unset=True) for span in ProvenanceRecord.of(CLIPS).reencoded] == [
        {"start": 10, "end": 12, "reason": "seam", "psnr": 41.235},
        {"start": 20, "end": 22, "reason": "seam", "psnr": 41.235},
        {"start": 28, "end": 30, "reason": "seam", "psnr": 41.235},
        {"start": 30, "end": 40, "reason": "out of memory"},
        {"start": 40, "end": 52, "reason": "seam", "psnr": 44.0},
    ]


def test_the_report_tells_of_the_frames_what_the_clips_do():
    told, known = ProvenanceRecord.of(CLIPS).provenance(), FrameProvenance.of(CLIPS)
    assert (told.rendered, told.coded) == (known.rendered, known.coded)
    assert known.coded == ((10, 12), (20, 22), (28, 52))
    for (told_span, told_psnr), (span, psnr) in zip(told.coarse, known.coarse, strict=True):
        assert told_span == span
        assert told_psnr == pytest.approx(psnr, abs=0.0005)
    assert [known.is_copied(frame) for frame in (9, 10, 15, 25, 35, 45)] == [True] + [False] * 5
