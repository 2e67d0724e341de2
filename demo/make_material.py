"""Make the demonstration's video: a talking portrait between scenes without a face.

    python -m demo.make_material build/demo

writes talk.mp4 (H.264 with B-frames and closed groups of pictures, AAC speech in a quiet room, two chapters) and
truth.json (which frames show the face). The dub is dub.flac beside this file: it fits the full-length video.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

from demo import scenes
from demo.talking import SPEECH_FILE
from media.audio.reader import read_samples
from media.probe import probe

DUB_FILE = Path(__file__).with_name("dub.flac")
"""The dub of the full-length video: 71 s of speech, 16 kHz, mono."""
FRAME_RATE = 25
SAMPLE_RATE = 48000
FULL_SIZE_PX = (scenes.WIDTH_PX, scenes.HEIGHT_PX)
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
SCENE_STARTS = (0, 6, 20, 29, 44, 49, 53, 66, 72)
"""Seconds at which scenes begin in the full-length video and in the speech, and the end."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One shot; the next one begins with a hard cut."""

    name: str
    kind: Literal["face", "no_face"]
    start_frame: int
    stop_frame: int


@dataclass(frozen=True, slots=True)
class Material:
    """What was made, and the truth about it."""

    video: Path
    truth: Path
    """The same facts as JSON."""
    num_frames: int
    scenes: tuple[Scene, ...]

    @property
    def face_spans(self) -> tuple[tuple[int, int], ...]:
        """Half-open frame ranges in which the face is seen."""
        return tuple((scene.start_frame, scene.stop_frame) for scene in self.scenes if scene.kind == "face")


def make_material(folder: Path, *, seconds_scale: float = 1.0, size_px: tuple[int, int] = FULL_SIZE_PX) -> Material:
    """Write talk.mp4 and truth.json into a folder, which is made if it is missing.

    Every scene lasts `seconds_scale` times its full length (72 s in all); its motion keeps its speed. size_px: width
    and height of the video. Both files appear under their names only when they are complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = _script(seconds_scale)
    shots = tuple(scene for scene, _ in script)
    material = Material(folder / "talk.mp4", folder / "truth.json", shots[-1].stop_frame, shots)
    unfinished = folder / "talk.part.mp4"
    try:
        _write_video(unfinished, script, size_px)
        material.truth.write_text(json.dumps(_truth(material, size_px), indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, material.video)
    finally:
        unfinished.unlink(missing_ok=True)
    return material


def _script(seconds_scale: float) -> list[tuple[Scene, scenes.Painter]]:
    shots: list[tuple[str, Literal["face", "no_face"], scenes.Painter]] = [
        ("title", "no_face", scenes.title("lipstitch", "a short demonstration")),
        ("portrait", "face", scenes.portrait_wide(SCENE_STARTS[1])),
        ("graph", "no_face", scenes.wave_graph()),
        ("portrait beside a chart", "face", scenes.portrait_beside_chart(SCENE_STARTS[3])),
        ("landscape", "no_face", scenes.landscape()),
        ("shapes", "no_face", scenes.shapes()),
        ("portrait, close", "face", scenes.portrait_close(SCENE_STARTS[6])),
        ("closing", "no_face", scenes.title("thank you", "for watching")),
    ]
    borders = [round(start * seconds_scale * FRAME_RATE) for start in SCENE_STARTS]
    return [
        (Scene(name, kind, start, stop), painter)
        for (name, kind, painter), (start, stop) in zip(shots, pairwise(borders), strict=True)
    ]


def _truth(material: Material, size_px: tuple[int, int]) -> dict[str, object]:
    return {
        "video": material.video.name,
        "frame_rate": FRAME_RATE,
        "num_frames": material.num_frames,
        "width_px": size_px[0],
        "height_px": size_px[1],
        "face_spans": material.face_spans,
        "scenes": [asdict(scene) for scene in material.scenes],
    }


def _write_video(path: Path, script: Sequence[tuple[Scene, scenes.Painter]], size_px: tuple[int, int]) -> None:
    with av.open(f"file:{path}", "w", options={"movflags": "+faststart"}) as container:
        container.metadata["title"] = "lipstitch demonstration"
        container.set_chapters(_chapters([scene for scene, _ in script]))
        video, audio = _add_video(container, size_px), _add_audio(container)
        sound = _sound(script)
        for index, picture in enumerate(_pictures(script)):
            container.mux(video.encode(_video_frame(picture, index, size_px)))
            container.mux(audio.encode(_audio_frame(sound, index)))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _pictures(script: Sequence[tuple[Scene, scenes.Painter]]) -> Iterator[scenes.Picture]:
    for scene, paint in script:
        for frame in range(scene.stop_frame - scene.start_frame):
            yield paint(frame / FRAME_RATE)


def _add_video(container: OutputContainer, size_px: tuple[int, int]) -> VideoStream:
    # A group of pictures every two seconds at most, closed; x264 sets a keyframe at a hard cut by itself.
    options = {"preset": "superfast", "crf": "20", "x264-params": "keyint=50:open-gop=0:bframes=3:threads=2"}
    stream = container.add_stream("libx264", rate=FRAME_RATE, options=options)
    (stream.width, stream.height), stream.pix_fmt = size_px, "yuv420p"
    context = stream.codec_context
    context.color_range = ColorRange.MPEG
    context.colorspace = Colorspace.ITU709
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    return stream


def _add_audio(container: OutputContainer) -> AudioStream:
    stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
    stream.bit_rate = 96_000
    return stream


def _video_frame(picture: scenes.Picture, index: int, size_px: tuple[int, int]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(
        *size_px, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE)
    return frame


def _audio_frame(sound: NDArray[np.float32], index: int) -> av.AudioFrame:
    start = index * SAMPLES_PER_FRAME
    samples = np.ascontiguousarray(sound[:, start : start + SAMPLES_PER_FRAME])
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
    return frame


def _sound(script: Sequence[tuple[Scene, scenes.Painter]]) -> NDArray[np.float32]:
    """Return the whole sound, (2, T): in each scene what she says in it, over the tone of the room."""
    num_samples = script[-1][0].stop_frame * SAMPLES_PER_FRAME
    tone = _room_tone()
    sound = np.tile(tone, -(-num_samples // tone.shape[1]))[:, :num_samples]
    stream = probe(SPEECH_FILE).require_audio().index
    blocks = read_samples(SPEECH_FILE, stream_index=stream, rate=SAMPLE_RATE, layout="mono")
    speech = np.concatenate(list(blocks), axis=1)[0]
    for (scene, _), spoken_from in zip(script, SCENE_STARTS, strict=False):
        start, stop = (frame * SAMPLES_PER_FRAME for frame in (scene.start_frame, scene.stop_frame))
        part = speech[spoken_from * SAMPLE_RATE :][: stop - start]
        sound[:, start : start + len(part)] += part
    seconds = np.arange(num_samples) / SAMPLE_RATE
    return np.asarray(sound * np.minimum(1, np.minimum(seconds, seconds[::-1]) / 0.5), np.float32)


def _room_tone() -> NDArray[np.float32]:
    """Return eight seconds of a quiet room, (2, T), that join on to themselves: soft noise and a mains hum."""
    num_samples = 8 * SAMPLE_RATE
    noise = np.random.default_rng(1).standard_normal((2, num_samples))
    frequencies = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    soft = np.fft.irfft(np.fft.rfft(noise) / (1 + (frequencies / 300) ** 1.5), num_samples)
    seconds = np.arange(num_samples) / SAMPLE_RATE
    hum = sum(level * np.sin(2 * np.pi * pitch * seconds) for pitch, level in ((50, 0.010), (100, 0.006), (150, 0.003)))
    return np.asarray(0.006 * soft / soft.std() + hum, np.float32)


def _chapters(shots: Sequence[Scene]) -> list[av.container.Chapter]:
    borders = (0, shots[len(shots) // 2].start_frame, shots[-1].stop_frame)
    return [
        {
            "id": number,
            "start": start,
            "end": stop,
            "time_base": Fraction(1, FRAME_RATE),
            "metadata": {"title": f"Part {number}"},
        }
        for number, (start, stop) in enumerate(pairwise(borders), start=1)
    ]


def main() -> None:
    """Make the full-length material in the folder named on the command line, build/demo by default."""
    material = make_material(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo"))
    print(f"{material.video}: {material.num_frames} frames, the face in {material.face_spans}")


if __name__ == "__main__":
    main()
