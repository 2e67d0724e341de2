"""The full check of a finished file: a good one keeps every promise, and each kind of damage breaks its own."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.base.errors import ContractBroken
from media.clips import Clip, RenderedClip
from media.info import MediaInfo
from media.packets.scan import scan_packets
from media.probe import probe
from media.source_video import SourceVideo, scan_video
from stitcher.assemble import assemble, muxer_of
from stitcher.audio.mix import SoundPiece, SoundPlan
from stitcher.audio.soundtrack import write_soundtrack
from stitcher.packet_sources import OutputVideo
from stitcher.verify.contract import Contract, verify_full
from stitcher.verify.pixels import verify_pixels
from stitcher.verify.provenance import FrameProvenance
from tests.support import synthetic
from tests.support.sound_material import voice, write_sound
from tests.support.synthetic import Sound, make_video, with_payload

NUM_FRAMES = 100
SECONDS = Fraction(4)
COPIED = FrameProvenance((), ())
BOX = (60, 40, 100, 80)
SUBTITLES = "1\n00:00:00,500 --> 00:00:01,500\nHello\n\n2\n00:00:02,000 --> 00:00:03,000\nWorld\n"


@dataclass(frozen=True)
class Case:
    """A source, and an output that was copied from it with a dub."""

    folder: Path
    info: MediaInfo
    output: Path
    promised: Contract

    def check(self, path=None, **changes):
        return verify_full(path or self.output, replace(self.promised, **changes))

    def broken(self, path=None, **changes):
        """Return {promise: sentence} of what is broken."""
        return {check.promise: check.found for check in self.check(path, **changes) if not check.is_kept}

    def assembled(self, name, *, anchor):
        """Write an output whose sound begins at another time."""
        table = self.promised.source.table
        timeline = identity_timeline(table)
        clip = Clip(0, 0, len(table), "copy", "", range(len(table)), (), ())
        output = self.folder / name
        sound = write_soundtrack(self.promised.heard, self.folder / f"{name}.sound.mp4", anchor=anchor)
        copied = [RenderedClip(clip, None, "copied", "", 0, 0.0)]
        assemble(OutputVideo(self.promised.source, timeline, copied), sound, output, muxer=muxer_of(output))
        return output


@pytest.fixture(scope="module", params=["talk.mp4", "talk.mkv"])
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    source = make_video(
        folder / request.param,
        NUM_FRAMES,
        sounds=(Sound(language="eng"), Sound(language="deu", hertz=330)),
        subtitles=SUBTITLES if request.param.endswith(".mkv") else None,
        chapters=((0, 2, "One"), (2, 4, "Two")),
        metadata={"title": "A talk"},
    )
    dub = write_sound(folder / "dub.wav", voice(4, 48000), 48000, "pcm_s16le", "wav")
    info = probe(source)
    table = scan_packets(info)
    heard = SoundPlan((SoundPiece(str(dub), 0, None, Fraction(0), Fraction(0), SECONDS),), SECONDS)
    promised = Contract(SourceVideo(info, table), identity_timeline(table), heard, COPIED, ())
    made = Case(folder, info, folder / "none", promised)
    anchor = table.pts[0] * table.time_base
    return replace(made, output=made.assembled(f"out{source.suffix}", anchor=anchor))


def remuxed(case, name, change=lambda packet, number: packet, *, without=(), metadata=None, chapters=None):
    """Write the output again, each packet as `change` of (packet, its number in the stream) makes it."""
    path = case.folder / f"{name}{case.output.suffix}"
    options = {
        "avoid_negative_ts": "disabled",
        "video_track_timescale": str(case.promised.timeline.time_base.denominator),
    }
    with av.open(str(case.output)) as reader, av.open(str(path), "w", container_options=options) as writer:
        targets = {}
        for stream in reader.streams:
            if stream.index not in without and stream.type != "data":
                targets[stream.index] = writer.add_stream_from_template(stream, opaque=True)
                targets[stream.index].metadata.update(stream.metadata)
        writer.metadata.update({"title": reader.metadata["title"]} if metadata is None else metadata)
        writer.set_chapters(reader.chapters() if chapters is None else chapters)
        counts = dict.fromkeys(targets, 0)
        for packet in reader.demux():
            if packet.size and packet.stream_index in targets:
                index = packet.stream_index
                packet = change(packet, counts[index])
                counts[index] += 1
                packet.stream = targets[index]
                writer.mux_one(packet)
    return path


# What is whole


def test_a_good_output_keeps_every_promise(case):
    checks = case.check()
    assert [check.promise for check in checks if not check.is_kept] == []
    found = {check.promise: check.found for check in checks}
    assert found["same frames"] == "100 frames, each at its time"
    assert found["untouched packets"] == "100 of 100 frames are the source's own packets"
    assert found["untouched pixels"] == "100 copied frames bit-identical"
    assert found["the dub is whole"].startswith("4 s compared: +0.00 ms off at most, drift +0.00 ms")
    others = 2 if case.output.suffix == ".mkv" else 1
    assert found["streams and tags"] == f"{others} other streams, 1 tags, 2 chapters"


def test_a_copy_of_it_keeps_them_too(case):
    """So that the tests below fail for the change alone."""
    assert case.broken(remuxed(case, "same")) == {}


def test_the_source_itself_where_its_sound_is_kept(case):
    assert case.broken(Path(case.info.path), heard=None) == {}


def test_progress_counts_the_frames(case):
    done = []
    verify_full(case.output, case.promised, done.append)
    assert done == list(range(1, NUM_FRAMES + 1))


# Pictures


def test_two_frames_that_are_swapped(case):
    with av.open(str(case.output)) as container:
        payloads = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    order = {40: 41, 41: 40}

    def swap(packet, number):
        video = packet.stream.type == "video"
        return with_payload(packet, payloads[order[number]]) if video and number in order else packet

    broken = case.broken(remuxed(case, "swapped", swap))
    assert set(broken) == {"untouched packets", "untouched pixels"}
    assert broken["untouched packets"].startswith("Untouched packets: frame ")


def test_a_frame_that_is_missing(case):
    other = make_video(case.folder / f"short{case.output.suffix}", NUM_FRAMES - 1)
    assert set(broken := case.broken(other)) == {"same frames"}
    assert "99 frames instead of 100" in broken["same frames"]


def test_another_picture_size(case):
    other = make_video(case.folder / f"small{case.output.suffix}", NUM_FRAMES, size=(160, 90))
    assert "the width of the video is 160 instead of 192" in case.broken(other)["same frames"]


def reencoded(case, monkeypatch, name, spoil, **options):
    """Write the source's frames again, finely coded, after `spoil` of (number, luma plane)."""
    original = synthetic.stamped_frame

    def spoilt(number, *arguments):
        frame = original(number, *arguments)
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)
        spoil(number, rows)
        return frame

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "stamped_frame", spoilt)
        return probe(make_video(case.folder / f"{name}.mp4", NUM_FRAMES, crf=4, **options))


def compare(case, written, marks):
    video = written.require_video()
    reference = scan_video(make_reference(case, (video.width, video.height)))
    return verify_pixels(reference, case.promised.timeline, SourceVideo(written, scan_packets(written)), marks)


def make_reference(case, size=(192, 108)):
    path = case.folder / f"reference{size[0]}.mp4"
    return path if path.exists() else make_video(path, NUM_FRAMES, crf=1, size=size)


ALL_CODED = FrameProvenance((), ((0, NUM_FRAMES),))


def test_frames_that_were_reencoded_come_near(case, monkeypatch):
    found = compare(case, reencoded(case, monkeypatch, "coded", lambda number, luma: None), ALL_CODED)
    assert (found.num_copied, found.num_reencoded, found.num_rendered) == (0, NUM_FRAMES, 0)
    assert 45 < found.worst_coded < 70


def test_frames_that_were_reencoded_too_coarsely(case, monkeypatch):
    coarse = reencoded(case, monkeypatch, "coarse", lambda number, luma: None, options={"crf": "30"})
    with pytest.raises(ContractBroken, match=r"^Untouched pixels: frame 0 .* must be 45 dB or more"):
        compare(case, coarse, ALL_CODED)


def test_a_region_that_is_changed_in_one_frame_without_a_face(case, monkeypatch):
    """A region so small that the mean over the frame would hide it."""

    def spoil(number, luma):
        if number == 33:
            luma[96:112, 192:208] += 20

    with pytest.raises(ContractBroken, match=r"^Untouched pixels: frame 33 .* is changed where it was to stay"):
        compare(case, reencoded(case, monkeypatch, "region", spoil, size=(384, 216)), ALL_CODED)


def new_mouth(number, luma):
    if 50 <= number < 70:
        luma[BOX[1] : BOX[3], BOX[0] : BOX[2]] ^= 60


def test_a_rendered_frame_may_change_inside_its_box_alone(case, monkeypatch):
    written = reencoded(case, monkeypatch, "mouth", new_mouth)
    coded = ((0, 50), (70, NUM_FRAMES))
    found = compare(case, written, FrameProvenance((((50, 70), BOX),), coded))
    assert (found.num_reencoded, found.num_rendered) == (80, 20)
    assert found.worst_rendered > 40
    moved = (BOX[0] + 60, BOX[1], BOX[2] + 60, BOX[3])
    with pytest.raises(ContractBroken, match=r"^Only the mouth: frame 50 "):
        compare(case, written, FrameProvenance((((50, 70), moved),), coded))
    with pytest.raises(ContractBroken, match=r"^Only the mouth: frame 50 "):
        compare(case, written, FrameProvenance((((50, 70), None),), coded))
    with pytest.raises(ContractBroken, match=r"^Untouched pixels: frame 69 "):
        compare(case, written, FrameProvenance((((50, 69), BOX),), (*coded[:1], (69, NUM_FRAMES))))


def test_frames_shown_backwards_are_compared_with_what_they_show(case):
    timeline = extend_timeline(case.promised.timeline, SECONDS + 1, "bounce")
    shown = [*range(100), *range(98, 98 - (len(timeline) - 100), -1)]
    pts = list(timeline.pts)
    with pytest.MonkeyPatch.context() as patch:
        original = synthetic.stamped_frame
        patch.setattr(synthetic, "stamped_frame", lambda number, *rest: original(shown[number], *rest))
        path = make_video(case.folder / "bounce.mp4", len(pts), crf=4, pts=pts, time_base=timeline.time_base)
    marks = FrameProvenance((), ((0, len(pts)),))
    found = verify_pixels(scan_video(make_reference(case)), timeline, scan_video(path), marks)
    assert found.num_reencoded == len(shown) == len(pts)


def test_an_extraction_is_compared_with_its_ranges(case):
    table = case.promised.source.table
    timeline = concat_ranges(table, [(24, 48), (60, 72)])
    marks = FrameProvenance((), ((0, len(timeline)),))
    reference = scan_video(make_reference(case))
    with pytest.raises(ContractBroken, match=r"^Untouched pixels: frame 0 \(source frame 24\)"):
        verify_pixels(reference, timeline, reference, marks)


# Sound


@pytest.mark.parametrize(("late", "word"), [(Fraction(5, 1000), "late"), (Fraction(-5, 1000), "early")])
def test_sound_that_is_shifted(case, late, word):
    table = case.promised.source.table
    path = case.assembled(f"shifted{case.output.suffix}", anchor=table.pts[0] * table.time_base + late)
    assert set(broken := case.broken(path)) == {"the dub is whole"}
    # Matroska's clock counts milliseconds.
    assert re.search(rf"at 0 s the sound is (4|5)\.\d ms {word}", broken["the dub is whole"])


def test_no_sound_at_all(case):
    path = remuxed(case, "mute", without={1, 2})
    assert "the output has no sound" in case.broken(path)["the dub is whole"]


# Streams, tags, chapters


def test_a_stream_that_is_dropped(case):
    path = remuxed(case, "dropped", without={2})
    broken = case.broken(path)
    assert set(broken) == {"streams and tags"}
    assert broken["streams and tags"].startswith("Streams: the source's audio aac deu is not in the output")
    assert case.broken(path, dropped=(2,)) == {}


def test_a_stream_that_is_changed(case):
    def flip(packet, number):
        if packet.stream_index == 2 and number == 30:
            payload = bytearray(bytes(packet))
            payload[-1] ^= 1
            return with_payload(packet, bytes(payload))
        return packet

    assert (
        "packets of the source's audio aac deu are changed"
        in case.broken(remuxed(case, "bit", flip))["streams and tags"]
    )


def test_a_tag_that_is_lost(case):
    path = remuxed(case, "untitled", metadata={})
    assert case.broken(path)["streams and tags"] == ("Tags: title is None instead of 'A talk'. Please report this.")


def test_chapters_that_are_lost(case):
    path = remuxed(case, "chapterless", chapters=[])
    assert case.broken(path)["streams and tags"] == "Chapters: 0 are not the source's 2. Please report this."


# What verify_pixels is asked for by itself


def test_a_picture_that_no_decoder_takes(case):
    path = make_video(case.folder / "none.mp4", NUM_FRAMES)
    written = scan_video(path)
    content = path.read_bytes()
    at = content.index(b"mdat") + 4
    size = int.from_bytes(content[at - 8 : at - 4], "big") - 8
    path.write_bytes(content[:at] + bytes(size) + content[at + size :])
    with pytest.raises(ContractBroken, match=r"^Same frames: .*none\.mp4: frame 0 .* cannot be decoded"):
        verify_pixels(case.promised.source, case.promised.timeline, written, COPIED)


def test_a_picture_of_another_size_or_format(case):
    small = scan_video(make_video(case.folder / "small.mp4", NUM_FRAMES, size=(160, 90)))
    deep = scan_video(make_video(case.folder / "deep.mp4", NUM_FRAMES, pixel_format="yuv420p10le"))
    for written, kind in ((small, "yuv420p 160x90"), (deep, "yuv420p10le 192x108")):
        for marks in (COPIED, ALL_CODED):
            with pytest.raises(ContractBroken, match=rf"frame 0 .* is {kind} instead of yuv420p 192x108"):
                verify_pixels(case.promised.source, case.promised.timeline, written, marks)


def test_a_mouth_that_fills_the_picture_leaves_nothing_to_compare(case, monkeypatch):
    written = reencoded(case, monkeypatch, "close", new_mouth)
    coded = ((0, 50), (70, NUM_FRAMES))
    found = compare(case, written, FrameProvenance((((50, 70), (0, 0, 192, 108)),), coded))
    assert (found.num_rendered, found.worst_rendered) == (20, 99.0)
