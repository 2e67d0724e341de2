"""The comparison video: rendered clips with source and result side by side, to judge a job within a minute."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from moviepy import AudioArrayClip, VideoClip
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lipstitch.plan.outputs.spec import OutputSpec
from media.audio.buffer import Samples
from media.audio.reader import read_samples
from media.base.clock import format_clock
from media.base.errors import MediaError, StitchError
from media.base.files import atomic_file
from media.clips import RenderedClip
from media.info import VideoInfo
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo, scan_video
from stitcher.assemble import muxer_of

LONGEST_SECONDS, MAX_SECONDS = Fraction(6), 75
"""Longest excerpt of one clip, and longest comparison video."""
PANEL_WIDTH_PX, PANEL_HEIGHT_PX = 640, 720
"""Each picture is scaled to fit into this size."""
CAPTION_HEIGHT_PX, FONT_PX, MARGIN_PX = 32, 18, 8
SLOWEST_RATE, FASTEST_RATE = 10, 30
"""Bounds of the comparison video's frame rate, in frames a second."""
SAMPLE_RATE = 48_000

Picture = NDArray[np.uint8]
"""(height, width, 3) RGB."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of one rendered clip that the comparison video shows."""

    spec: OutputSpec
    """The output that the clip is part of."""
    clip: RenderedClip
    ticks: tuple[int, ...]
    """The output frame that each frame of the comparison video shows, never decreasing."""
    start_seconds: Fraction
    """Its start, in seconds since the first frame of the output."""


def write_comparison_video(
    path: Path,
    source: SourceVideo,
    finished: Sequence[tuple[OutputSpec, Sequence[RenderedClip]]],
    *,
    excerpt_seconds: Fraction | None = None,
) -> bool:
    """Write a comparison video of the rendered clips; return False and write nothing if no clip was rendered.

    The source is on the left, the result on the right, together at most 1280 pixels wide. Above them stand the number
    of the clip, as in the report, and the time in the output. The sound is the result's. Of each clip the first seconds
    with new mouths are shown: excerpt_seconds, or 6. The video lasts 75 s at most: a long job is represented by clips
    at even distances.

    finished: each output, complete under its own name, with its clips. Memory does not grow with the length of the
    video. Raises StitchError or WorkspaceError if the comparison video cannot be written.
    """
    rate = min(max(round(source.video.clock.average_rate), SLOWEST_RATE), FASTEST_RATE)
    longest = excerpt_seconds or LONGEST_SECONDS
    excerpts = [_excerpt(spec, clip, rate, longest) for spec, clips in finished for clip in clips]
    excerpts = choose_excerpts(excerpts, max_frames=MAX_SECONDS * rate)
    if not excerpts:
        return False
    num_frames = sum(len(excerpt.ticks) for excerpt in excerpts)
    with (
        closing(_pictures(source, excerpts, names_output=len(finished) > 1)) as pictures,
        atomic_file(path) as partial,
    ):
        # Half a frame longer than what is shown, because moviepy rounds the number of frames down.
        movie = VideoClip(_frame_function(pictures, rate), duration=(num_frames + 0.5) / rate)
        sound = _sound(excerpts, rate)
        if sound is not None:
            movie = movie.with_audio(AudioArrayClip(sound.T, fps=SAMPLE_RATE))
        _encode(movie, partial, rate, muxer=muxer_of(path))
        _check(partial, num_frames, path)
    return True


def _excerpt(spec: OutputSpec, rendered: RenderedClip, rate: int, longest: Fraction = LONGEST_SECONDS) -> Excerpt:
    """Return the first seconds of a clip's new mouths; an excerpt without frames if the clip has no new mouths."""
    timeline = spec.timeline
    if rendered.outcome != "rendered" or not rendered.clip.rendered:
        return Excerpt(spec, rendered, (), Fraction(0))
    start, stop = rendered.clip.rendered[0][0], rendered.clip.rendered[-1][1]
    begin = timeline.seconds(start)
    seconds = min(timeline.seconds(stop) - begin, longest)
    # Each frame shows what the output shows at the middle of that frame's time: the last frame that has begun by then.
    middles = (begin + Fraction(2 * tick + 1, 2 * rate) for tick in range(max(round(seconds * rate), 1)))
    shown = tuple(min(max(timeline.frame_at(middle) - 1, start), stop - 1) for middle in middles)
    return Excerpt(spec, rendered, shown, begin)


def choose_excerpts(excerpts: Sequence[Excerpt], *, max_frames: int) -> list[Excerpt]:
    """Return as many excerpts as fit into `max_frames`, at even distances and in order, without empty ones."""
    excerpts = [excerpt for excerpt in excerpts if excerpt.ticks]
    for count in range(len(excerpts), 0, -1):
        chosen = [excerpts[number * len(excerpts) // count] for number in range(count)]
        if sum(len(excerpt.ticks) for excerpt in chosen) <= max_frames:
            return chosen
    return []


def _pictures(source: SourceVideo, excerpts: Sequence[Excerpt], *, names_output: bool) -> Generator[Picture]:
    """Yield the frames of the comparison video in order; one pair of frames is held at a time."""
    size = _panel_size(source.video)
    before = PictureConverter(source.video.orientation)
    for output, group in groupby(excerpts, key=lambda excerpt: excerpt.spec.output):
        name = f"   {output.name}" if names_output else ""
        result = scan_video(output)
        after = PictureConverter(result.video.orientation)
        with (
            FrameReader(source) as source_reader,
            FrameReader(result) as result_reader,
        ):
            for excerpt in group:
                clip, timeline = excerpt.clip.clip, excerpt.spec.timeline
                shown_source = [clip.source_frames[frame - clip.start_frame] for frame in excerpt.ticks]
                pairs = zip(source_reader.read(shown_source), result_reader.read(excerpt.ticks), strict=True)
                for (_, left), (frame, right) in pairs:
                    place = f"clip {clip.index}   {format_clock(timeline.seconds(frame))}{name}"
                    yield np.concatenate(
                        [
                            _captioned(before.upright_bgr(left, size), f"source   {place}"),
                            _captioned(after.upright_bgr(right, size), "result"),
                        ],
                        axis=1,
                    )


def _panel_size(video: VideoInfo) -> tuple[int, int]:
    """Return (width, height) of one upright picture in the comparison video, in square pixels, both even."""
    width, height = video.upright_size
    aspect = 1 / video.display.sample_aspect if video.orientation.is_sideways else video.display.sample_aspect
    scale = min(Fraction(PANEL_WIDTH_PX) / (width * aspect), Fraction(PANEL_HEIGHT_PX, height))
    return max(int(width * aspect * scale) // 2 * 2, 2), max(int(height * scale) // 2 * 2, 2)


def _captioned(panel: Picture, caption: str) -> Picture:
    """Return a BGR picture as RGB with a caption above it."""
    strip = Image.new("RGB", (panel.shape[1], CAPTION_HEIGHT_PX))
    font = ImageFont.load_default(FONT_PX)
    ImageDraw.Draw(strip).text((MARGIN_PX, CAPTION_HEIGHT_PX / 2), caption, fill="white", font=font, anchor="lm")
    return np.concatenate([np.asarray(strip), panel[..., ::-1]])


def _frame_function(pictures: Iterator[Picture], rate: int) -> Callable[[float], Picture]:
    """Return the function that moviepy calls with a time in seconds for a picture; these times never decrease."""
    shown, at = next(pictures), 0

    def picture_at(seconds: float) -> Picture:
        nonlocal shown, at
        while at < round(seconds * rate):
            shown, at = next(pictures), at + 1
        return shown

    return picture_at


def _sound(excerpts: Sequence[Excerpt], rate: int) -> Samples | None:
    """Return the sound of the results, (2, samples) at SAMPLE_RATE; None if one of them has no sound."""
    parts: list[Samples] = []
    for output, group in groupby(excerpts, key=lambda excerpt: excerpt.spec.output):
        result = probe(output)
        if not result.audio:
            return None
        for excerpt in group:
            parts += read_samples(
                output,
                stream_index=result.audio[0].index,
                rate=SAMPLE_RATE,
                layout="stereo",
                start=excerpt.start_seconds,
                stop=excerpt.start_seconds + Fraction(len(excerpt.ticks), rate),
                zero=result.require_video().clock.start_seconds,
            )
    return np.concatenate(parts, axis=1)


def _encode(movie: VideoClip, path: Path, rate: int, *, muxer: str) -> None:
    with TemporaryDirectory() as folder:
        try:
            movie.write_videofile(
                str(path),
                fps=rate,
                codec="libx264",
                preset="veryfast",
                audio_fps=SAMPLE_RATE,
                audio_codec="aac",
                temp_audiofile=str(Path(folder, "sound.m4a")),
                ffmpeg_params=["-f", muxer, "-movflags", "+faststart"],
                logger=None,
            )
        except OSError as exc:
            # moviepy appends the log of its encoder; the last line says what went wrong.
            reason = (str(exc).strip().splitlines() or ["no reason given"])[-1].strip()
            raise StitchError(
                f"{path}: the comparison video cannot be written ({reason}). Leave out --compare."
            ) from exc


def _check(partial: Path, num_frames: int, path: Path) -> None:
    """Raise StitchError if frames are missing: moviepy does not check whether its encoder succeeded."""
    try:
        found = len(scan_video(partial).table)
    except MediaError:
        found = 0
    if found != num_frames:
        raise StitchError(
            f"{path}: the comparison video has only {found} of {num_frames} frames. Make space and start again."
        )
