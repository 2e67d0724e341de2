from fractions import Fraction

import numpy as np
import pytest
import soundfile

from renderer.mel import MelTrack
from renderer.networks.base import WAV2LIP_SPEC, Margins, NetworkSpec
from renderer.silence import SILENT_VALUE, closed_share, mixed, mouth_place, silence_of, strengthened


def window(num_silent):
    """Return a window whose last columns are silent."""
    loud = np.zeros((80, 16), np.float32)
    loud[:, 16 - num_silent :] = -4
    return loud


def test_digital_silence_is_silent(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(6000, np.float32), 16000)
    with MelTrack(tmp_path / "a.wav") as track:
        assert (track.window(Fraction(0)) == -4).all()
        assert silence_of(track.window(Fraction(0))) == 1


def test_silence_comes_as_the_window_leaves_speech():
    assert [silence_of(window(count)) for count in (0, 8, 12, 16)] == [0, 0, 0.5, 1]


def test_a_mouth_like_that_at_rest_is_shut_and_one_that_differs_is_not():
    face = np.full((96, 96, 3), 120, np.uint8)
    opened = face.copy()
    opened[66:80, 38:58] = 30
    a_little = face + np.uint8(13)
    assert closed_share(face, face, WAV2LIP_SPEC) == 1
    assert closed_share(opened, face, WAV2LIP_SPEC) == 0
    assert closed_share(a_little, face, WAV2LIP_SPEC) == pytest.approx(0.5, abs=1e-4)


def test_what_differs_elsewhere_does_not_count():
    face, other = np.full((96, 96, 3), 120, np.uint8), np.full((96, 96, 3), 120, np.uint8)
    other[:40] = 0
    assert closed_share(other, face, WAV2LIP_SPEC) == 1


def test_the_mouth_is_where_it_is_in_the_box_whatever_the_size_of_the_face():
    assert mouth_place(WAV2LIP_SPEC) == (slice(58, 90), slice(26, 70))
    assert mouth_place(NetworkSpec(face_px=192)) == (slice(116, 180), slice(52, 140))
    wide = NetworkSpec(face_px=192, margins=Margins(top=0.5, left=0.25, right=0.25))
    assert mouth_place(wide) == (slice(96 + 58, 96 + 90), slice(48 + 26, 48 + 70))


def test_mixing():
    one, other = np.full((96, 96, 3), 200, np.uint8), np.full((96, 96, 3), 100, np.uint8)
    assert [int(mixed(one, other, share)[0, 0, 0]) for share in (0, 0.25, 1)] == [200, 175, 100]


def test_the_track_of_a_muted_sound_is_silent_in_its_pause(tmp_path):
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


def test_a_sound_is_strengthened_above_silence():
    window = np.array([[SILENT_VALUE, -2.0, 0.0, 3.0]], np.float32)
    assert strengthened(window, 1.0) is window
    assert strengthened(window, 0.0).tolist() == [[SILENT_VALUE] * 4]
    assert strengthened(window, 0.5).tolist() == [[SILENT_VALUE, -3.0, -2.0, -0.5]]
    assert strengthened(window, 2.0).tolist() == [[SILENT_VALUE, 0.0, 4.0, 4.0]]
    assert strengthened(window, 2.0).dtype == np.float32
    assert silence_of(strengthened(window, 2.0)) == silence_of(window)
