"""The check of the decoded soundtrack: what is heard against what was to be heard, second by second."""

from fractions import Fraction

import numpy as np
import pytest

from media.base.errors import ContractBroken
from media.probe import probe
from stitcher.audio.mix import SoundPiece, SoundPlan
from stitcher.verify.audio import RATE, SEARCH_SAMPLES, verify_sound
from tests.support.sound_material import rewrite, voice, write_sound
from tests.support.synthetic import with_payload

SECONDS = Fraction(4)


def heard_as(tmp_path, samples, rate=48000):
    """Return what verify_sound finds if `samples` are heard instead of four seconds of a voice."""
    wanted = write_sound(tmp_path / "wanted.wav", voice(4, 48000), 48000, "pcm_s16le", "wav")
    written = write_sound(tmp_path / "written.wav", samples, rate, "pcm_s16le", "wav")
    plan = SoundPlan((SoundPiece(str(wanted), 0, None, Fraction(0), Fraction(0), SECONDS),), SECONDS)
    return verify_sound(written, probe(written).audio[0], plan, Fraction(0))


def test_sound_that_drifts(tmp_path):
    """A clock that runs off by 500 ppm is 2 ms late after four seconds."""
    with pytest.raises(ContractBroken, match=r"at [23] s the sound is 1\.\d ms late"):
        heard_as(tmp_path, stretched(voice(4, 48000), 1.0005))


def stretched(samples, factor):
    at = np.arange(round(samples.shape[1] * factor)) / factor
    return np.stack([np.interp(at, np.arange(samples.shape[1]), row) for row in samples]).astype(np.float32)


def test_a_small_offset_is_measured(tmp_path):
    samples = voice(4, 48000)
    late = np.concatenate([np.zeros((2, 24), np.float32), samples[:, :-24]], axis=1)
    found = heard_as(tmp_path, late)
    assert found.offset_seconds == pytest.approx(0.0005, abs=2e-5)
    assert abs(found.drift_seconds) < 2e-5
    assert found.num_seconds == 4


def test_a_second_of_other_sound(tmp_path):
    samples = voice(4, 48000)
    samples[:, 96000:144000] = voice(1, 48000, seed=7) * 2
    with pytest.raises(ContractBroken, match="at 2 s something else is heard"):
        heard_as(tmp_path, samples)


def test_sound_where_there_should_be_silence(tmp_path):
    wanted = voice(4, 48000)
    wanted[:, 96000:] = 0
    quiet = write_sound(tmp_path / "quiet.wav", wanted, 48000, "pcm_s16le", "wav")
    loud = write_sound(tmp_path / "loud.wav", voice(4, 48000), 48000, "pcm_s16le", "wav")
    plan = SoundPlan((SoundPiece(str(quiet), 0, None, Fraction(0), Fraction(0), SECONDS),), SECONDS)
    assert verify_sound(quiet, probe(quiet).audio[0], plan, Fraction(0)).num_seconds == 2
    with pytest.raises(ContractBroken, match="at 2 s something is heard instead of silence"):
        verify_sound(loud, probe(loud).audio[0], plan, Fraction(0))


def test_silence_where_there_should_be_sound(tmp_path):
    samples = voice(4, 48000)
    samples[:, 48000:] = 0
    with pytest.raises(ContractBroken, match="at 1 s something else is heard"):
        heard_as(tmp_path, samples)


def test_a_steady_tone_is_not_taken_for_a_shifted_one(tmp_path):
    tone = np.sin(np.arange(4 * 48000) * 2 * np.pi * 200 / 48000)[None].repeat(2, 0).astype(np.float32) * 0.3
    path = write_sound(tmp_path / "tone.wav", tone, 48000, "pcm_s16le", "wav")
    plan = SoundPlan((SoundPiece(str(path), 0, None, Fraction(0), Fraction(0), SECONDS),), SECONDS)
    assert abs(verify_sound(path, probe(path).audio[0], plan, Fraction(0)).offset_seconds) < 1e-5


def test_sound_that_is_further_off_than_is_searched(tmp_path):
    """The best fit then lies at the border of what is searched."""
    samples = voice(4, 48000)
    late = np.roll(samples, SEARCH_SAMPLES * 48000 // RATE, axis=1)
    late[:, : SEARCH_SAMPLES * 48000 // RATE] = 0
    with pytest.raises(ContractBroken, match=r"at 0 s the sound is 250\.0 ms late"):
        heard_as(tmp_path, late)


def test_sound_with_much_noise(tmp_path):
    """Each second can be told, but no coding would be that coarse."""
    noise = np.random.default_rng(3).standard_normal((2, 4 * 48000)).astype(np.float32)
    samples = voice(4, 48000)
    loudness = np.sqrt(np.mean(samples**2))
    with pytest.raises(ContractBroken, match=r"is not what was to be heard \(correlation 0\.[5-8]\d\)\. Raise"):
        heard_as(tmp_path, samples + 2 * loudness * noise)


def test_sound_that_no_decoder_takes(tmp_path):
    wanted = write_sound(tmp_path / "wanted.m4a", voice(4, 48000), 48000, "aac", "mp4", bit_rate=160_000)
    written = rewrite(wanted, tmp_path / "noise.m4a", lambda _, packet: with_payload(packet, b"\xf0" * packet.size))
    plan = SoundPlan((SoundPiece(str(wanted), 0, None, Fraction(0), Fraction(0), SECONDS),), SECONDS)
    with pytest.raises(ContractBroken, match=r"^The dub is whole: .*noise\.m4a: not one sample"):
        verify_sound(written, probe(wanted).audio[0], plan, Fraction(0))
