"""What a job makes of pauses in its dub: whole jobs with a canned scan and mouths that only become darker."""

import numpy as np
import pytest
import soundfile

from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick

RATE = 16_000
PAUSE = (2.6, 3.2)
"""Seconds, inside the second span."""


class Listening(Silent):
    """Notes what a user would be told."""

    def __init__(self):
        self.warned = []

    def warning(self, text):
        self.warned.append(text)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return make_talk(tmp_path_factory.mktemp("talk") / "talk.mp4")


def dubbed(folder, talk, silence, *, level=0.1):
    """Run a job with noise for a voice, which pauses; return the report and what was warned of."""
    voice = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32) * level
    voice[int(PAUSE[0] * RATE) : int(PAUSE[1] * RATE)] *= 0.001
    soundfile.write(folder / "dub.wav", voice, RATE)
    content = {
        "input": {"video": talk, "audio": folder / "dub.wav"},
        "output": folder / "out.mp4",
        "segmenter": {"detector": "cascade", "embedder": "none"},
        "renderer": {"checkpoint": str(folder / "weights.bin"), "device": "cpu", "silence": silence},
        "execution": {"backend": "serial"},
    }
    (folder / "weights.bin").write_bytes(b"weights")
    reporter = Listening()
    run_quick(load_job(write_job(folder, **content)), reporter, force=True)
    return load_report(folder / "out.mp4"), reporter.warned


def rendered(report):
    return [tuple(part) for clip in report["clips"] for part in clip["rendered"]]


def test_with_original_the_sources_own_mouth_stays_in_a_pause(tmp_path, talk):
    report, _ = dubbed(tmp_path, talk, "original")
    (first, before, after) = rendered(report)
    assert first == (8, 40)
    # A tenth of a second on either side is left to the speech.
    assert before == pytest.approx((60, (PAUSE[0] + 0.1) * 25), abs=1)
    assert after == pytest.approx(((PAUSE[1] - 0.1) * 25, 90), abs=1)
    assert report["silence"] == "mouths stay as they are while no one speaks, 0.4 s in all"


@pytest.mark.parametrize("silence", ["close", "render"])
def test_otherwise_mouths_are_drawn_in_pauses_too(tmp_path, talk, silence):
    report, warned = dubbed(tmp_path, talk, silence)
    assert rendered(report) == [(8, 40), (60, 90)]
    assert not any("speech" in text for text in warned)


@pytest.mark.parametrize(("silence", "found"), [("close", [(8, 40), (60, 90)]), ("original", [])])
def test_a_dub_without_speech_is_told_of(tmp_path, talk, silence, found):
    report, warned = dubbed(tmp_path, talk, silence, level=1e-5)
    assert rendered(report) == found
    assert report["silence"].startswith("no speech was found")
    assert any("no speech was found" in text for text in warned)
