"""Inputs of the benchmarks: 1280x720, 25 frames/s, with faces where they are wanted, made once under build/bench.

The people are those of the shared clips ($LIPSTITCH_SHARED, or `shared` beside the project), else the demonstration's
portrait. Long videos repeat the coded packets of two minutes, so that hours cost seconds to make.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import soundfile
from av.filter import Graph

from demo import scenes
from demo.make_material import DUB_FILE

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench"
WIDTH, HEIGHT, RATE = 1280, 720, 25
SOUND_RATE = 48_000
AAC_SAMPLES = 1024
UNIT_SECONDS = 120
"""Length that is repeated: a whole number of AAC packets."""
FACE_SHARE = 5
"""One frame in so many shows a face in the mixed videos."""
BLOCK_SECONDS = 60
"""In mixed videos a face is seen at the end of each block of this length."""


def folder() -> Path:
    """Return the folder of all material and results; it is made if need be."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER


def shared_folder() -> Path | None:
    """Return the shared folder, if there is one."""
    folder = Path(os.environ.get("LIPSTITCH_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "clips").is_dir() else None


def detector_settings() -> dict[str, str]:
    """Return the `segmenter` section of jobs: RetinaFace where its weights are at hand, else OpenCV's cascade.

    People are not recognised, so that nothing is downloaded and results stay comparable with earlier versions.
    """
    shared = shared_folder()
    if shared is None:
        return {"detector": "cascade"}
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    return {"detector": "retinaface", "detector_checkpoint": str(weights), "embedder": "none"}


def full_size_checkpoint() -> Path:
    """Return weights of the full-size network: made from a formula, so they cost what the published ones cost."""
    path = folder() / "wav2lip_parity.pth"
    shared = shared_folder()
    if not path.exists() and shared is not None:
        script = shared / "tools" / "make_parity_checkpoints.py"
        subprocess.run([sys.executable, str(script), str(folder())], check=True, stdout=subprocess.DEVNULL)
    if not path.exists():
        _write_random_weights(path)
    return path


def _write_random_weights(path: Path) -> None:
    import torch

    from renderer.networks.wav2lip import Wav2Lip

    torch.manual_seed(0)
    torch.save({"state_dict": Wav2Lip().state_dict()}, path)


def face_video() -> Path:
    """Return one minute with a face in every frame."""
    return _made("face-60s.mp4", lambda path: _encode(path, _faces(), 60))


def mixed_video(minutes: int) -> Path:
    """Return a video of some minutes (1, or an even number), of which the last 12 s of each show a face."""
    if minutes * 60 < UNIT_SECONDS:
        return _made(f"mixed-{minutes}min.mp4", lambda path: _encode(path, _mixture(), minutes * 60))
    unit = _made("mixed-unit.mp4", lambda path: _encode(path, _mixture(), UNIT_SECONDS))
    return _made(f"mixed-{minutes}min.mp4", lambda path: _repeat(unit, path, minutes * 60 // UNIT_SECONDS))


def dub(seconds: int) -> Path:
    """Return speech of a length, 16 kHz, mono."""
    shared = shared_folder()
    speech = shared / "clips" / "dub_english_60s.wav" if shared else DUB_FILE
    path = folder() / f"dub-{seconds}s.wav"
    if not path.exists():
        samples, rate = soundfile.read(speech, dtype="int16")
        samples = samples[: 60 * rate]
        with soundfile.SoundFile(path, "w", rate, 1) as target:
            for start in range(0, seconds, 60):
                target.write(samples[: (seconds - start) * rate])
    return path


def _made(name: str, make: object) -> Path:
    path = folder() / name
    if not path.exists():
        partial = path.with_suffix(".partial.mp4")
        make(partial)  # type: ignore[operator]
        partial.rename(path)
    return path


def _encode(path: Path, pictures: Iterator[av.VideoFrame], seconds: int) -> None:
    """Write pictures as H.264 with B-frames, as cameras and platforms deliver it, with a quiet hum."""
    options = {"preset": "veryfast", "crf": "21", "g": "100", "bf": "3"}
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=RATE, options=options)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = video.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        sound = target.add_stream("aac", rate=SOUND_RATE, layout="stereo", options={"b": "128000"})
        assert isinstance(sound, av.AudioStream)
        for number, picture in enumerate(islice(pictures, seconds * RATE)):
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            picture.pict_type = av.video.frame.PictureType.NONE
            target.mux(video.encode(picture))
        target.mux(video.encode(None))
        random = np.random.default_rng(0)
        for start in range(0, seconds * SOUND_RATE, AAC_SAMPLES):
            noise = random.normal(0, 0.01, (2, AAC_SAMPLES)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
            target.mux(sound.encode(frame))
        target.mux(sound.encode(None))


def _mixture() -> Iterator[av.VideoFrame]:
    """Yield blocks of scenes without a face, the last fifth of each a person."""
    people, face = _faces(), BLOCK_SECONDS // FACE_SHARE
    for painter in cycle((scenes.landscape(), scenes.shapes(), scenes.wave_graph())):
        for number in range((BLOCK_SECONDS - face) * RATE):
            picture = painter(number / RATE)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            yield frame.reformat(WIDTH, HEIGHT, "yuv420p", dst_colorspace=1, dst_color_range=1)
        yield from islice(people, face * RATE)


def _faces() -> Iterator[av.VideoFrame]:
    """Yield people in 1280x720, one clip after the other for ever."""
    shared = shared_folder()
    if shared is None:
        for number in cycle(range(60 * RATE)):
            frame = av.VideoFrame.from_ndarray(scenes.portrait_close()(number / RATE), format="bgr24")
            yield frame.reformat(WIDTH, HEIGHT, "yuv420p", dst_colorspace=1, dst_color_range=1)
    for clip in cycle(sorted((shared / "clips").glob("head_*.mp4"))):
        with av.open(str(clip)) as source:
            graph = Graph()
            start = graph.add_buffer(template=source.streams.video[0])
            # The sides are the mirrored edges of the clip: a real background, as hard to code as the rest.
            steps = (("scale", "720:720"), ("pad", "1280:720:280:0"), ("fillborders", "280:280:0:0:reflect"))
            last = start
            for name, arguments in (*steps, ("format", "yuv420p")):
                step = graph.add(name, arguments)
                last.link_to(step)
                last = step
            sink = graph.add("buffersink")
            last.link_to(sink)
            graph.configure()
            for frame in source.decode(video=0):
                graph.push(frame)
                yield graph.pull()


def _repeat(unit: Path, path: Path, times: int) -> None:
    """Write a file's packets so many times, one after the other."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        streams: dict[int, av.stream.Stream] = {}
        for turn in range(times):
            with av.open(str(unit)) as source:
                for stream in source.streams:
                    if turn == 0:
                        streams[stream.index] = target.add_stream_from_template(stream, opaque=True)
                for packet in source.demux():
                    if packet.size == 0:
                        continue
                    ticks = round(turn * UNIT_SECONDS / packet.time_base)
                    if packet.stream.type == "audio" and packet.pts >= UNIT_SECONDS / packet.time_base:
                        continue  # the encoder's last packet, filled up with silence
                    if packet.stream.type == "audio" and turn and packet.pts < 0:
                        continue  # its first one, which only primes the decoder
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
