"""Files that are no video, or begin with damage: one sentence, or the first picture that there is."""

import pytest

from media.errors import UnreadableMedia, UnsupportedMedia
from media.probe import probe, scan_packets
from tests.synthetic import Sound, independent_packets, make_video


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
    path = make_video(tmp_path / "a.mov", 10, codec="mjpeg", pixel_format="yuvj420p", full_range=True, rotation=90)
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
