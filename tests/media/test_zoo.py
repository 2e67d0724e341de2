"""The contract on media as people have them, each checked by demuxing and decoding source and output anew."""

import json
import random
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from media.base.errors import MediaError, UnreadableMedia, UnsupportedMedia
from media.bitstream.units import length_prefix_size, split_units, unit_type
from media.coding.encoder import least_psnr
from media.coding.output_codec import choose_stream
from media.intervals import complement
from media.packets.scan import scan_packets
from media.packets.truncation import check_complete
from media.picture import plane_views
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from stitcher.assemble import muxer_of
from stitcher.container import check_container
from tests.support.synthetic import independent_packets, read_stamp
from tests.support.zoo import BOX, FACES, KINDS, REFUSED, Kind, Zoo, outside_box, produce

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="needs ffmpeg and ffprobe on PATH"
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("zoo"))


def make(zoo, name, kind):
    try:
        return zoo.make(name, kind)
    except RuntimeError as exc:
        pytest.skip(f"this ffmpeg cannot make it: {exc}")


def decode(path):
    """Return the main video's decoded frames, in order, without those that cannot be decoded."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container:
        for packet in container.demux(main_video(container)):
            with suppress(av.error.InvalidDataError):
                frames += packet.decode()
    return frames


def main_video(container):
    return next(stream for stream in container.streams.video if not int(stream.disposition) & 0x400)


def packets_of(path):
    with av.open(str(path), metadata_errors="ignore") as container:
        number = container.streams.video.index(main_video(container))
    return independent_packets(path, "video", number)


def equal(a, b):
    return least_psnr(a, b) == 99.0


def properties(frame):
    """Return what a player is told with a frame."""
    return (
        (frame.width, frame.height, frame.format.name, frame.rotation, frame.interlaced_frame),
        [int(value) for value in (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)],
        {str(data.type) for data in frame.side_data} & HDR,
    )


HDR = {"Type.MASTERING_DISPLAY_METADATA", "Type.CONTENT_LIGHT_LEVEL", "Type.DISPLAYMATRIX", "Type.A53_CC"}


def stream_facts(path):
    """Return what a container says of its streams, its tags and its chapters; not what muxers write of themselves."""
    with av.open(str(path), metadata_errors="ignore") as container:
        video = main_video(container).codec_context
        own = (video.name, video.profile, int(video.field_order), main_video(container).sample_aspect_ratio or 1)
        own = (*own, video.codec_tag if path.suffix == ".mov" else None)
        others = sorted(
            (
                stream.type,
                stream.codec_context.name if stream.codec_context else None,
                stream.metadata.get("language"),
                stream.metadata.get("filename"),
                int(stream.disposition),
            )
            for stream in container.streams
            if stream.type != "data"
        )
        title = container.metadata.get("title")
        chapters = [
            (chapter["start"] * chapter["time_base"], chapter["metadata"].get("title"))
            for chapter in container.chapters()
        ]
    return own, others, title, chapters


def slices(codec, packet, prefix):
    """Return the slices of an H.264 or HEVC packet without their headers' first bytes, else the packet."""
    kinds = {"h264": range(1, 6), "hevc": range(32)}.get(codec)
    if kinds is None:
        return [packet]
    first = 1 if codec == "h264" else 2
    return [unit[first:] for unit in split_units(packet, prefix) if unit_type(codec, unit) in kinds]


@pytest.fixture(scope="module", params=KINDS)
def result(request, zoo, tmp_path_factory):
    """Return (kind, source, output) of each kind, with two painted spans."""
    kind = KINDS[request.param]
    source = make(zoo, request.param, kind)
    return kind, source, produce(source, tmp_path_factory.mktemp("out") / request.param)


def test_the_contract(result):
    """One test a kind, since making and decoding take the time; each promise has its own function below."""
    kind, source, output = result
    check_complete(output.info)
    check_container(
        SourceVideo(output.info, output.table), output.timeline, muxer_of(output.path), replaces_sound=False
    )
    before, after = packets_of(source), packets_of(output.path)
    check_times(before, after)
    check_copied(kind, output, before, after)
    old, new = decode(source), decode(output.path)
    check_frames(kind, output, old, new)
    assert stream_facts(output.path) == stream_facts(source)
    assert output.losses == []
    check_other_streams(source, output.path)
    assert not output.damaged
    output.verify()


def check_times(before, after):
    """Every packet is shown when its source is, and decoded in time."""
    assert sorted(packet.pts for packet in before) == sorted(packet.pts for packet in after)
    slots = [packet.dts for packet in after if packet.dts is not None]
    assert all(a < b for a, b in pairwise(slots))
    assert all(packet.dts is None or packet.dts <= packet.pts for packet in after)


def check_copied(kind, output, before, after):
    """What need not be coded is the same bytes; HEVC's parameter sets and kinds of keyframe may differ."""
    before, after = (sorted(packets, key=lambda packet: packet.pts) for packets in (before, after))
    video, written = output.info.require_video(), probe(output.path).require_video()
    assert len(output.copied) >= kind.copied
    for frame in output.copied:
        if before[frame].payload != after[frame].payload:
            assert video.codec == "hevc"
            assert before[frame].is_keyframe
            assert slices("hevc", before[frame].payload, length_prefix_size("hevc", video.coded.extradata)) == slices(
                "hevc", after[frame].payload, length_prefix_size("hevc", written.coded.extradata)
            )
    for clip in output.clips:
        assert clip.path is None or clip.clip.rendered or clip.clip.reason


def check_frames(kind, output, old, new):
    """Copied frames are equal, coded ones look so, painted ones do outside the box; all are told alike."""
    painted = {frame for clip in output.clips for part in clip.clip.rendered for frame in range(*part)}
    assert painted == {frame for part in FACES for frame in range(*part) if frame < len(old)}
    assert len(old) == len(new) == len(output.table)
    for frame, (a, b) in enumerate(zip(old, new, strict=True)):
        assert properties(a) == properties(b), frame
        if frame in output.copied:
            assert equal(a, b), frame
        elif frame in painted:
            assert least_psnr(a, b) < 40, frame
            assert outside_psnr(a, b) >= 38, frame
        else:
            assert least_psnr(a, b) >= kind.least_psnr, frame
        if frame not in painted or BOX[1] > 12:
            assert read_stamp(b) == read_stamp(a), frame


def outside_psnr(a, b):
    """Return the PSNR of the worst plane outside the box, in dB."""
    peak = (1 << a.format.components[0].bits) - 1
    errors = [
        np.mean((outside_box(x, a).astype(float) - outside_box(y, a)) ** 2)
        for x, y in zip(plane_views(a), plane_views(b), strict=True)
    ]
    return 10 * np.log10(peak**2 / max(1e-9, *errors))


def check_other_streams(source, output):
    """Sound and subtitles are the same packets at the same times."""
    with av.open(str(source), metadata_errors="ignore") as container:
        counts = {"audio": len(container.streams.audio), "subtitles": len(container.streams.subtitles)}
    for kind, count in counts.items():
        for number in range(count):
            a, b = (independent_packets(path, kind, number) for path in (source, output))
            assert [packet.payload for packet in a] == [packet.payload for packet in b]
            # Program streams tell some times only; the others are counted on from there, in ticks that are too coarse.
            most = Fraction(1, 1000) if output.suffix in (".mpg", ".vob") else 0
            assert all(abs(x.pts - y.pts) <= most for x, y in zip(a, b, strict=True))


CHECKED = ["hidden.mp4", "pyramid.mkv", "gap.ts", "hevc_hdr.mp4", "top_first.mp4", "mpeg2.mpg", "vp9.webm", "rich.mp4"]


@pytest.mark.parametrize("name", CHECKED)
def test_an_independent_checker_agrees(shared, zoo, tmp_path, name):
    source = make(zoo, name, KINDS[name])
    output = produce(source, tmp_path / name)
    rendered = [part for clip in output.clips for part in clip.clip.rendered]
    again = [
        {"start": start, "end": stop, "reason": clip.reason}
        for clip in output.clips
        if clip.path
        for start, stop in complement(clip.clip.rendered, clip.clip.start_frame, clip.clip.stop_frame)
    ]
    spans = tmp_path / "spans.json"
    spans.write_text(json.dumps({"spans": rendered, "boxes": [BOX] * len(rendered), "reencoded": again}))
    tool = shared / "tools" / "check_output.py"
    command = [sys.executable, tool, source, output.path, "--spans", spans, "--seeks", "15", "--expect-change"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


# What is refused


def open_fully(path):
    """Do with a source what is done before the long work."""
    info = probe(path)
    info.require_video()
    choose_stream(SourceVideo(info, scan_packets(info)), crf=13, preset="auto", muxer="mp4")


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence_of_refusal(zoo, name):
    kind, sentence = REFUSED[name]
    path = make(zoo, name, kind)
    with pytest.raises(MediaError, match=sentence) as caught:
        open_fully(path)
    assert "\n" not in str(caught.value)


CUT = ["plain.mkv", "vp9.webm", "plain.flv", "mjpeg.avi", "fragmented.mp4"]


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_is_cut_off_is_noticed(zoo, tmp_path, name):
    content = make(zoo, name, KINDS[name]).read_bytes()
    for share in (0.5, 0.8, 0.99):
        path = tmp_path / f"{share}-{name}"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UnreadableMedia, match=r"is cut off|cannot be read"):
            check_complete(probe(path))


def test_a_cut_file_with_its_index_in_front(zoo, tmp_path):
    """The table of samples is whole, the samples are not; what is there comes through where that is accepted."""
    source = make(zoo, "front.mp4", Kind("-c copy -an -movflags faststart", base="-i {plain}"))
    content = source.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: len(content) * 7 // 10])
    with pytest.raises(UnreadableMedia, match=r"the file is cut off, \d+ bytes are missing"):
        check_complete(probe(path))
    output = produce(path, tmp_path / "out.mp4", [(17, 20)])
    assert 36 < len(output.table) < 60
    check_times(packets_of(path), packets_of(output.path))
    assert [read_stamp(frame) for frame in decode(output.path)][:36] == list(range(36))


@pytest.mark.parametrize("name", ["plain.ts", "mpeg2.ts", "hevc.ts", "mpeg2.mpg"])
def test_a_recording_that_begins_in_the_middle(zoo, tmp_path, name):
    """Frames before the first keyframe cannot be decoded; they are copied, and all others are where they were."""
    content = make(zoo, name, KINDS[name]).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[len(content) // 6 // 188 * 188 :])
    output = produce(path, tmp_path / f"out{path.suffix}", [(20, 25)])
    check_times_but_slots(packets_of(path), packets_of(output.path))
    old, new = decode(path), decode(output.path)
    assert [read_stamp(frame) for frame in old] == [read_stamp(frame) for frame in new]


def check_times_but_slots(before, after):
    """Every packet is shown when its source is; the source's own decode times are not in order."""
    assert sorted(packet.pts for packet in before) == sorted(packet.pts for packet in after)


# Damage


DAMAGED = [
    "plain.mp4",
    "plain.mkv",
    "plain.ts",
    "plain.flv",
    "hevc.ts",
    "mpeg2.ts",
    "mpeg2.mpg",
    "mpeg4.avi",
    "vp9.webm",
]
DAMAGED += ["av1.mp4", "mjpeg.avi", "prores.mov"]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("kind", ["noise", "hole"])
def test_damage_midway_comes_through(zoo, tmp_path, name, kind):
    """The rest is as it was, what was damaged is told, and it does not take long."""
    content = bytearray(make(zoo, name, KINDS[name]).read_bytes())
    dice = random.Random(1)
    if kind == "noise":
        for _ in range(12):
            at = dice.randrange(len(content) // 5, len(content) * 4 // 5)
            content[at : at + 8] = dice.randbytes(8)
    else:
        at = len(content) // 2 // 188 * 188
        content[at : at + 1880] = bytes(1880)
    path = tmp_path / name
    path.write_bytes(content)
    begin = time.monotonic()
    # Noise in FLV may look like the start of another stream, depending on the ffmpeg that wrote the file.
    may_be_refused = suppress(UnsupportedMedia) if (kind, name) == ("noise", "plain.flv") else nullcontext()
    output = None
    with may_be_refused:
        output = produce(path, tmp_path / f"out{path.suffix}", [(12, 48)])
    if output is None:
        return
    assert time.monotonic() - begin < 20
    check_times_but_slots(packets_of(path), packets_of(output.path))
    assert len(packets_of(output.path)) == len(output.table) > 40
    if name in ("plain.mp4", "plain.ts"):
        assert output.damaged


def test_a_frame_that_is_gone_is_shown_by_its_neighbour(zoo, tmp_path):
    """All-intra, so nothing but the zeroed packet is damaged: the frame before it stands in."""
    source = make(zoo, "mjpeg.mov", KINDS["mjpeg.mov"])
    content = bytearray(source.read_bytes())
    payload = packets_of(source)[30].payload
    at = content.find(payload)
    content[at : at + len(payload)] = bytes(len(payload))
    path = tmp_path / "a.mov"
    path.write_bytes(content)
    info = probe(path)
    with FrameReader(SourceVideo(info, scan_packets(info)), num_threads=1) as reader:
        assert [read_stamp(frame) for _, frame in reader.read(range(27, 33))] == [27, 28, 29, 29, 31, 32]
        assert reader.damaged == {30}
        assert [read_stamp(frame) for _, frame in reader.read([30])] in ([29], [31])


# The picture changes midway


def joined(zoo, name, first, second, *, offset):
    """Concatenate two transport streams, the second `offset` seconds later."""
    a = make(zoo, f"a-{name}", first)
    b = make(zoo, f"b-{name}", Kind(f"{second.arguments} -output_ts_offset {offset}", base=second.base))
    path = zoo.folder / name
    path.write_bytes(a.read_bytes() + b.read_bytes())
    return path


def test_a_size_that_changes_is_copied_but_not_rendered(zoo, tmp_path):
    small = KINDS["no_edit_list.mp4"].arguments.replace("-use_editlist 0", "")
    source = joined(zoo, "sizes.ts", Kind(small), Kind(f"-vf scale=320:180 {small}"), offset=5)
    output = produce(source, tmp_path / "a.ts", FACES)
    check_times(packets_of(source), packets_of(output.path))
    frames = decode(output.path)
    assert [(frame.width, frame.height) for frame in frames] == [(192, 108)] * 60 + [(320, 180)] * 60
    assert [read_stamp(frame) for frame in frames] == [*range(60), *range(60)]
    with pytest.raises(UnsupportedMedia, match=r"at frame \d+ .* the picture changes from 192x108 .* to 320x180"):
        produce(source, tmp_path / "b.ts", [(90, 95)])


def test_times_that_run_back_are_refused(zoo):
    kind = Kind(KINDS["no_edit_list.mp4"].arguments.replace("-use_editlist 0", ""))
    later = Kind(f"{kind.arguments} -output_ts_offset 9")
    source = joined(zoo, "back.ts", later, kind, offset=0)
    with pytest.raises(UnsupportedMedia, match="times run backwards near"):
        scan_packets(probe(source))
