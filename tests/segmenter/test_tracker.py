from itertools import chain

import cv2
import numpy as np
import pytest
from av import VideoFrame

from media.clips import FaceSpan
from media.faces import Face, FaceBox, FacePath
from media.orientation import ORIENTATIONS, UPRIGHT
from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter.find_detector import build_detector
from segmenter.planner import PATH_MARGIN_FRAMES
from segmenter.scanner import FaceScanner, scan_faces
from segmenter.smoothing import MOST_STEP_FRAMES, MOST_WINDOW_FRAMES
from segmenter.spans.find import find_spans
from segmenter.spans.presence import SpanSettings
from segmenter.tracker import BoxTracker
from segmenter.tracks import box_distance

SIZE = (320, 240)
FACE = (36, 48)
NUM_FRAMES = 60


class WhiteSquares:
    """A detector for drawn footage: what is white is a face. Blind in pictures that are mostly grey."""

    crop_px = 192
    smoothing_frames = 5

    def __init__(self):
        self.pictures = []

    def detect(self, picture, *, smallest_px=16):
        self.pictures.append(picture)
        rows, columns = np.nonzero(picture.min(axis=2) > 200)
        if len(rows) < 20:
            return ()
        return (Face(FaceBox(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), 0.9),)


def place(frame):
    """Return where the face is: it swings from side to side and jitters."""
    return round(140 + 80 * np.sin(frame / 9)), 90 + frame % 3


def draw(frame, *, hidden=()):
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    if frame not in hidden:
        x, y = place(frame)
        picture[y : y + FACE[1], x : x + FACE[0]] = 255
    return VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv444p")


def box_of(frame):
    x, y = place(frame)
    return FaceBox(x, y, x + FACE[0], y + FACE[1])


def span_of(start, stop, every=6):
    """Return a span whose path is off by a few pixels, as the scan's reduced pictures make it."""
    frames = [*range(start, stop - 1, every), stop - 1]
    boxes = (box_of(frame) for frame in frames)
    return FaceSpan(
        start,
        stop,
        FacePath(tuple(frames), tuple(FaceBox(b.left + 3, b.top - 4, b.right + 5, b.bottom) for b in boxes)),
    )


@pytest.fixture(scope="module")
def footage():
    return [draw(frame) for frame in range(NUM_FRAMES)]


def track(frames, indexes, spans, *, detector=None, **options):
    tracker = BoxTracker(detector or WhiteSquares(), PictureConverter(UPRIGHT), **options)
    return list(tracker.track(((index, frames[index]) for index in indexes), spans))


def boxes(frames, indexes, spans, **options):
    """Return the box of the one face of each frame, or None."""
    return [one_box(faces) for _, _, faces in track(frames, indexes, spans, **options)]


def one_box(faces):
    assert len(faces) <= 1
    return faces[0].box if faces else None


def edges(found):
    return np.array([(box.left, box.top, box.right, box.bottom) for box in found])


def test_the_box_is_that_of_every_frame(footage):
    found = boxes(footage, range(NUM_FRAMES), [span_of(0, NUM_FRAMES)], every_frames=1, smoothing_frames=1)
    error = edges(found) - edges(map(box_of, range(NUM_FRAMES)))
    assert np.abs(error).max() < 1.5  # the drawn face is looked at reduced; the path alone is 5 off


def test_frames_come_out_as_they_went_in(footage):
    indexes = [*range(3, 20), 19, 19, *range(18, 5, -1), 40, 41]
    out = track(footage, indexes, [span_of(5, 15), span_of(15, 30)])
    assert [index for index, _, _ in out] == indexes
    assert all(frame is footage[index] for index, frame, _ in out)
    assert [bool(faces) for _, _, faces in out] == [5 <= index < 30 for index in indexes]


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("smoothing", [1, 5, 9])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_box_is_the_same_wherever_reading_began(footage, every, smoothing, direction):
    spans = [span_of(4, 37), span_of(37, 55)]
    options = {"every_frames": every, "smoothing_frames": smoothing}
    reach = BoxTracker(WhiteSquares(), PictureConverter(UPRIGHT), **options).reach_frames
    whole = boxes(footage, range(NUM_FRAMES), spans, **options)
    for start, stop in [(0, 11), (9, 10), (11, 25), (25, 37), (30, 44), (37, 60)]:
        indexes = range(max(start - reach, 0), min(stop + reach, NUM_FRAMES))[::direction]
        piece = {index: one_box(faces) for index, _, faces in track(footage, indexes, spans, **options)}
        assert [piece[index] for index in range(start, stop)] == whole[start:stop]


def test_what_lies_beyond_reach_plays_no_part(footage):
    span = span_of(0, NUM_FRAMES)
    reach = BoxTracker(WhiteSquares(), PictureConverter(UPRIGHT)).reach_frames
    whole = boxes(footage, range(NUM_FRAMES), [span])
    changed = [draw(frame, hidden=range(20, NUM_FRAMES)) for frame in range(NUM_FRAMES)]
    other = boxes(changed, range(NUM_FRAMES), [span])
    changed_from = next(frame for frame in range(NUM_FRAMES) if other[frame] != whole[frame])
    assert 20 - reach <= changed_from < 20


def test_a_clip_keeps_all_of_the_path_that_the_widest_filter_looks_at():
    """Where no face is found the box rests on the path, of which a clip holds a part. It looks farthest at the ends."""
    whole = span_of(0, 300, every=1)
    dark = [draw(0, hidden=[0])] * 300
    options = {"every_frames": MOST_STEP_FRAMES, "smoothing_frames": MOST_WINDOW_FRAMES}
    for first, last in ((0, 2), (298, 300)):
        clip = whole.shortened(first, last, PATH_MARGIN_FRAMES)
        assert len(clip.path.frames) < 100
        found = [boxes(dark, range(300), [span], **options)[first:last] for span in (whole, clip)]
        assert found[0] == found[1]


def test_a_span_never_looks_into_its_neighbour(footage):
    whole = boxes(footage, range(NUM_FRAMES), [span_of(0, 30), span_of(30, 60)])
    alone = boxes(footage, range(30), [span_of(0, 30)])
    assert whole[:30] == alone


def test_frozen_looped_and_bounced_frames_get_their_boxes(footage):
    spans = [span_of(0, NUM_FRAMES)]
    whole = boxes(footage, range(NUM_FRAMES), spans)
    last = NUM_FRAMES - 1
    for more in ([last] * 30, range(NUM_FRAMES), range(last - 1, -1, -1)):
        indexes = [*range(NUM_FRAMES), *more]
        assert boxes(footage, indexes, spans) == [whole[index] for index in indexes]


def test_few_frames_wait(footage):
    given = 0

    def frames():
        nonlocal given
        for index in range(NUM_FRAMES):
            given += 1
            yield index, footage[index]

    tracker = BoxTracker(WhiteSquares(), PictureConverter(UPRIGHT))
    waited = [given - taken for taken, _ in enumerate(tracker.track(frames(), [span_of(20, NUM_FRAMES)]), start=1)]
    assert tracker.reach_frames - 1 <= max(waited) <= tracker.reach_frames
    assert max(waited[30:]) < tracker.reach_frames - 1  # only where a span begins
    assert waited[:20] == [0] * 20


def test_a_frame_is_searched_once(footage):
    detector = WhiteSquares()
    boxes(footage, [*range(20), *[19] * 10], [span_of(0, 20)], detector=detector, every_frames=3)
    assert len(detector.pictures) == 8  # 0, 3, ... 18, and 19
    assert {picture.shape for picture in detector.pictures} == {(192, 192, 3)}


def test_smoothing_has_no_lag_and_takes_the_jitter(footage):
    span = span_of(0, NUM_FRAMES)
    raw = edges(boxes(footage, range(NUM_FRAMES), [span], every_frames=1, smoothing_frames=1))
    smooth = edges(boxes(footage, range(NUM_FRAMES), [span]))
    left, smooth_left = raw[:, 0], smooth[:, 0]
    lags = {lag: np.abs(left[5:-5] - smooth_left[5 + lag : len(left) - 5 + lag]).sum() for lag in range(-4, 5)}
    assert min(lags, key=lags.get) == 0
    jitter, smooth_jitter = (np.square(np.diff(found[:, 1], 2)).mean() for found in (raw, smooth))
    assert smooth_jitter < jitter / 100
    assert np.abs(raw[[0, -1]] - smooth[[0, -1]]).max() < 5  # the face moves by 9 a frame


def test_where_the_face_is_missed_the_path_speaks():
    hidden = range(20, 40)
    frames = [draw(frame, hidden=hidden) for frame in range(NUM_FRAMES)]
    span = span_of(0, NUM_FRAMES)
    found = boxes(frames, range(NUM_FRAMES), [span])
    weights = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25  # a mean of 5 frames, twice
    assert edges([found[30]])[0] == pytest.approx(
        weights @ edges(found_alone(span.path, frame, every=2) for frame in range(26, 35))
    )


def found_alone(path, frame, *, every):
    """Return the path's box at a frame, as it is where only every n-th frame is looked up."""
    before = frame - frame % every
    return path.box_at(before).towards(path.box_at(before + every), (frame - before) / every)


class Tilted(WhiteSquares):
    """Sees white faces tilted by 20 degrees, their eyes left and right of their centre; the others not at all."""

    def detect(self, picture, *, smallest_px=16):
        c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
        points = ((-9, -9), (9, -9), (0, 0), (-6, 9), (6, 9))
        return tuple(
            Face(box, 0.9, tuple((x + c * u - s * v, y + s * u + c * v) for u, v in points))
            for box in (face.box for face in super().detect(picture))
            for x, y in [((box.left + box.right) / 2, (box.top + box.bottom) / 2)]
        )


def test_where_a_tilted_face_is_missed_it_stays_tilted():
    frames = [draw(frame, hidden=range(18, 23)) for frame in range(NUM_FRAMES)]
    found = track(frames, range(NUM_FRAMES), [span_of(0, NUM_FRAMES)], detector=Tilted())
    assert [face.roll_degrees for _, _, (face,) in found] == pytest.approx([20] * NUM_FRAMES)
    widths = [face.box.width for _, _, (face,) in found]
    assert max(widths) - min(widths) < 3  # the path's box is as little upright as those seen


def test_another_face_nearby_is_not_taken(footage):
    class Two(WhiteSquares):
        def detect(self, picture, *, smallest_px=16):
            (one,) = super().detect(picture)
            box = one.box
            other = FaceBox(box.left - 60, box.top - 40, box.right - 40, box.bottom)
            return Face(other, 0.99), one

    options = {"every_frames": 1, "smoothing_frames": 1}
    span = span_of(0, 10)
    assert boxes(footage, range(10), [span], detector=Two(), **options) == boxes(footage, range(10), [span], **options)


@pytest.mark.parametrize("corner", [(-20, -30), (300, 210), (-20, 210), (400, 400)])
def test_a_box_at_the_edge_of_the_picture_is_searched_in_what_there_is(footage, corner):
    x, y = corner
    box = FaceBox(x, y, x + FACE[0], y + FACE[1])
    span = FaceSpan(0, 5, FacePath((0,), (box,)))
    assert boxes(footage, range(5), [span]) == [box] * 5


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_turned_footage_has_upright_boxes(orientation):
    upright = np.zeros((320, 240, 3), np.uint8)
    upright[40:76, 42:90] = 255
    frame = VideoFrame.from_ndarray(orientation.turn_back(upright), format="bgr24").reformat(format="yuv420p")
    expected = FaceBox(42, 40, 90, 76)
    span = FaceSpan(0, 1, FacePath((0,), (FaceBox(46, 37, 95, 72),)))
    tracker = BoxTracker(WhiteSquares(), PictureConverter(orientation))
    ((_, _, (face,)),) = tracker.track([(0, frame)], [span])
    assert edges([face.box])[0] == pytest.approx(edges([expected])[0], abs=1.5)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv411p"])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_large_face_is_where_it_is_although_its_surroundings_are_shrunk(orientation, pixel_format):
    """In a frame of odd size, of which no side is a multiple of what is shrunk."""
    width, height = orientation.upright_size(2003, 1601)
    face = FaceBox(431, 407, 1041, 1007)
    upright = np.zeros((height, width, 3), np.uint8)
    upright[407:1007, 431:1041] = 255
    stored = VideoFrame.from_ndarray(orientation.turn_back(upright), format="bgr24").reformat(format=pixel_format)
    detector = WhiteSquares()
    found = BoxTracker(detector, PictureConverter(orientation)).search(stored, FaceBox(441, 390, 1051, 990))
    assert edges([found.box])[0] == pytest.approx(edges([face])[0], abs=7), "a pixel of the picture"
    assert detector.pictures[0].shape == (192, 192, 3)


def test_several_faces_are_followed_each_as_if_it_were_alone(footage):
    """The second span's path leads elsewhere, where there is nothing to find: its boxes are those of the path."""
    one, late = span_of(0, 40), span_of(25, 60)
    away = FaceSpan(10, 50, FacePath((10,), (FaceBox(5, 5, 41, 53),)))
    found = track(footage, range(NUM_FRAMES), [one, away, late])
    for span in (one, away, late):
        own = [face.box for _, _, faces in found for face in faces if face.span is span]
        alone = boxes(footage, range(NUM_FRAMES), [span])
        assert own == alone[span.start_frame : span.stop_frame]
    assert [len(faces) for _, _, faces in found] == [
        sum(span.start_frame <= frame < span.stop_frame for span in (one, away, late)) for frame in range(NUM_FRAMES)
    ]
    assert [face.span for face in found[30][2]] == [one, away, late]


def test_no_frames_no_boxes():
    assert track([], [], []) == []


@pytest.fixture(scope="module", params=["interview_1_700.mp4", "vlog_512_30fps.mp4"])
def speaker(request, shared, retinaface_weights):
    """Return (information, frames, spans, size, detector) of two seconds of a real speaker."""
    info = probe(shared / "clips" / request.param)
    table = scan_packets(info)
    detector = build_detector("retinaface", retinaface_weights)
    with FrameReader(SourceVideo(info, table)) as reader:
        frames = list(reader.read(range(50)))
    size = info.video.upright_size
    scan = scan_faces(frames, FaceScanner(table, size, detector, PictureConverter(UPRIGHT)))
    return frames, find_spans(scan, table, [(0, 50)], SpanSettings()), size, detector


def follow_turned(speaker, choice=None, frames=slice(None), **options):
    """Return (box, tilt) of the one face of each frame."""
    footage, spans, _, detector = speaker
    tracker = BoxTracker(choice or detector, PictureConverter(UPRIGHT), **options)
    return [(face.box, face.roll_degrees) for _, _, (face,) in tracker.track(footage[frames], spans)]


def follow(*given, **options):
    return [box for box, _ in follow_turned(*given, **options)]


def test_a_real_face_is_followed_within_a_pixel_of_detecting_every_frame(speaker):
    dense, sparse = edges(follow(speaker, every_frames=1)), edges(follow(speaker))
    assert np.median(np.abs(dense - sparse)) < 1


def test_a_real_face_is_where_the_detector_sees_it_at_full_size(speaker):
    footage, _, _, detector = speaker
    found = follow(speaker)
    for at in range(0, 50, 10):
        whole = detector.detect(PictureConverter(UPRIGHT).upright_bgr(footage[at][1]))
        assert min(box_distance(face.box, found[at]) for face in whole) < 0.12


def test_clips_of_a_real_face_get_the_boxes_of_the_whole(speaker):
    reach = BoxTracker(speaker[3], PictureConverter(UPRIGHT)).reach_frames
    whole = follow_turned(speaker)
    pieces = [
        follow_turned(speaker, frames=slice(max(start - reach, 0), start + 10 + reach))[min(start, reach) :][:10]
        for start in range(0, 50, 10)
    ]
    assert list(chain(*pieces)) == whole
    assert len({roll for _, roll in whole}) > 40


def jitter(path):
    return np.square(np.diff(path, 2, axis=0)).mean()


def lag_of(path, reference):
    """Return the shift at which the velocities of two paths fit best; positive if the first is late."""
    own, other = np.diff(path, axis=0), np.diff(reference, axis=0)
    fits = {lag: (own[6 + lag : len(own) - 6 + lag] * other[6:-6]).sum() for lag in range(-5, 6)}
    return max(fits, key=fits.get)


@pytest.mark.parametrize("choice", ["retinaface", "cascade"])
def test_a_real_face_is_held_three_times_steadier_than_by_wav2lip_and_without_lag(speaker, choice):
    """Wav2Lip's way: detected in every frame, the mean of a frame and the 4 after it, at the end of the last 5."""
    detector = build_detector("cascade", None) if choice == "cascade" else None
    raw = edges(follow(speaker, detector, every_frames=1, smoothing_frames=1, align="box"))
    forward = np.array([raw[min(at, len(raw) - 5) :][:5].mean(axis=0) for at in range(len(raw))])
    ours = edges(follow(speaker, detector, align="box"))
    assert jitter(forward) / jitter(ours) > 3
    assert lag_of(ours, raw) == 0
    # The detector's jitter is removed, not the motion of the face: the path is no further from it than Wav2Lip's.
    assert np.abs(ours - raw).mean() < 1.05 * np.abs(forward - raw).mean()


def test_a_real_cut_is_not_smoothed_over(speaker):
    """Footage cut together out of order: either side is followed as if the other were not there."""
    footage, (span,), _, detector = speaker
    parts = [range(30, 50), range(20)]
    frames = [(at, footage[source][1]) for at, source in enumerate(chain(*parts))]
    spans = []
    for number, part in enumerate(parts):
        path = tuple(span.path.box_at(frame) for frame in part)
        spans.append(FaceSpan(20 * number, 20 * number + 20, FacePath((*range(20 * number, 20 * number + 20),), path)))
    both = [one_box(faces) for _, _, faces in BoxTracker(detector, PictureConverter(UPRIGHT)).track(frames, spans)]
    for number, own in enumerate(spans):
        alone = BoxTracker(detector, PictureConverter(UPRIGHT)).track(frames[20 * number :][:20], [own])
        assert [one_box(faces) for _, _, faces in alone] == both[20 * number :][:20]
    assert both[20] != both[19]


@pytest.mark.parametrize("degrees", [-30, 20, 40])
def test_the_tilt_of_a_real_face_is_measured_and_its_box_is_that_of_the_upright_face(speaker, degrees):
    footage, (span,), (width, height), detector = speaker
    centre = np.array([width, height]) / 2
    turn = cv2.getRotationMatrix2D(tuple(centre - 0.5), -degrees, 1)
    tilted = []
    for index, frame in footage[:9]:
        picture = cv2.warpAffine(PictureConverter(UPRIGHT).upright_bgr(frame), turn, (width, height))
        tilted.append((index, VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv444p")))
    seen = max(detector.detect(PictureConverter(UPRIGHT).upright_bgr(tilted[0][1])), key=lambda face: face.score).box
    path = FacePath((0,), (seen,))
    (*_, (face,)) = [
        faces for _, _, faces in BoxTracker(detector, PictureConverter(UPRIGHT)).track(tilted, [FaceSpan(0, 9, path)])
    ]
    upright = BoxTracker(detector, PictureConverter(UPRIGHT)).track(footage[:9], [FaceSpan(0, 9, span.path)])
    (*_, (own,)) = [faces for _, _, faces in upright]
    assert face.roll_degrees == pytest.approx(min(own.roll_degrees + degrees, 45), abs=6)
    sizes = [(box.width, box.height) for box in (face.box, own.box)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.15)
    middles = [np.array([box.left + box.right, box.top + box.bottom]) / 2 for box in (face.box, own.box)]
    turned_back = cv2.invertAffineTransform(turn) @ [*middles[0], 1]
    assert np.abs(turned_back - middles[1]).max() < 0.08 * own.box.width


def test_without_landmarks_or_when_boxes_are_wanted_nothing_is_turned(speaker):
    cascade = build_detector("cascade", None)
    for choice, align in ((cascade, "similarity"), (None, "box")):
        assert {roll for _, roll in follow_turned(speaker, choice, frames=slice(6), align=align)} == {0.0}


def test_the_cascade_follows_a_real_face_too(speaker):
    cascade = build_detector("cascade", None)
    distances = [box_distance(a, b) for a, b in zip(follow(speaker), follow(speaker, cascade), strict=True)]
    assert np.median(distances) < 0.2
    assert max(distances) < 0.3


@pytest.mark.parametrize(("tilt", "turned"), [(0, 0), (20, 20), (70, 45)])
def test_the_pose_of_a_face_in_one_frame(tilt, turned):
    cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    points = [(-10, -12), (10, -12), (0, 0), (-8, 12), (8, 12)]
    landmarks = tuple((100 + x * cosine - y * sine, 80 + x * sine + y * cosine) for x, y in points)
    face = Face(FaceBox(70, 50, 130, 110), 0.9, landmarks)
    box, roll = BoxTracker(WhiteSquares(), PictureConverter(UPRIGHT), align="similarity").pose(face)
    assert roll == pytest.approx(turned)
    assert ((box.left + box.right) / 2, (box.top + box.bottom) / 2) == pytest.approx((100, 80))
    assert BoxTracker(WhiteSquares(), PictureConverter(UPRIGHT), align="box").pose(face) == (face.box, 0.0)
