"""What phones write beside picture and sound: keys are kept where a container takes them; what is lost is said."""

import av
import pytest

from media.probe import probe
from stitcher.assemble import Assembled
from stitcher.losses import DroppedData, DroppedStream
from stitcher.verify.streams import take_inventory, verify_streams
from tests.support.synthetic import Sound, make_video
from tests.support.zoo import produce

KEYS = {
    "com.apple.quicktime.make": "Maker",
    "com.apple.quicktime.model": "Phone 1",
    "com.apple.quicktime.creationdate": "2024-05-06T10:11:12+0200",
    "com.android.version": "14",
}


def make_phone(path):
    """Write a video with keys, a title and a track of data that no muxer knows."""
    plain = make_video(path.with_name(f"plain{path.suffix}"), 30, sounds=[Sound(), Sound()])
    with (
        av.open(str(plain)) as reader,
        av.open(str(path), "w", container_options={"movflags": "use_metadata_tags"}) as writer,
    ):
        writer.metadata.update(KEYS | {"title": "A walk", "artist": "Anna"})
        targets = {stream.index: writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams}
        for packet in reader.demux():
            if packet.size:
                packet.stream = targets[packet.stream_index]
                writer.mux(packet)
    data = bytearray(path.read_bytes())
    # The second track of sound becomes one as phones write data: by its handler and its sample entry.
    for at, name in ((data.rindex(b"soun"), b"meta"), (data.rindex(b"stsd") + 16, b"mebx")):
        data[at : at + 4] = name
    path.write_bytes(data)
    assert probe(path).others[0].kind == "data"
    return path


def tags(path):
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.metadata.items()}


@pytest.mark.parametrize("source", [".mov", ".mp4"])
@pytest.mark.parametrize("ending", [".mov", ".mp4", ".mkv", ".ts"])
def test_keys_are_kept_or_said_to_be_lost(tmp_path, source, ending):
    path = make_phone(tmp_path / f"a{source}")
    output = produce(path, tmp_path / f"out{ending}", [(16, 20)])
    said = " ".join(output.losses)
    if ending == ".ts":
        assert "tags com.apple.quicktime.make, " in said
        assert "mpegts cannot hold them" in said
        return
    found = tags(output.path)
    assert {key: found.get(key) for key in KEYS} == KEYS
    assert (found["title"], found["artist"]) == ("A walk", "Anna")
    muxer = {".mkv": "matroska"}.get(ending, ending[1:])
    assert output.losses == [f"stream 2 (data, SoundHandler): {muxer} cannot hold it"]
    assert output.assembled.losses == (DroppedStream(2, "data", "SoundHandler", f"{muxer} cannot hold it"),)


def test_only_streams_are_dropped_streams():
    losses = (DroppedData("chapters", "their times"), DroppedStream(3, "data", "none", "why"), DroppedData("captions"))
    assert Assembled(losses=losses).dropped_streams == (3,)
    assert [loss.describe() for loss in losses] == ["chapters: their times", "stream 3 (data, none): why", "captions"]


def test_the_check_counts_keys(tmp_path):
    source = make_phone(tmp_path / "a.mov")
    output = produce(source, tmp_path / "out.mov", [(16, 20)])
    before, after = (take_inventory(probe(path), without=None) for path in (source, output.path))
    _, num_tags, _ = verify_streams(before, after, (2,), is_whole=True)
    assert num_tags == len(KEYS) + 2


def test_ordinary_tags_stay_where_every_player_looks_for_them(tmp_path):
    """Only keys of their own names need the other kind of tags."""
    source = make_video(tmp_path / "a.mp4", 20, metadata={"title": "A walk", "artist": "Anna"})
    output = produce(source, tmp_path / "out.mp4", [])
    assert b"\xa9nam" in output.path.read_bytes()
    assert tags(output.path)["title"] == "A walk"
