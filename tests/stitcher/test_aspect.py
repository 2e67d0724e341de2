"""Pixels that are not square, told by the container, by the pictures, by both, or by both in different words."""

import random
from fractions import Fraction

import av
import pytest

from media.probe import probe
from stitcher.display_size import RESERVE, display_size, write_display_size
from tests.support.synthetic import make_video, stamps
from tests.support.zoo import produce

WIDE = Fraction(16, 9)


def remux(source, path, aspect, title=""):
    """Copy a video into another file whose container tells an aspect, whatever the pictures tell."""
    is_matroska = path.suffix in (".mkv", ".webm")
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        target = writer.add_stream_from_template(stream, opaque=True)
        if is_matroska:
            target.metadata["title"] = title + RESERVE
        else:
            target.codec_context.sample_aspect_ratio = aspect
        for packet in reader.demux(stream):
            if packet.size:
                packet.stream = target
                writer.mux(packet)
        size = stream.codec_context.width, stream.codec_context.height
    if is_matroska:
        write_display_size(path, 0, display_size(*size, aspect))
    return path


def told(path):
    """Return what a player takes for the aspect of pixels, and what the pictures tell."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        next(container.decode(stream))
        return stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio


SOURCES = {
    "a.mp4": {},
    "b.mov": {"codec": "mpeg4"},
    "c.mkv": {},
    "d.webm": {"codec": "libvpx-vp9"},
    "e.mp4": {"codec": "libx265"},
    "f.mkv": {"codec": "mjpeg", "pixel_format": "yuvj420p", "full_range": True},
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_what_the_container_alone_tells_is_kept(tmp_path, name, ending):
    options = SOURCES[name]
    source = remux(make_video(tmp_path / f"0{name}", 30, **options), tmp_path / name, WIDE)
    for number, faces in enumerate([[], [(16, 20)]]):
        output = produce(source, tmp_path / f"out{number}{ending}", faces)
        assert told(output.path)[0] == WIDE
        assert stamps(output.path) == list(range(30))
    assert source.suffix != ending or options.get("codec") == "mpeg4" or output.copied


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("by_container", [Fraction(1), Fraction(640, 639), Fraction(8, 9)])
@pytest.mark.parametrize("by_pictures", ["1/1", "40/33"])
def test_the_container_goes_before_the_pictures(tmp_path, ending, by_container, by_pictures):
    """A transport stream does not tell; so there the pictures have to, and they are all re-encoded."""
    plain = make_video(tmp_path / "plain.mp4", 30, options={"aspect": str(Fraction(by_pictures) * 192 / 108)})
    source = remux(plain, tmp_path / f"source{'.mkv' if ending == '.mkv' else '.mp4'}", by_container)
    output = produce(source, tmp_path / f"out{ending}", [(16, 20)])
    by_pictures = told(source)[1] or Fraction(1)
    assert told(output.path)[0] == by_container
    if ending != ".ts":
        assert (told(output.path)[1] or 1) == by_pictures
        assert output.copied
    else:
        assert bool(output.copied) == (by_container == by_pictures)


def test_no_aspect_is_written_where_the_source_has_none(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        source = make_video(tmp_path / name, 20)
        output = produce(source, tmp_path / f"out_{name}", [(3, 6)])
        assert told(output.path) == told(source)


def test_titles_stay(tmp_path):
    source = remux(make_video(tmp_path / "a.mkv", 20), tmp_path / "b.mkv", WIDE, title="Angle 1")
    output = produce(source, tmp_path / "out.mkv", [])
    for path in (source, output.path):
        with av.open(str(path)) as container:
            assert container.streams.video[0].metadata["title"] == "Angle 1"
    assert told(output.path)[0] == WIDE


def test_display_sizes_are_exact_and_near():
    assert display_size(512, 512, WIDE) == (512, 288)
    assert display_size(720, 576, Fraction(16, 15)) == (768, 576)
    assert display_size(720, 480, Fraction(853, 720)) == (853, 480)
    some = random.Random(1)
    for _ in range(500):
        width, height = some.randint(16, 4096), some.randint(16, 4096)
        aspect = Fraction(some.randint(1, 255), some.randint(1, 255))
        shown = display_size(width, height, aspect)
        assert Fraction(*shown) == Fraction(width, height) * aspect


def test_prores_in_mov(tmp_path):
    source = make_video(tmp_path / "a.mov", 6, codec="prores_ks", pixel_format="yuv422p10le")
    source = remux(source, tmp_path / "b.mov", Fraction(640, 639))
    output = produce(source, tmp_path / "out.mov", [(2, 4)])
    assert probe(output.path).require_video().display.sample_aspect == Fraction(640, 639)
