"""Jobs whose mouths come from the speaker's own footage, on real faces: from the command line to the finished file."""

import csv
import json
import re
import shutil
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from lipstitch.execution.drawn_shapes import LEAST_FRAMES, Task, read_shapes
from lipstitch.footage.subjects import MOUTH_AREA
from lipstitch.job import run_job as run_in_process
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.tools import Tools
from media.orientation import Orientation
from renderer.footage.bank import Bank
from renderer.footage.lip_shape import SHAPES
from renderer.networks.base import WAV2LIP_SPEC
from tests.support.commands import run_command
from tests.support.crowd import SIZE, Place, make_crowd, still, watching_changes
from tests.support.footage import draw_hand, make_footage
from tests.support.jobs import check_from_outside, load_report, rendered_hashes, run_in_processes, run_job, write_job

FACE_FRAMES, GAP = 60, 8
"""At 25 frames/s; and frames without a face around it."""
MOUTH, EYES = (115.5, 172), 78
"""Where the mouth of the speaker is, and how far the eyes are apart, in the first frames."""
SHIPPED_WEIGHTS = Path(__file__).parents[1] / "checkpoints" / "compact.safetensors"


@pytest.fixture(scope="module")
def retinaface(shared):
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    return {"detector": "retinaface", "detector_checkpoint": weights, "embedder": "none"}


@pytest.fixture(scope="module")
def talk(shared, tmp_path_factory):
    """Return a video of one shot of a speaker, between scenes without a face."""
    clip = shared / "clips" / "head_12_512.mp4"
    folder = tmp_path_factory.mktemp("talk")
    return make_footage(folder / "talk.mp4", clip, codec="h264", scale=0.5, face_frames=(FACE_FRAMES,), gaps=(GAP, GAP))


@pytest.fixture(scope="module")
def dubs(shared):
    return [shared / "clips" / name for name in ("dub_a.wav", "dub_b.wav")]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return the workspace that jobs share, so that each video is looked at once."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def make_job(talk, dubs, retinaface, workspace, tmp_path):
    """Return a function that writes a job file for the talk; it takes sections and the name of the output."""

    def make(name="out.mp4", dub=0, **sections):
        given = {"video": talk.path, "audio": dubs[dub], "length_policy": "cut", **sections.pop("input", {})}
        sections["segmenter"] = {**retinaface, **sections.get("segmenter", {})}
        sections["execution"] = {"workspace": workspace, **sections.get("execution", {})}
        return write_job(tmp_path, input=given, output=tmp_path / name, **sections), tmp_path / name

    return make


def make_dark(path, clip, num_frames):
    """Write the first frames of a clip, so dark that light says nothing."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for number, frame in zip(range(num_frames), source.decode(video=0), strict=False):
            picture = frame.reformat(256, 256, "bgr24").to_ndarray() // 10
            darkened = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            darkened.pts, darkened.time_base = number, Fraction(1, 25)
            target.mux(stream.encode(darkened))
        target.mux(stream.encode(None))
    return path


def methods(report):
    return [(span["method"], span["method_reason"]) for span in report["spans"] if span["kind"] == "face"]


@pytest.fixture(scope="module")
def finished(talk, dubs, retinaface, tmp_path_factory):
    """Return (output, report, what was said, workspace) of a job with every default."""
    folder = tmp_path_factory.mktemp("finished")
    job = write_job(
        folder,
        input={"video": talk.path, "audio": dubs[0], "length_policy": "cut"},
        output=folder / "out.mp4",
        segmenter=retinaface,
        renderer={"frame_hashes": True},
    )
    said, _ = run_job(job)
    return folder / "out.mp4", load_report(folder / "out.mp4"), said, job


def test_a_speaker_with_enough_footage_gets_mouths_from_it(finished, talk):
    _, report, said, _ = finished
    assert methods(report) == [("footage", "")]
    (start, stop) = talk.face_spans[0]
    assert report["num_rendered_frames"] >= stop - start - 2
    assert "footage: " in said


def test_the_disk_is_asked_for_what_a_bank_takes(finished):
    output, report, _, _ = finished
    (bank,) = output.with_name(f"{output.name}.lipstitch").glob("bank-*.bank")
    heights = [box[3] for box in report["check"]["boxes"] if box]
    expected = FACE_FRAMES * MOUTH_AREA * np.mean(heights) ** 2 * 1.5
    assert 0.5 * expected < bank.stat().st_size < 1.5 * expected


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="the checker needs ffmpeg and ffprobe on PATH")
def test_the_contract_holds_from_outside(finished, shared, talk, dubs):
    lines = check_from_outside(shared, talk.path, finished[0], dubs[0], "--expect-change")
    assert lines[-1].startswith("RESULT OK")


@pytest.mark.filterwarnings("ignore:A worker was restarted")  # loky's, of the memory that a network takes
@pytest.mark.parametrize(
    ("backend", "run", "seconds"),
    [("threads", run_job, 1.5), ("serial", run_job, 10), ("processes", run_in_processes, 2.2)],
)
def test_neither_clips_nor_workers_change_a_plane(finished, make_job, backend, run, seconds):
    _, report, _, _ = finished
    job, output = make_job(
        segmenter={"max_clip_seconds": seconds},
        execution={"backend": backend, "workers": 2},
        renderer={"frame_hashes": True},
    )
    run(job)
    hashes, again = rendered_hashes(report), rendered_hashes(load_report(output))
    shared_frames = hashes.keys() & again.keys()
    assert len(shared_frames) >= FACE_FRAMES - 2
    assert {frame: hashes[frame] for frame in shared_frames} == {frame: again[frame] for frame in shared_frames}


def test_fewer_decibels_make_a_smaller_file_that_keeps_them(finished, make_job):
    job, output = make_job(stitcher={"video": {"psnr": 40}, "verify": "full"})
    run_job(job)
    assert output.stat().st_size < 0.85 * finished[0].stat().st_size
    assert run_command("verify", "--config", job).returncode == 0


def test_another_dub_looks_at_no_footage_again(make_job):
    job, output = make_job()
    run_job(job)
    first = output.read_bytes()
    job, _ = make_job(dub=1)
    said, _ = run_job(job, "--force")
    assert "scan: " not in said
    assert "footage: " not in said
    assert methods(load_report(output)) == [("footage", "")]
    assert output.read_bytes() != first


class Chewing:
    """An engine that draws the lower half of the first face it saw, moved down and up again every 20 frames.

    It hears nothing, and notes how far it moved the mouth of each frame.
    """

    batch_size = 16
    spec = WAV2LIP_SPEC

    def __init__(self):
        self.moved, self._first = [], None

    def render(self, faces, mel_windows, references=None):
        self._first = faces[0].copy() if self._first is None else self._first
        drawn = faces.copy()
        for face in drawn:
            self.moved.append(1 - np.cos(len(self.moved) * np.pi / 10))
            size = 96, round(38 * (1 + 0.15 * self.moved[-1]))
            face[58:] = cv2.resize(self._first[58:], size, interpolation=cv2.INTER_LINEAR)[:38]
        return drawn

    def for_worker(self, num_threads):
        return self

    def with_batch_size(self, batch_size):
        return self


def test_a_network_may_tell_the_shapes_whose_pixels_the_footage_gives(finished, make_job, workspace):
    """What it draws is not seen; the lips that are, move as those that it draws."""
    renderer = {"shape": "network", "frame_hashes": True}
    job, output = make_job("shaped.mp4", renderer=renderer, execution={"keep": "all"})
    engine, before = Chewing(), {*workspace.glob("choice-*.json")}
    tools = Tools(load_engine=lambda *_: engine)
    assert run_in_process(load_job(job), Silent(), tools=tools).exit_code == 0
    (choice,) = {*workspace.glob("choice-*.json")} - before
    report = load_report(output)
    assert methods(report) == [("footage", "")]
    assert rendered_hashes(report) != rendered_hashes(finished[1])
    ((_, measures),) = json.loads(choice.read_text())["value"]
    assert len(measures) == len(engine.moved) == FACE_FRAMES
    lower = np.array(measures)[:, SHAPES.index("lower")]
    assert np.corrcoef(lower, engine.moved)[0, 1] > 0.7

    made = choice.stat().st_mtime_ns
    assert run_in_process(load_job(job), Silent(), force=True, tools=tools).exit_code == 0
    assert choice.stat().st_mtime_ns == made
    assert len(engine.moved) == FACE_FRAMES, "nothing is drawn again"


def test_too_few_frames_do_not_tell_what_is_usual_for_a_network():
    few = Task(span=None, frames=range(LEAST_FRAMES // 2), seconds=(), reference=None)
    assert read_shapes(None, None, [few]) is None


def test_plan_and_span_file_say_where_mouths_come_from(make_job, talk, tmp_path):
    job, output = make_job()
    said, _ = run_job(job, "--plan", "--spans", tmp_path / "spans.csv")
    assert any(line.split()[-2:] == ["face", "footage"] for line in said.splitlines())
    (size,) = re.findall(r"  size +about ([\d.]+) MB\n", said)
    assert float(size) == pytest.approx(1.2 * talk.path.stat().st_size / 1e6, rel=0.4)
    rows = list(csv.DictReader((tmp_path / "spans.csv").open()))
    assert [row["method"] for row in rows if row["kind"] == "face"] == ["footage"]
    for method, expected in (("network", [("network", "")]), ("keep", [])):
        for row in rows:
            row["method"] = method if row["kind"] == "face" else ""
        with (tmp_path / f"{method}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        job, output = make_job(segmenter={"spans": tmp_path / f"{method}.csv"})
        run_job(job, "--force")
        report = load_report(output)
        assert methods(report) == expected
        assert (report["num_rendered_frames"] == 0) == (method == "keep")
        for row in rows:
            row["kind"] = "face" if row["method"] else row["kind"]


def test_a_row_of_the_span_file_may_keep_its_mouths_closed(finished, make_job, workspace, tmp_path):
    """The other row moves its lips as before."""
    (span,) = (span for span in finished[1]["spans"] if span["kind"] == "face")
    middle = (span["start_frame"] + span["stop_frame"]) // 2
    rows = [(span["start_frame"], middle, ""), (middle, span["stop_frame"], "0")]
    lines = [f"{start / 25},{stop / 25},face,footage,{strength}" for start, stop, strength in rows]
    (tmp_path / "spans.csv").write_text("\n".join(["start,stop,kind,method,strength", *lines]))
    before = {*workspace.glob("choice-*.json")}
    job, output = make_job(segmenter={"spans": tmp_path / "spans.csv"}, execution={"keep": "all"})
    run_job(job, "--force")
    (choice,) = {*workspace.glob("choice-*.json")} - before
    moved = [
        np.ptp(np.array(measures)[:, SHAPES.index("lower")]) for _, measures in json.loads(choice.read_text())["value"]
    ]
    assert moved[1] < 0.2 * moved[0]
    told = [span.get("strength") for span in load_report(output)["spans"] if span["kind"] == "face"]
    assert told == [None, 0]


def test_two_seconds_of_a_speaker_are_enough(shared, make_job, tmp_path):
    clip = shared / "clips" / "head_12_512.mp4"
    short = make_footage(tmp_path / "short.mp4", clip, codec="h264", scale=0.5, face_frames=(50,), gaps=(10, 10))
    job, output = make_job(input={"video": short.path})
    run_job(job)
    report = load_report(output)
    assert methods(report) == [("footage", "")]
    assert report["num_rendered_frames"] == 50


@pytest.mark.parametrize(
    ("renderer", "expected"),
    [({}, "keep"), ({"fallback": "network"}, "network"), ({"checkpoint": SHIPPED_WEIGHTS}, "network")],
)
def test_where_no_footage_suits_the_job_says_why_and_falls_back(shared, make_job, tmp_path, renderer, expected):
    """A face too dark to tell anything: frames stay, unless a network is asked for or named."""
    dark = make_dark(tmp_path / "dark.mp4", shared / "clips" / "head_12_512.mp4", num_frames=40)
    job, output = make_job(input={"video": dark}, renderer=renderer, segmenter={"min_light": 0})
    run_job(job)
    report = load_report(output)
    reason = "no mouth in the footage is sharp, lit and sure enough"
    if expected == "keep":
        assert report["num_rendered_frames"] == 0
        assert f"no mouths from footage: {reason}" in {span["reason"] for span in report["spans"]}
    else:
        assert methods(report) == [("network", reason)]
        assert report["num_rendered_frames"] == 40


def test_a_network_alone_looks_for_no_mesh(make_job, tmp_path):
    job, output = make_job(renderer={"method": "network"}, segmenter={"mesh": str(tmp_path / "none.onnx")})
    run_job(job)
    assert methods(load_report(output)) == [("network", "")]
    job, _ = make_job("refused.mp4", segmenter={"mesh": str(tmp_path / "none.onnx")})
    _, err = run_job(job, expected=4)
    assert "none.onnx" in err


@pytest.mark.parametrize("policy", ["bounce", "freeze"])
def test_a_prolonged_video_shows_footage_to_its_end(make_job, talk, dubs, tmp_path, policy):
    """The dub is longer than the video: frames come again, backwards or held, each with a mouth of its own time."""
    samples, rate = soundfile.read(dubs[0], frames=6 * 16000)
    soundfile.write(tmp_path / "dub.wav", samples, rate)
    given = {"audio": tmp_path / "dub.wav", "length_policy": policy}
    job, output = make_job(input=given, renderer={"frame_hashes": True})
    run_job(job)
    report = load_report(output)
    assert report["output"]["num_frames"] > talk.num_frames
    assert methods(report) == [("footage", "")]
    if policy == "bounce":
        assert report["num_rendered_frames"] > 1.3 * FACE_FRAMES


def test_a_short_range_finds_its_footage_around_it(make_job, talk):
    """Frames far from the range play no part; those near it are looked at, though they do not change."""
    start = (talk.face_spans[0][0] + 20) / 25
    job, output = make_job(ranges=[{"start": start, "end": start + 1.2}])
    said, _ = run_job(job)
    report = load_report(output)
    assert methods(report) == [("footage", "")]
    assert report["num_rendered_frames"] == 30
    assert f"footage: {FACE_FRAMES} frames" in said


def make_further(path, clip, num_frames):
    """Write the begin of a clip as another camera would have: smaller, 30 frames/s, 4:4:4, stored turned."""
    orientation = Orientation(90)
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 208, 208, "yuv444p"
        stream.set_display_matrix(orientation.display_matrix)
        for number, frame in zip(range(num_frames), source.decode(video=0), strict=False):
            picture = orientation.turn_back(frame.reformat(208, 208, "bgr24").to_ndarray())
            stored = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv444p")
            stored.pts, stored.time_base = number, Fraction(1, 30)
            target.mux(stream.encode(stored))
        target.mux(stream.encode(None))
    return path


def test_mouths_of_a_further_video_are_shown_and_a_stranger_s_are_not(shared, retinaface, dubs, tmp_path):
    """A speaker who is seen for half a second, and says more in an interview."""
    clip, stranger = shared / "clips" / "head_12_512.mp4", shared / "clips" / "head_05_512.mp4"
    short = make_footage(tmp_path / "short.mp4", clip, codec="h264", scale=0.5, face_frames=(12,), gaps=(2, 2))
    interview = make_further(tmp_path / "interview.mp4", clip, 120)
    other = make_further(tmp_path / "other.mp4", stranger, 40)
    embedder = {"embedder": shared / "checkpoints" / "mobilefacenet.onnx"}
    job = write_job(
        tmp_path,
        input={"video": short.path, "audio": dubs[0], "footage": [interview, other], "length_policy": "bounce"},
        output=tmp_path / "out.mp4",
        segmenter=retinaface | embedder,
        execution={"keep": "all"},
    )
    planned, _ = run_job(job, "--plan")
    assert re.search(rf"footage  \d\.\d s of person 1 in {interview}", planned)
    _, warned = run_job(job)
    assert f"{other} shows no one whose lips move" in warned
    report = load_report(tmp_path / "out.mp4")
    (further,) = report["further_footage"]
    assert (further["path"], further["person"]) == (str(interview), 1)
    assert 3 < further["seconds"] <= 4
    assert methods(report) == [("footage", "")]
    work = tmp_path / "out.mp4.lipstitch"
    bank = Bank(next(work.glob("bank-*.bank")))
    frames = bank.candidates.frames
    chosen = json.loads(next(work.glob("choice-*.json")).read_text())["value"]
    shown = {frame for mouths, _ in chosen for frame in mouths}
    assert sum(int(frames[number]) >= short.num_frames for number in shown) > len(shown) / 2
    sizes = bank.candidates.pose[:, 3]  # of the head, as a logarithm
    assert abs(np.median(sizes[frames >= short.num_frames]) - np.median(sizes[frames < short.num_frames])) < 0.1
    assert run_command("verify", "--config", job).returncode == 0


@pytest.mark.parametrize(("encoder", "pixel_format"), [("libx264", "yuv420p10le"), ("libx264", "yuv444p")])
def test_other_planes_get_mouths_of_their_own_depth(make_job, talk, tmp_path, encoder, pixel_format):
    path = tmp_path / f"{pixel_format}.mp4"
    with av.open(str(talk.path)) as source, av.open(str(path), "w") as target:
        first = source.streams.video[0]
        stream = target.add_stream(encoder, rate=25, options={"preset": "ultrafast", "crf": "14"})
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, pixel_format
        for number, frame in zip(range(50), islice(source.decode(video=0), talk.face_spans[0][0], None), strict=False):
            again = frame.reformat(format=pixel_format)
            again.pts, again.time_base = number, Fraction(1, 25)
            target.mux(stream.encode(again))
        target.mux(stream.encode(None))
    job, output = make_job(input={"video": path})
    run_job(job)
    assert methods(load_report(output)) == [("footage", "")]
    with av.open(str(output)) as written:
        assert written.streams.video[0].format.name == pixel_format


def test_a_hand_before_the_mouth_stays_before_it(shared, make_job, tmp_path):
    """To the last bit for as long as it covers the mouth; and no mouth that it covers is shown elsewhere."""
    raised = {10 + number: min(number, 34 - number, 8) / 8 for number in range(18, 35)}

    def draw_over(number, picture):
        if number in raised:
            draw_hand(picture, MOUTH, EYES, raised[number])

    clip = shared / "clips" / "head_12_512.mp4"
    talk = make_footage(
        tmp_path / "hand.mp4",
        clip,
        codec="h264",
        scale=0.5,
        face_frames=(60,),
        gaps=(10, 10),
        draw_over=draw_over,
    )
    job, _ = make_job(input={"video": talk.path}, execution={"workspace": tmp_path / "work"})
    with watching_changes(talk.path, {"mouth": (0, 256)}) as changed:
        assert run_in_process(load_job(job), Silent()).exit_code == 0
    rendered = {frame for frame, _ in changed}
    covered = {number for number, height in raised.items() if height > 0.85}
    assert not rendered & covered
    assert rendered >= {*range(12, 24), *range(50, 68)}
    bank = Bank(next((tmp_path / "work").glob("bank-*.bank")))
    assert not set(bank.candidates.frames.tolist()) & covered
    assert len(bank) > 30


def test_two_people_at_once_each_get_their_own_mouths(shared, make_job, tmp_path):
    """Over cuts, on which they change sides, and with both in the picture all the time."""
    one, two = "head_12_512", "head_05_512"
    left, right = (still(Place(a, 0, 20, 320), Place(b, 320, 20, 320)) for a, b in ((one, two), (two, one)))
    scenes = [(16, left), (16, right)] * 2
    crowd = make_crowd(tmp_path / "both.mp4", shared / "clips", scenes)
    sface = {"embedder": str(shared / "checkpoints" / "mobilefacenet.onnx")}
    job, output = make_job(
        input={"video": crowd.path}, segmenter={"target": "all", **sface}, execution={"workspace": tmp_path / "work"}
    )
    run_job(job)
    report = load_report(output)
    assert methods(report) == [("footage", "")] * 8
    assert len(list((tmp_path / "work").glob("bank-*.bank"))) == 2
    assert report["num_rendered_frames"] == len(crowd.frames)
    for _, _, width, height in (box for box in report["check"]["boxes"] if box):
        assert width <= SIZE[0]
        assert height < SIZE[1]


def test_clips_that_are_made_again_change_and_no_other_frame_does(make_job, talk, tmp_path):
    """One speaker, one span, cut into clips: what is followed and chosen beside a changed clip is as before."""
    job, output = make_job(
        segmenter={"max_clip_seconds": 0.6},
        renderer={"frame_hashes": True, "fade_seconds": 0.08},
        execution={"workspace": tmp_path / "work"},
    )
    run_job(job)
    before = load_report(output)
    hashes = rendered_hashes(before)
    clips = [clip for clip in before["clips"] if clip["rendered"]]
    assert len(clips) >= 4
    closed, drawn = clips[1], clips[2]
    run_job(job, "--redo", str(closed["index"]), "--set", "renderer.strength=0")
    first = load_report(output)
    assert redone(first) == [frames_of(closed)]
    assert differing(hashes, rendered_hashes(first)) == {*range(*frames_of(closed))}
    heights = [
        np.array([frame[SHAPES.index("lower")] for frame in led])
        for path in (tmp_path / "work").glob("choice-*.json")
        for _, led in json.loads(path.read_text())["value"]
    ]
    assert min(map(np.ptp, heights)) < 0.2 * max(map(np.ptp, heights)), "the mouth is closed"
    done = run_command("--config", job, "--redo", str(drawn["index"]), "--set", "renderer.quality=fast")
    assert done.returncode == 2
    assert "quality fast changes nothing" in done.stderr
    # What is led to a mouth beside it that is now another one is made again; all else is not.
    run_job(job, "--redo", str(drawn["index"]), "--set", "renderer.method=network")
    second = load_report(output)
    assert redone(second) in ([frames_of(drawn)], [frames_of(closed), frames_of(drawn)])
    assert differing(rendered_hashes(first), rendered_hashes(second)) >= {*range(*frames_of(drawn))}
    assert differing(hashes, rendered_hashes(second)) == {*range(frames_of(closed)[0], frames_of(drawn)[1])}
    assert [span["method"] for span in second["spans"] if span["kind"] == "face"] == [
        "footage",
        "footage",
        "network",
        "footage",
    ]


def frames_of(clip):
    return clip["start_frame"], clip["stop_frame"]


def redone(report):
    return [frames_of(clip) for clip in report["clips"] if not clip["reused"] and clip["outcome"] != "copied"]


def differing(before, after):
    assert before.keys() == after.keys()
    return {frame for frame in before if before[frame] != after[frame]}
