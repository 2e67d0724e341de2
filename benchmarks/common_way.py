"""The same work done the common way, for comparison: what scripts around Wav2Lip do, each frame by itself.

    python -m benchmarks.common_way VIDEO DUB WEIGHTS OUTPUT FRAMES [RETINAFACE_WEIGHTS]

Detects the face in every frame at full size, keeps whole frames in RGB, draws in float32 with one face a pass, writes
a video of pictures first (MPEG-4) and re-encodes that with the sound (x264 medium). Generous to it: it streams instead
of keeping all frames, and uses this project's detector, which is faster than the one such scripts come with (S3FD).
"""

from __future__ import annotations

import sys
import tempfile
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from benchmarks.material import RATE
from renderer.mel import MelTrack
from renderer.networks.base import load_module
from segmenter.find_detector import build_detector


def draw_frames(
    video: Path, dub: Path, weights: Path, target: Path, num_frames: int, detector_weights: Path | None
) -> None:
    """Write the pictures with new mouths."""
    network = load_module(weights)
    detector = build_detector("retinaface" if detector_weights else "cascade", detector_weights)
    with av.open(str(video)) as source, av.open(str(target), "w") as pictures, MelTrack(dub) as mel:
        stream = pictures.add_stream("mpeg4", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        first = source.streams.video[0]
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = first.width, first.height, "yuv420p", 20_000_000
        for number, frame in enumerate(islice(source.decode(video=0), num_frames)):
            picture = frame.to_ndarray(format="bgr24")
            for face in detector.detect(picture)[:1]:
                box = [max(round(edge), 0) for edge in (face.box.left, face.box.top, face.box.right, face.box.bottom)]
                part = picture[box[1] : box[3], box[0] : box[2]]
                small = cv2.resize(part, (96, 96)).astype(np.float32) / 255
                masked = small.copy()
                masked[48:] = 0
                pixels = torch.from_numpy(np.concatenate((masked, small), axis=2).transpose(2, 0, 1)[None])
                window = torch.from_numpy(mel.window(Fraction(number, RATE))[None, None])
                with torch.inference_mode():
                    mouth = network(window, pixels)[0].permute(1, 2, 0).numpy() * 255
                part[:] = cv2.resize(mouth.astype(np.uint8), (part.shape[1], part.shape[0]))
            pictures.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        pictures.mux(stream.encode(None))


def code_again(pictures: Path, dub: Path, target: Path, num_frames: int) -> None:
    """Code the pictures with the sound."""
    with av.open(str(pictures)) as source, av.open(str(dub)) as sound, av.open(str(target), "w") as output:
        video = output.add_stream("libx264", rate=RATE, options={"preset": "medium"})
        audio = output.add_stream("aac", rate=sound.streams.audio[0].rate, layout="mono")
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        first = source.streams.video[0]
        video.width, video.height, video.pix_fmt = first.width, first.height, "yuv420p"
        for frame in source.decode(video=0):
            frame.pict_type = av.video.frame.PictureType.NONE
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for samples in sound.decode(audio=0):
            if samples.time >= num_frames / RATE:
                break
            output.mux(audio.encode(samples))
        output.mux(audio.encode(None))


def main() -> None:
    """Do it."""
    video, dub, weights, output = map(Path, sys.argv[1:5])
    num_frames = int(sys.argv[5])
    detector_weights = Path(sys.argv[6]) if len(sys.argv) > 6 else None
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        pictures = Path(folder, "pictures.avi")
        draw_frames(video, dub, weights, pictures, num_frames, detector_weights)
        code_again(pictures, dub, output, num_frames)


if __name__ == "__main__":
    main()
