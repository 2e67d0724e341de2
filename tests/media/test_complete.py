"""Files that are cut off, by what their containers say; whole files, and those that promise nothing, pass."""

from dataclasses import replace

import av
import numpy as np
import pytest
import soundfile

from media.audio.reader import sound_length
from media.base.errors import UnreadableMedia
from media.packets.truncation import check_complete
from media.probe import probe
from tests.support.synthetic import SOURCES, Sound, make_source, make_video


@pytest.mark.parametrize("name", [*SOURCES, "a.avi", "a.flv", "a.mov"])
def test_whole_files_pass(tmp_path, name):
    path = make_source(tmp_path, name) if name in SOURCES else make_video(tmp_path / name, 20, b_frames=0)
    check_complete(probe(path))


@pytest.mark.parametrize("share", [0.4, 0.7, 0.999])
@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi", "a.flv", "front.mp4"])
def test_cut_files_are_refused(tmp_path, name, share):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = make_video(tmp_path / name, 40, codec=codec, b_frames=0)
    if name == "front.mp4":
        path = index_in_front(path, tmp_path / "moved.mp4")
    content = path.read_bytes()
    cut = tmp_path / f"cut{path.suffix}"
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableMedia) as caught:
        check_complete(probe(cut), advice="use what is there")
    wanted = f"{cut}: the file is cut off, {len(content) - cut.stat().st_size} bytes are missing at its end."
    if name != "a.flv":  # which tells no more than where its last tag should end
        assert str(caught.value).startswith(wanted)
    assert str(caught.value).endswith("Copy it again, or use what is there.")


def index_in_front(source, path):
    with av.open(str(source)) as reader, av.open(str(path), "w", options={"movflags": "faststart"}) as writer:
        target = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = target
                writer.mux_one(packet)
    return path


def test_streams_promise_nothing(tmp_path):
    content = make_video(tmp_path / "a.ts", 40).read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[: len(content) // 2])
    check_complete(probe(tmp_path / "cut.ts"))


def test_bytes_behind_the_end_do_no_harm(tmp_path):
    for name in ("a.mp4", "a.mkv", "a.avi", "a.flv"):
        path = make_video(tmp_path / name, 20, b_frames=0)
        path.write_bytes(path.read_bytes() + bytes(1000))
        check_complete(probe(path))


def test_a_live_matroska_recording_tells_no_size(tmp_path):
    path = make_video(tmp_path / "a.mkv", 20)
    content = path.read_bytes()
    at = content.index(b"\x18\x53\x80\x67") + 4
    live = content[:at] + b"\x01" + b"\xff" * 7 + content[at + 8 :]
    (tmp_path / "live.mkv").write_bytes(live[: len(live) * 2 // 3])
    check_complete(probe(tmp_path / "live.mkv"))


def test_sound_files(tmp_path):
    path = make_video(tmp_path / "a.mkv", 20, sounds=(Sound("pcm_s16le"),))
    with av.open(str(path)) as reader, av.open(str(tmp_path / "a.wav"), "w") as writer:
        target = writer.add_stream_from_template(reader.streams.audio[0], opaque=True)
        for packet in reader.demux(audio=0):
            if packet.size:
                packet.stream = target
                writer.mux_one(packet)
    check_complete(probe(tmp_path / "a.wav"))
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"  # written to a pipe
    (tmp_path / "piped.wav").write_bytes(content)
    check_complete(probe(tmp_path / "piped.wav"))
    (tmp_path / "cut.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:9000])
    with pytest.raises(UnreadableMedia, match="is cut off"):
        check_complete(probe(tmp_path / "cut.wav"))


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_files_that_were_written_to_a_pipe_pass_and_are_read_whole(tmp_path, size):
    path = write_wav(tmp_path / "piped.wav", size)
    check_complete(probe(path))
    assert sound_length(path, 0) == 2


@pytest.mark.parametrize("tail", [b"", b"LIST\4\0\0\0abcd" + bytes(100_000), bytes(100_000)])
def test_a_wav_file_whose_header_ends_too_soon_is_refused(tmp_path, tail):
    path = write_wav(tmp_path / "short.wav", 1000)
    with pytest.raises(UnreadableMedia, match=r"1000 bytes of sound, but more follow.*ffmpeg -ignore_length 1"):
        check_complete(probe(path))
    whole = write_wav(tmp_path / "whole.wav", 2 * 2 * 48000)
    whole.write_bytes(whole.read_bytes() + tail)
    check_complete(probe(whole))


def write_wav(path, size):
    """Write two seconds of noise with a header that says `size` bytes."""
    noise = np.random.default_rng(1).integers(-9000, 9000, 2 * 48000)
    soundfile.write(path, noise.astype(np.int16), 48000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data")
    content[4:8] = content[at + 4 : at + 8] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_a_box_of_more_than_4_gb_tells_its_size_elsewhere(tmp_path):
    """FFmpeg leaves eight bytes before the frames, so that they can become such a box without moving."""
    path = make_video(tmp_path / "a.mp4", 40)
    content = path.read_bytes()
    at = content.index(b"\0\0\0\x08free")
    size = int.from_bytes(content[at + 8 : at + 12], "big") + 8
    path.write_bytes(content[:at] + b"\0\0\0\x01mdat" + size.to_bytes(8, "big") + content[at + 16 :])
    info = probe(path)
    check_complete(info)
    cut = path.read_bytes()[: at + size - 100]
    path.write_bytes(cut)
    with pytest.raises(UnreadableMedia, match=" 100 bytes are missing at its end"):
        check_complete(replace(info, size_bytes=len(cut)))


@pytest.mark.parametrize("header", [b"\0", b"\x18\x53\x80\x67", b"\x18\x53\x80\x67\x01\0\0", b"\x18\x53\x80\x67\0"])
def test_a_matroska_header_that_makes_no_sense_promises_nothing(tmp_path, header):
    path = make_video(tmp_path / "a.mkv", 20)
    info = probe(path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x18\x53\x80\x67")] + header)
    check_complete(replace(info, size_bytes=path.stat().st_size))
