import numpy as np
import pytest

from renderer.mel import MelTrack, mel_spectrogram
from renderer.silence import SILENT_WINDOW, closed_share, mixed, silence_of


def window(num_silent):
    """Return a window whose last columns are silent."""
    loud = np.zeros((80, 16), np.float32)
    loud[:, 16 - num_silent :] = -4
    return loud


def test_digital_silence_is_the_silent_window():
    assert np.array_equal(mel_spectrogram(np.zeros(6000, np.float32))[:, :16], SILENT_WINDOW)


def test_silence_comes_as_the_window_leaves_speech():
    assert [silence_of(window(count)) for count in (0, 8, 12, 16)] == [0, 0, 0.5, 1]


def test_a_mouth_like_that_at_rest_is_shut_and_one_that_differs_is_not():
    face = np.full((96, 96, 3), 120, np.uint8)
    opened = face.copy()
    opened[66:80, 38:58] = 30
    a_little = face + np.uint8(13)
    assert closed_share(face, face) == 1
    assert closed_share(opened, face) == 0
    assert closed_share(a_little, face) == pytest.approx(0.5, abs=1e-4)


def test_what_differs_elsewhere_does_not_count():
    face, other = np.full((96, 96, 3), 120, np.uint8), np.full((96, 96, 3), 120, np.uint8)
    other[:40] = 0
    assert closed_share(other, face) == 1


def test_mixing():
    one, other = np.full((96, 96, 3), 200, np.uint8), np.full((96, 96, 3), 100, np.uint8)
    assert [int(mixed(one, other, share)[0, 0, 0]) for share in (0, 0.25, 1)] == [200, 175, 100]


def test_the_track_of_a_muted_sound_is_silent_in_its_pause(tmp_path):
    import soundfile

    from media.audio.voice_activity import mute

    noise = np.random.default_rng(0).standard_normal((1, 32000)).astype(np.float32) / 10
    muted = np.concatenate(list(mute([noise], [(12000, 24000)], 16000)), axis=1)
    soundfile.write(tmp_path / "a.wav", muted[0], 16000, subtype="FLOAT")
    with MelTrack(tmp_path / "a.wav") as track:
        silences = [silence_of(track.window(number / 25)) for number in range(50)]
    assert silences[:16] == [0] * 16  # their windows end 0.2 s later, before half of it is silent
    assert silences[20:30] == [1] * 10
    assert silences[36:] == [0] * 14
    assert silences[:25] == sorted(silences[:25])
