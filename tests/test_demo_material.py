"""The demonstration's video is what its maker says: so many frames, the face in these and not in those."""

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from demo.make_material import DUB_FILE, FRAME_RATE, make_material

DETECTION_PX = (640, 360)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A tenth of the full length: 180 frames."""
    return make_material(tmp_path_factory.mktemp("demo"), seconds_scale=0.1)


@pytest.fixture(scope="module")
def packets(material):
    with av.open(str(material.video)) as container:
        time_base = container.streams.video[0].time_base
        return [(packet.pts * time_base, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def test_every_frame_has_its_time(material, packets):
    assert sorted(time for time, _ in packets) == [Fraction(frame, FRAME_RATE) for frame in range(material.num_frames)]
    assert [time for time, _ in packets] != sorted(time for time, _ in packets), "B-frames are what makes copying hard"


def test_scenes_tile_the_video_and_begin_with_keyframes(material, packets):
    borders = [0, *(scene.stop_frame for scene in material.scenes)]
    assert [scene.start_frame for scene in material.scenes] == borders[:-1]
    assert borders[-1] == material.num_frames == 180
    assert set(borders[:-1]) <= {time * FRAME_RATE for time, is_keyframe in packets if is_keyframe}


def test_the_truth_on_disk_is_the_one_returned(material):
    truth = json.loads(material.truth.read_text())
    assert truth["num_frames"] == material.num_frames
    assert [tuple(span) for span in truth["face_spans"]] == list(material.face_spans)


def test_the_face_is_found_in_its_scenes_and_nowhere_else(material):
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    with_face = set()
    with av.open(str(material.video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            gray = cv2.resize(frame.to_ndarray(format="gray8"), DETECTION_PX, interpolation=cv2.INTER_AREA)
            if index % 3 == 0 and len(cascade.detectMultiScale(gray, 1.1, 5, minSize=(30, 30))):
                with_face.add(index)
    shown = {frame for start, stop in material.face_spans for frame in range(start, stop) if frame % 3 == 0}
    assert with_face == shown


def test_the_file_is_as_a_camera_would_write_it(material):
    with av.open(str(material.video)) as container:
        video, audio = container.streams.video[0].codec_context, container.streams.audio[0]
        assert (video.name, video.width, video.height, video.pix_fmt) == ("h264", 1280, 720, "yuv420p")
        assert (int(video.colorspace), int(video.color_primaries), int(video.color_trc)) == (1, 1, 1)  # BT.709
        assert (audio.codec_context.name, audio.rate) == ("aac", 48000)
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio)], axis=1)
        assert 0.1 < np.abs(samples).max() < 0.9, "she speaks, and nothing is clipped"
        assert container.metadata["title"]
        assert len(container.chapters()) == 2


def test_an_unfinished_video_is_never_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("demo.make_material._room_tone", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_material(tmp_path, seconds_scale=0.01)
    assert list(tmp_path.iterdir()) == []


def test_the_dub_fits_the_full_length_video():
    with av.open(str(DUB_FILE)) as container:
        num_samples = sum(frame.samples for frame in container.decode(audio=0))
        assert num_samples == 71 * 16000 == 71 * container.streams.audio[0].rate
