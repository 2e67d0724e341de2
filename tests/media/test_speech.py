import numpy as np
import pytest
import soundfile

from media.audio.voice_activity import find_pauses, find_speech, mute

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


def found(*parts):
    return seconds(find_speech(sound(*parts), RATE))


def test_what_is_loud_is_speech_and_what_is_not_is_none():
    ((start, stop), (again, end)) = found((1, -70), (2, -20), (1, -70), (1, -25), (1, -70))
    assert (start, stop, again, end) == pytest.approx((1, 3, 4, 5), abs=0.05)


def test_short_pauses_belong_to_speech_and_short_clicks_do_not():
    ((start, stop),) = found((1, -70), (1, -20), (0.2, -70), (1, -20), (0.5, -70), (0.04, -20), (1, -70))
    assert (start, stop) == pytest.approx((1, 3.2), abs=0.05)


def test_silence_and_nothing_hold_no_speech():
    assert found((3, -90)) == []
    assert find_speech([np.zeros((1, 3 * RATE), np.float32)], RATE) == []
    assert find_speech([], RATE) == []


def test_a_quiet_recording_is_measured_against_itself():
    ((start, stop),) = found((1, -68), (1, -35), (1, -68))
    assert (start, stop) == pytest.approx((1, 2), abs=0.05)


def test_blocks_do_not_matter():
    whole = np.concatenate(sound((1, -60), (1, -20), (1, -60)), axis=1)
    pieces = np.array_split(whole, 301, axis=1)
    assert find_speech([whole], RATE) == find_speech(pieces, RATE)


def test_a_real_dub_speaks_most_of_the_time_but_not_always(shared):
    samples, rate = soundfile.read(shared / "clips" / "dub_english_60s.wav", dtype="float32")
    spoken = find_speech([samples[None]], rate)
    share = sum(stop - start for start, stop in spoken) / len(samples)
    assert 0.6 < share < 0.98
    assert len(spoken) > 5


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
    blocks = [np.zeros((1, late), np.int8), np.ones((1, 4000), np.float32)]
    *_, last = mute(blocks, [(late + 1000, late + 3001)], RATE)
    assert np.flatnonzero(last[0] < 1).tolist() == list(range(late + 1001 - late, 3000))
