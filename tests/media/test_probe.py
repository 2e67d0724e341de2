"""The index of a video against what its packets and its decoder say."""

import os
from array import array
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from media.base.errors import MissingStream, UnreadableMedia, UnsupportedMedia
from media.orientation import UPRIGHT
from media.packets.frame_table import build_frame_table, rebuild_dts, settle_dts
from media.packets.packet_index import PacketIndex
from media.packets.scan import scan_packets
from media.probe import open_input, probe
from tests.support.synthetic import (
    SOURCES,
    Sound,
    decode_all,
    digest,
    independent_packets,
    independent_times,
    make_source,
    make_video,
    stamped_frame,
)
from tests.support.videos import changed


@pytest.fixture(scope="module", params=SOURCES)
def source(request, tmp_path_factory):
    """Return (path, table) of each kind of video."""
    path = make_source(tmp_path_factory.mktemp("probe"), request.param)
    return path, scan_packets(probe(path))


def marked(flags):
    return [frame for frame, flag in enumerate(flags) if flag]


# What the headers say


def test_video_facts(tmp_path):
    info = probe(
        make_video(
            tmp_path / "a.mp4",
            12,
            size=(160, 90),
            codec="libx265",
            rate=Fraction(30000, 1001),
            pixel_format="yuv420p10le",
            color=(9, 9, 16),
        )
    )
    video = info.require_video()
    assert (video.index, video.codec, video.coded.profile) == (0, "hevc", "Main 10")
    assert (video.width, video.height, video.pixel_format) == (160, 90, "yuv420p10le")
    assert (video.colour.range, video.colour.matrix, video.colour.primaries, video.colour.transfer) == (1, 9, 9, 16)
    assert (video.clock.average_rate, video.clock.time_base) == (Fraction(30000, 1001), Fraction(1, 30000))
    assert (video.orientation, video.display.sample_aspect, video.clock.start_seconds) == (UPRIGHT, 1, 0)
    assert video.coded.extradata[:1] == b"\1"
    assert (info.audio, info.others) == ((), ())
    assert info.size_bytes == os.path.getsize(tmp_path / "a.mp4")


def test_streams_beside_the_video(tmp_path):
    sounds = (Sound("aac", 44100), Sound("flac", 48000, "deu", Fraction(1, 4)))
    text = "1\n00:00:00,200 --> 00:00:00,900\nOne\n"
    info = probe(make_video(tmp_path / "a.mkv", 30, sounds=sounds, subtitles=text))
    assert [(audio.codec, audio.sample_rate, audio.num_channels) for audio in info.audio] == [
        ("aac", 44100, 2),
        ("flac", 48000, 2),
    ]
    assert info.audio[1].start_seconds == Fraction(1, 4)
    assert [(other.kind, other.codec) for other in info.others] == [("subtitle", "srt")]
    assert info.require_audio() == info.audio[0]


def test_start_of_the_first_displayed_frame(tmp_path):
    assert probe(make_source(tmp_path, "late.mp4")).require_video().clock.start_seconds == Fraction(330, 2500)


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(stamped_frame(0, (64, 64)).reformat(format="rgb24")))
        container.mux(cover.encode(None))
        container.mux(sound.encode(None))
    info = probe(path)
    with pytest.raises(MissingStream, match="no video stream"):
        info.require_video()
    assert [other.kind for other in info.others] == ["video"]


def test_what_is_said_of_hdr_is_kept(tmp_path):
    """x265 writes it in front of its first picture; H.264 and HEVC alone are asked."""
    options = {"x265-params": "max-cll=1000,400:hdr10=1:repeat-headers=1:log-level=none"}
    path = make_video(tmp_path / "a.mp4", 5, codec="libx265", pixel_format="yuv420p10le", options=options)
    assert probe(path).require_video().coded.lasting_sei == (b"\x4e\x01\x90\x04\x03\xe8\x01\x90\x80",)
    assert probe(make_video(tmp_path / "b.mp4", 5)).require_video().coded.lasting_sei == ()


@pytest.mark.parametrize(("params", "order"), [("", 1), ("tff=1", 2), ("bff=1", 3)])
def test_order_of_fields(tmp_path, params, order):
    options = {"flags": "+ildct+ilme", "x264-params": params} if params else None
    assert probe(make_video(tmp_path / "a.mp4", 8, options=options)).require_video().display.field_order == order


# Files that cannot be used


def test_a_picture_is_no_video(tmp_path):
    picture = tmp_path / "a.png"
    with av.open(str(picture), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        container.mux(stream.encode(stamped_frame(0, (64, 64)).reformat(format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(UnsupportedMedia, match=r"a\.png: this is a picture, not a video"):
        probe(picture)


def test_times_of_decoding_are_no_times_of_showing(tmp_path):
    """AVI tells when packets are decoded; with B-frames that is not when they are shown."""
    tables = [scan_packets(probe(make_video(tmp_path / f"{number}.avi", 30, b_frames=number))) for number in (0, 2)]
    assert [table.tells_decoding for table in tables] == [False, True]
    assert [list(table.decode_order) == list(range(30)) for table in tables] == [True, False]


def test_odd_files_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is not a video at all, only a line of text.\n" * 20)
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, why in [
        ("missing.mp4", "no such file"),
        (".", "folder"),
        ("empty.mp4", "empty"),
        ("text.mp4", "text.mp4"),
        ("pipe.mp4", "not a regular file"),
    ]:
        with pytest.raises(UnreadableMedia, match=why):
            probe(tmp_path / name)


def test_sound_alone_has_no_video_and_the_other_way_round(tmp_path):
    make_video(tmp_path / "silent.mp4", 5)
    with pytest.raises(MissingStream):
        probe(tmp_path / "silent.mp4").require_audio()
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        container.mux(stream.encode(None))
    with pytest.raises((MissingStream, UnreadableMedia)):
        probe(tmp_path / "sound.wav").require_video()


def test_a_video_without_a_decodable_frame(tmp_path):
    path = make_video(tmp_path / "a.mp4", 5)
    content = path.read_bytes()
    for packet in independent_packets(path):
        content = content.replace(packet.payload, bytes(len(packet.payload)))
    (tmp_path / "blank.mp4").write_bytes(content)
    with pytest.raises(UnreadableMedia, match="not one frame"):
        probe(tmp_path / "blank.mp4")


# The frame table


def test_times_and_keyframes(source):
    path, table = source
    packets = sorted(independent_packets(path), key=lambda packet: packet.pts)
    assert [ticks * table.time_base for ticks in table.pts] == [packet.pts for packet in packets]
    assert marked(table.keyframe) == [frame for frame, packet in enumerate(packets) if packet.is_keyframe]
    assert len(table) == len(packets) == (57 if path.name == "hidden.mp4" else 60)
    assert table.end_pts > table.pts[-1]


def test_decode_order_and_slots(source):
    path, table = source
    packets, times = independent_packets(path), independent_times(path)
    assert [times[frame] for frame in table.decode_order] == [packet.pts for packet in packets]
    assert all(table.dts[i] < table.dts[i + 1] for i in range(len(table) - 1))
    assert all(table.dts[slot] <= table.pts[frame] for slot, frame in enumerate(table.decode_order))
    if all(packet.dts is not None for packet in packets):
        assert [slot * table.time_base for slot in table.dts] == [packet.dts for packet in packets]


def test_clean_exits_are_where_the_decoder_has_all_it_needs(source):
    path, table = source
    times = independent_times(path)
    complete = [0]
    shown = set()
    for number, packet in enumerate(independent_packets(path), 1):
        shown.add(packet.pts)
        if shown == set(times[:number]):
            complete.append(number)
    assert marked(table.clean.exit) == complete


def decode_from(path, table, frame):
    """Decode the packets of a keyframe and all later frames with a new decoder; return {pts in seconds: digest}."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        decoder = stream.codec_context
        begin = [packet.pts for packet in packets].index(table.pts[frame])
        frames = [
            decoded
            for packet in packets[begin:]
            if packet.pts >= table.pts[frame]
            for decoded in decoder.decode(packet)
        ]
        frames += decoder.decode(None)
        return {decoded.pts * stream.time_base: digest(decoded) for decoded in frames}


CLEAN_ENTRIES = {
    "open.mkv": [0, 36],
    "open.ts": [0, 36],
    "mpeg4.mp4": [0],
    "hidden.mp4": [9, 21, 33, 45],
}


def test_clean_entries_decode_alone_to_the_same_pixels(source):
    path, table = source
    entries = marked(table.clean.entry)
    assert entries == CLEAN_ENTRIES.get(path.name, [0, 12, 24, 36, 48])
    truth = {seconds: pixels for seconds, _, pixels in decode_all(path)}
    for frame in entries:
        wanted = {ticks * table.time_base: truth[ticks * table.time_base] for ticks in table.pts[frame:]}
        assert decode_from(path, table, frame) == wanted


def test_missing_decode_times_are_rebuilt(tmp_path):
    """Matroska stores no decode times; FFmpeg guesses some and leaves others out."""
    path = make_source(tmp_path, "uneven.mkv")
    table = scan_packets(probe(path))
    assert len(table.dts) == 60
    assert sorted(set(table.dts)) == list(table.dts)


def packet_index(pts, flags, end_pts):
    return PacketIndex(array("q", pts), has_dts=False, flags=bytearray(flags), end_pts=end_pts)


def test_times_must_be_unique(tmp_path):
    video = probe(make_video(tmp_path / "a.mp4", 3)).require_video()
    with pytest.raises(UnsupportedMedia, match="frames 1 and 2 have the same time"):
        build_frame_table("a.mp4", video, packet_index([0, 200, 200], [3, 0, 0], 300))


def test_an_end_that_is_not_told_is_one_average_frame_after_the_last(tmp_path):
    video = changed(probe(make_video(tmp_path / "a.mp4", 3)).require_video(), average_rate=Fraction(10))
    table = build_frame_table("a.mp4", video, packet_index([0, 100], [3, 0], 0))
    assert table.end_pts == 100 + 250


def test_times_that_run_back_are_refused(tmp_path):
    video = probe(make_video(tmp_path / "a.mp4", 3)).require_video()
    packets = packet_index([*range(1000, 1200, 2), *range(0, 200, 2)], [3, *bytes(199)], 0)
    with pytest.raises(UnsupportedMedia, match=r"a\.mp4: times run backwards near 0\.400 s \(packet 0\)"):
        build_frame_table("a.mp4", video, packets)


@pytest.mark.parametrize(("codec", "clean"), [("h264", [0]), ("hevc", [0, 3]), ("mpeg2video", [0, 3]), ("vp9", [0])])
def test_leading_pictures_may_be_left_out_of_some_codecs(tmp_path, codec, clean):
    video = replace(probe(make_video(tmp_path / "a.mp4", 3)).require_video(), codec=codec)
    table = build_frame_table("a", video, packet_index([0, 3, 1, 2, 4], [3, 3, 0, 0, 0], 5))
    assert marked(table.clean.entry) == clean


def test_slots_that_are_equal_or_late_are_moved_a_little():
    order, pts = array("q", [0, 1, 2, 3]), array("q", [100, 200, 300, 400])
    assert list(settle_dts(array("q", [60, 160, 160, 260]), pts, order, 100)) == [60, 159, 160, 260]
    assert list(settle_dts(array("q", [60, 160, 310, 350]), pts, order, 100)) == [60, 160, 300, 350]
    assert settle_dts(array("q", [60, 160, 550, 350]), pts, order, 100) == pts
    assert settle_dts(None, pts, order, 100) == pts


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(-300, 300)), min_size=1, max_size=40))
def test_settled_slots_increase_and_are_never_late(steps):
    pts = array("q", [sum(step for step, _ in steps[:at]) for at in range(len(steps))])
    dts = array("q", [ticks + moved for ticks, (_, moved) in zip(pts, steps, strict=True)])
    slots = settle_dts(dts, pts, array("q", range(len(pts))), 100)
    assert all(slots[i] < slots[i + 1] for i in range(len(slots) - 1))
    assert all(slot <= ticks for slot, ticks in zip(slots, pts, strict=True))
    if all(a < b for a, b in pairwise(dts)) and all(a <= b for a, b in zip(dts, pts, strict=True)):
        assert slots == dts


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_rebuilt_slots_increase_and_never_come_late(steps, random):
    pts = array("q", [sum(steps[:at]) for at in range(len(steps))])
    order = list(range(len(pts)))
    for at in range(0, len(order), 4):
        part = order[at : at + 4]
        random.shuffle(part)
        order[at : at + 4] = part
    slots = rebuild_dts(pts, array("q", order))
    assert all(slots[i] < slots[i + 1] for i in range(len(slots) - 1))
    late = [pts[frame] - slots[slot] for slot, frame in enumerate(order)]
    assert min(late) == 0


def test_a_wav_file_is_read_in_large_packets(tmp_path):
    """Hours of sound at 8 kHz are else a hundred thousand packets."""
    samples = np.arange(80_000, dtype=np.int16)
    soundfile.write(tmp_path / "dub.wav", samples, 8000)
    with open_input(tmp_path / "dub.wav") as container:
        frames = list(container.decode(audio=0))
    assert len(frames) == 3
    assert np.array_equal(np.concatenate([frame.to_ndarray()[0] for frame in frames]), samples)


def dts_frames(count):
    """Return frames of DTS (ETSI TS 102 114), 2,048 bytes and 512 samples each, as 16-bit little-endian samples."""
    fields = (
        (0x7FFE8001, 32),
        (1, 1),
        (31, 5),
        (0, 1),
        (15, 7),
        (2047, 14),
        (2, 6),
        (13, 4),
        (15, 5),
        (0, 21),
        (0, 16),
    )
    header = "".join(f"{value:0{bits}b}" for value, bits in fields)
    begin = int(header, 2).to_bytes(len(header) // 8, "big") if len(header) % 8 == 0 else None
    assert begin is not None
    random = np.random.default_rng(0)
    frames = b"".join(begin + random.bytes(2048 - len(begin)) for _ in range(count))
    return np.frombuffer(frames, ">i2").astype("<i2")


@pytest.mark.parametrize("silent", [0, 10_000, 40_000, 100_000])
def test_dts_that_says_it_is_pcm_is_known_however_late_it_begins(tmp_path, silent):
    """As discs and broadcasts pack it; taken for samples it is noise at full scale."""
    samples = np.concatenate([np.zeros(silent, np.int16), dts_frames(200)])
    soundfile.write(tmp_path / "dts.wav", samples.reshape(-1, 2), 48_000, subtype="PCM_16")
    with av.open(str(tmp_path / "dts.wav")) as container:
        assert container.streams.audio[0].codec_context.name == "dca", "FFmpeg's own"
    with open_input(tmp_path / "dts.wav") as container:
        assert container.streams.audio[0].codec_context.name == "dca"
