"""Plays the part of a program that draws lips: python lip_program.py MODE VIDEO AUDIO OUTPUT [NOTES].

It paints a patch over the mouth, whose brightness follows the sound, or does one of the things that such programs do
wrong. NOTES: a file to which it adds a line for each call.
"""

import sys
import time
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MOUTH = slice(0.55, 0.8), slice(0.35, 0.65)
"""Where it paints, as shares of the picture's height and width."""


def loudness(audio, num_frames):
    """Return how loud each of some frames is, in [0, 1]."""
    with wave.open(audio, "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    parts = np.array_split(samples, num_frames)
    return np.clip([6 * float(np.sqrt(np.mean(part**2))) if len(part) else 0.0 for part in parts], 0, 1)


def painted(picture, level):
    """Return a picture with a patch over its mouth."""
    height, width = picture.shape[:2]
    rows, columns = (
        slice(int(part.start * side), int(part.stop * side)) for part, side in zip(MOUTH, (height, width), strict=True)
    )
    made = picture.copy()
    made[rows, columns] = (40, 40 + int(150 * level), 200)
    return made


def main():
    """Do what the mode says."""
    mode, video, audio, output, *notes = sys.argv[1:]
    calls = 0
    if notes:
        path = Path(notes[0])
        calls = len(path.read_text().splitlines()) if path.exists() else 0
        with path.open("a") as file:
            file.write(f"{mode} {video}\n")
    if mode == "hang":
        time.sleep(600)
    if mode == "exit" or (mode == "flaky" and calls == 0):
        sys.stdout.write("loading\nno CUDA device was found\n")
        sys.exit(1)
    with av.open(video) as source:
        stream = source.streams.video[0]
        rate = Fraction(stream.average_rate)
        pictures = [frame.to_ndarray(format="bgr24") for frame in source.decode(video=0)]
    if mode == "nothing":
        return
    levels = loudness(audio, len(pictures))
    if mode != "same":
        pictures = [painted(picture, level) for picture, level in zip(pictures, levels, strict=True)]
    if mode == "drop":
        pictures = pictures[:-1]
    if mode == "half":
        pictures = pictures[: len(pictures) // 2]
    if mode == "black":
        pictures = [picture // 16 for picture in pictures]
    if mode == "other":
        pictures = [picture[::-1].copy() for picture in pictures]
    if mode == "moved":  # a pixel to the right, and brighter
        pictures = [np.clip(np.roll(picture, 1, axis=1).astype(int) + 4, 0, 255).astype("u1") for picture in pictures]
    size = pictures[0].shape[1], pictures[0].shape[0]
    if mode == "25":
        seconds = len(pictures) / rate
        pictures = [pictures[min(int(number * rate / 25), len(pictures) - 1)] for number in range(int(seconds * 25))]
        rate = Fraction(25)
    if mode == "large":
        size = size[0] * 2, size[1] * 2
    if mode == "wide":
        size = size[0] * 3 // 4 * 2, size[1]
    with av.open(output, "w") as target:
        coded = target.add_stream("libx264", rate=rate, options={"crf": "14", "preset": "ultrafast"})
        coded.width, coded.height, coded.pix_fmt = *size, "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(*size, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            target.mux(coded.encode(frame))
        target.mux(coded.encode(None))


if __name__ == "__main__":
    main()
