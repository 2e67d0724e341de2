"""Coded clips: one packet a frame, keyframes where asked, parameter sets of their own, the same bytes every time."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media.bitstream import free_h264_id, irap_type, is_clean_keyframe, parameter_sets
from media.errors import UnsupportedMedia, WorkspaceError
from media.probe import probe, scan_packets
from media.reader import FrameReader
from media.writer import ClipWriter, choose_coding, finer
from tests.synthetic import independent_packets, make_video, planes, read_stamp

KINDS = {
    "h264.mp4": {},
    "h264.ts": {},
    "deep.mp4": {"pixel_format": "yuv420p10le"},
    "wide.mp4": {"pixel_format": "yuv422p"},
    "full.mp4": {"pixel_format": "yuv444p", "full_range": True, "color": (1, 1, 1)},
    "hevc.mp4": {"codec": "libx265"},
    "hdr.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "color": (9, 9, 16)},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mjpeg.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p", "full_range": True},
}
KEYFRAMES = (7, 15)


@pytest.fixture(scope="module", params=KINDS)
def coded(request, tmp_path_factory):
    """Code frames 5 to 24 of each kind of video again; return (info, path, psnr)."""
    folder = tmp_path_factory.mktemp("writer")
    info = probe(make_video(folder / request.param, 30, **KINDS[request.param]))
    path = folder / "clip.nut"
    return info, path, write_clip(info, path)


def write_clip(info, path, crf=6):
    coding = choose_coding(info.require_video(), crf=crf, preset="auto")
    with FrameReader(info, scan_packets(info)) as reader, ClipWriter(path, info.require_video(), coding) as writer:
        for number, (_, frame) in enumerate(reader.read(range(5, 25))):
            writer.write(frame, keyframe=number in KEYFRAMES)
    return writer.psnr


def decode(path):
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def test_packets_are_frames_in_order(coded):
    _, path, _ = coded
    packets = independent_packets(path)
    assert len(packets) == 20
    assert [packet.pts for packet in packets] == sorted({packet.pts for packet in packets})
    assert [read_stamp(frame) for frame in decode(path)] == list(range(5, 25))


def test_keyframes_where_asked(coded):
    info, path, _ = coded
    packets = independent_packets(path)
    found = {number for number, packet in enumerate(packets) if packet.is_keyframe}
    codec = info.require_video().codec
    if codec in ("h264", "hevc"):
        assert found == {0, *KEYFRAMES}
        clean = {number for number, packet in enumerate(packets) if is_clean_keyframe(codec, packet.payload, 0)}
        assert clean == found
        assert codec == "h264" or {irap_type(packets[number].payload, 0) for number in found} <= {19, 20}
    else:
        assert found >= {0, *KEYFRAMES}


def test_the_picture_stays_as_it_was_stored(coded):
    info, path, _ = coded
    source, clip = info.require_video(), probe(path).require_video()
    for name in ("codec", "width", "height", "pixel_format", "color_range", "sample_aspect"):
        assert getattr(clip, name) == getattr(source, name), name
    if source.codec in ("h264", "hevc"):
        for name in ("profile", "color_matrix", "color_primaries", "color_transfer"):
            assert getattr(clip, name) == getattr(source, name), name


def test_quality_is_high_and_noted_as_it_is(coded):
    info, path, psnr = coded
    with FrameReader(info, scan_packets(info)) as reader:
        originals = [planes(frame) for _, frame in reader.read(range(5, 25))]
    peak = 1023 if "10" in info.require_video().pixel_format else 255
    measured = [
        min(
            10 * np.log10(peak**2 / max(np.mean((new.astype(float) - old) ** 2), 1e-9))
            for new, old in zip(a, b, strict=True)
        )
        for a, b in zip(originals, map(planes, decode(path)), strict=True)
    ]
    assert min(measured) >= (44 if info.require_video().codec == "mpeg4" else 45)  # its finest quantiser
    if info.require_video().codec == "h264":
        assert len(psnr) == 20
    assert psnr == pytest.approx(measured[: len(psnr)], abs=0.05)


def test_the_same_bytes_every_time(coded, tmp_path):
    info, path, _ = coded
    write_clip(info, tmp_path / "again.nut")
    assert [packet.payload for packet in independent_packets(tmp_path / "again.nut")] == [
        packet.payload for packet in independent_packets(path)
    ]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_parameter_sets_do_not_collide_with_the_source(tmp_path, number):
    info = probe(make_video(tmp_path / "a.mp4", 30, options={"x264-params": f"sps-id={number}"}))
    write_clip(info, tmp_path / "clip.nut")
    own = parameter_sets("h264", info.require_video().extradata)
    coded = parameter_sets("h264", probe(tmp_path / "clip.nut").require_video().extradata)
    assert not set(own) & set(coded)
    wanted = 2 if number == 1 else 1
    assert free_h264_id(own) == wanted
    assert free_h264_id([*own, *coded]) == {0: 2, 1: 3, 3: 2}[number]


def test_a_frame_may_be_written_again_and_again(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", 10))
    video = info.require_video()
    coding = choose_coding(video, crf=6, preset="auto")
    with FrameReader(info, scan_packets(info)) as reader, ClipWriter(tmp_path / "b.nut", video, coding) as writer:
        for _, frame in reader.read([9, 9, 9, 9]):
            writer.write(frame, keyframe=False)
    assert [read_stamp(frame) for frame in decode(tmp_path / "b.nut")] == [9, 9, 9, 9]


def test_sample_aspect_and_rates_of_long_fractions(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", 30, rate=Fraction(30000, 1001)))
    video = replace(info.require_video(), sample_aspect=Fraction(40, 33))
    with FrameReader(info, scan_packets(info)) as reader:
        coding = choose_coding(video, crf=6, preset="auto")
        with ClipWriter(tmp_path / "b.nut", video, coding) as writer:
            for _, frame in reader.read(range(5)):
                writer.write(frame, keyframe=False)
    assert probe(tmp_path / "b.nut").require_video().sample_aspect == Fraction(40, 33)


def test_codecs_without_an_encoder_are_refused(tmp_path):
    video = probe(make_video(tmp_path / "a.mp4", 3)).require_video()
    for change in ({"codec": "vc1"}, {"codec": "vp9", "pixel_format": "yuv410p"}):
        with pytest.raises(UnsupportedMedia, match=f"{change['codec']} in .* no encoder here"):
            choose_coding(replace(video, **change), crf=6, preset="auto")


def test_a_finer_coding(tmp_path):
    video = probe(make_video(tmp_path / "a.mp4", 3)).require_video()
    coding = choose_coding(video, crf=6, preset="auto")
    finest = []
    while coding:
        finest.append(dict(coding.options)["crf"])
        coding = finer(coding)
    assert finest == ["6", "2"]
    assert finer(choose_coding(replace(video, codec="mpeg4"), crf=6, preset="auto")) is None


def test_a_full_disk_is_said_so(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    info = probe(make_video(tmp_path / "a.mp4", 30))
    with pytest.raises(WorkspaceError, match=r"/dev/full: cannot be written \(No space left on device\)"):
        write_clip(info, Path("/dev/full"))


def test_an_error_inside_is_not_swallowed(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", 5))
    video = info.require_video()
    with (
        pytest.raises(ZeroDivisionError),
        ClipWriter(tmp_path / "b.nut", video, choose_coding(video, crf=6, preset="auto")),
    ):
        raise ZeroDivisionError
