"""Make the README's picture from the finished demonstration: source above, result below, moment after moment.

python -m demo.make_filmstrip build/demo docs/filmstrip.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image

MOMENTS = (7.44, 9.0, 13.64, 18.56, 22.0)
"""Seconds into the demonstration: four of the portrait while it speaks, one of a scene without a face."""
PICTURE_PX = 300
"""Width of one picture."""


def frames_at(video: Path, moments: Sequence[float]) -> list[Image.Image]:
    """Return the frames shown at some increasing times, in seconds."""
    found: list[Image.Image] = []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            if len(found) < len(moments) and frame.time is not None and frame.time >= moments[len(found)]:
                found.append(Image.fromarray(frame.to_ndarray(format="rgb24")))
    return found


def make_filmstrip(folder: Path, picture: Path) -> None:
    """Write the filmstrip of folder/talk.mp4 (above) and folder/result.mp4 (below)."""
    rows = [frames_at(folder / name, MOMENTS) for name in ("talk.mp4", "result.mp4")]
    height = PICTURE_PX * rows[0][0].height // rows[0][0].width
    strip = Image.new("RGB", (PICTURE_PX * len(MOMENTS), height * len(rows)))
    for row, frames in enumerate(rows):
        for column, frame in enumerate(frames):
            strip.paste(frame.resize((PICTURE_PX, height)), (PICTURE_PX * column, height * row))
    strip.save(picture, quality=88)


if __name__ == "__main__":
    make_filmstrip(Path(sys.argv[1]), Path(sys.argv[2]))
