import os
import resource
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile

from media.audio.buffer import sample_at
from media.audio.reader import sound_length
from media.base.errors import StitchError, UnreadableMedia, UnsupportedMedia, WorkspaceError
from media.probe import probe
from stitcher.audio.mix import SoundPiece, SoundPlan, mix
from stitcher.audio.soundtrack import can_copy, copy_soundtrack, default_codec, takes, write_driving, write_soundtrack
from tests.support.sound_material import (
    audio_index,
    decibels,
    lag,
    packets_of,
    read_all,
    rms,
    voice,
    with_edits,
    write_sound,
)

RATE = 44100
SOURCE, DUB = voice(6, RATE), voice(5, RATE, seed=3)
BORDERS = (Fraction(2), Fraction(4))


@pytest.fixture(scope="module")
def source(folder):
    return str(write_sound(folder / "source.wav", SOURCE, RATE, "pcm_f32le", "wav"))


@pytest.fixture(scope="module")
def dub(folder):
    return str(write_sound(folder / "dub.wav", DUB, RATE, "pcm_f32le", "wav"))


def piece(path, start, output_start, output_stop, zero=None):
    return SoundPiece(str(path), 0, zero, Fraction(start), Fraction(output_start), Fraction(output_stop))


def whole(path, duration):
    return SoundPlan((piece(path, 0, 0, duration),), Fraction(duration))


def mixed(plan, rate=RATE, layout="stereo", **part):
    return np.concatenate([*mix(plan, rate=rate, layout=layout, **part)], axis=1)


@pytest.fixture(scope="module")
def patch(source, dub):
    pieces = (piece(source, 0, 0, 2), piece(dub, 1, 2, 4), piece(source, 4, 4, 6))
    return SoundPlan(pieces, Fraction(6))


def test_pieces_are_sample_exact_outside_their_fades(patch):
    found, fade = mixed(patch), RATE // 100
    assert found.shape[1] == 6 * RATE
    np.testing.assert_array_equal(found[:, : 2 * RATE - fade], SOURCE[:, : 2 * RATE - fade])
    inner = slice(2 * RATE + fade, 4 * RATE - fade)
    np.testing.assert_array_equal(found[:, inner], DUB[:, RATE + fade : 3 * RATE - fade])
    np.testing.assert_array_equal(found[:, 4 * RATE + fade :], SOURCE[:, 4 * RATE + fade :])
    for border, (before, after) in zip((2 * RATE, 4 * RATE), ((SOURCE, DUB), (DUB, SOURCE)), strict=True):
        shift = -RATE
        left = before[:, border : border + 1] if before is SOURCE else before[:, border + shift : border + shift + 1]
        right = after[:, border : border + 1] if after is SOURCE else after[:, border + shift : border + shift + 1]
        np.testing.assert_allclose(found[:, border : border + 1], (left + right) / 2, atol=2e-3)


def test_the_same_sound_on_both_sides_passes_unchanged(source):
    cuts = [Fraction(n * 7, 10) for n in range(9)]
    pieces = tuple(piece(source, start, start, stop) for start, stop in pairwise(cuts))
    found = mixed(SoundPlan(pieces, cuts[-1]))
    np.testing.assert_allclose(found, SOURCE[:, : found.shape[1]], atol=1e-6)


def test_fades_do_not_click(folder):
    at = np.arange(6 * RATE) / RATE
    low, high = (0.5 * np.sin(2 * np.pi * f * at)[None].astype(np.float32) for f in (200, 331))
    a = write_sound(folder / "low.wav", low, RATE, "pcm_f32le", "wav")
    b = write_sound(folder / "high.wav", high, RATE, "pcm_f32le", "wav")
    pieces = (piece(a, 0, 0, 1), piece(b, 1, 1, Fraction(2501, 1000)), piece(a, 3, 3, 6))
    found = mixed(SoundPlan(pieces, Fraction(6)), layout="mono")[0]
    natural = max(np.abs(np.diff(low, 2)).max(), np.abs(np.diff(high, 2)).max())
    assert np.abs(np.diff(found, 2)).max() < 1.5 * natural
    hard = mixed(SoundPlan(pieces, Fraction(6), crossfade_seconds=Fraction(0)), layout="mono")[0]
    assert np.abs(np.diff(hard, 2)).max() > 10 * natural
    silence = found[sample_at(Fraction(2512, 1000), RATE) : sample_at(Fraction(2989, 1000), RATE)]
    assert not silence.any()


def test_outer_ends_are_not_faded(source):
    found = mixed(whole(source, 3))
    np.testing.assert_array_equal(found, SOURCE[:, : 3 * RATE])


def test_a_dub_that_ends_early_is_whole_and_silence_follows(dub):
    found = mixed(whole(dub, 6))
    np.testing.assert_array_equal(found[:, : 5 * RATE], DUB)
    assert not found[:, 5 * RATE :].any()


def test_short_pieces_get_short_fades(source, dub):
    pieces = (piece(source, 0, 0, 1), piece(dub, 1, 1, Fraction(1004, 1000)), piece(source, 1, Fraction(1004, 1000), 2))
    found = mixed(SoundPlan(pieces, Fraction(2)))
    assert found.shape[1] == 2 * RATE
    assert np.abs(found).max() < 1


def test_parts_equal_the_whole(patch):
    found = mixed(patch)
    for start, stop in ((0, 1000), (2 * RATE - 100, 2 * RATE + 50_000), (170_000, 190_001), (-500, 700)):
        part = mixed(patch, start=start, stop=stop)
        wanted = np.concatenate([np.zeros((2, max(-start, 0))), found[:, max(start, 0) : stop]], axis=1)
        np.testing.assert_array_equal(part, wanted.astype(np.float32))


def test_plans_out_of_order_are_refused(source):
    with pytest.raises(ValueError, match="in order"):
        SoundPlan((piece(source, 0, 0, 2), piece(source, 0, 1, 3)), Fraction(4))
    with pytest.raises(ValueError, match="inside"):
        SoundPlan((piece(source, 0, 0, 5),), Fraction(4))


def test_driving_sound_is_16_khz_mono(patch, folder):
    path = folder / "driving.wav"
    write_driving(patch, path)
    found, rate = soundfile.read(path, dtype="float32")
    assert (rate, found.shape) == (16000, (6 * 16000,))
    assert soundfile.info(path).subtype == "FLOAT"
    np.testing.assert_allclose(found, mixed(patch, 16000, "mono")[0], atol=1e-7)
    assert abs(lag(found[:32000], mixed(whole(patch.pieces[0].path, 2), 16000, "mono")[0])) < 0.05
    assert not list(folder.glob("driving.wav.*"))


LOSSLESS = {"flac", "pcm_s16le", "pcm_s24le"}


@pytest.mark.parametrize("codec", ["aac", "flac", "pcm_s16le", "pcm_s24le", "mp3", "ac3", "opus"])
def test_every_codec_starts_with_the_first_frame(patch, folder, codec):
    track = write_soundtrack(patch, folder / f"track-{codec}", anchor=Fraction(1, 8), codec=codec)
    assert (track.kind, track.offset, track.stream_index) == ("encoded", Fraction(1, 8), 0)
    rate = 48000 if codec == "opus" else RATE
    found, wanted = read_all(track.path, rate, zero=Fraction(0)), mixed(patch, rate)
    assert abs(lag(found[0], wanted[0])) < 0.5
    if codec in LOSSLESS or codec == "aac":
        assert sound_length(track.path, 0) == 6
        assert decibels(rms(found[:, : wanted.shape[1]] - wanted)) < (-90 if codec in LOSSLESS else -40)
    else:
        assert 6 <= sound_length(track.path, 0) < Fraction(61, 10)


def test_formats_are_brought_to_what_the_codec_allows(folder):
    path = write_sound(folder / "odd.wav", voice(1, 18000, channels=1), 18000, "pcm_s16le", "wav")
    for codec, rate in (("aac", 22050), ("opus", 48000), ("ac3", 32000), ("flac", 18000)):
        track = write_soundtrack(whole(path, 1), folder / f"odd-{codec}", anchor=Fraction(0), codec=codec)
        audio = probe(track.path).require_audio()
        assert (audio.sample_rate, audio.layout) == (rate, "mono")
    track = write_soundtrack(whole(path, 1), folder / "as-told", anchor=Fraction(0), rate=48000, layout="stereo")
    audio = probe(track.path).require_audio()
    assert (audio.sample_rate, audio.layout) == (48000, "stereo")


def test_silence_alone_is_a_soundtrack(folder):
    track = write_soundtrack(SoundPlan((), Fraction(2)), folder / "silence", anchor=Fraction(0))
    assert not read_all(track.path, 48000).any()


@pytest.mark.parametrize(("codec", "minutes"), [("aac", 5), ("flac", 20)])
def test_long_soundtracks_do_not_drift(folder, codec, minutes):
    rate, minute = 8000, voice(60, 8000, channels=1)
    path = write_sound(folder / f"long-{codec}.wav", np.tile(minute, minutes), rate, "pcm_s16le", "wav")
    track = write_soundtrack(whole(path, 60 * minutes), folder / f"long-{codec}", anchor=Fraction(0), codec=codec)
    assert sound_length(track.path, 0) == 60 * minutes
    last = read_all(track.path, rate, "mono", start=Fraction(60 * minutes - 60))
    assert abs(lag(last[0], minute[0])) < 0.05


def muxed(track, source, path, muxer, **options):
    """Mux the video and the other sound of a source with a soundtrack, as the assembler does."""
    options = {"avoid_negative_ts": "disabled", **options}
    with (
        av.open(str(source)) as file,
        av.open(str(track.path)) as sound,
        av.open(str(path), "w", format=muxer, container_options=options) as out,
    ):
        kept = [stream for stream in file.streams if stream.index != file.streams.audio[0].index]
        heard = sound.streams[track.stream_index]
        targets = {stream.index: out.add_stream_from_template(stream, opaque=True) for stream in kept[:1]}
        soundtrack = out.add_stream_from_template(heard, opaque=True)
        targets |= {stream.index: out.add_stream_from_template(stream, opaque=True) for stream in kept[1:]}
        shift = round(track.offset / heard.time_base)
        for packet in file.demux(kept):
            if packet.size:
                packet.stream = targets[packet.stream.index]
                out.mux(packet)
        for packet in sound.demux(heard):
            if packet.size:
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = soundtrack
                out.mux(packet)
    return path


def test_beside_another_sound_track(patch, folder):
    video = write_sound(folder / "one.mp4", SOURCE, RATE, "aac", "mp4", video=True)
    second = write_sound(folder / "second.m4a", voice(6, 48000, seed=9), 48000, "aac", "mp4")
    source, last = folder / "two.mp4", None
    with av.open(str(video)) as a, av.open(str(second)) as b, av.open(str(source), "w") as out:
        targets = [out.add_stream_from_template(stream, opaque=True) for stream in (*a.streams, *b.streams)]
        for number, packet in (*((p.stream.index, p) for p in a.demux()), *((2, p) for p in b.demux())):
            if packet.size:
                packet.stream = last = targets[number]
                out.mux(packet)
    assert last is targets[2]
    track = write_soundtrack(patch, folder / "t.m4a", anchor=Fraction(0))
    out = muxed(track, source, folder / "two-out.mp4", "mp4")
    assert abs(lag(read_all(out, RATE, zero=Fraction(0))[0], mixed(patch)[0])) < 0.05
    assert packets_of(out, 2) == packets_of(source, 2)


MUXED = [(m, c) for m in ("mp4", "mov", "matroska") for c in ("aac", "flac", "pcm_s16le") if takes(m, c)]


@pytest.mark.parametrize(("muxer", "codec"), MUXED)
def test_muxed_sound_stands_at_the_first_frame(patch, folder, muxer, codec):
    video = write_sound(folder / "video.mp4", SOURCE, RATE, "aac", "mp4", video=True)
    for anchor in (Fraction(0), Fraction(2, 25)):
        track = write_soundtrack(patch, folder / f"t-{codec}", anchor=anchor, codec=codec)
        out = muxed(track, video, folder / f"out.{muxer}", muxer, movie_timescale=str(RATE))
        found = read_all(out, RATE, zero=anchor, stop=Fraction(6))
        assert abs(lag(found[0], mixed(patch)[0])) < (20 if muxer == "matroska" else 0.1)


def test_a_dub_is_copied_where_the_container_takes_it(folder):
    sound = voice(3, RATE)
    dub = write_sound(folder / "dub.m4a", sound, RATE, "aac", "mp4", bit_rate=192_000)
    video = write_sound(folder / "v.mp4", SOURCE, RATE, "aac", "mp4", video=True)
    plan = whole(dub, 3)
    assert can_copy(plan, probe(dub), "mp4") is None
    track = copy_soundtrack(plan, anchor=Fraction(0))
    out = muxed(track, video, folder / "copied.mp4", "mp4")
    assert [packet[2] for packet in packets_of(out)] == [packet[2] for packet in packets_of(dub)]
    assert abs(lag(read_all(out, RATE, zero=Fraction(0))[0], sound[0])) < 0.1
    assert sound_length(out, audio_index(out)) == 3


@pytest.mark.parametrize(
    ("name", "codec", "container", "muxer"),
    [
        ("d.wav", "pcm_s16le", "wav", "matroska"),
        ("d24.wav", "pcm_s24le", "wav", "mov"),
        ("d.flac", "flac", "flac", "matroska"),
    ],
)
def test_lossless_dubs_are_copied_to_the_sample(folder, name, codec, container, muxer):
    sound = voice(3, RATE)
    dub = write_sound(folder / name, sound, RATE, codec, container)
    video = write_sound(folder / "v2.mp4", SOURCE, RATE, "aac", "mp4", video=True)
    assert can_copy(whole(dub, 3), probe(dub), muxer) is None
    track = copy_soundtrack(whole(dub, 3), anchor=Fraction(0))
    out = muxed(track, video, folder / f"{name}.{muxer}", muxer)
    np.testing.assert_allclose(read_all(out, RATE), sound, atol=2 / 32768)


def test_what_cannot_be_copied_has_a_reason(folder, source, patch):
    sound = voice(3, RATE)
    m4a = write_sound(folder / "r.m4a", sound, RATE, "aac", "mp4")
    mp3 = write_sound(folder / "r.mp3", sound, RATE, "libmp3lame", "mp3")
    info = probe(m4a)
    assert "pieces" in can_copy(patch, probe(source), "mp4")
    assert "mp3" in can_copy(whole(mp3, 3), probe(mp3), "mp4")
    assert "matroska" in can_copy(whole(m4a, 3), info, "matroska")
    assert "trimmed" in can_copy(whole(m4a, Fraction(29, 10)), info, "mp4")
    assert can_copy(whole(m4a, 3 - Fraction(1023, RATE)), info, "mp4") is None
    late = SoundPlan((piece(m4a, 0, 1, 3),), Fraction(3))
    assert "begin" in can_copy(late, info, "mp4")
    assert "begin" in can_copy(SoundPlan((piece(m4a, 1, 0, 2),), Fraction(2)), info, "mp4")


def test_default_codecs():
    assert [default_codec(muxer) for muxer in ("mp4", "mov", "matroska", "webm", "avi")] == [
        "aac", "aac", "aac", "opus", "pcm_s16le",
    ]  # fmt: skip
    with pytest.raises(UnsupportedMedia):
        default_codec("gif")


def test_what_cannot_be_written_is_reported_and_leaves_nothing(patch, tmp_path):
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (
        lambda path: write_driving(patch, path),
        lambda path: write_soundtrack(patch, path, anchor=Fraction(0)),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
        try:
            with pytest.raises(WorkspaceError, match=r"sound: cannot be written \(File too large\)"):
                write(tmp_path / "sound")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        assert os.listdir(tmp_path) == []


def test_unreadable_pieces_leave_nothing(tmp_path):
    with pytest.raises(UnreadableMedia):
        write_driving(whole(tmp_path / "none.wav", 3), tmp_path / "out.wav")
    assert os.listdir(tmp_path) == []


def test_what_the_encoder_refuses_is_one_sentence(patch, tmp_path):
    with pytest.raises(StitchError, match="another codec or bit rate"):
        write_soundtrack(patch, tmp_path / "out", anchor=Fraction(0), codec="opus", bit_rate=5_000_000)
    assert os.listdir(tmp_path) == []


def test_a_dub_whose_file_hides_sound_is_reencoded(folder):
    """A player would hear what is hidden, once its packets lie in another file."""
    path = write_sound(folder / "cut.m4a", DUB, RATE, "aac", "mp4", bit_rate=128_000)
    assert can_copy(whole(path, 5), probe(path), "mp4") is None
    cut = with_edits(path, folder / "cut-shown.m4a", RATE, [(1, 5)])
    assert can_copy(whole(cut, 4), probe(cut), "mp4") == "the dub's file hides packets by an edit list"


def test_a_dub_in_another_profile_of_aac_is_reencoded(folder):
    path = write_sound(folder / "lc.m4a", DUB, RATE, "aac", "mp4", bit_rate=128_000)
    info = probe(path)
    info = replace(info, audio=(replace(info.require_audio(), profile="HE-AAC"),))
    assert can_copy(whole(path, 5), info, "mp4") == "HE-AAC is not AAC-LC"
