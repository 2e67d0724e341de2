import weakref
from dataclasses import replace

import numpy as np
import pytest
from av import VideoFrame

from media.faces import Face, FaceBox, FrameDetections
from media.orientation import ORIENTATIONS, UPRIGHT
from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter import scanner
from segmenter.find_detector import build_detector
from segmenter.scan import Scan, ScanSettings
from segmenter.scanner import FaceScanner, detection_size, join_scans, plan_scan, scan_faces
from segmenter.spans.find import find_spans
from segmenter.spans.presence import SpanSettings

SIZE = (640, 360)


class WhiteSquares:
    """A detector for drawn footage: what is white is a face."""

    name = "white"

    def __init__(self):
        self.sizes = []

    def detect(self, picture, *, smallest_px=16):
        self.sizes.append(picture.shape[1::-1])
        rows, columns = np.nonzero(picture.min(axis=2) > 220)
        if len(rows) < 20:
            return ()
        return (Face(FaceBox(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), 0.9),)


def draw(face_at, shade=60):
    """Return a frame of one shade, with a face of 72 x 96 at a place, or none."""
    picture = np.full((SIZE[1], SIZE[0], 3), (shade, 90, 160 - shade), np.uint8)
    if face_at:
        x, y = face_at
        picture[y : y + 96, x : x + 72] = 255
    return VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")


def scan(frames, table, detector=None, *, settings=None, **options):
    scanner = FaceScanner(
        table, SIZE, detector or WhiteSquares(), PictureConverter(UPRIGHT), settings or ScanSettings()
    )
    return scan_faces(frames, scanner, **options)


def seen(result):
    return {sample.frame: bool(sample.faces) for sample in result.samples}


@pytest.fixture(scope="module")
def second(table_of):
    """Return the table of 4 s at 25 frames a second."""
    return table_of(range(0, 4000, 40))


@pytest.mark.parametrize(("come", "go"), [(13, 41), (1, 99), (20, 21), (27, 28), (50, 100), (33, 77)])
def test_a_face_that_comes_and_goes_inside_a_shot_is_found_to_the_frame(second, come, go):
    result = scan(((i, draw((200, 100) if come <= i < go else None)) for i in range(100)), second)
    found = seen(result)
    assert result.cuts == ()
    if go - come > 5:  # shorter ones may fall between two looks
        assert (found[come - 1], found[come], found[go - 1]) == (False, True, True)
        assert go == 100 or not found[go]
    assert all(found[frame] == (come <= frame < go) for frame in found)


@pytest.mark.parametrize("cut", [None, *range(44, 56)])
def test_parts_find_what_one_scan_finds_wherever_a_cut_is(second, monkeypatch, cut):
    monkeypatch.setattr(scanner, "PART_SECONDS", 2)
    table = replace(second, keyframe=bytes(frame % 25 == 0 for frame in range(100)))
    shades = [60 + 2 * abs(i % 8 - 4) + (110 if cut and i >= cut else 0) for i in range(100)]
    frames = [(i, draw((200, 100) if 30 <= i < 77 else None, shade)) for i, shade in enumerate(shades)]
    parts = plan_scan(table, ((0, 100),))
    assert [(part.start, part.stop) for part in parts] == [(0, 50), (50, 100)]
    joined = join_scans([scan(frames[p.start : p.read_stop], table, part=p) for p in parts], "white", SIZE)
    whole = scan(frames, table)
    assert joined.cuts == whole.cuts == ((cut,) if cut else ())
    found, known = seen(joined), seen(whole)
    assert list(found) == sorted(set(found))
    assert all(found[frame] == (30 <= frame < 77) for frame in found)
    assert {frame for frame in known if not 43 < frame < 60} == {frame for frame in found if not 43 < frame < 60}


def test_parts_cover_each_interval_and_begin_at_keyframes(second):
    table = replace(second, keyframe=bytes(frame % 40 == 0 for frame in range(100)))
    parts = plan_scan(table, ((3, 60), (70, 100)))
    assert [(part.start, part.stop) for part in parts] == [(3, 60), (70, 100)]  # all shorter than PART_SECONDS
    assert plan_scan(table, ()) == ()
    assert join_scans((), "white", SIZE) == Scan((), (), "white", SIZE)


def test_few_frames_are_looked_at(second):
    detector = WhiteSquares()
    scan(((i, draw((200, 100))) for i in range(100)), second, detector)
    assert len(detector.sizes) == 21  # 5 a second, and the last one


def test_the_first_and_last_frame_of_every_shot_are_looked_at(second):
    shots = [(0, 33, None, 20), (33, 38, (200, 100), 200), (38, 71, None, 20), (71, 100, (40, 30), 150)]
    frames = ((i, draw(face, shade)) for start, stop, face, shade in shots for i in range(start, stop))
    result = scan(frames, second)
    assert result.cuts == (33, 38, 71)
    found = seen(result)
    for start, stop, face, _ in shots:
        assert (found[start], found[stop - 1]) == (bool(face), bool(face))
    spans = find_spans(result, second, [(0, 100)], SpanSettings(min_on_seconds=0.1))
    assert [(span.start_frame, span.stop_frame, span.kind) for span in spans] == [
        (0, 33, "no_face"),
        (33, 38, "face"),
        (38, 71, "no_face"),
        (71, 100, "face"),
    ]


def test_boxes_are_pixels_of_the_upright_picture(second):
    result = scan([(7, draw((200, 100)))], second)
    assert result.samples[0].frame == 7
    box = result.samples[0].faces[0].box
    assert [box.left, box.top, box.right, box.bottom] == pytest.approx([200, 100, 272, 196], abs=3)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_turned_picture_is_scanned_upright(second, orientation):
    scanner = FaceScanner(second, orientation.upright_size(*SIZE), WhiteSquares(), PictureConverter(orientation))
    result = scan_faces([(0, draw((200, 100)))], scanner)
    box = result.samples[0].faces[0].box
    expected = orientation.to_upright((200, 100, 272, 196), *SIZE)
    assert [box.left, box.top, box.right, box.bottom] == pytest.approx(expected, abs=3)


def test_each_stretch_of_frames_is_scanned_by_itself(second):
    def frames(*ranges):
        return ((i, draw((200, 100) if i % 50 < 20 else None)) for each in ranges for i in each)

    whole = scan(frames(range(15, 40), range(60, 90)), second)
    parts = [scan(frames(range(15, 40)), second), scan(frames(range(60, 90)), second)]
    assert whole.samples == parts[0].samples + parts[1].samples
    assert whole.cuts == ()
    assert {15, 39, 60, 89} <= seen(whole).keys()


def test_the_grid_of_times_is_the_same_wherever_scanning_begins(second):
    def frames(start):
        return ((i, draw((200, 100))) for i in range(start, 100))

    late = scan(frames(32), second).samples
    assert set(late[1:]) <= set(scan(frames(0), second).samples)


def test_samples_follow_time_where_the_frame_rate_varies(table_of):
    table = table_of([*range(0, 1000, 100), *range(1000, 2000, 20)])  # 10 frames a second, then 50
    result = scan(((i, draw((200, 100))) for i in range(60)), table)
    assert [sample.frame for sample in result.samples] == [0, 2, 4, 6, 8, 10, 20, 30, 40, 50, 59]


class Picture:
    """A frame that can be referenced weakly."""


class Converter:
    def upright_bgr(self, frame, size):
        return np.zeros((size[1], size[0], 3), np.uint8)


def test_few_frames_are_held_however_long_the_video(table_of):
    alive = weakref.WeakSet()
    most = 0

    def frames():
        nonlocal most
        for i in range(150):
            frame = Picture()
            alive.add(frame)
            yield i, frame
            del frame
            most = max(most, len(alive))

    table = table_of(range(150))  # 1000 frames a second: 200 between two points of the grid
    scan_faces(frames(), FaceScanner(table, SIZE, WhiteSquares(), Converter()))
    assert 3 <= most <= 15


def test_progress_counts_frames(second):
    done = []
    scan(((i, draw(None)) for i in range(40)), second, on_progress=done.append)
    assert done == list(range(1, 41))


def test_no_frames_no_samples(second):
    assert scan([], second) == Scan((), (), "white", SIZE)


def test_a_scan_survives_json():
    faces = (
        Face(FaceBox(1.25, 2, 3, 4.5), 0.87, ((1, 2), (3, 4), (5, 6), (7, 8), (9.5, 10))),
        Face(FaceBox(0, 0, 1, 1), 0.3, None, b"who", 0.25, None, 0.5),
    )
    result = Scan((FrameDetections(0, ()), FrameDetections(5, faces)), (3,), "retinaface", (1920, 1080))
    assert Scan.from_json(result.to_json()) == result


@pytest.mark.parametrize("text", ["", "[]", '{"samples": []}'])
def test_other_json_is_no_scan(text):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Scan.from_json(text)


def test_pictures_are_as_small_as_the_smallest_face_allows():
    assert detection_size((1280, 720), 96) == (320, 180)
    assert detection_size((1280, 720), 64) == (480, 270)
    assert detection_size((2160, 3840), 64) == (360, 640)
    assert detection_size((200, 100), 64) == (200, 100)


FOOTAGE = [
    (None, 30),
    ("head_01_512.mp4", 40),
    (None, 33),
    ("interview_2_844.mp4", 45),
    ("head_02_512.mp4", 26),
    (None, 17),
    ("interview_4_700.mp4", 37),
    ("head_11_512.mp4", 22),
    ("vlog_512_30fps.mp4", 40),
    (None, 12),
]
"""Shots in order: a shared clip, or None for scenery; and the number of frames."""


@pytest.fixture(scope="module")
def footage(tmp_path_factory, clip_pictures, scenery, write_video):
    """Return a video of FOOTAGE with its information and table."""
    shots = (
        clip_pictures(name, range(length), SIZE) if name else scenery(length, SIZE, seed=length)
        for name, length in FOOTAGE
    )
    path = tmp_path_factory.mktemp("footage") / "joined.mp4"
    info = probe(write_video(path, (picture for shot in shots for picture in shot), SIZE))
    return info, scan_packets(info)


@pytest.mark.parametrize("choice", ["retinaface", "cascade"])
def test_spans_of_real_footage_begin_and_end_at_its_cuts(footage, retinaface_weights, choice):
    info, table = footage
    detector = build_detector(choice, retinaface_weights)
    with FrameReader(SourceVideo(info, table)) as reader:
        result = scan(reader.read(range(len(table))), table, detector, settings=ScanSettings(min_face_px=48))
    borders = [0, *(int(border) for border in np.cumsum([length for _, length in FOOTAGE]))]
    assert list(result.cuts) == borders[1:-1]
    spans = find_spans(result, table, [(0, len(table))], SpanSettings(min_face_px=48))
    truth = [
        (start, stop, "face" if name else "no_face")
        for (name, _), start, stop in zip(FOOTAGE, borders[:-1], borders[1:], strict=True)
    ]
    assert [(span.start_frame, span.stop_frame, span.kind) for span in spans] == truth
    assert {span.reason for span in spans} == {"", "no face"}
    assert len(result.samples) < 0.4 * len(table)


def test_a_range_of_real_footage_gives_the_same_spans(footage, retinaface_weights):
    info, table = footage
    intervals = [(20, 90), (160, 200)]
    with FrameReader(SourceVideo(info, table)) as reader:
        frames = (frame for start, stop in intervals for frame in reader.read(range(start, stop)))
        result = scan(
            frames, table, build_detector("retinaface", retinaface_weights), settings=ScanSettings(min_face_px=48)
        )
    spans = find_spans(result, table, intervals, SpanSettings(min_face_px=48))
    assert [(span.start_frame, span.stop_frame, span.kind) for span in spans] == [
        (20, 30, "no_face"),
        (30, 70, "face"),
        (70, 90, "no_face"),
        (160, 174, "face"),
        (174, 191, "no_face"),
        (191, 200, "face"),
    ]
