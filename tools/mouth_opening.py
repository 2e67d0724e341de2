"""Tell how far the lips of a video are apart, and whether they open with a sound: an independent look at a result.

    python tools/mouth_opening.py VIDEO [--sound dub.wav] [--start 12] [--stop 40]

The program itself is not asked: MediaPipe's face mesh finds the lips. It wants another OpenCV than lipstitch does, so
give it a virtual environment of its own: pip install 'mediapipe>=0.10.9,<0.10.15' av. Without --sound the video's own
is taken.

Prints, over the frames in which a face is found: the gap between the inner lips as a share of the distance of the outer
corners of the eyes; its correlation with how loud the sound is while the frame is shown, and at which delay it is best;
and the gap while the sound speaks and while it pauses. Real speech reaches a correlation of 0.2 to 0.5, best at 0 to
80 ms: mouths open with the sound, not in step with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import mediapipe
import numpy as np
from numpy.typing import NDArray

RATE = 16_000
LOUD_SECONDS = 0.08
"""Span of the sound around a frame's time that its loudness is taken from."""
BAND_HZ = (200, 4000)
"""Where speech lies."""
PAUSE_DB = 35
"""So far below its 95th percentile sound counts as a pause, if it lasts PAUSE_SECONDS around the frame."""
PAUSE_SECONDS = 0.24
MOST_DELAY_SECONDS = 0.2
INNER_LIPS = ((13, 14), (82, 87), (312, 317))
"""Upper and lower points of the mesh (468 points, numbered in MediaPipe's canonical face)."""
EYE_CORNERS = (33, 263)

Values = NDArray[np.float64]


def find_gaps(video: Path, start: float, stop: float) -> Iterator[tuple[float, float]]:
    """Yield (time in seconds, gap of the lips, nan without a face) of every frame in [start, stop)."""
    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, min_detection_confidence=0.3)
    with av.open(str(video)) as file, mesh:
        stream = file.streams.video[0]
        first = float((stream.start_time or 0) * (stream.time_base or 1))
        for frame in file.decode(stream):
            if frame.time is None or frame.time - first < start:
                continue
            if frame.time - first >= stop:
                return
            found = mesh.process(frame.to_ndarray(format="rgb24")).multi_face_landmarks
            yield frame.time - first, _gap(found[0].landmark, frame) if found else np.nan


def _gap(points: Sequence[Any], frame: av.VideoFrame) -> float:
    def distance(one: int, two: int) -> float:
        a, b = points[one], points[two]
        return float(np.hypot((a.x - b.x) * frame.width, (a.y - b.y) * frame.height))

    return float(np.mean([distance(*pair) for pair in INNER_LIPS]) / distance(*EYE_CORNERS))


def load_sound(path: Path) -> Values:
    """Return the first sound of a file, one channel at RATE."""
    with av.open(str(path)) as file:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        parts = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
        parts += resampler.resample(None)
    return np.concatenate([part.to_ndarray()[0] for part in parts]).astype(float)


def levels_at(sound: Values, times: Values, seconds: float) -> Values:
    """Return the level in dB of the sound within `seconds` around each time: the mean over all of BAND_HZ.

    Every frequency counts alike, as in the mel windows that drive the lips; otherwise low voices were all that counts.
    """
    length = round(seconds * RATE)
    padded = np.pad(sound, (length, length + round(max(times.max(), 0) * RATE)))
    starts = np.maximum((times * RATE).round().astype(int) + length - length // 2, 0)
    spectra = np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(length)] * np.hanning(length)))
    heard = slice(*(round(hz * length / RATE) for hz in BAND_HZ))
    return np.asarray(20 * np.log10(np.maximum(spectra[:, heard], length * 1e-4)).mean(axis=1))


def powers_at(sound: Values, times: Values, seconds: float) -> Values:
    """Return the level in dB (root mean square) of the sound within `seconds` around each time."""
    total = np.concatenate([[0.0], np.cumsum(sound**2)])
    first, last = (np.clip(((times + side * seconds / 2) * RATE).astype(int), 0, len(sound)) for side in (-1, 1))
    return np.asarray(10 * np.log10(np.maximum((total[last] - total[first]) / np.maximum(last - first, 1), 1e-12)))


def correlation(gaps: Values, sound: Values, times: Values, delay: float) -> float:
    """Return how the gaps go with the level `delay` seconds before."""
    return float(np.corrcoef(gaps, levels_at(sound, times - delay, LOUD_SECONDS))[0, 1])


def main() -> None:
    """Read the arguments, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--sound", type=Path)
    parser.add_argument("--start", type=float, default=0.0, help="seconds")
    parser.add_argument("--stop", type=float, default=np.inf, help="seconds")
    options = parser.parse_args()
    found = np.array(list(find_gaps(options.video, options.start, options.stop))).reshape(-1, 2)
    times, gaps = found[~np.isnan(found[:, 1])].T
    print(f"frames: {len(found)}, with a face {len(gaps)}")
    if len(gaps) < 10:
        parser.exit(1, "too few frames with a face.\n")
    sound = load_sound(options.sound or options.video)
    delays = np.arange(-MOST_DELAY_SECONDS, MOST_DELAY_SECONDS + 0.01, 0.04)
    best, delay = max((correlation(gaps, sound, times, delay), delay) for delay in delays)
    print(f"gap of the lips: mean {gaps.mean():.3f}, standard deviation {gaps.std():.3f} of the distance of the eyes")
    now = correlation(gaps, sound, times, 0.0)
    print(f"correlation with loudness: {now:.2f}; best {best:.2f}, {delay * 1000:+.0f} ms")
    levels = powers_at(sound, times, PAUSE_SECONDS)
    rests = levels < np.percentile(levels, 95) - PAUSE_DB
    for name, chosen in (("speech", ~rests), ("pauses", rests)):
        value = f"{gaps[chosen].mean():.3f}" if chosen.any() else "-"
        print(f"mean gap in {name}: {value} ({chosen.sum()} frames)")


if __name__ == "__main__":
    main()
