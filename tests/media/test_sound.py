from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from media.audio.buffer import named_layout, sample_at
from media.audio.reader import first_sample_time, loudest_after, read_samples, sound_format, sound_length
from media.audio.sample_faults import survey_samples
from media.base.errors import MissingStream, UnreadableMedia, UnsupportedMedia
from tests.support.sound_material import audio_index, decibels, lag, read_all, rewrite, rms, voice, write_sound
from tests.support.synthetic import with_payload

RATE = 44100
SOUND = voice(4.3, RATE)
NUM = SOUND.shape[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sound")


# suffix: (codec, container, sample-exact length or None, priming that the container cannot hide)
KINDS = {
    "wav": ("pcm_f32le", "wav", True, 0),
    "s16.wav": ("pcm_s16le", "wav", True, 0),
    "flac": ("flac", "flac", True, 0),
    "m4a": ("aac", "mp4", True, 0),
    "mov": ("pcm_s24le", "mov", True, 0),
    "mp3": ("libmp3lame", "mp3", True, 0),
    "pcm.mka": ("pcm_s16le", "matroska", True, 0),
    "flac.mka": ("flac", "matroska", True, 0),
    "aac.mka": ("aac", "matroska", False, 0),
    "ogg": ("flac", "ogg", True, 0),
    "aac": ("aac", "adts", False, 1024),
    "ts": ("aac", "mpegts", False, 1024),
    "ac3": ("ac3", "ac3", False, 256),
}


@pytest.fixture(scope="module")
def files(folder):
    return {
        suffix: write_sound(folder / f"voice.{suffix}", SOUND, RATE, codec, container, bit_rate=192_000)
        for suffix, (codec, container, _, _) in KINDS.items()
    }


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_of_file_gives_the_sound_where_it_was(files, suffix):
    *_, exact, priming = KINDS[suffix]
    found = read_all(files[suffix], RATE)
    assert abs(lag(found[0], SOUND[0]) - priming) < 0.1
    aligned = found[:, priming : priming + NUM]
    assert decibels(rms(aligned - SOUND[:, : aligned.shape[1]])) < -38
    if exact:
        assert found.shape[1] == NUM


@pytest.mark.parametrize("suffix", KINDS)
def test_length_is_the_number_of_samples_that_decode(files, suffix):
    index = audio_index(files[suffix])
    samples = sample_at(sound_length(files[suffix], index), RATE)
    assert samples == read_all(files[suffix], RATE).shape[1]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("start", [Fraction(1, 7), Fraction(5, 3), Fraction(4101, 1000)])
def test_reading_from_the_middle_gives_the_same_samples(files, suffix, start):
    whole = read_all(files[suffix], RATE)
    part = read_all(files[suffix], RATE, start=start, stop=start + Fraction(1, 2))
    first = sample_at(start, RATE)
    wanted = np.zeros_like(part)
    here = whole[:, first : first + part.shape[1]]
    wanted[:, : here.shape[1]] = here
    assert part.shape[1] == RATE // 2
    # AAC of a noisy voice may hold noise that decoders invent; the rest must be equal.
    assert rms(part - wanted) < (1e-3 if "aac" in KINDS[suffix] else 1e-6)


@pytest.mark.parametrize(("rate", "layout"), [(16000, "mono"), (48000, "stereo"), (22050, "5.1")])
def test_resampling_neither_moves_the_sound_nor_depends_on_the_start(files, rate, layout):
    whole = read_all(files["wav"], rate, layout)
    assert whole.shape[1] == sample_at(Fraction(NUM, RATE), rate)
    pulse = np.zeros((2, RATE), np.float32)
    pulse[:, RATE // 2] = 1.0
    start = Fraction(1234567, 1000000)
    part = read_all(files["wav"], rate, layout, start=start, stop=start + 1)
    first = sample_at(start, rate)
    np.testing.assert_allclose(part, whole[:, first : first + rate], atol=1e-6)


def test_resampled_pulse_stays_at_its_time(folder):
    at = np.arange(2 * RATE) / RATE
    pulse = np.exp(-(((at - 1.25) / 0.001) ** 2))[None].astype(np.float32)
    path = write_sound(folder / "pulse.wav", pulse, RATE, "pcm_f32le", "wav")
    for rate in (16000, 48000):
        found = read_all(path, rate, "mono")[0]
        centre = np.sum(found * np.arange(len(found))) / np.sum(found) / rate
        assert abs(centre - 1.25) < 1e-6


def test_sound_before_and_after_the_file_is_silence(files):
    part = read_all(files["flac"], RATE, start=Fraction(-1, 2), stop=Fraction(6))
    assert part.shape[1] == sample_at(Fraction(13, 2), RATE)
    assert not part[:, : RATE // 2].any()
    np.testing.assert_allclose(part[:, RATE // 2 :][:, :NUM], SOUND, atol=2 / 32768)
    assert not part[:, RATE // 2 + NUM :].any()


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [("mp4", "aac", "mp4"), ("mkv", "flac", "matroska"), ("mkv", "pcm_s16le", "matroska"), ("mov", "pcm_s16le", "mov")],
)
@pytest.mark.parametrize("late", [0.333, 0.08])
def test_late_sound_stands_at_its_time_on_the_clock(folder, suffix, codec, container, late):
    path = folder / f"late{late}-{codec}.{suffix}"
    write_sound(path, SOUND, RATE, codec, container, start=late, video=True, bit_rate=192_000)
    on_clock = read_all(path, RATE, zero=Fraction(0))
    tolerance = 30 if container == "matroska" else 0.6  # half a millisecond: its tick
    assert abs(lag(on_clock[0], SOUND[0]) - late * RATE) < tolerance
    priming = 1024 if codec == "aac" else 0
    assert abs(float(first_sample_time(path, audio_index(path))) - late + priming / RATE) < 0.0006
    own_zero = read_all(path, RATE)
    assert abs(lag(own_zero[0], SOUND[0]) - priming) < 0.1


def test_millisecond_times_neither_cut_nor_insert_samples(folder):
    rate = 48000
    long = voice(40, rate)
    path = write_sound(folder / "long.mka", long, rate, "pcm_s16le", "matroska")
    np.testing.assert_allclose(read_all(path, rate), long, atol=2 / 32768)


def test_a_missing_packet_leaves_a_hole_of_its_length(folder, files):
    path = rewrite(files["m4a"], folder / "hole.m4a", lambda n, packet: None if n == 50 else packet)
    found, whole = read_all(path, RATE), read_all(files["m4a"], RATE)
    hole = slice(49 * 1024, 50 * 1024)
    assert not found[:, hole].any()
    np.testing.assert_allclose(found[:, : hole.start], whole[:, : hole.start], atol=1e-6)
    assert rms(found[:, hole.stop + 1024 :] - whole[:, hole.stop + 1024 :]) < 1e-3
    assert sound_length(path, 0) == Fraction(NUM, RATE)


def test_a_damaged_packet_does_not_move_what_follows(folder, files):
    def damage(number, packet):
        return with_payload(packet, b"\xff" * packet.size) if number in (40, 41) else packet

    path = rewrite(files["m4a"], folder / "damaged.m4a", damage)
    found = read_all(path, RATE)
    assert found.shape[1] == NUM
    assert abs(lag(found[0, 45 * 1024 :], SOUND[0, 45 * 1024 :])) < 0.1


def test_jitter_of_a_sample_is_no_hole(folder, files):
    def jitter(number, packet):
        packet.pts += number % 2
        packet.dts = packet.pts
        return packet

    path = rewrite(files["m4a"], folder / "jitter.m4a", jitter)
    found, wanted = read_all(path, RATE), read_all(files["m4a"], RATE)
    assert abs(found.shape[1] - wanted.shape[1]) <= 1
    assert abs(lag(found[0], wanted[0])) < 1.01
    assert np.abs(np.diff(found, 2)).max() <= np.abs(np.diff(wanted, 2)).max() + 1e-6


def test_truncated_wav_is_as_long_as_what_is_there(folder, files):
    path = folder / "cut.wav"
    path.write_bytes(files["wav"].read_bytes()[:-400_000])
    assert (
        sample_at(sound_length(path, 0), RATE) == read_all(path, RATE).shape[1] == pytest.approx(NUM - 50_000, abs=16)
    )


@pytest.mark.parametrize("codec", ["adpcm_ima_wav", "adpcm_ms", "adpcm_yamaha", "g722", "g726"])
@pytest.mark.parametrize("container", ["wav", "w64", "avi"])
def test_samples_packed_in_blocks_are_counted(folder, codec, container):
    rate = 8000 if codec == "g726" else 16000 if codec == "g722" else 48000
    sound = voice(6.1, rate, channels=1)
    path = write_sound(folder / f"{codec}.{container}", sound, rate, codec, container)
    whole = read_all(path, rate, "mono")
    assert abs(lag(whole[0, : sound.shape[1]], sound[0])) < 24  # g722 delays by 22 samples
    assert 0 <= whole.shape[1] - sound.shape[1] < 4096
    assert sample_at(sound_length(path, 0), rate) == whole.shape[1]
    for start in (Fraction(1, 2), Fraction(37, 10)):
        part = read_all(path, rate, "mono", start=start, stop=start + 1)
        first = sample_at(start, rate)
        np.testing.assert_array_equal(part, whole[:, first : first + rate])


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "GSM610"])
def test_padding_of_the_last_block_is_no_sound_where_the_file_says_so(folder, subtype):
    sound = voice(2.345, 8000, channels=1)
    soundfile.write(folder / f"{subtype}.wav", sound[0], 8000, subtype=subtype)
    assert read_all(folder / f"{subtype}.wav", 8000, "mono").shape[1] == sound.shape[1]


def test_samples_that_are_no_numbers_are_silence(folder):
    sound = np.full((1, RATE), 0.25, np.float32)
    sound[0, 100:104] = np.nan, np.inf, -np.inf, 1e30
    path = write_sound(folder / "broken.wav", sound, RATE, "pcm_f32le", "wav")
    found = read_all(path, RATE, "mono")
    assert not found[0, 100:104].any()
    assert (np.delete(found[0], range(100, 104)) == 0.25).all()
    faults = survey_samples(path, 0)
    assert (faults.num_broken, faults.num_samples, faults.peak) == (4, RATE, 0.25)
    assert faults.first_broken_seconds == 100 / RATE


def test_channels_without_a_place_are_refused_by_their_file(folder):
    soundfile.write(folder / "sixteen.wav", np.zeros((RATE, 16)), RATE)
    with pytest.raises(UnsupportedMedia, match=r"sixteen\.wav: sound with 16 channels .* ffmpeg"):
        sound_length(folder / "sixteen.wav", 0)


def test_opus_keeps_its_length_at_its_own_rate(folder):
    sound = voice(3.1, 48000)
    for name, container in (("v.opus", "ogg"), ("v.webm", "webm")):
        path = write_sound(folder / name, sound, 48000, "libopus", container, bit_rate=160_000)
        assert sample_at(sound_length(path, 0), 48000) == sound.shape[1]
        assert abs(lag(read_all(path, 48000)[0], sound[0])) < 0.5


def test_mono_is_heard_equally_loud_in_stereo_and_mixes_do_not_clip(folder):
    mono = write_sound(folder / "mono.wav", SOUND[:1], RATE, "pcm_f32le", "wav")
    np.testing.assert_allclose(read_all(mono, RATE, "stereo"), np.repeat(SOUND[:1], 2, axis=0), atol=1e-6)
    loud = np.full((6, RATE), 0.9, np.float32)
    surround = write_sound(folder / "surround.flac", loud, RATE, "flac", "flac")
    assert np.abs(read_all(surround, RATE, "stereo")).max() < 1.0
    stereo = read_all(write_sound(folder / "s.wav", SOUND, RATE, "pcm_f32le", "wav"), RATE, "mono")
    np.testing.assert_allclose(stereo[0], SOUND.mean(axis=0), atol=1e-6)


def test_unnamed_layout_of_a_plain_wav_is_named(folder):
    path = folder / "plain.wav"
    soundfile.write(path, SOUND.T, RATE, subtype="PCM_16")
    assert sound_format(path, 0) == (RATE, "stereo")
    assert read_all(path, RATE, "2 channels").shape == SOUND.shape
    assert named_layout("6 channels", 6) == "5.1"
    with pytest.raises(UnsupportedMedia):
        named_layout("17 channels", 17)


def test_eight_channels_are_read(folder):
    sound = np.repeat(SOUND[:1, :RATE], 8, axis=0) * np.linspace(0.3, 1, 8, dtype=np.float32)[:, None]
    path = write_sound(folder / "eight.m4a", sound, RATE, "aac", "mp4", bit_rate=600_000, layout="7.1")
    assert decibels(rms(read_all(path, RATE, "7.1") - sound)) < -35


def test_minutes_do_not_drift_and_stay_small(folder):
    rate, minute = 8000, voice(60, 8000, channels=1)
    path = write_sound(folder / "long.m4a", np.tile(minute, 5), rate, "aac", "mp4", bit_rate=48_000)
    assert sound_length(path, 0) == 300
    for start in (0, 120, 240):
        part = read_all(path, rate, "mono", start=Fraction(start), stop=Fraction(start + 60))
        assert abs(lag(part[0], minute[0])) < 0.05
    blocks = read_samples(path, stream_index=0, rate=16000, layout="mono")
    sizes = [block.shape[1] for block in blocks]
    assert sum(sizes) == 300 * 16000
    assert max(sizes) < 200_000


def test_peak_of_the_tail(folder):
    sound = np.zeros((1, 3 * RATE), np.float32)
    sound[0, :RATE] = 0.5
    sound[0, 2 * RATE] = 0.01
    path = write_sound(folder / "tail.wav", sound, RATE, "pcm_f32le", "wav")
    assert loudest_after(path, 0, Fraction(0)) == pytest.approx(decibels(0.5), abs=0.01)
    assert loudest_after(path, 0, Fraction(1)) == pytest.approx(-40, abs=0.01)
    assert loudest_after(path, 0, Fraction(5, 2)) == -np.inf
    assert loudest_after(path, 0, Fraction(9)) == -np.inf


def test_the_rounding_rule_keeps_neighbours_together():
    assert [sample_at(Fraction(n, 2), 1) for n in (-3, -1, 0, 1, 3)] == [-1, 0, 0, 1, 2]
    shift = Fraction(1, 2 * 48000)
    assert {sample_at(Fraction(n, 48000) + shift, 48000) - n for n in range(-50, 50)} == {1}


def test_what_is_no_sound_is_refused(folder, files):
    broken = folder / "noise.mp3"
    broken.write_bytes(b"no sound at all" * 100)
    with pytest.raises(UnreadableMedia):
        sound_length(broken, 0)
    with pytest.raises(MissingStream):
        sound_length(files["wav"], 3)
    with pytest.raises(UnreadableMedia, match="no such file"):
        list(read_samples(folder / "none.wav", stream_index=0, rate=RATE, layout="mono"))


def test_sound_of_which_nothing_decodes_is_refused(folder, files):
    path = rewrite(
        files["m4a"], folder / "noise.m4a", lambda number, packet: with_payload(packet, b"\xf0" * packet.size)
    )
    for read in (sound_length, first_sample_time, lambda *stream: loudest_after(*stream, Fraction(1))):
        with pytest.raises(UnreadableMedia, match=r"noise\.m4a: not one sample of the sound can be decoded"):
            read(path, 0)


def test_a_live_recording_that_tells_no_length_is_measured(folder, files):
    content = bytearray(files["flac"].read_bytes())
    # RFC 9639, 8.2: the last 36 of these bits are the number of samples, 0 if it is not known.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path = folder / "live.flac"
    path.write_bytes(content)
    with av.open(str(path)) as file:
        assert file.streams.audio[0].duration is None
    assert sound_length(path, 0) == Fraction(NUM, RATE)


def test_a_stream_that_changes_midway_goes_on_as_it_began(folder):
    """As stations do between programmes: mono at 48 kHz follows stereo at 44.1 kHz."""
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(2 * 48000) / 48000)[None].astype(np.float32)
    first = write_sound(folder / "first.ts", SOUND[:, : 2 * RATE], RATE, "aac", "mpegts")
    second = write_sound(folder / "second.ts", tone, 48000, "aac", "mpegts", start=2.0)
    path = folder / "change.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert sound_format(path, 0) == (RATE, "stereo")
    found = read_all(path, RATE)
    later = found[:, 3 * RATE : 3 * RATE + RATE // 2]
    # Each packet is brought over by itself, which costs a little at its edges.
    assert rms(later) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    rises = np.count_nonzero((later[:, :-1] < 0) & (later[:, 1:] >= 0), axis=1)
    assert [*rises] == pytest.approx([150, 150], abs=1)
