"""Long footage for whole jobs: a real speaker between generated scenes without a face, joined by hard cuts."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

RATE = Fraction(25)
ENCODERS = {
    "h264": ("libx264", {"preset": "superfast", "crf": "20", "g": "60", "bf": "3"}),
    # Open GOPs with leading pictures, as x265 writes by default.
    "hevc": ("libx265", {"preset": "ultrafast", "crf": "22", "x265-params": "keyint=75:bframes=4:log-level=none"}),
}


class Footage(NamedTuple):
    """A video and the truth about it."""

    path: Path
    num_frames: int
    face_spans: tuple[tuple[int, int], ...]


def make_footage(path, clip, *, codec, scale=1.0, face_frames=(250, 250), gaps=(300, 400, 350)):
    """Join stretches of a clip (25 frames/s) with generated scenes, gap by gap, into a file with sound."""
    encoder, options = ENCODERS[codec]
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream(encoder, rate=RATE, options=options)
        first = source.streams.video[0]
        width, height = (int(side * scale) // 2 * 2 for side in (first.width, first.height))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        sound = target.add_stream("aac", rate=44100, layout="stereo")
        spans, number = [], 0
        speaker = source.decode(video=0)
        for scene, gap in enumerate(gaps):
            for picture in _generated(width, height, gap, scene):
                number = _encode(target, stream, picture, number)
            if scene < len(face_frames):
                spans.append((number, number + face_frames[scene]))
                for _, frame in zip(range(face_frames[scene]), speaker, strict=False):
                    picture = frame.reformat(width, height, "bgr24").to_ndarray()
                    number = _encode(target, stream, picture, number)
        target.mux(stream.encode(None))
        _add_hum(target, sound, number / RATE)
    return Footage(path, number, tuple(spans))


def _encode(target, stream, picture, number):
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(
        format="yuv420p", dst_colorspace=1, dst_color_range=1
    )
    frame.pts, frame.time_base = number, 1 / RATE
    target.mux(stream.encode(frame))
    return number + 1


def _generated(width, height, num_frames, seed):
    """Yield moving shapes over a gradient: scenes that hold no face."""
    down = np.linspace(30, 200, height, dtype=np.float32)[:, None, None]
    tint = np.random.default_rng(seed).uniform(0.3, 1.0, 3).astype(np.float32)
    ground = np.broadcast_to(down * tint, (height, width, 3)).astype(np.uint8)
    for number in range(num_frames):
        picture = ground.copy()
        x, y = (number * 3 * width // 500) % width, (number * 5 * height // 900 + seed * 100) % height
        cv2.rectangle(picture, (x, y), (x + width // 4, y + height // 9), (240, 240, 240), -1)
        cv2.putText(picture, f"Part {seed}", (width // 10, height // 2), 0, width / 300, (255, 255, 255), 3)
        yield picture


def _add_hum(target, stream, seconds):
    """Give the footage quiet sound of its own, so that a soundtrack has something to replace."""
    total = int(seconds * 44100)
    random = np.random.default_rng(1)
    for start in range(0, total, 44100):
        count = min(44100, total - start)
        hum = 0.02 * random.standard_normal((1, 2 * count)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(hum, format="flt", layout="stereo")
        frame.sample_rate, frame.pts = 44100, start
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))
