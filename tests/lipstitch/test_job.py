"""Whole jobs on the demonstration's material, made shorter: everything that ships, nothing from outside."""

import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from demo.make_material import DUB_FILE, make_material
from lipstitch.job import run_job as run_in_process
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from media.base.errors import OutOfMemory
from renderer.engine import LipSyncEngine
from tests.support.commands import ROOT
from tests.support.jobs import load_report, run_job, start_job, write_job
from tests.support.light import light_network, light_weights


@pytest.fixture(scope="module", autouse=True)
def _light():
    with light_network():
        yield


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Return the demonstration's video, made short: three stretches of one face between scenes without."""
    return make_material(tmp_path_factory.mktemp("material"), seconds_scale=0.05, size_px=(640, 360))


def job_of(folder, material, **changes):
    """Write the demonstration's job into a folder, with changes; a network draws: engines are what is tested here.

    Beside the video lie the weights of a network that costs nothing.
    """
    content = {
        "input": {"video": material.video, "audio": DUB_FILE, "length_policy": "cut"},
        "output": folder / "out.mp4",
        "segmenter": {"detector": "cascade"},
        "renderer": {"method": "network", "checkpoint": light_weights(material.video.parent)},
        "execution": {"workers": 1, "backend": "serial"},
    }
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return write_job(folder, **content)


@pytest.fixture(scope="module")
def run_here(material, tmp_path_factory):
    """Return a function that runs a job in this process; all that it runs share a workspace, and scan once."""
    workspace = tmp_path_factory.mktemp("workspace")

    def run(folder, **changes):
        execution = {"workspace": workspace, **changes.pop("execution", {})}
        assert (
            run_in_process(load_job(job_of(folder, material, execution=execution, **changes)), Silent()).exit_code == 0
        )

    return run


@pytest.fixture(scope="module")
def finished(material, tmp_path_factory):
    """Return the folder of a job that the command line has done."""
    folder = tmp_path_factory.mktemp("finished")
    run_job(job_of(folder, material))
    return folder


def packets(path):
    """Return (time in seconds, payload) of each video packet in presentation order."""
    with av.open(str(path)) as container:
        found = [(p.pts * p.time_base, bytes(p)) for p in container.demux(container.streams.video[0]) if p.size]
    return sorted(found)


def mono(path):
    """Return the sound of a file as float samples at 16 kHz."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16000)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def rendered_frames(report):
    """Return the output frames that got a new mouth."""
    return {frame for start, stop in report["check"]["spans"] for frame in range(start, stop)}


def test_only_the_face_is_rendered_and_the_rest_is_copied(material, finished):
    report = load_report(finished / "out.mp4")
    truth = {frame for start, stop in material.face_spans for frame in range(start, stop)}
    assert rendered_frames(report) == truth
    before, after = packets(material.video), packets(finished / "out.mp4")
    assert [pts for pts, _ in after] == [pts for pts, _ in before]
    coded = truth | {f for span in report["check"]["reencoded"] for f in range(span["start"], span["end"])}
    kept = [i for i in range(len(before)) if i not in coded]
    assert len(kept) > 20
    assert all(after[i][1] == before[i][1] for i in kept)
    assert sorted(os.listdir(finished)) == [
        "job.yaml",
        "out.mp4",
        "out.mp4.lipstitch",
        "out.mp4.report.html",
        "out.mp4.report.json",
    ]
    kinds = {name.split("-")[0] for name in os.listdir(finished / "out.mp4.lipstitch")}
    # "source" is there too, unless the file was written so shortly before that it may change within its time stamp.
    assert kinds - {"source"} == {"lock", "scan", "speech", "clip", "sound"}


def test_killed_in_the_middle_only_unfinished_clips_are_rendered_again(material, tmp_path):
    job = job_of(tmp_path, material, segmenter={"max_clip_seconds": 0.3}, execution={"keep": "all"})
    workspace = tmp_path / "out.mp4.lipstitch"
    process = start_job(job)
    deadline = time.monotonic() + 120
    while len(list(workspace.glob("clip-*.json"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out.mp4").exists()
    finished = {path.stem for path in workspace.glob("clip-*.json")}
    written = {name: (workspace / f"{name}.nut").stat().st_mtime_ns for name in finished}

    assert run_in_process(load_job(job), Silent()).exit_code == 0
    report = load_report(tmp_path / "out.mp4")
    num_reused = sum(clip["reused"] for clip in report["clips"])
    assert num_reused == len(finished)
    assert 0 < num_reused < sum(clip["outcome"] == "rendered" for clip in report["clips"])
    assert {name: (workspace / f"{name}.nut").stat().st_mtime_ns for name in finished} == written

    other = tmp_path / "other"
    other.mkdir()
    assert (
        run_in_process(load_job(job_of(other, material, segmenter={"max_clip_seconds": 0.3})), Silent()).exit_code == 0
    )
    assert packets(other / "out.mp4") == packets(tmp_path / "out.mp4")


def test_a_damaged_clip_in_the_workspace_is_made_again(material, tmp_path):
    job = load_job(job_of(tmp_path, material, execution={"keep": "all"}))
    assert run_in_process(job, Silent()).exit_code == 0
    before = packets(tmp_path / "out.mp4")
    damaged = sorted((tmp_path / "out.mp4.lipstitch").glob("clip-*.nut"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-500])
    assert run_in_process(job, Silent(), force=True).exit_code == 0
    report = load_report(tmp_path / "out.mp4")
    assert sum(not clip["reused"] and clip["outcome"] == "rendered" for clip in report["clips"]) == 1
    assert packets(tmp_path / "out.mp4") == before


def test_a_shorter_dub_leaves_the_last_mouths_alone(material, run_here, tmp_path):
    dub = tmp_path / "short.wav"
    write_tone(dub, seconds=2)
    run_here(tmp_path, input={"audio": dub, "length_policy": "video"})
    rendered = rendered_frames(load_report(tmp_path / "out.mp4"))
    assert rendered
    assert max(rendered) < 50
    sound = mono(tmp_path / "out.mp4")
    assert len(sound) == pytest.approx(material.num_frames / 25 * 16000, abs=1024)
    assert np.abs(sound[: 2 * 16000]).max() > 0.1
    assert np.abs(sound[2 * 16000 + 2048 :]).max() < 1e-3


def write_tone(path, *, seconds, rate=16000):
    samples = (8000 * np.sin(np.arange(seconds * rate) * 2 * np.pi * 220 / rate)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("policy", ["freeze", "loop", "bounce"])
def test_policies_that_prolong_append_frames_until_the_dub_ends(material, run_here, tmp_path, policy):
    dub = tmp_path / "long.wav"
    seconds = material.num_frames / 25 + 2
    write_tone(dub, seconds=int(seconds + 1))
    run_here(tmp_path, input={"audio": dub, "length_policy": policy})
    before, after = packets(material.video), packets(tmp_path / "out.mp4")
    assert [pts for pts, _ in after[: len(before)]] == [pts for pts, _ in before]
    assert len(after) == -(-int(seconds + 1) * 25 // 1)
    assert all(a < b for (a, _), (b, _) in pairwise(after))


def test_a_video_without_a_face_keeps_its_packets(tmp_path):
    source = tmp_path / "shapes.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "25", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(100):
            picture = np.full((240, 320, 3), 60, np.uint8)
            picture[:, (number * 3) % 300 :][:, :20] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    dub = tmp_path / "dub.wav"
    write_tone(dub, seconds=4)
    job = write_job(
        tmp_path,
        input={"video": source, "audio": dub},
        output=tmp_path / "out.mp4",
        segmenter={"detector": "cascade"},
    )
    out, _ = run_job(job)
    assert packets(tmp_path / "out.mp4") == packets(source)
    report = load_report(tmp_path / "out.mp4")
    assert [(span["kind"], span["reason"]) for span in report["spans"]] == [("no_face", "no face")]
    assert report["num_clips"] == {"copied": 1}
    assert "no face to render" in out
    np.testing.assert_allclose(mono(tmp_path / "out.mp4")[:60000], mono(dub)[:60000], atol=0.02)


def test_a_patch_changes_nothing_outside_its_range(material, run_here, tmp_path):
    start, stop = material.face_spans[1]
    begin, end = (start + 2) / 25, (stop - 2) / 25
    run_here(tmp_path, ranges=[{"start": begin, "end": end}])
    report = load_report(tmp_path / "out.mp4")
    assert rendered_frames(report) == set(range(start + 2, stop - 2))
    before, after = packets(material.video), packets(tmp_path / "out.mp4")
    assert [pts for pts, _ in after] == [pts for pts, _ in before]
    changed = [i for i in range(len(before)) if after[i][1] != before[i][1]]
    assert min(changed) >= material.face_spans[1][0] - 50
    assert max(changed) <= material.face_spans[1][1] + 50
    own, heard = mono(material.video), mono(tmp_path / "out.mp4")
    away = int((begin - 0.2) * 16000)
    np.testing.assert_allclose(heard[:away], own[:away], atol=1e-4)
    inside = slice(int((begin + 0.1) * 16000), int((end - 0.1) * 16000))
    dub = mono(DUB_FILE)[inside]
    assert np.corrcoef(heard[inside], dub)[0, 1] > 0.97


def test_extraction_keeps_the_frames_of_its_ranges(run_here, tmp_path):
    ranges = [{"start": 0.2, "end": 1.0, "name": "one"}, {"start": 3.0, "end": 3.4, "name": "two"}]
    run_here(tmp_path, mode="extract", ranges=ranges)
    for name, count in (("one", 20), ("two", 10)):
        found = packets(tmp_path / f"out.{name}.mp4")
        assert [pts for pts, _ in found] == [Fraction(number, 25) for number in range(count)]
    run_here(tmp_path, mode="extract", ranges=ranges, extract={"join": True})
    assert [pts for pts, _ in packets(tmp_path / "out.mp4")] == [Fraction(number, 25) for number in range(30)]
    # AAC's last packet is padded to 1024 samples.
    assert 0 <= len(mono(tmp_path / "out.mp4")) - 30 * 640 < 1024


def test_clips_that_cannot_be_rendered_pass_through_with_exit_code_10(material, tmp_path, monkeypatch, capsys):
    sizes = []

    def out_of_memory(engine, faces, mel_windows, references=None):
        sizes.append(engine.batch_size)
        raise OutOfMemory(f"out of memory. Lower renderer.batch_size (now {engine.batch_size}).")

    monkeypatch.setattr(LipSyncEngine, "render", out_of_memory)
    job = load_job(job_of(tmp_path, material, renderer={"batch_size": 4}))
    assert run_in_process(job, Silent()).exit_code == 10
    assert sizes[:3] == [4, 2, 1]
    report = load_report(tmp_path / "out.mp4")
    assert set(report["num_clips"]) == {"fell_back", "copied"}
    assert report["check"]["spans"] == []
    assert "out of memory" in next(clip["reason"] for clip in report["clips"] if clip["outcome"] == "fell_back")
    assert [pts for pts, _ in packets(tmp_path / "out.mp4")] == [pts for pts, _ in packets(material.video)]
    assert "fall back to the original frames" in capsys.readouterr().err


def test_changed_render_settings_do_not_scan_again(material, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    scan = next((tmp_path / "out.mp4.lipstitch").glob("scan-*.json"))
    made = scan.stat().st_mtime_ns
    out, _ = run_job(job_of(tmp_path, material, renderer={"feather": 0.2}), "--force")
    assert "scan:" not in out
    assert scan.stat().st_mtime_ns == made


def test_torch_is_loaded_before_anything_else_may_load_it(material, tmp_path, monkeypatch):
    loaded = []

    def load_slowly(name):
        time.sleep(0.2)
        loaded.append(name)

    class Checked(Exception):
        pass

    def check(*_):
        raise Checked

    monkeypatch.setattr("lipstitch.source.import_ahead.import_module", load_slowly)
    monkeypatch.setattr("lipstitch.execution.write_output.check_renderer", check)
    with pytest.raises(Checked):
        run_in_process(load_job(job_of(tmp_path, material)), Silent())
    assert loaded == ["renderer.engine"]


PART = {"start": 0.32, "end": 0.72}
"""Frames with a face."""


@pytest.fixture
def retinaface_settings(shared):
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    return {"detector": "retinaface", "detector_checkpoint": weights, "embedder": "none"}


@pytest.mark.parametrize("detector", ["cascade", "retinaface"])
def test_a_job_imports_no_compiler(material, tmp_path, detector, request):
    """What torchvision, numba and SciPy's signals cost is seconds of every start."""
    run = "import sys; from lipstitch.cli import app; code = app(sys.argv[1:], standalone_mode=False);"
    slow = (
        "print(code, *{'torchvision', 'torch._dynamo', 'librosa', 'numba', 'scipy.signal', 'sympy'} & {*sys.modules})"
    )
    segmenter = request.getfixturevalue("retinaface_settings") if detector == "retinaface" else {"detector": detector}
    job = job_of(
        tmp_path, material, segmenter=segmenter, renderer={"checkpoint": "compact"}, mode="extract", ranges=[PART]
    )
    command = [sys.executable, "-c", run + slow, "--config", str(job), "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
    assert [*tmp_path.glob("*.mp4")]


def test_a_plan_renders_nothing(material, tmp_path):
    out, _ = run_job(job_of(tmp_path, material), "--plan")
    assert "mouths in" in out
    assert not (tmp_path / "out.mp4").exists()
