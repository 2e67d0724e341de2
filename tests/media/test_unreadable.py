"""Files that are not videos, or begin with damage: one sentence, or the first picture that decodes."""

from fractions import Fraction

import av
import numpy as np
import pytest

from media.base.errors import UnreadableMedia, UnsupportedMedia
from media.orientation import Orientation
from media.packets.scan import scan_packets
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from tests.support.synthetic import Sound, independent_packets, make_video


def with_zeros(path, numbers):
    """Overwrite the payloads of some packets, by their place in the file."""
    content = path.read_bytes()
    for number, packet in enumerate(independent_packets(path)):
        if number in numbers:
            content = content.replace(packet.payload, bytes(len(packet.payload)), 1)
    path.write_bytes(content)
    return path


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(UnreadableMedia, match=r"cannot be read \(File name too long\)\. Check the path"):
        probe(tmp_path / f"{'a' * 300}.mp4")


def test_a_recording_may_begin_with_damage(tmp_path):
    path = make_video(
        tmp_path / "a.mov", 10, codec="mjpeg", pixel_format="yuvj420p", full_range=True, orientation=Orientation(90)
    )
    whole = probe(path).require_video()
    damaged = probe(with_zeros(path, {0, 1, 2}))
    assert damaged.require_video() == whole
    assert len(scan_packets(damaged)) == 10


def test_a_recording_of_damage_alone_is_refused(tmp_path):
    path = make_video(tmp_path / "a.mov", 10, codec="mjpeg", pixel_format="yuvj420p", full_range=True)
    with pytest.raises(UnreadableMedia, match=r"a\.mov: "):
        probe(with_zeros(path, range(10)))


@pytest.mark.parametrize(("name", "kind"), [(b"avc1", "video"), (b"sowt", "sound")])
def test_streams_of_unknown_codecs_are_refused(tmp_path, name, kind):
    path = make_video(tmp_path / "a.mov", 10, sounds=[Sound("pcm_s16le")])
    content = path.read_bytes()
    at = content.index(b"stsd", content.rindex(b"moov"))
    while content[at + 16 : at + 20] != name:
        at = content.index(b"stsd", at + 4)
    path.write_bytes(content[: at + 16] + b"zzzz" + content[at + 20 :])
    with pytest.raises(UnsupportedMedia, match=rf"a\.mov: there is no decoder for its {kind}\. Convert it first\."):
        probe(path)


def test_what_makes_no_sense_to_a_decoder_is_damage(tmp_path):
    """To this header of a VP9 frame FFmpeg's decoder says that its caller passed an invalid argument."""
    path = make_video(tmp_path / "a.webm", 20, codec="vp9")
    payload = independent_packets(path)[5].payload
    header = bytes.fromhex("860040781f037df566c2")
    path.write_bytes(path.read_bytes().replace(payload, header + payload[len(header) :], 1))
    info = probe(path)
    with FrameReader(SourceVideo(info, scan_packets(info))) as reader:
        assert [index for index, _ in reader.read(range(20))] == list(range(20))
        assert min(reader.damaged) == 5


def test_a_stream_that_begins_midway_is_refused(tmp_path):
    """FFmpeg looks at the first 5 MB to see what streams there are."""
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    with av.open(str(tmp_path / "picture.flv"), "w") as target:
        video = target.add_stream("flv", rate=25, options={"g": "1", "qmin": "1", "qmax": "1"})
        video.width, video.height, video.pix_fmt = 640, 480, "yuv420p"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(noise, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    with av.open(str(tmp_path / "sound.flv"), "w") as target:
        sound = target.add_stream("pcm_s16le", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2000), np.int16), format="s16", layout="stereo")
        silence.sample_rate, silence.pts, silence.time_base = 44100, 52920, Fraction(1, 44100)
        target.mux(sound.encode(silence))
        target.mux(sound.encode(None))
    path = tmp_path / "late.flv"
    path.write_bytes((tmp_path / "picture.flv").read_bytes() + sound_tag((tmp_path / "sound.flv").read_bytes()))
    with pytest.raises(UnsupportedMedia, match="a stream begins midway"):
        scan_packets(probe(path))


def sound_tag(flv):
    """Return the first tag of sound (type 8) of an FLV file, with the size behind it (FLV 10.1, annex E)."""
    at = 13
    while flv[at] != 8:
        at += 11 + int.from_bytes(flv[at + 1 : at + 4], "big") + 4
    return flv[at : at + 11 + int.from_bytes(flv[at + 1 : at + 4], "big") + 4]
