"""Footage for the segmenter's tests: pictures, frames and short videos of which the truth is known."""

import av
import cv2
import numpy as np
import pytest

from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from tests.support import tables


def _scenery(num_frames, size, seed):
    """Yield pictures without a face: coloured clouds under a slowly panning camera."""
    width, height = size
    rng = np.random.default_rng(seed)
    clouds = cv2.resize(
        rng.integers(0, 256, (9, 16, 3), np.uint8), (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC
    )
    for frame in range(num_frames):
        x, y = min(2 * frame, width), min(frame, height)
        yield np.ascontiguousarray(clouds[y : y + height, x : x + width])


def _boxed(picture, size):
    """Fit a picture into a size, with black bars."""
    width, height = size
    scale = min(width / picture.shape[1], height / picture.shape[0])
    fitted = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    y, x = (height - fitted.shape[0]) // 2, (width - fitted.shape[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[y : y + fitted.shape[0], x : x + fitted.shape[1]] = fitted
    return canvas


@pytest.fixture(scope="session")
def scenery():
    return _scenery


@pytest.fixture(scope="session")
def clip_pictures(shared):
    """Return a function that yields upright BGR pictures of the frames of a shared clip."""

    def pictures(name, frames, size=None):
        info = probe(shared / "clips" / name)
        converter = PictureConverter(info.video.orientation)
        with FrameReader(SourceVideo(info, scan_packets(info))) as reader:
            for _, frame in reader.read(frames):
                picture = converter.upright_bgr(frame)
                yield _boxed(picture, size) if size else picture

    return pictures


@pytest.fixture(scope="session")
def write_video():
    """Return a function that writes pictures to an H.264 file."""

    def write(path, pictures, size):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20"})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def retinaface_weights(shared):
    return shared / "checkpoints" / "retinaface_mobilenet0.25.pth"


@pytest.fixture(scope="session")
def table_of():
    """Return a function that makes the frame table of a video with frames at the given times in milliseconds."""
    return tables.table_of
