"""--timeline: what a finished job hands to editing programs, read back as they would read it."""

import shutil
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.interchange.write import join_stretches, list_stretches
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.plan.output_timeline import identity_timeline
from lipstitch.report.verify import verify_job
from lipstitch.side_files import SideFiles
from media.base.errors import ConfigError, RenderError
from media.clips import FaceSpan, MouthSource, RenderedClip
from media.faces import FaceBox, FacePath
from media.source_video import scan_video
from segmenter.planner import ClipSettings, CopyRule, plan_clips
from segmenter.spans.changes import Change, Changes
from tests.support.commands import run_command
from tests.support.doubles import QUICK_TOOLS, DarkMouths, Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick

otio = pytest.importorskip("opentimelineio", reason="opentimelineio is an optional extra")
NTSC = Fraction(30000, 1001)
START = 107892  # 01:00:00;00
UNEVEN = [20 * n + n * n // 8 for n in range(100)]
"""Ticks of a 600th of a second."""


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handover")
    make_talk(folder / "talk.mov", rate=NTSC, metadata={"timecode": "01:00:00;00"})
    make_talk(folder / "slow.mp4", rate=15)
    make_talk(folder / "uneven.mp4", pts=UNEVEN, time_base=Fraction(1, 600))
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 7 * rate], rate)
    (folder / "weights.bin").write_bytes(b"weights")
    return folder


def job_in(folder, **changes):
    content = {
        "input": {"video": "talk.mov", "audio": "dub.wav", "length_policy": "cut"},
        "output": "out.mov",
        "segmenter": {"detector": "cascade", "embedder": "none"},
        "renderer": {"checkpoint": "weights.bin", "device": "cpu"},
        "stitcher": {"video": {"crf": 6}, "report": "json", "verify": "none"},
        "execution": {"backend": "serial"},
        "ranges": [{"start": 0, "end": 2.5, "name": "first line"}],
        **changes,
    }
    return load_job(write_job(folder, **content))


@pytest.fixture(scope="module")
def finished(material, tmp_path_factory):
    """Return the folder of a finished job with its timelines of both kinds, and its report."""
    folder = tmp_path_factory.mktemp("finished") / "job"
    shutil.copytree(material, folder)
    for name in ("cut.edl", "cut.otio"):
        config = job_in(folder)
        run_quick(config, force=True, timeline=folder / name)
    return folder, load_report(config.output)


def seconds(time):
    return Fraction(time.value) / Fraction(time.rate).limit_denominator(1001)


def test_the_output_lies_over_its_source_where_it_differs(finished):
    folder, report = finished
    timeline = otio.adapters.read_from_file(str(folder / "cut.otio"))
    assert timeline.global_start_time == otio.opentime.RationalTime(START, 30000 / 1001)
    source, resynced, sound = timeline.tracks
    assert [(clip.name, clip.source_range.start_time.value) for clip in source] == [("talk.mov", START)]
    assert [clip.name for clip in sound] == ["out.mov"]
    assert {track.duration().value for track in timeline.tracks} == {100.0}
    shown = [item for item in resynced if isinstance(item, otio.schema.Clip)]
    spans = [tuple(item.metadata["lipstitch"]["frames"]) for item in shown]
    assert spans == [tuple(part) for part in report["check"]["spans"]]
    for item, (start, stop) in zip(shown, spans, strict=True):
        assert item.trimmed_range().start_time.value == START + start
        assert item.duration().value == stop - start
        assert item.range_in_parent().start_time.value == start
        assert seconds(item.range_in_parent().start_time) == start / NTSC
        assert item.media_reference.target_url == (folder / "out.mov").as_uri()


def test_it_tells_method_reason_and_outcome(finished):
    folder, report = finished
    timeline = otio.adapters.read_from_file(str(folder / "cut.otio"))
    told = [item.metadata["lipstitch"] for item in timeline.tracks[1]]
    assert told[0]["frames"][0] == 0
    assert [part["frames"][1] for part in told][:-1] == [part["frames"][0] for part in told][1:]
    face = next(span for span in report["spans"] if span["kind"] == "face")
    new = next(part for part in told if part["outcome"] == "rendered")
    assert [(each["method"], each["reason"]) for each in new["faces"]] == [(face["method"], face["method_reason"])]
    assert {part["reason"] for part in told} == {"", "no face", "outside the ranges"}
    coded = sum(stop - start for part in told for start, stop in [part["frames"]] if part["outcome"] == "reencoded")
    assert coded == sum(span["end"] - span["start"] for span in report["check"]["reencoded"])


def test_ranges_of_the_job_are_markers(finished):
    folder, _ = finished
    timeline = otio.adapters.read_from_file(str(folder / "cut.otio"))
    (marker,) = timeline.tracks.markers
    assert (marker.name, marker.marked_range.start_time.value, marker.marked_range.duration.value) == (
        "first line",
        0,
        75,
    )


def test_an_edl_holds_the_same_in_timecode(finished):
    folder, report = finished
    text = (folder / "cut.edl").read_text()
    assert text.startswith("TITLE: out\nFCM: DROP FRAME\n")
    assert text.splitlines()[3] == "001  AX       V     C        01:00:00;00 01:00:00;07 01:00:00;00 01:00:00;07"
    assert "* LIPSTITCH: copied: no face" in text
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=30000 / 1001)
    clips = timeline.find_clips()
    assert sum(clip.duration().value for clip in clips) == 100
    shown = [clip for clip in clips if clip.name == "out.mov"]
    found = [
        [int(clip.source_range.start_time.value) - START, int(clip.source_range.end_time_exclusive().value) - START]
        for clip in shown
    ]
    assert found == report["check"]["spans"]


@pytest.mark.parametrize("name", ["cut.edl", "cut.otio"])
def test_what_was_written_tells_ranges_of_a_further_job(finished, name, tmp_path):
    """Of the finished video, which is to be patched once more where it has new mouths: to the frame."""
    folder, report = finished
    for file in ("out.mov", "dub.wav", "weights.bin", name):
        shutil.copy(folder / file, tmp_path / file)
    config = job_in(tmp_path, input={"video": "out.mov", "audio": "dub.wav"}, output="again.mov", ranges=name)
    run_quick(config)
    patched = load_report(config.output)
    assert patched["check"]["spans"] == report["check"]["spans"]
    assert verify_job(config, Listening()) == 0
    with pytest.raises(ConfigError, match=r"is the same file as ranges_from\.file"):
        run_quick(config, force=True, timeline=tmp_path / name)
    with pytest.raises(ConfigError, match="exists"):
        run_quick(job_in(tmp_path, input={"video": "out.mov"}, output="again.mov", ranges=name))


def test_each_of_several_outputs_has_a_timeline(material, tmp_path):
    shutil.copytree(material, tmp_path / "job")
    ranges = [{"start": 0, "end": 1, "name": "one"}, {"start": 2, "end": 3, "name": "two"}]
    config = job_in(tmp_path / "job", mode="extract", ranges=ranges)
    run_quick(config, timeline=tmp_path / "job" / "cut.otio")
    for name, start in (("one", 0), ("two", 60)):
        timeline = otio.adapters.read_from_file(str(tmp_path / "job" / f"cut.{name}.otio"))
        (shown,) = timeline.tracks[0]
        assert (shown.source_range.start_time.value, shown.duration().value) == (START + start, 30)
        assert [marker.name for marker in timeline.tracks.markers] == [name]


def test_what_a_policy_appends_is_only_in_the_output(material, tmp_path):
    shutil.copytree(material, tmp_path / "job")
    config = job_in(
        tmp_path / "job", input={"video": "talk.mov", "audio": "dub.wav", "length_policy": "freeze"}, ranges=None
    )
    run_quick(config, timeline=tmp_path / "job" / "cut.otio")
    num_frames = load_report(config.output)["output"]["num_frames"]
    assert num_frames > 100
    timeline = otio.adapters.read_from_file(str(tmp_path / "job" / "cut.otio"))
    assert [track.duration().value for track in timeline.tracks] == [num_frames] * 3
    assert [type(item).__name__ for item in timeline.tracks[0]] == ["Clip", "Gap"]
    assert timeline.tracks[1][-1].trimmed_range().end_time_exclusive().value == START + num_frames


def test_what_is_wanted_otherwise_of_some_frames_is_told_of_them(material):
    source = scan_video(material / "slow.mp4")
    path = FacePath((0,), (FaceBox(0, 0, 9, 9),))
    spans = [FaceSpan(0, 60, path, person=person, source=MouthSource("footage")) for person in (1, 2)]
    changes = Changes((Change(10, 20, 1, method="network"), Change(40, 50, 2, method="keep")))
    timeline = identity_timeline(source.table)
    clips = plan_clips(
        spans,
        source.table,
        timeline,
        driven=[(0, 60)],
        speakers=(),
        copying=CopyRule("", may_copy_whole=True, may_hide=False),
        settings=ClipSettings(Fraction(10), Fraction(0), changes),
    )
    plan = SimpleNamespace(
        target=SimpleNamespace(speakers=lambda _: ()),
        spec=None,
        spans=changes.cut(spans),
        shown=[((0, 60), span) for span in spans],
    )
    done = [RenderedClip(clip, "clip.nut", "rendered", "", len(clip), 1.0) for clip in clips if clip.rendered]
    told = [
        (part.start_frame, part.stop_frame, [(face.person, face.method) for face in part.faces])
        for part in join_stretches(list_stretches(plan, done))
    ]
    both = [(1, "footage"), (2, "footage")]
    assert told == [
        (0, 10, both),
        (10, 20, [(1, "network"), (2, "footage")]),
        (20, 40, both),
        (40, 50, [(1, "footage")]),
        (50, 60, both),
    ]


class Failing(DarkMouths):
    def render(self, faces, mel_windows, references=None):
        raise RenderError("the network gave up")


def test_what_fell_back_has_a_marker(material, tmp_path):
    shutil.copytree(material, tmp_path / "job")
    config = job_in(tmp_path / "job", ranges=None)
    tools = replace(QUICK_TOOLS, load_engine=lambda *_: Failing())
    assert (
        run_job(config, Listening(), tools=tools, beside=SideFiles(timeline=tmp_path / "job" / "cut.otio")).exit_code
        == 10
    )
    timeline = otio.adapters.read_from_file(str(tmp_path / "job" / "cut.otio"))
    assert all(isinstance(item, otio.schema.Gap) for item in timeline.tracks[1])
    markers = [marker for item in timeline.tracks[1] for marker in item.markers]
    assert [(marker.name, marker.color) for marker in markers] == [("fell back", "RED")] * len(markers)
    assert markers
    assert all("the network gave up" in marker.comment for marker in markers)


def test_a_variable_frame_rate_is_told_in_ticks(material, tmp_path):
    shutil.copytree(material, tmp_path / "job")
    inputs = {"video": "uneven.mp4", "audio": "dub.wav", "length_policy": "cut"}
    config = job_in(tmp_path / "job", input=inputs, output="out.mkv")  # whose clock is another
    run_quick(config, timeline=tmp_path / "job" / "cut.otio")
    timeline = otio.adapters.read_from_file(str(tmp_path / "job" / "cut.otio"))
    shown = [item for item in timeline.tracks[1] if isinstance(item, otio.schema.Clip)]
    found = [
        [seconds(time) for time in (item.source_range.start_time, item.source_range.end_time_exclusive())]
        for item in shown
    ]
    spans = load_report(config.output)["check"]["spans"]
    assert found == [[Fraction(UNEVEN[frame], 600) for frame in part] for part in spans]
    with pytest.raises(ConfigError, match="timecode, which there is not for a variable frame rate"):
        run_quick(config, force=True, timeline=tmp_path / "job" / "cut.edl")


def test_a_timeline_that_cannot_be_written_is_refused_before_the_work(material, tmp_path):
    shutil.copytree(material, tmp_path / "job")
    folder = tmp_path / "job"
    with pytest.raises(ConfigError, match=r"--timeline: an EDL counts frames .* 15 frames a second\. Write an \.otio"):
        run_quick(job_in(folder, input={"video": "slow.mp4", "audio": "dub.wav"}), timeline=folder / "cut.edl")
    with pytest.raises(ConfigError, match=r"--timeline: the ending '\.xml'"):
        run_quick(job_in(folder), timeline=folder / "cut.xml")
    (folder / "cut.otio").write_text("mine")
    with pytest.raises(ConfigError, match=r"--timeline: .* exists"):
        run_quick(job_in(folder), timeline=folder / "cut.otio")
    assert not (folder / "out.mov").exists()


def test_a_plan_has_no_timeline():
    result = run_command("--config", "job.yaml", "--plan", "--timeline", "cut.otio")
    assert result.returncode == 2
    assert "--timeline tells what was rendered. Leave out --plan." in result.stderr
