"""How near to the source what is re-encoded has to come: one bound for those who code and for the full check."""

import json
import re

import pytest
import soundfile

import media.coding.writer
from demo.make_material import DUB_FILE
from lipstitch.job_file.coding import VideoConfig
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.report import Report, report_path
from lipstitch.report.verify import verify_job
from media.base.errors import ContractBroken
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick


class Said(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.text = ""

    def info(self, text):
        self.text += text + "\n"


@pytest.fixture
def checked(tmp_path):
    """Return a function that makes a video and runs its job with the full check; it returns (job, what was said)."""

    def run(name, settings=(), **options):
        make_talk(tmp_path / name, **options)
        dub, rate = soundfile.read(DUB_FILE)
        soundfile.write(tmp_path / "dub.wav", dub[: 4 * rate], rate)
        (tmp_path / "weights.bin").write_bytes(b"weights")
        job = write_job(
            tmp_path,
            input={"video": name, "audio": "dub.wav"},
            output=f"out.{name.rpartition('.')[2]}",
            segmenter={"detector": "cascade", "max_clip_seconds": 0.8},
            renderer={"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
            stitcher={"verify": "full"},
            execution={"backend": "serial"},
        )
        config, said = load_job(job, settings), Said()
        run_quick(config, said)
        return config, said.text

    return run


def decibels(said, word):
    """Return the least PSNR that the table tells of frames re-encoded or rendered."""
    return float(re.search(rf"{word} (\d+\.\d) dB or more", said)[1])


@pytest.fixture
def coarse(monkeypatch):
    """Let no codec come nearer than the rate factor that the user names."""
    monkeypatch.setattr(media.coding.writer, "finer", lambda coding, decibels: None)


@pytest.mark.usefixtures("coarse")
def test_a_codec_that_comes_no_nearer_keeps_the_contract_and_the_report_says_how_near(checked):
    config, said = checked("talk.mp4", ["stitcher.video.crf=30"])
    assert "BROKEN" not in said
    report = load_report(config.output)
    least = [span["psnr"] for span in report["check"]["reencoded"] if "psnr" in span]
    assert 30 < min(least) < 45
    assert decibels(said, "re-encoded") == pytest.approx(min(least), abs=0.06)
    assert Report.model_validate(report).check.provenance().coarse
    verify_job(config, Silent())


@pytest.mark.usefixtures("coarse")
def test_a_report_that_says_nothing_is_held_to_the_bound(checked):
    config, _ = checked("talk.mp4", ["stitcher.video.crf=30"])
    report = load_report(config.output)
    for span in report["check"]["reencoded"]:
        span.pop("psnr", None)
    report_path(config.output).write_text(json.dumps(report))
    with pytest.raises(ContractBroken, match=r"Untouched pixels: frame .* which must be 45 dB or more"):
        verify_job(config, Silent())


def test_a_user_who_asks_for_less_keeps_the_contract(checked):
    config, said = checked("talk.mp4", ["stitcher.video.crf=34"])
    assert "BROKEN" not in said
    assert decibels(said, "re-encoded") >= 45
    assert decibels(said, "outside the boxes") < 40
    verify_job(config, Silent())
    asked = config.stitcher.model_copy(update={"video": VideoConfig()})
    with pytest.raises(ContractBroken, match=r"Only the mouth: frame .* which must be 40 dB or more"):
        verify_job(config.model_copy(update={"stitcher": asked}), Silent())
