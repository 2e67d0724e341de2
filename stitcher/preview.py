"""What a person looks at while a job runs: finished clips as a small video with their sound, and single pictures.

Nothing of it enters an output: times are rounded to milliseconds and pictures are scaled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from media.base.errors import MissingStream
from media.base.files import atomic_file
from media.info import VideoInfo
from media.picture import PictureConverter, Pixels, VideoFrame
from media.probe import open_input, probe

MAX_HEIGHT = 360
"""Of a preview, in pixels."""
TICKS = 90_000
"""A second of a preview's time base."""
SOUND_RATE = 48_000
MAX_SECONDS = 20.0
"""Of a preview."""
LONGEST_STEP = Fraction(1, 2)
"""Between two frames; what is longer is a gap between clips. Seconds."""


@dataclass(frozen=True, slots=True)
class ClipFile:
    """The coded file of a finished clip."""

    path: Path
    start: Fraction
    """Presentation time of its first frame, in seconds of the source's clock."""

    @classmethod
    def of(cls, path: Path) -> ClipFile | None:
        """Return a file with its start; None if it holds no frame. Raises UnreadableMedia."""
        with open_input(path) as container:
            stream = container.streams.video[0]
            times = (packet.pts for packet in container.demux(stream) if packet.pts is not None)
            first = next(times, None)
            if first is None or stream.time_base is None:
                return None
            return cls(path, first * stream.time_base)


def write_preview(clips: Sequence[ClipFile], source: Path, sound: Path, target: Path) -> None:
    """Write finished clips as one small MP4 of MAX_SECONDS at most, with the sound of their times, without the gaps.

    clips: in order of time. source: the video that they belong to. sound: whose second 0 is the source's first frame.
    Raises MediaError.
    """
    video = _video_of(source)
    start = frame_time(source)
    converter = PictureConverter(video.orientation)
    width, height = video.orientation.upright_size(video.width, video.height)
    scale = min(1.0, MAX_HEIGHT / height)
    size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
    with atomic_file(target) as partial, av.open(str(partial), "w", format="mp4") as output:
        coded = output.add_stream("libx264", options={"preset": "ultrafast", "crf": "26"})
        coded.width, coded.height = size
        coded.pix_fmt, coded.codec_context.time_base = "yuv420p", Fraction(1, TICKS)
        heard = output.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        stretches = [_Stretch(Fraction(0), Fraction(0), Fraction(0))]
        for time, frame in _frames(clips):
            last = stretches[-1]
            if last.stop == 0 or time - last.stop > LONGEST_STEP:
                stretches.append(_Stretch(shown=last.shown + last.stop - last.start, start=time, stop=time))
            else:
                stretches[-1] = replace(last, stop=time)
            shown = stretches[-1].shown + time - stretches[-1].start
            picture = av.VideoFrame.from_ndarray(converter.upright_bgr(frame, size), "bgr24").reformat(format="yuv420p")
            picture.pts, picture.time_base = round(shown * TICKS), Fraction(1, TICKS)
            output.mux(coded.encode(picture))
            if shown > MAX_SECONDS:
                break
        output.mux(coded.encode(None))
        position = 0
        for stretch in stretches[1:]:
            for block in _sound_of(sound, float(stretch.start - start), float(stretch.stop - start)):
                block.pts, block.time_base = position, Fraction(1, SOUND_RATE)
                position += block.samples
                output.mux(heard.encode(block))
        output.mux(heard.encode(None))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Clips without a gap between them; times in seconds."""

    shown: Fraction
    """Where it begins in the preview."""
    start: Fraction
    """Where it begins on the source's clock."""
    stop: Fraction
    """The time of its last frame there."""


def _video_of(path: Path) -> VideoInfo:
    video = probe(str(path)).video
    if video is None:
        raise MissingStream(f"{path}: no video stream. Check the path.")
    return video


def _frames(clips: Sequence[ClipFile]) -> Iterator[tuple[Fraction, VideoFrame]]:
    """Yield the frames of clips, each with its time."""
    for clip in clips:
        with open_input(clip.path) as container:
            for frame in container.decode(video=0):
                if frame.pts is not None and frame.time_base is not None:
                    yield frame.pts * frame.time_base, frame


def _sound_of(path: Path, start: float, stop: float) -> Iterator[av.AudioFrame]:
    """Yield the sound between two times, in seconds; silence where there is none."""
    length = round((stop - start) * SOUND_RATE)
    samples = np.zeros((2, length), np.float32)
    resampler = AudioResampler("fltp", "stereo", SOUND_RATE)
    with open_input(path) as container:
        stream = container.streams.audio[0]
        container.seek(max(0, int((start - 1) * av.time_base)))
        for frame in container.decode(stream):
            time = float(frame.time or 0)
            if time > stop:
                break
            for block in resampler.resample(frame):
                at = round((float(block.time or 0) - start) * SOUND_RATE)
                a, b = max(0, at), min(length, at + block.samples)
                if a < b:
                    samples[:, a:b] = block.to_ndarray()[:, a - at : b - at]
    for a in range(0, length, 1024):
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, a : a + 1024]), "fltp", "stereo")
        block.sample_rate = SOUND_RATE
        yield block


def frame_time(path: Path) -> Fraction:
    """Return the presentation time of a video's first frame, in seconds of its own clock. Raises MediaError."""
    with open_input(path) as container:
        frame = next(container.decode(video=0), None)
        return Fraction(0) if frame is None or frame.pts is None else frame.pts * (frame.time_base or Fraction(0))


def picture_at(path: Path, seconds: float) -> Pixels:
    """Return the frame that a video shows at a time since its first one, upright: (H, W, 3) RGB. Raises MediaError."""
    converter = PictureConverter(_video_of(path).orientation)
    start = frame_time(path)
    wanted = start + Fraction(str(round(max(0.0, seconds), 3)))
    shown: VideoFrame | None = None
    with open_input(path) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        container.seek(int(wanted / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if shown is not None and frame.pts is not None and frame.pts * stream.time_base > wanted:
                break
            shown = frame
        if shown is None:
            container.seek(0, stream=stream)
            shown = next(container.decode(stream))
    return np.ascontiguousarray(converter.upright_bgr(shown)[:, :, ::-1])
