"""How input.audio_offset: auto measures: sound moved by known amounts, and sound of other people.

    python -m benchmarks.offsets VIDEO ... [--frames 375] [--detector-weights FILE]

The first frames of each video are measured against its own sound, moved by each of OFFSETS, and against the sound of
every other video of the list, from its beginning. As a job does, but a face's lips are embedded once for all sounds.
Prints a line for each video. At the end, of the own sound: how many were certain, and how far they are off the offset,
alone and with what was found at 0: a video's sound need not be in time itself. Of foreign sound: how many were certain.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from lipstitch.evaluation.faces import FaceFollower
from lipstitch.evaluation.judges import SHIPPED_EXPERT, ExpertJudge
from lipstitch.evaluation.own_offset import heard_around, offset_of
from lipstitch.evaluation.shifts import (
    BATCH_WINDOWS,
    FARTHEST_STEPS,
    WINDOW_STEPS,
    ShiftSums,
    Vectors,
    shifted_distances,
)
from lipstitch.evaluation.steps import steps_of
from lipstitch.plan.audio.inputs import AudioInput
from lipstitch.source.offset import FoundOffset
from media.picture import PictureConverter, Pixels
from media.reader import FrameReader
from media.source_video import SourceVideo, scan_video
from segmenter.detectors.base import FaceDetector
from segmenter.find_detector import build_detector
from segmenter.mesh.mesher import FaceMesher, OnnxMesh
from segmenter.scanner import FaceScanner

OFFSETS = (-200, -120, -55, 0, 37, 83, 200)
"""Milliseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Lips:
    """The longest run of one face in the first frames of a video."""

    video: SourceVideo
    num_frames: int
    first_step: int
    vectors: Vectors

    @property
    def sound(self) -> AudioInput:
        """Return the video's own sound."""
        return AudioInput(self.video.info, self.video.table.pts[0] * self.video.table.time_base)

    def fits(self, voice: AudioInput) -> FoundOffset:
        """Return how a sound fits them."""
        steps = range(self.first_step - FARTHEST_STEPS, self.first_step + len(self.vectors) + FARTHEST_STEPS)
        with heard_around(self.video, voice, (0, self.num_frames)) as mel:
            heard = ExpertJudge(SHIPPED_EXPERT, mel, self.video.video.orientation, torch.device("cpu")).embed_sound(
                steps
            )
        return offset_of(ShiftSums(shifted_distances(self.vectors, heard).sum(axis=0), len(self.vectors)))


def read_lips(path: Path, most_frames: int, detector: FaceDetector) -> Lips:
    """Return the lips in a video's first frames. Raises MediaError."""
    video = scan_video(path)
    orientation, num_frames = video.video.orientation, min(len(video.table), most_frames)
    converter = PictureConverter(orientation)
    follower = FaceFollower(
        FaceScanner(video.table, video.video.upright_size, detector, converter), FaceMesher(OnnxMesh(), converter)
    )
    runs: dict[int, list[tuple[int, Pixels]]] = {}
    own = AudioInput(video.info, video.table.pts[0] * video.table.time_base)
    with heard_around(video, own, (0, num_frames)) as mel, FrameReader(video) as reader:
        judge = ExpertJudge(SHIPPED_EXPERT, mel, orientation, torch.device("cpu"))
        for index, frame, faces in follower.follow(reader.read(range(num_frames))):
            for face in faces:
                if (crop := judge.crop(frame, face)) is not None:
                    runs.setdefault(face.track, []).extend((step, crop) for step in steps_of(video.table, index))
        run = max(runs.values(), key=len)
        crops = np.stack([crop for _, crop in run])
        windows = np.stack([crops[start : start + WINDOW_STEPS] for start in range(len(crops) - WINDOW_STEPS + 1)])
        parts = np.array_split(windows, -(-len(windows) // BATCH_WINDOWS))
        return Lips(video, num_frames, run[0][0], np.concatenate([judge.embed_lips(part) for part in parts]))


def report(lips: Sequence[Lips]) -> None:
    """Print what the measurements of some videos come to; each against its own sound, and that of all others."""
    own = [[each.fits(each.sound.later(Fraction(offset, 1000))) for offset in OFFSETS] for each in lips]
    foreign = [one.fits(other.sound) for one in lips for other in lips if other is not one]
    for each, row in zip(lips, own, strict=True):
        found = "  ".join(f"{-found.milliseconds} ({found.certainty:.2f})" for found in row)
        print(f"{Path(each.video.info.path).stem:28} {len(each.vectors)} windows: {found}")
    certain = [
        (-found.milliseconds - offset, row[OFFSETS.index(0)].milliseconds)
        for row in own
        for offset, found in zip(OFFSETS, row, strict=True)
        if found.is_certain
    ]
    if certain:
        off, moved = np.abs([error for error, _ in certain]), np.abs([error + at_0 for error, at_0 in certain])
        print(f"own sound: {len(certain)} of {len(own) * len(OFFSETS)} certain")
        print(f"off by {np.median(off):.0f} ms, 90 % within {np.percentile(off, 90):.0f} ms, at most {off.max()} ms")
        print(f"beside what was found at 0: off by {np.median(moved):.0f} ms, at most {moved.max()} ms")
    if foreign:
        alarms, most = sum(found.is_certain for found in foreign), max(found.certainty for found in foreign)
        print(f"foreign sound: {alarms} of {len(foreign)} certain; certainty at most {most:.2f}")


def main() -> None:
    """Print every measurement, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=375, help="of each video, at most")
    parser.add_argument("--detector", default="cascade")
    parser.add_argument("--detector-weights", type=Path)
    arguments = parser.parse_args()
    detector = build_detector(arguments.detector, arguments.detector_weights)
    report([read_lips(path, arguments.frames, detector) for path in arguments.videos])


if __name__ == "__main__":
    main()
