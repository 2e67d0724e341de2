"""Opus in Matroska, whose clock counts milliseconds while Opus's priming is 6.5 of them."""

from fractions import Fraction
from itertools import pairwise

import av
import pytest

from media.audio.reader import first_sample_time
from media.probe import probe
from stitcher.audio.mix import SoundPiece, SoundPlan
from stitcher.audio.soundtrack import fit_clock, write_soundtrack
from stitcher.verify.audio import verify_sound
from tests.support.sound_material import voice, write_sound

SECONDS = Fraction(4)


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    dub = write_sound(tmp_path_factory.mktemp("dub") / "dub.wav", voice(4, 48000), 48000, "pcm_s16le", "wav")
    return SoundPlan((SoundPiece(str(dub), 0, None, Fraction(0), Fraction(0), SECONDS),), SECONDS)


def muxed(soundtrack, path):
    """Write a soundtrack alone into a file, as the assembler does, and return the path."""
    options = {"avoid_negative_ts": "disabled"} | ({"movie_timescale": "48000"} if path.suffix == ".mp4" else {})
    with (
        av.open(soundtrack.path) as reader,
        av.open(str(path), "w", container_options=options) as writer,
    ):
        stream = reader.streams.audio[0]
        target = writer.add_stream_from_template(stream, opaque=True)
        shift = round(soundtrack.offset / stream.time_base)
        for packet in reader.demux(stream):
            if packet.size:
                packet.pts += shift
                packet.dts += shift
                packet.stream = target
                writer.mux_one(packet)
    return path


@pytest.mark.parametrize("name", ["out.webm", "out.mkv", "out.mp4"])
def test_opus_is_heard_at_its_time(tmp_path, heard, name):
    muxer = {"out.webm": "webm", "out.mkv": "matroska"}.get(name, "mp4")
    written = write_soundtrack(heard, tmp_path / "sound.mp4", anchor=Fraction(40, 1000), codec="opus")
    path = muxed(fit_clock(written, muxer), tmp_path / name)
    audio = probe(path).audio[0]
    assert first_sample_time(path, audio.index) == Fraction(40, 1000)
    found = verify_sound(path, audio, heard, Fraction(40, 1000))
    assert abs(found.offset_seconds) < 2e-5


def test_blocks_of_opus_are_a_packet_apart(tmp_path, heard):
    """The first one not 21 ms, the others 20."""
    written = write_soundtrack(heard, tmp_path / "sound.mp4", anchor=Fraction(0), codec="opus")
    path = muxed(fit_clock(written, "webm"), tmp_path / "out.webm")
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(container.streams.audio[0]) if packet.size]
    assert {after - before for before, after in pairwise(times)} == {20}


def test_opus_that_others_muxed_begins_with_its_first_packet(tmp_path, heard):
    """FFmpeg's own way, with blocks at 0, 21, 41 ms."""
    written = write_soundtrack(heard, tmp_path / "sound.mp4", anchor=Fraction(0), codec="opus")
    path = muxed(written, tmp_path / "out.webm")
    assert first_sample_time(path, 0) == 0


def test_other_sound_is_left_where_it_is(tmp_path, heard):
    for codec in ("aac", "flac"):
        written = write_soundtrack(heard, tmp_path / f"{codec}.mp4", anchor=Fraction(1, 3), codec=codec)
        assert fit_clock(written, "matroska") == written
