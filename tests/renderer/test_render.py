"""ClipRenderer with stand-ins for tracker, network and sound: what it writes must not depend on where a clip begins."""

import threading
import time
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from media.base.errors import OutOfMemory, UnreadableMedia, WorkspaceError
from media.clips import Clip, FaceSpan, Fade, TrackedFace
from media.coding.encoder_options import choose_coding
from media.faces import Face, FaceBox, FacePath, NeutralFace
from media.orientation import UPRIGHT
from media.packets.scan import scan_packets
from media.picture import plane_views
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer import render
from renderer.clip_frames import hash_planes
from renderer.compositor import Compositor, Pads
from renderer.face_stages.base import DEFAULT_STAGES, StageSettings, build_stages
from renderer.networks.base import WAV2LIP_SPEC
from renderer.render import ClipJob, ClipRenderer, LipSync, read_frames
from tests.support.synthetic import make_video, read_stamp, stamps

NUM_FRAMES = 60
FACES = [(5, 25), (25, 31), (40, 56)]
"""The second begins at a cut."""
REACH = 4


class FakeTracker:
    """Gives boxes that depend on the pixels of all frames within reach inside the span, as smoothed ones do.

    Frames of the margin, whose own neighbours may not be given, get boxes that are wrong.
    """

    reach_frames = REACH

    def __init__(self, fails_at=None):
        self.fails_at = fails_at

    def track(self, frames, spans):
        frames = list(frames)
        seen = {index: read_stamp(frame) for index, frame in frames}
        for index, frame in frames:
            if index == self.fails_at:
                raise ZeroDivisionError
            here = [span for span in spans if span.start_frame <= index < span.stop_frame]
            yield index, frame, tuple(TrackedFace(span, self.box(index, span, seen)) for span in here)

    def pose(self, face):
        return face.box, 0.0

    def box(self, index, span, seen):
        reach = min(REACH, index - span.start_frame, span.stop_frame - 1 - index)
        x = float(np.mean([seen.get(near, 3) % 7 for near in range(index - reach, index + reach + 1)]))
        left = span.path.boxes[0].left
        return FaceBox(left + x, 30 + x / 2, left + 50 + x, 86 + x)


class FakeEngine:
    """Draws mouths that depend on the face and the mel window, each alone."""

    spec = WAV2LIP_SPEC

    def __init__(self, batch_size=4, fails_at=None):
        self.batch_size, self.fails_at, self.num_faces = batch_size, fails_at, 0

    def render(self, faces, mel_windows, references=None):
        assert references is None or references.shape == faces.shape
        if references is not None:
            faces = references
        assert faces.shape == (len(faces), 96, 96, 3)
        assert mel_windows.shape == (len(faces), 80, 16)
        assert len(faces) <= self.batch_size
        self.num_faces += len(faces)
        if self.fails_at is not None and self.num_faces > self.fails_at:
            raise OutOfMemory("out of memory. Lower renderer.batch_size (now 4).")
        return (faces.astype(int) + mel_windows[:, 0, 0, None, None, None].astype(int) + 40).astype(np.uint8)


class FakeMel:
    def window(self, seconds):
        return np.full((80, 16), int(seconds * 25) % 50, np.float32)


@pytest.fixture(scope="module", params=[("a.mp4", {}), ("b.mkv", {"open_gop": True, "pixel_format": "yuv420p10le"})])
def source(request, tmp_path_factory):
    name, options = request.param
    info = probe(make_video(tmp_path_factory.mktemp("render") / name, NUM_FRAMES, **options))
    return info, scan_packets(info)


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not {"read-ahead", "write-behind"} & set(names)


def spans():
    return tuple(FaceSpan(a, b, FacePath((a,), (FaceBox(60, 30, 110, 86),))) for a, b in FACES)


def clip_of(source_frames, start=0, driven=(0, 10**6)):
    """Return a clip that shows source frames as output frames from `start` on; faces are driven inside `driven`."""
    touched = tuple(span for span in spans() if any(span.start_frame <= f < span.stop_frame for f in source_frames))
    wanted = [
        number
        for number, frame in enumerate(source_frames, start)
        if any(a <= frame < b for a, b in FACES) and driven[0] <= number < driven[1]
    ]
    rendered = []
    for number in wanted:
        if rendered and rendered[-1][1] == number:
            rendered[-1] = (rendered[-1][0], number + 1)
        else:
            rendered.append((number, number + 1))
    action = "render" if rendered else "reencode"
    return Clip(0, start, start + len(source_frames), action, "", source_frames, touched, tuple(rendered))


def run(source, clip, path, *, tracker=None, engine=None, mel=None, seconds=None, closes_mouths=False):
    info, table = source
    seconds = seconds or tuple(table.seconds(frame) for frame in clip.source_frames)
    lips = LipSync(
        tracker=tracker or FakeTracker(),
        compositor=Compositor(UPRIGHT, pads=Pads(0, 4, 0, 0)),
        engine=engine or FakeEngine(),
        mels=[mel or FakeMel()],
        stages=build_stages(DEFAULT_STAGES, StageSettings(WAV2LIP_SPEC, feather=0.1)),
        closes_mouths=closes_mouths,
    )
    coding = choose_coding(info.require_video(), crf=10, preset="auto")
    return ClipRenderer(SourceVideo(info, table), coding, lips).render(ClipJob(clip, seconds, wants_hashes=True), path)


@pytest.fixture(scope="module")
def in_one_piece(source, tmp_path_factory):
    """Return the hashes of all frames, rendered as one clip."""
    return run(source, clip_of(range(NUM_FRAMES)), tmp_path_factory.mktemp("whole") / "a.nut").frame_hashes


def source_hashes(source):
    with FrameReader(SourceVideo(*source)) as reader:
        return [hash_planes(frame) for _, frame in reader.read(range(NUM_FRAMES))]


# What is rendered


def test_faces_change_and_nothing_else_does(source, in_one_piece):
    same = [a == b for a, b in zip(in_one_piece, source_hashes(source), strict=True)]
    assert same == [not any(a <= frame < b for a, b in FACES) for frame in range(NUM_FRAMES)]


def test_what_it_says_of_itself(source, tmp_path):
    clip = clip_of(range(NUM_FRAMES), driven=(0, 50))
    result = run(source, clip, tmp_path / "a.nut")
    assert result.num_rendered == 26 + 10
    assert clip.rendered == ((5, 31), (40, 50))
    assert len(result.frame_hashes) == NUM_FRAMES
    assert len(result.boxes) == 2
    for box in result.boxes:
        assert box[0] in range(58, 68)
        assert box[1] in range(28, 35)
        assert box[2] in range(110, 120)
        assert box[3] in range(90, 100)
    assert 45 <= result.least_psnr < 99
    assert stamps(tmp_path / "a.nut") == list(range(NUM_FRAMES))


def test_outside_its_box_a_frame_is_the_source(source, tmp_path, monkeypatch):
    given = {}
    write = render.ClipWriter.write

    def noting(self, frame, **options):
        given[len(given)] = [view.copy() for view in plane_views(frame)]
        write(self, frame, **options)

    monkeypatch.setattr(render.ClipWriter, "write", noting)
    result = run(source, clip_of(range(40, 56)), tmp_path / "a.nut")
    left, top, right, bottom = result.boxes[0]
    with FrameReader(SourceVideo(*source)) as reader:
        for number, (_, frame) in enumerate(reader.read(range(40, 56))):
            for index, (old, new) in enumerate(zip(plane_views(frame), given[number], strict=True)):
                step = 2 if index else 1
                outside = np.ones(old.shape, bool)
                outside[top // step : bottom // step, left // step : right // step] = False
                assert np.array_equal(old[outside], new[outside])
                assert not np.array_equal(old, new)


@pytest.mark.parametrize(
    "borders", [[0, 30, 60], [0, 7, 12, 13, 27, 44, 60], [0, 5, 25, 31, 40, 56, 60], range(0, 61, 4)]
)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_borders_of_clips_do_not_show(source, in_one_piece, tmp_path, borders, batch_size):
    hashes = []
    for start, stop in pairwise(borders):
        clip = clip_of(range(start, stop), start)
        hashes += run(source, clip, tmp_path / "a.nut", engine=FakeEngine(batch_size)).frame_hashes
    assert tuple(hashes) == in_one_piece


def test_backwards_is_the_same_the_other_way_round(source, in_one_piece, tmp_path):
    for frames in (range(50, 20, -1), range(NUM_FRAMES - 1, -1, -1)):
        hashes = run(source, clip_of(frames, 100), tmp_path / "a.nut").frame_hashes
        assert hashes == tuple(in_one_piece[frame] for frame in frames)
        assert stamps(tmp_path / "a.nut") == list(frames)


def test_a_mouth_that_fades_is_seen_in_part(source, in_one_piece, tmp_path):
    fades = (Fade(40, 0, 0.25), Fade(41, 0, 0.5))
    result = run(source, replace(clip_of(range(36, 50), 36), fades=fades), tmp_path / "a.nut")
    old = source_hashes(source)[36:50]
    changed = [at + 36 for at, (a, b) in enumerate(zip(result.frame_hashes, old, strict=True)) if a != b]
    assert changed == list(range(40, 50))
    other = [at + 36 for at, (a, b) in enumerate(zip(result.frame_hashes, in_one_piece[36:50], strict=True)) if a != b]
    assert other == [40, 41]
    assert result.num_rendered == 10


# Silence


class Pausing:
    """A sound that is silent with frames 45 to 50, and half silent with those beside them."""

    def window(self, seconds):
        frame = round(seconds * 25)
        window = np.full((80, 16), frame % 50, np.float32)
        window[:, 0 if 45 <= frame <= 50 else 4 if frame in (44, 51) else 16 :] = -4
        return window


def resting(clip):
    """Return a clip whose faces are at rest in frame 52, and seem shut all the time."""
    rests = (NeutralFace(52, Face(FaceBox(60, 30, 110, 86), 1.0)),)
    return replace(
        clip, faces=tuple(replace(face, neutral_faces=rests, closed_mouth=((40, 56),)) for face in clip.faces)
    )


def test_in_silence_the_face_at_rest_is_drawn(source, tmp_path):
    clip = resting(clip_of(range(40, 56), 40))
    shut, open_ = (
        run(source, clip, tmp_path / "a.nut", mel=Pausing(), closes_mouths=closes).frame_hashes
        for closes in (True, False)
    )
    differ = [frame for frame, (a, b) in enumerate(zip(shut, open_, strict=True), 40) if a != b]
    assert set(differ) == {44, *range(45, 51), 51}


@pytest.mark.parametrize(("borders", "batch_size"), [((40, 47, 56), 1), ((40, 45, 46, 51, 56), 5), (range(40, 57), 3)])
def test_borders_of_clips_do_not_show_in_silence(source, tmp_path, borders, batch_size):
    def hashes(start, stop, size=4):
        clip, engine = resting(clip_of(range(start, stop), start)), FakeEngine(size)
        return run(source, clip, tmp_path / "a.nut", engine=engine, mel=Pausing(), closes_mouths=True).frame_hashes

    found = [value for start, stop in pairwise(borders) for value in hashes(start, stop, batch_size)]
    assert found == list(hashes(40, 56))


def test_a_mouth_that_is_shut_anyway_stays(source, tmp_path):
    class Faithful(FakeEngine):
        def render(self, faces, mel_windows, references=None):
            return faces if references is not None else super().render(faces, mel_windows)

    clip = resting(clip_of(range(40, 56), 40))
    result = run(source, clip, tmp_path / "a.nut", engine=Faithful(), mel=Pausing(), closes_mouths=True)
    old = source_hashes(source)[40:56]
    same = [frame for frame, (a, b) in enumerate(zip(result.frame_hashes, old, strict=True), 40) if a == b]
    assert same == list(range(45, 51))
    assert result.num_rendered == 10


# Several faces


def beside(start, stop, left):
    return FaceSpan(start, stop, FacePath((start,), (FaceBox(left, 30, left + 50, 86),)), person=left)


TOGETHER = (beside(5, 40, 4), beside(10, 30, 70), beside(25, 50, 130), beside(12, 20, 90))
"""Up to three at once; the last one lies over the second."""


def clip_of_all(start, stop):
    touched = tuple(span for span in TOGETHER if span.start_frame < stop and start < span.stop_frame)
    inside = (max(start, 5), min(stop, 50))
    rendered = (inside,) if inside[0] < inside[1] else ()
    return Clip(0, start, stop, "render" if rendered else "reencode", "", range(start, stop), touched, rendered)


@pytest.fixture(scope="module")
def all_in_one_piece(source, tmp_path_factory):
    return run(source, clip_of_all(0, NUM_FRAMES), tmp_path_factory.mktemp("all") / "a.nut")


def test_all_faces_of_a_frame_are_drawn(source, all_in_one_piece):
    same = [a == b for a, b in zip(all_in_one_piece.frame_hashes, source_hashes(source), strict=True)]
    assert same == [not 5 <= frame < 50 for frame in range(NUM_FRAMES)]
    assert all_in_one_piece.num_rendered == 45
    ((left, _, right, _),) = all_in_one_piece.boxes
    assert left < 12
    assert right > 176


@pytest.mark.parametrize(("borders", "batch_size"), [((0, 17, 33, NUM_FRAMES), 1), ((0, 6, 12, 26, 49, NUM_FRAMES), 5)])
def test_borders_of_clips_do_not_show_where_faces_come_and_go(source, all_in_one_piece, tmp_path, borders, batch_size):
    hashes = []
    for start, stop in pairwise(borders):
        clip = clip_of_all(start, stop)
        hashes += run(source, clip, tmp_path / "a.nut", engine=FakeEngine(batch_size)).frame_hashes
    assert tuple(hashes) == all_in_one_piece.frame_hashes


def test_a_face_is_drawn_the_same_whoever_is_beside_it(source, all_in_one_piece, tmp_path):
    """Left and right of each other: what one changes is what it changes alone."""
    one = replace(clip_of_all(30, 40), faces=(TOGETHER[0],))
    alone = run(source, one, tmp_path / "a.nut")
    both = run(source, clip_of_all(30, 40), tmp_path / "b.nut")
    left, right = (planes_of(source, tmp_path / name) for name in ("a.nut", "b.nut"))
    assert alone.frame_hashes != both.frame_hashes
    for a, b in zip(left, right, strict=True):
        assert np.abs(a[:, :60].astype(int) - b[:, :60].astype(int)).mean() < 2  # the coding alone


def planes_of(source, path):
    import av

    with av.open(str(path)) as container:
        return [plane_views(frame)[0] for frame in container.decode(video=0)]


def test_a_held_frame_moves_its_mouth(source, tmp_path):
    """The picture stands still, the sound goes on."""
    seconds = tuple(Fraction(at, 25) for at in range(9))
    for frame in (12, 40, 55):
        result = run(source, clip_of([frame] * 9), tmp_path / "a.nut", seconds=seconds)
        single = [
            run(source, clip_of(range(frame, frame + 1)), tmp_path / "b.nut", seconds=(at,)).frame_hashes[0]
            for at in seconds
        ]
        assert list(result.frame_hashes) == single
        assert len(set(single)) == len(seconds)
        assert stamps(tmp_path / "a.nut") == [frame] * 9


def test_a_mouth_belongs_to_its_time(source, in_one_piece, tmp_path):
    _, table = source
    later = tuple(table.seconds(frame) + Fraction(1, 5) for frame in range(40, 56))
    hashes = run(source, clip_of(range(40, 56), 40), tmp_path / "a.nut", seconds=later).frame_hashes
    assert all(a != b for a, b in zip(hashes, in_one_piece[40:56], strict=True))


def test_without_a_network_frames_are_coded_unchanged(source, tmp_path):
    info, table = source
    clip = clip_of(range(10, 30))
    coding = choose_coding(info.require_video(), crf=10, preset="auto")
    job = ClipJob(clip, (Fraction(0),) * 20, wants_hashes=True)
    result = ClipRenderer(SourceVideo(info, table), coding, lips=None).render(job, tmp_path / "a.nut")
    assert list(result.frame_hashes) == source_hashes(source)[10:30]
    assert (result.num_rendered, result.boxes) == (0, (None,))
    assert result.least_psnr >= 45


def test_keyframes_stand_where_the_source_has_them(source, tmp_path):
    run(source, clip_of(range(7, 50)), tmp_path / "a.nut")
    assert [frame for frame, flag in enumerate(scan_packets(probe(tmp_path / "a.nut")).keyframe, 7) if flag] == [
        7,
        12,
        24,
        36,
        48,
    ]
    run(source, clip_of(range(50, 7, -1)), tmp_path / "b.nut")
    assert sum(scan_packets(probe(tmp_path / "b.nut")).keyframe) == 1


# What is read


def test_margins_end_where_the_span_does():
    assert read_frames(clip_of(range(10, 20)), REACH) == range(6, 24)
    assert read_frames(clip_of(range(6, 24)), REACH) == range(5, 25)
    assert read_frames(clip_of(range(25, 31)), REACH) == range(25, 31)
    assert read_frames(clip_of(range(32, 45)), REACH) == range(32, 49)
    assert read_frames(clip_of(range(19, 9, -1)), REACH) == range(23, 5, -1)
    assert list(read_frames(clip_of([12] * 3), 2)) == [10, 11, 12, 12, 12, 13, 14]
    assert read_frames(clip_of(range(31, 40)), REACH) == range(31, 40)


# Errors


def within_seconds(function, seconds=30):
    """Call a function that must raise; fail if it hangs. Return what it raised."""
    errors = []

    def call():
        try:
            function()
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=call, daemon=True)
    start = time.monotonic()
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"it hangs for {time.monotonic() - start:.0f} s"
    assert errors, "nothing was raised"
    return errors[0]


def test_a_source_that_cannot_be_decoded(tmp_path):
    path = make_video(tmp_path / "a.ts", NUM_FRAMES)
    info = probe(path)
    table = scan_packets(info)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 // 188 * 188])
    error = within_seconds(lambda: run((info, table), clip_of(range(NUM_FRAMES)), tmp_path / "a.nut"))
    assert isinstance(error, UnreadableMedia)
    assert "cannot be decoded" in str(error)


def test_a_tracker_that_fails(source, tmp_path):
    tracker = FakeTracker(fails_at=30)
    error = within_seconds(lambda: run(source, clip_of(range(NUM_FRAMES)), tmp_path / "a.nut", tracker=tracker))
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("fails_at", [0, 20])
def test_a_network_that_fails(source, tmp_path, fails_at):
    engine = FakeEngine(fails_at=fails_at)
    error = within_seconds(lambda: run(source, clip_of(range(NUM_FRAMES)), tmp_path / "a.nut", engine=engine))
    assert isinstance(error, OutOfMemory)


@pytest.mark.parametrize("fails_at", [0, 10, NUM_FRAMES - 1])
def test_an_encoder_that_fails(source, tmp_path, monkeypatch, fails_at):
    write = render.ClipWriter.write
    written = []

    def failing(self, frame, **options):
        if len(written) == fails_at:
            raise WorkspaceError("a.nut: cannot be written. Make space.")
        written.append(frame)
        write(self, frame, **options)

    monkeypatch.setattr(render.ClipWriter, "write", failing)
    error = within_seconds(lambda: run(source, clip_of(range(NUM_FRAMES)), tmp_path / "a.nut"))
    assert isinstance(error, WorkspaceError)


def test_a_full_disk(source):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    error = within_seconds(lambda: run(source, clip_of(range(NUM_FRAMES)), Path("/dev/full")))
    assert isinstance(error, WorkspaceError)


def test_frames_in_flight_are_few(source, tmp_path, monkeypatch):
    """Between the decoder and a slow encoder stand two queues, a batch, and a frame in each hand."""
    in_flight, most = [0], [0]
    read, write = FrameReader.read, render.ClipWriter.write
    monkeypatch.setattr(render, "QUEUE_FRAMES", 3)

    class Following(FakeTracker):
        def track(self, frames, spans):
            for index, frame in frames:
                yield index, frame, (TrackedFace(spans[0], FaceBox(60, 30, 110, 86)),)

    def reading(self, frames):
        for pair in read(self, frames):
            in_flight[0] += 1
            most[0] = max(most[0], in_flight[0])
            yield pair

    def slowly(self, frame, **options):
        time.sleep(0.005)
        in_flight[0] -= 1
        write(self, frame, **options)

    monkeypatch.setattr(FrameReader, "read", reading)
    monkeypatch.setattr(render.ClipWriter, "write", slowly)
    run(source, clip_of(range(40, 56)), tmp_path / "a.nut", tracker=Following(), engine=FakeEngine(2))
    run(source, clip_of(range(NUM_FRAMES)), tmp_path / "a.nut", tracker=Following(), engine=FakeEngine(2))
    assert in_flight == [0]
    assert most[0] <= 3 + 3 + 2 * 2 + 4
