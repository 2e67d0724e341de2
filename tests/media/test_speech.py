from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.sounds import (
    MUSIC,
    NOISES,
    at_ratio,
    band_music,
    beastly,
    coloured_noise,
    in_room,
    resampled,
    whispered,
)
from media.audio.reader import read_samples
from media.audio.speech_network import (
    BATCH_STEPS,
    CONTEXT_SAMPLES,
    NETWORK_STEP_SAMPLES,
    SpeechNetwork,
    find_speech_weights,
)
from media.audio.voice_activity import count_dips, find_loud, find_pauses, find_speech, measure_levels, mute
from media.base.errors import CheckpointNotFound
from media.base.onnx_network import OnnxNetwork
from media.intervals import complement, intersect
from tests.support.commands import ROOT

RATE = 16_000


def sound(*parts, seed=1):
    """Return blocks of mono sound: stretches (seconds, level in dB of full scale), as noise."""
    random = np.random.default_rng(seed)
    whole = np.concatenate(
        [random.standard_normal(int(seconds * RATE)) * 10 ** (level / 20) for seconds, level in parts]
    )
    return np.array_split(whole.astype(np.float32)[None], 13, axis=1)


def seconds(intervals):
    return [(start / RATE, stop / RATE) for start, stop in intervals]


def loud_samples(samples):
    return find_loud(measure_levels([samples[None]], RATE), RATE)


def found(*parts):
    return seconds(find_loud(measure_levels(sound(*parts), RATE), RATE))


def total(intervals):
    return sum(stop - start for start, stop in intervals)


@pytest.fixture(scope="module")
def network():
    return SpeechNetwork()


@pytest.fixture(scope="module")
def speech():
    """Return 20 s of speech with pauses of up to 4 s: the demonstration's, at 29 s."""
    samples, rate = soundfile.read(ROOT / "demo" / "speech.flac", dtype="float32", start=28 * RATE, stop=48 * RATE)
    assert rate == RATE
    return samples


@pytest.fixture(scope="module")
def spoken(speech):
    return loud_samples(speech)


@cache
def twenty_seconds_of(name):
    """Return music or noise, by name; it is not to be changed."""
    sound = {**MUSIC, **NOISES}[name](20)
    sound.flags.writeable = False
    return sound


def clean_dub(shared, name):
    blocks = read_samples(shared / "clips" / name, stream_index=0, rate=RATE, layout="mono")
    return np.concatenate(list(blocks), axis=1)[0]


# By energy.


def test_what_is_loud_is_found_and_what_is_not_is_not():
    ((start, stop), (again, end)) = found((1, -70), (2, -20), (1, -70), (1, -25), (1, -70))
    assert (start, stop, again, end) == pytest.approx((1, 3, 4, 5), abs=0.05)


def test_short_pauses_belong_to_speech_and_short_clicks_do_not():
    ((start, stop),) = found((1, -70), (1, -20), (0.2, -70), (1, -20), (0.5, -70), (0.04, -20), (1, -70))
    assert (start, stop) == pytest.approx((1, 3.2), abs=0.05)


def test_silence_and_nothing_hold_no_speech(network):
    assert found((3, -90)) == []
    for blocks in ([np.zeros((1, 3 * RATE), np.float32)], [np.zeros((1, 0), np.float32)], []):
        assert find_loud(measure_levels(blocks, RATE), RATE) == []
        assert find_speech(blocks, network).spoken == ()


def test_a_quiet_recording_is_measured_against_itself():
    ((start, stop),) = found((1, -68), (1, -35), (1, -68))
    assert (start, stop) == pytest.approx((1, 2), abs=0.05)


def test_dips_are_counted_where_a_level_falls_and_rises():
    assert count_dips(np.float32([-60, -20, -40, -22, -25, -20, -33, -20, -60])) == 2
    assert count_dips(np.zeros(0, np.float32)) == 0


# By the network.


def test_blocks_do_not_matter(network, speech):
    mixed = at_ratio(speech, speech != 0, band_music(20), 10)[: 7 * RATE + 123]
    whole = find_speech([mixed[None]], network)
    assert whole.spoken
    assert whole == find_speech(np.array_split(mixed[None], 301, axis=1), network)
    listener = network.listen()
    pieces = [listener.hear(part) for part in np.array_split(mixed, 1733)]
    chances = np.concatenate([*pieces, listener.finish()])
    alone = network.listen()
    assert np.array_equal(chances, np.concatenate([alone.hear(mixed), alone.finish()]))
    assert len(chances) == -(-len(mixed) // NETWORK_STEP_SAMPLES)


def test_batches_give_what_the_packages_streaming_network_gives_step_by_step(network, speech):
    streaming = OnnxNetwork(find_speech_weights().with_name("silero_vad.onnx"))
    num_steps = 3 * BATCH_STEPS
    state, padded = np.zeros((2, 1, 128), np.float32), np.pad(speech, (CONTEXT_SAMPLES, 0))
    wanted = []
    for step in range(num_steps):
        at = step * NETWORK_STEP_SAMPLES
        seen = padded[None, at : at + CONTEXT_SAMPLES + NETWORK_STEP_SAMPLES]
        chance, state = streaming.run(seen, state, np.array(RATE, np.int64))
        wanted.append(float(chance.item()))
    chances = network.listen().hear(speech[: num_steps * NETWORK_STEP_SAMPLES])
    assert np.ptp(chances) > 0.9
    assert np.abs(chances - wanted).max() < 1e-5


class Saying:
    """A network that takes given seconds of a sound for speech."""

    def __init__(self, start, stop, length):
        at = np.arange(0, length * RATE, NETWORK_STEP_SAMPLES)
        self.chances = ((at >= start * RATE) & (at < stop * RATE)).astype(np.float32)

    def listen(self):
        return self

    def hear(self, samples):
        return np.zeros(0, np.float32)

    def finish(self):
        return self.chances


@pytest.mark.parametrize(
    ("heard", "wanted"),
    [
        ((1.1, 2.9), (1, 3)),  # on both sides the energy's borders are near
        ((0.9, 3.2), (1, 3)),  # what is silent is no speech
        ((1.4, 2.6), (1.35, 2.55)),  # loud far beyond, as in music: the network's own, which are late
    ],
)
def test_borders_are_those_of_the_energy_where_they_are_near(heard, wanted):
    blocks = sound((1, -70), (2, -20), (1, -70))
    (found,) = find_speech(blocks, Saying(*heard, 4)).spoken
    assert seconds([found])[0] == pytest.approx(wanted, abs=0.04)
    if abs(heard[0] - wanted[0]) > 0.06:
        assert [found] == find_loud(measure_levels(blocks, RATE), RATE)


def test_a_clean_voice_speaks_where_its_energy_says(network, speech, spoken):
    found = find_speech([speech[None]], network)
    assert found.found_by == "network"
    assert total(intersect(found.spoken, spoken)) > 0.99 * total(spoken)
    assert total(intersect(found.spoken, complement(spoken, 0, len(speech)))) == 0


@pytest.mark.parametrize("name", ["dub_a.wav", "dub_b.wav", "dub_c.wav", "dub_english_60s.wav"])
def test_of_a_real_dub_breath_alone_is_lost(shared, network, name):
    """What energy takes for speech and the network does not was looked at: it has no voice."""
    samples = clean_dub(shared, name)
    found, loud = find_speech([samples[None]], network), loud_samples(samples)
    assert found.found_by == "network"
    assert total(intersect(found.spoken, loud)) == total(found.spoken) > 0.98 * total(loud)
    borders = {border for part in found.spoken for border in part} & {border for part in loud for border in part}
    assert len(borders) >= 0.8 * 2 * len(loud)  # exact to the sample, beginnings with plosives among them


@pytest.mark.parametrize("decibels", [5, 10, 20])
@pytest.mark.parametrize("name", [*MUSIC, *NOISES])
def test_speech_is_found_over_music_and_noise(network, speech, spoken, name, decibels):
    """Energy takes nine tenths and more of the pauses for speech, but for breath.

    Pauses of 0.3 s, which count only just as such, may be bridged.
    """
    truth = np.zeros(len(speech), bool)
    for start, stop in spoken:
        truth[start:stop] = True
    other = twenty_seconds_of(name)
    mixed = at_ratio(speech, truth, other, decibels)
    pauses = [part for part in complement(spoken, 0, len(speech)) if total([part]) > 0.4 * RATE]
    found = find_speech([mixed[None]], network).spoken
    assert total(intersect(found, spoken)) > 0.93 * total(spoken)
    assert total(intersect(found, pauses)) < 0.1 * total(pauses)
    if name != "breath":
        assert total(intersect(loud_samples(mixed), pauses)) > 0.8 * total(pauses)


def test_a_real_dub_is_found_in_a_band_and_a_room(shared, network):
    clean = clean_dub(shared, "dub_english_60s.wav")[: 20 * RATE]
    clean = np.concatenate([clean, np.zeros(10 * RATE, np.float32)])
    truth = find_speech([clean[None]], network).spoken
    mixed = at_ratio(in_room(clean), clean != 0, band_music(30), 10)
    found = find_speech([mixed[None]], network).spoken
    assert total(intersect(found, truth)) > 0.95 * total(truth)
    assert total(intersect(found, [(21 * RATE, 30 * RATE)])) == 0


@pytest.mark.parametrize("name", ["pads", "piano", "band"])
def test_music_alone_holds_no_speech(network, name):
    for music in (twenty_seconds_of(name), in_room(twenty_seconds_of(name), 1.0)):
        assert loud_samples(music)
        assert find_speech([music[None]], network).spoken == ()


@pytest.mark.parametrize("slope", [0, 1, 2])
def test_noise_alone_holds_no_speech(network, slope):
    assert find_speech([coloured_noise(20, slope)[None]], network).spoken == ()


def test_a_whisper_and_a_cartoons_mouse_are_speech(network, speech):
    for voice in (whispered(speech), resampled(speech, 1.6)):
        found = find_speech([voice[None]], network)
        assert found.found_by == "network"
        assert total(intersect(found.spoken, loud_samples(voice))) > 0.9 * total(loud_samples(voice))


def test_an_animal_speaks_where_its_energy_says(network):
    for voice in (beastly(20), in_room(beastly(20), 1.0)):
        found = find_speech([voice[None]], network)
        assert found.found_by == "energy"
        assert list(found.spoken) == loud_samples(voice)


def test_quiet_speech_counts_against_itself_and_not_against_louder_music(network, speech):
    """The music behind it is 30 dB louder than the voice. The network needs a second to get used to that."""
    quiet = speech[: 8 * RATE] * 0.1
    both = np.concatenate([quiet, band_music(20) * 2])
    found = find_speech([both[None]], network)
    wanted = loud_samples(quiet)
    assert total(intersect(found.spoken, wanted)) > 0.9 * total(wanted)
    assert total(intersect(found.spoken, [(10 * RATE, 28 * RATE)])) == 0


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    for found in (None, type("Spec", (), {"submodule_search_locations": [str(Path("nowhere"))]})):
        monkeypatch.setattr("media.audio.speech_network.find_spec", lambda name, found=found: found)
        with pytest.raises(CheckpointNotFound, match="pip install 'silero-vad"):
            SpeechNetwork()


# Pauses.


def test_pauses_leave_a_margin_to_speech():
    pauses = find_pauses([(RATE, 2 * RATE), (4 * RATE, 5 * RATE)], 6 * RATE, RATE)
    assert seconds(pauses) == [(0, 0.9), (2.1, 3.9), (5.1, 6)]
    assert find_pauses([], 6 * RATE, RATE) == [(0, 6 * RATE)]
    assert find_pauses([(0, 6 * RATE)], 6 * RATE, RATE) == []


def test_a_muted_sound_is_silent_in_its_pauses_and_untouched_elsewhere():
    whole = np.concatenate(sound((3, -20)), axis=1)
    pauses = [(0, 8000), (16000, 20000), (40000, 48000)]
    muted = np.concatenate(list(mute([whole], pauses, RATE)), axis=1)
    assert np.array_equal(muted[:, 8000:16000], whole[:, 8000:16000])
    assert np.array_equal(muted[:, 20000:40000], whole[:, 20000:40000])
    assert all(not muted[:, start + 320 : stop - 320].any() for start, stop in pauses)
    pieces = np.concatenate(list(mute(np.array_split(whole, 77, axis=1), pauses, RATE)), axis=1)
    assert np.array_equal(pieces, muted)


def test_hours_into_a_sound_pauses_are_exact_to_the_sample():
    late = 2 * 3600 * RATE
    blocks = [*[np.zeros((1, 60 * RATE), np.float32)] * 120, np.ones((1, 4000), np.float32)]
    for last in mute(blocks, [(late + 1000, late + 3001)], RATE):  # noqa: B007 - only one of them is held
        pass
    assert np.flatnonzero(last[0] < 1).tolist() == list(range(late + 1001 - late, 3000))
