"""The main job on real faces, from the command line to the finished file, checked from outside.

LIPSTITCH_FULL=1 runs it at the clips' full size and length, as `make acceptance` does; the suite halves them.
"""

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from itertools import pairwise

import av
import pytest

from tests.support.commands import start_command, start_python
from tests.support.footage import make_footage
from tests.support.jobs import check_from_outside, load_report, rendered_hashes, run_job, write_job

FULL = bool(os.environ.get("LIPSTITCH_FULL"))
SCALE = 1.0 if FULL else 0.5
FACE_FRAMES, GAPS = ((250, 250), (400, 450, 450)) if FULL else ((26, 34), (60, 80, 70))
SHORT_FRAMES = 60

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffprobe"), reason="the checker needs ffmpeg and ffprobe on PATH")


@pytest.fixture(scope="module")
def retinaface(shared):
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    return {"detector": "retinaface", "detector_checkpoint": weights, "embedder": "none"}


@pytest.fixture(scope="module", params=["h264", "hevc"])
def finished(request, shared, retinaface, tmp_path_factory):
    """Return (footage, output, dub, report) of a job; at full length it is one of more than a minute."""
    folder = tmp_path_factory.mktemp(request.param)
    clip = shared / "clips" / "speaker_b_1080x1920_hevc.mp4"
    footage = make_footage(
        folder / "talk.mp4", clip, codec=request.param, scale=SCALE, face_frames=FACE_FRAMES, gaps=GAPS
    )
    dub = shared / "clips" / "dub_english_60s.wav"
    # The full-size network in the format of the published checkpoints for one, the one that ships for the other.
    checkpoint = request.getfixturevalue("parity_checkpoint") if request.param == "h264" else "compact"
    output = folder / "talk.en.mp4"
    job = write_job(
        folder,
        input={"video": footage.path, "audio": dub, "length_policy": "cut"},
        output=output,
        segmenter=retinaface,
        renderer={"checkpoint": str(checkpoint)},
    )
    run_job(job)
    return footage, output, dub, load_report(output)


def test_every_frame_is_there_at_its_time(finished):
    footage, output, _, _ = finished
    assert times(output) == times(footage.path)
    assert footage.num_frames == sum((*GAPS, *FACE_FRAMES))


def test_the_file_is_about_as_large_as_its_source(finished):
    """Frames of a phone's camera, re-encoded, between scenes that are copied; the sound is another."""
    footage, output, _, report = finished
    assert report["source"]["size_bytes"] == footage.path.stat().st_size
    assert report["output"]["size_bytes"] == output.stat().st_size < 1.5 * footage.path.stat().st_size


def test_face_spans_are_found_to_the_frame(finished):
    footage, _, _, report = finished
    found = [(span["start_frame"], span["stop_frame"]) for span in report["spans"] if span["kind"] == "face"]
    assert len(found) == len(footage.face_spans)
    for (start, stop), (true_start, true_stop) in zip(found, footage.face_spans, strict=True):
        assert abs(start - true_start) <= 1
        assert abs(stop - true_stop) <= 1


@needs_ffmpeg
def test_the_contract_holds_from_outside(finished, shared):
    footage, output, dub, _ = finished
    lines = check_from_outside(shared, footage.path, output, dub, "--expect-change")
    assert lines[-1].startswith("RESULT OK")


@needs_ffmpeg
def test_ffmpeg_decodes_without_a_warning(finished):
    _, output, _, _ = finished
    command = ["ffmpeg", "-v", "warning", "-nostdin", "-i", str(output), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_chromium_plays_to_the_end(finished, tmp_path):
    footage, output, _, report = finished
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    if report["clips"] and footage.path.parent.name.startswith("hevc"):
        pytest.skip("chromium has no HEVC decoder")
    shutil.copy(output, tmp_path / "video.mp4")
    said = play(browser, tmp_path)
    assert said["event"] == "ended", said
    assert float(said["duration"]) == pytest.approx(footage.num_frames / 25, abs=0.05)
    assert float(said["time"]) == pytest.approx(footage.num_frames / 25, abs=0.1)


PAGE = """<video id=v src=video.mp4 muted></video><script>
const say = (event) => fetch(`/said?event=${event}&duration=${v.duration}&time=${v.currentTime}`);
v.playbackRate = 8; v.onended = () => say('ended'); v.onerror = () => say('error-' + v.error.message);
v.play();</script>"""


def play(browser, folder):
    """Play folder/video.mp4 in headless Chromium and return what the page says at the end."""
    said = {}
    done = threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/said?"):
                said.update(pair.split("=", 1) for pair in self.path[6:].split("&"))
                done.set()
            super().do_GET()

        def log_message(self, *_):
            pass

    (folder / "index.html").write_text(PAGE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"]
    flags += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0"]
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    process = subprocess.Popen([browser, *flags, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert done.wait(120), "the page said nothing for two minutes"
    finally:
        process.kill()
        process.wait()
        server.shutdown()
    return said


@pytest.fixture(scope="module")
def short_job(shared, retinaface, tmp_path_factory):
    """Return a function that runs a job on some seconds of footage with other settings, and returns its report."""
    folder = tmp_path_factory.mktemp("short")
    clip = shared / "clips" / "speaker_a_1080x1920_hevc.mp4"
    footage = make_footage(
        folder / "talk.mp4", clip, codec="h264", scale=0.4, face_frames=(SHORT_FRAMES,), gaps=(30, 25)
    )

    def run(name, **settings):
        output = folder / f"{name}.mp4"
        # They share a workspace, which keeps the scan alone.
        execution = {"workspace": folder / "work", "workers": 1, **settings.get("execution", {})}
        job = write_job(
            folder,
            input={"video": footage.path, "audio": shared / "clips" / "dub_a.wav", "length_policy": "cut"},
            output=output,
            renderer={"frame_hashes": True},
            segmenter={**retinaface, **settings.get("segmenter", {})},
            execution=execution,
        )
        run_job(job, start=start_python if execution.get("backend") == "processes" else start_command)
        return output, load_report(output)

    return run


@pytest.fixture(scope="module")
def one_worker(short_job):
    return short_job("one_worker", segmenter={"max_clip_seconds": 2})


@pytest.mark.parametrize("backend", ["threads", *(["processes"] if FULL else [])])
def test_number_of_workers_changes_no_bit(short_job, one_worker, backend):
    execution = {"workers": 2, "backend": backend}
    output, report = short_job(f"two_{backend}", segmenter={"max_clip_seconds": 2}, execution=execution)
    assert report["num_rendered_frames"] > 0.8 * SHORT_FRAMES
    assert report["num_clips"]["rendered"] >= 2
    assert decoded(output) == decoded(one_worker[0])


def test_clip_length_changes_no_plane_given_to_the_encoder(short_job, one_worker):
    output, report = short_job("long_clips", segmenter={"max_clip_seconds": 10})
    short, long = rendered_hashes(one_worker[1]), rendered_hashes(report)
    assert len(one_worker[1]["clips"]) > len(report["clips"])
    assert len(long) >= SHORT_FRAMES
    assert short == long
    assert times(output) == times(one_worker[0])


def times(path):
    """Return the presentation times of all frames in seconds, in order, read anew."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = sorted(packet.pts * packet.time_base for packet in container.demux(stream) if packet.size)
    assert all(a < b for a, b in pairwise(found))
    return found


def decoded(path):
    """Return a hash of the pixels of each frame, decoded anew."""
    with av.open(str(path)) as container:
        return [hashlib.md5(frame.to_ndarray().tobytes()).digest() for frame in container.decode(video=0)]
