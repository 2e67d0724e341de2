"""What this machine does of each step by itself, on all cores.

    python -m benchmarks.limits VIDEO WEIGHTS

Prints a line a step: name, tab, frames a second.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from media.base.machine import num_cores
from media.packets.scan import scan_packets
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.engine import load_engine

NUM_FRAMES = 300


def rate_on_all_cores(work: Callable[[], None]) -> float:
    """Return the frames a second at which all cores do a piece of work of NUM_FRAMES frames each."""
    threads = [threading.Thread(target=work) for _ in range(num_cores())]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return NUM_FRAMES * len(threads) / (time.monotonic() - start)


def main() -> None:
    """Measure and print."""
    video, weights = Path(sys.argv[1]), Path(sys.argv[2])
    info = probe(video)
    table = scan_packets(info)

    def decode() -> None:
        with FrameReader(SourceVideo(info, table), num_threads=1) as reader:
            for _ in reader.read(range(NUM_FRAMES)):
                pass

    with FrameReader(SourceVideo(info, table)) as reader:
        pictures = [frame for _, frame in reader.read(range(30))]

    def code() -> None:
        encoder = av.CodecContext.create("libx264", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
        encoder.time_base, encoder.thread_count = 1 / info.require_video().clock.average_rate, 1
        encoder.options = {"preset": "veryfast", "crf": "13", "bf": "0"}
        for number in range(NUM_FRAMES):
            frame = pictures[number % len(pictures)].reformat(format="yuv420p")
            frame.pts, frame.pict_type = number, av.video.frame.PictureType.NONE
            encoder.encode(frame)

    network = load_engine(weights, batch_size=8, num_threads=1)
    faces, mels = np.zeros((8, 96, 96, 3), np.uint8), np.zeros((8, 80, 16), np.float32)

    def draw() -> None:
        engine = network.for_worker(1)
        for _ in range(NUM_FRAMES // 8):
            engine.render(faces, mels)

    for name, work in (("decoding alone", decode), ("coding alone (veryfast)", code), ("the network alone", draw)):
        print(f"{name}\t{rate_on_all_cores(work):.0f} frames/s", flush=True)


if __name__ == "__main__":
    main()
