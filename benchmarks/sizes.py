"""How large re-encoded video is beside its source, and how near it comes: each video coded whole, frame after frame.

    python -m benchmarks.sizes VIDEO...

prints for each video the source's size, the size of all its frames re-encoded as jobs do it (in clips of ten
seconds), beside a fixed rate factor of 13, the decibels of the worst and of the mean frame, and how much longer coding
took than with the fixed rate factor.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from media.coding.encoder_options import CODED_PSNR, choose_coding
from media.coding.writer import ClipWriter
from media.packets.scan import scan_packets
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo

CLIP_SECONDS = 10
FIXED_CRF = 13


@dataclass(frozen=True, slots=True)
class Recoded:
    """A video that was re-encoded."""

    num_bytes: int
    psnr: tuple[float, ...]
    """Of each frame's worst plane, in dB."""
    cpu_seconds: float
    """Decoding not counted."""


def packet_bytes(path: Path) -> int:
    """Return how many bytes the pictures of a video take."""
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux(container.streams.video[0]))


def recode(source: SourceVideo, folder: Path, crf: int | None, psnr: float) -> Recoded:
    """Re-encode all frames of a video, in clips. crf: a fixed rate factor; None: as jobs do that ask for a PSNR."""
    coding = replace(choose_coding(source.video, crf=crf, preset="auto"), least_psnr=psnr)
    num_frames = len(source.table)
    length = max(round(CLIP_SECONDS * float(source.video.clock.average_rate)), 1)
    num_bytes, found, spent = 0, list[float](), 0.0
    with FrameReader(source) as reader:
        for number, start in enumerate(range(0, num_frames, length)):
            path = folder / f"{number}.nut"
            with ClipWriter(path, source.video, coding) as writer:
                for index, frame in reader.read(range(start, min(start + length, num_frames))):
                    begun = time.process_time()
                    writer.write(frame, keyframe=bool(source.table.keyframe[index]))
                    spent += time.process_time() - begun
            num_bytes += path.stat().st_size
            found += writer.psnr
            path.unlink()
    return Recoded(num_bytes, tuple(found), spent)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--psnr", type=float, default=CODED_PSNR, help="of the worst frame, as stitcher.video.psnr")
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    ratios: list[tuple[float, float, float]] = []
    print("| video | codec | source, kB | again | with 13 | worst, dB | mean, dB | time |")
    print("|---|---|---|---|---|---|---|---|")
    arguments = parser.parse_args()
    for path in arguments.videos:
        info = probe(path)
        source = SourceVideo(info, scan_packets(info))
        own = packet_bytes(path)
        with tempfile.TemporaryDirectory() as folder:
            found, fixed = (recode(source, Path(folder), crf, arguments.psnr) for crf in (None, FIXED_CRF))
        ratio = (found.num_bytes / own, fixed.num_bytes / own, found.cpu_seconds / fixed.cpu_seconds)
        ratios.append(ratio)
        print(
            f"| {path.name} | {source.video.codec} | {own // 1000} | {ratio[0]:.2f} | {ratio[1]:.2f}"
            f" | {min(found.psnr):.1f} | {np.mean(found.psnr):.1f} | {ratio[2]:.2f} |",
            flush=True,
        )
    mean, worst = np.mean(ratios, axis=0), np.max(ratios, axis=0)
    print(f"| mean | | | {mean[0]:.2f} | {mean[1]:.2f} | | | {mean[2]:.2f} |")
    print(f"| largest | | | {worst[0]:.2f} | {worst[1]:.2f} | | | {worst[2]:.2f} |")


if __name__ == "__main__":
    main()
