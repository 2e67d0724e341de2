"""A whole job on a source whose codec has no encoder: said before and after, and checked like any other."""

import json
import shutil

import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.verify import verify_job
from media.base.errors import ContractBroken, UnsupportedMedia
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import run_quick
from tests.support.zoo import TRANSCODED, Kind, Zoo

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg on PATH")

THEORA = "there is no visually lossless encoder for theora in yuv420p here: the whole stream is transcoded to h264"
WEBM = "webm files cannot hold its theora: the whole stream is transcoded to vp9"
ORDER = "the source does not tell when its frames are shown: the whole stream is re-encoded"


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.said, self.warned = [], []

    def info(self, text):
        self.said.append(text)

    def warning(self, text):
        self.warned.append(text)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def start(zoo, tmp_path):
    """Return what loads a job on a file of the zoo."""

    def load(name, output, kind=None):
        try:
            path = zoo.make(name, kind or TRANSCODED[name][0])
        except RuntimeError as exc:
            pytest.skip(f"this ffmpeg cannot make it: {exc}")
        dub, rate = soundfile.read(DUB_FILE)
        soundfile.write(tmp_path / "dub.wav", dub[: 2 * rate], rate)
        (tmp_path / "weights.bin").write_bytes(b"weights")
        content = {
            "input": {"video": str(path), "audio": "dub.wav"},
            "output": output,
            "segmenter": {"detector": "cascade", "max_clip_seconds": 0.8},
            "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
            "stitcher": {"verify": "full"},
            "execution": {"backend": "serial", "workspace": "work"},
        }
        return load_job(write_job(tmp_path, **content))

    return load


def run(job, **options):
    reporter = Listening()
    run_quick(job, reporter, **options)
    return reporter


@pytest.mark.parametrize(
    ("name", "output", "codec", "note"),
    [
        ("theora.ogv", "a.mkv", "h264", THEORA),
        ("theora.ogv", "a.webm", "vp9", WEBM),
        ("packed.avi", "a.mp4", "mpeg4", ORDER),
        ("packed.avi", "a.avi", "mpeg4", ORDER),
        ("reordered.avi", "a.mkv", "h264", ORDER),
    ],
)
def test_plan_report_and_table_say_so(start, name, output, codec, note):
    job = start(name, output)
    plan = run(job, plan_only=True).said[-1]
    assert f"\n  video    {note}\n" in plan
    assert ", 0 copied\n" in plan
    done = run(job)
    assert done.warned == [f"{job.output}: {note}."]
    report = load_report(job.output)
    assert report["video"] == {"codec": codec, "note": note}
    assert "copied" not in report["num_clips"]
    assert {span["reason"] for span in report["check"]["reencoded"]} == {note}
    table = Listening()
    assert verify_job(job, table) == 0
    rows = table.said[-1].splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["kept"] * 6
    transcoded = f": transcoded to {codec}" if note != ORDER else ""
    frames = report["output"]["num_frames"]
    assert rows[1].endswith(f"0 of {frames} frames are the source's own packets{transcoded}")


def test_another_codec_than_the_report_says_breaks_the_contract(start):
    job = start("theora.ogv", "a.mkv")
    run(job)
    path = job.output.with_name("a.mkv.report.json")
    report = load_report(job.output)
    report["video"]["codec"] = "theora"
    path.write_text(json.dumps(report))
    with pytest.raises(ContractBroken, match="the codec of the video is h264 instead of theora"):
        verify_job(job, Listening())


def test_pixels_that_cannot_be_composed_are_refused(start):
    job = start("cinepak.mov", "a.mov", Kind("-vf scale=192:96 -c:v cinepak -frames:v 2"))
    with pytest.raises(UnsupportedMedia, match=r"pixels are stored as rgb24\. Convert it to yuv420p first") as caught:
        run(job)
    assert "\n" not in str(caught.value)
