"""What a job makes of pauses in its dub: whole jobs with a canned scan and mouths that only become darker."""

import numpy as np
import pytest
import soundfile

from benchmarks.sounds import at_ratio, band_music, beastly, coloured_noise
from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from media.audio.voice_activity import find_loud, measure_levels
from tests.support.doubles import Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick

RATE = 16_000
PAUSE = (2.6, 3.2)
"""Seconds, inside the second span."""


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return make_talk(tmp_path_factory.mktemp("talk") / "talk.mp4")


@pytest.fixture(scope="module")
def speech():
    """Return 4 s of speech without a pause that could be seen."""
    samples, rate = soundfile.read(DUB_FILE, dtype="float32")
    loud = find_loud(measure_levels([samples[None]], rate), rate)
    return np.concatenate([samples[start:stop] for start, stop in loud])[: 4 * rate]


def dubbed(folder, talk, silence, voice):
    """Run a job with a voice; return the report and what was warned of."""
    soundfile.write(folder / "dub.wav", voice, RATE, subtype="FLOAT")
    content = {
        "input": {"video": talk, "audio": folder / "dub.wav"},
        "output": folder / "out.mp4",
        "segmenter": {"detector": "cascade", "embedder": "none"},
        "renderer": {
            "method": "network",
            "checkpoint": str(folder / "weights.bin"),
            "device": "cpu",
            "silence": silence,
        },
        "execution": {"backend": "serial"},
    }
    (folder / "weights.bin").write_bytes(b"weights")
    reporter = Listening()
    run_quick(load_job(write_job(folder, **content)), reporter, force=True)
    return load_report(folder / "out.mp4"), reporter


def pausing(speech):
    """Return speech that pauses, over a band that plays on."""
    voice = speech.copy()
    voice[int(PAUSE[0] * RATE) : int(PAUSE[1] * RATE)] = 0
    return at_ratio(voice, voice != 0, band_music(4), 15)


def rendered(report):
    return [tuple(part) for clip in report["clips"] for part in clip["rendered"]]


def test_with_original_the_sources_own_mouth_stays_in_a_pause_that_is_full_of_music(tmp_path, talk, speech):
    report, _ = dubbed(tmp_path, talk, "original", pausing(speech))
    (first, before, after) = rendered(report)
    assert first == (8, 40)
    # A tenth of a second on either side is left to the speech, and in music its borders are known to 0.1 s.
    assert before == pytest.approx((60, (PAUSE[0] + 0.1) * 25), abs=3)
    assert after == pytest.approx(((PAUSE[1] - 0.1) * 25, 90), abs=3)
    assert report["silence"].startswith("mouths stay as they are while no one speaks, 0.")


@pytest.mark.parametrize("silence", ["close", "render"])
def test_otherwise_mouths_are_drawn_in_pauses_too(tmp_path, talk, speech, silence):
    report, said = dubbed(tmp_path, talk, silence, pausing(speech))
    assert rendered(report) == [(8, 40), (60, 90)]
    assert not any("speech" in text for text in said.warned)


@pytest.mark.parametrize(("silence", "found"), [("close", [(8, 40), (60, 90)]), ("original", [])])
@pytest.mark.parametrize("sound", [band_music, lambda seconds: coloured_noise(seconds, 1) * 1e-4])
def test_music_and_silence_move_no_lips_which_is_told(tmp_path, talk, silence, found, sound):
    report, said = dubbed(tmp_path, talk, silence, sound(4))
    assert rendered(report) == found
    assert report["silence"].startswith("no speech was found")
    assert any("no speech was found" in text and "renderer.silence: render" in text for text in said.warned)


def test_what_is_not_speech_like_moves_lips_by_its_energy_which_is_told(tmp_path, talk):
    report, said = dubbed(tmp_path, talk, "original", beastly(4))
    assert rendered(report)
    assert "; no speech was recognised in dub.wav, so that lips move wherever it is loud" in report["silence"]
    assert any("no speech was recognised in dub.wav" in line for line in said.lines)
