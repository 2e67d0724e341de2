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


def make_footage(path, clip, *, codec, scale=1.0, face_frames=(250, 250), gaps=(300, 400, 350), draw_over=None):
    """Join stretches of a clip (25 frames/s) with generated scenes, gap by gap, into a file with sound.

    draw_over: changes the picture of a frame that shows the speaker, BGR, in place; it takes the frame's number, too.
    """
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
                    if draw_over:
                        draw_over(number, picture)
                    number = _encode(target, stream, picture, number)
        target.mux(stream.encode(None))
        _add_hum(target, sound, number / RATE)
    return Footage(path, number, tuple(spans))


def draw_hand(picture, middle, unit, raised):
    """Draw a hand that comes from below, in place: four fingers and a palm in the colour of the forehead.

    middle: (x, y) of the mouth. unit: the distance of the eyes. raised: how far the hand is, in [0, 1]; 1 is before the
    mouth.
    """
    x, y = middle
    down = y + 0.15 * unit + (1 - raised) * (picture.shape[0] - y + 0.6 * unit)
    skin = np.median(
        picture[int(y - 0.85 * unit) : int(y - 0.7 * unit), int(x - 10) : int(x + 10)].reshape(-1, 3), axis=0
    )
    shape = np.zeros(picture.shape[:2], np.uint8)
    for finger in range(4):
        place = int(x + (0.36 * finger - 0.62) * unit), int(down - 0.05 * unit)
        cv2.ellipse(shape, place, (int(0.17 * unit), int(0.5 * unit)), 4 * finger - 6, 0, 360, 255, -1)
    cv2.ellipse(shape, (int(x), int(down + 0.75 * unit)), (int(0.8 * unit), int(0.6 * unit)), 0, 0, 360, 255, -1)
    round_off = 0.6 + 0.4 * np.clip(cv2.distanceTransform(shape, cv2.DIST_L2, 5) / (0.1 * unit), 0, 1)
    cover = cv2.GaussianBlur(shape, (0, 0), 0.8)[..., None] / 255
    picture[:] = np.rint(picture * (1 - cover) + skin * round_off[..., None] * cover)


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
