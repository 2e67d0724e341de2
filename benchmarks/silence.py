"""How still mouths are while the dub pauses.

    python -m benchmarks.silence [--clips head_02_512.mp4 head_05_512.mp4] [--seconds 11] [--out build/bench/silence]

Dubs people who talk all the time with speech that pauses, twice for 1.8 s: once in digital silence, once in noise 35 dB
below the voice. Runs the job with each setting of `renderer.silence` and prints how much the mouth moves in speech and
in the pauses.

Motion is measured in the coded output, from one frame to the next, on the face at 96 x 96 pixels: the later picture of
the mouth is moved and turned onto the earlier one (ECC), so that the head's own movement does not count; what differs
still, over the mean gradient, is how far edges have moved, in pixels. The same of the nose, which does not talk, is
what this measure shows of a part that stands still; it is taken away. Frames less than 0.3 s behind speech and 0.4 s
before it count neither as speech nor as pause: lips begin to move before the voice does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray

from benchmarks.material import ROOT, shared_folder
from media.audio.voice_activity import find_loud, measure_levels
from media.faces import FaceBox
from media.packets.scan import scan_packets
from media.picture import PictureConverter, Pixels
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter.detectors.retinaface import RetinaFaceDetector

RATE = 16_000
PAUSES = ((2.6, 4.4), (7.0, 8.8))
"""Seconds of the dub without speech; in the second there is noise."""
NOISE_DB = -35.0
AFTER_SECONDS, BEFORE_SECONDS = 0.3, 0.4
FACE_PX = 96
MOUTH, NOSE = (48, 92, 16, 80), (28, 66, 22, 74)
"""Top, bottom, left and right in the face."""
EDGE_PX = 8
SETTINGS = ("close", "original", "render")
MOST = 0.2
"""Of the motion in speech, what `close` may leave in the pauses."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Mean motion of a mouth in pixels of a face of 96 x 96, without that of a still part."""

    speech: float
    pauses: float

    @property
    def ratio(self) -> float:
        """Return how much of the motion is left in pauses."""
        return self.pauses / self.speech if self.speech > 0 else float("inf")


def write_dub(path: Path, speech: Path, seconds: float) -> None:
    """Write speech of a length, without pauses of its own, that pauses in PAUSES."""
    samples, rate = soundfile.read(speech, dtype="float32")
    voice = np.concatenate([samples[a:b] for a, b in find_loud(measure_levels([samples[None]], rate), rate)])
    voice = np.resize(voice, int(seconds * rate))
    noise = np.random.default_rng(0).standard_normal(len(voice)).astype(np.float32)
    level = float(np.percentile(np.abs(voice), 90)) * 10 ** (NOISE_DB / 20)
    for number, (start, stop) in enumerate(PAUSES):
        part = slice(int(start * rate), int(stop * rate))
        voice[part] = noise[part] * level * number
    soundfile.write(path, voice, rate)


def run(folder: Path, clip: Path, dub: Path, silence: str, weights: Path) -> Path:
    """Run a job with one setting and return its output."""
    output = folder / f"{clip.stem}-{silence}.mp4"
    job = output.with_suffix(".yaml")
    content = {
        "input": {"video": str(clip), "audio": str(dub), "length_policy": "cut"},
        "output": str(output),
        "segmenter": {"detector": "retinaface", "detector_checkpoint": str(weights), "embedder": "none"},
        "renderer": {"silence": silence},
    }
    job.write_text(yaml.safe_dump(content))
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(job), "--force", "--quiet"]
    subprocess.run(command, check=True, cwd=ROOT)
    return output


def load_faces(video: Path, boxes: Sequence[FaceBox]) -> list[Pixels]:
    """Return the face in each of the first frames of a video, at 96 x 96."""
    info = probe(video)
    converter = PictureConverter(info.require_video().orientation)
    faces = []
    with FrameReader(SourceVideo(info, scan_packets(info))) as reader:
        for box, (_, frame) in zip(boxes, reader.read(range(len(boxes))), strict=True):
            picture = converter.upright_bgr(frame)
            place = (slice(max(round(box.top), 0), round(box.bottom)), slice(max(round(box.left), 0), round(box.right)))
            faces.append(
                np.asarray(cv2.resize(picture[place], (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA), np.uint8)
            )
    return faces


def find_boxes(video: Path, detector: RetinaFaceDetector, num_frames: int) -> list[FaceBox]:
    """Return the largest face in each of the first frames, averaged over five."""
    info = probe(video)
    converter = PictureConverter(info.require_video().orientation)
    found = []
    with FrameReader(SourceVideo(info, scan_packets(info))) as reader:
        for _, frame in reader.read(range(num_frames)):
            width, height = info.require_video().upright_size
            faces = detector.detect(converter.upright_bgr(frame, (width // 2, height // 2)))
            box = faces[0].scaled(2, 2).box if faces else found[-1]
            found.append((box.left, box.top, box.right, box.bottom) if isinstance(box, FaceBox) else box)
    edges = np.array(found)
    padded = np.pad(edges, ((2, 2), (0, 0)), mode="edge")
    smooth = np.mean([padded[at : at + len(edges)] for at in range(5)], axis=0)
    return [FaceBox(*(float(edge) for edge in row)) for row in smooth]


def movement(faces: Sequence[Pixels], place: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Return for each frame but the first how far edges in a part of the face have moved, in pixels."""
    top, bottom, left, right = place
    parts = [cv2.GaussianBlur(face[top:bottom, left:right].astype(np.float32), (0, 0), 1) for face in faces]
    inside = (slice(EDGE_PX, -EDGE_PX), slice(EDGE_PX, -EDGE_PX))
    moved = []
    for before, after in pairwise(parts):
        grey = before.mean(axis=2)
        slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))[inside].mean() / 8
        difference = np.abs(_moved_onto(before, after) - before).mean(axis=2)[inside].mean()
        moved.append(float(difference / slope))
    return np.array(moved)


def _moved_onto(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a picture shifted and turned so that it fits another one best."""
    warp = np.eye(2, 3, dtype=np.float32)
    grey = [np.clip(picture.mean(axis=2), 0, 255).astype(np.uint8) for picture in (before, after)]
    steps = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    with suppress(cv2.error):  # where the two have nothing in common, they are compared as they are
        _, warp = cv2.findTransformECC(grey[0], grey[1], warp, cv2.MOTION_EUCLIDEAN, steps, None, 3)
    size = (after.shape[1], after.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(after, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def measure(faces: Sequence[Pixels], rate: float) -> Motion:
    """Return the motion of the mouth in the faces of consecutive frames, in speech and in PAUSES."""
    mouth, nose = movement(faces, MOUTH), movement(faces, NOSE)
    seconds = np.arange(1, len(faces)) / rate
    speaks, rests = np.ones(len(seconds), bool), np.zeros(len(seconds), bool)
    for start, stop in PAUSES:
        rests |= (start + AFTER_SECONDS <= seconds) & (seconds < stop - BEFORE_SECONDS)
        speaks &= (seconds < start) | (stop <= seconds)
    still = float(nose.mean())
    return Motion(max(float(mouth[speaks].mean()) - still, 0.0), max(float(mouth[rests].mean()) - still, 0.0))


def main() -> None:
    """Run and print; the exit code is 1 if `close` leaves more than a fifth of the motion."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", default=["head_02_512.mp4", "head_05_512.mp4", "head_08_512.mp4"])
    parser.add_argument("--seconds", type=float, default=11.0)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "silence")
    arguments = parser.parse_args()
    shared = shared_folder()
    if shared is None:
        sys.exit("This needs the shared clips: beside the project, or at $LIPSTITCH_SHARED.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    dub = arguments.out / "dub.wav"
    write_dub(dub, shared / "clips" / "dub_english_60s.wav", arguments.seconds)
    print(
        f"{'clip':18} {'silence':9} {'speech':>7} {'pauses':>7} {'ratio':>6}   (pixels a frame, of a face of 96 x 96)"
    )
    found: dict[str, list[Motion]] = {setting: [] for setting in SETTINGS}
    for name in arguments.clips:
        clip = shared / "clips" / name
        info = probe(clip)
        rate = float(info.require_video().clock.average_rate)
        num_frames = min(int(arguments.seconds * rate), len(scan_packets(info)))
        boxes = find_boxes(clip, RetinaFaceDetector(weights), num_frames)
        for setting in SETTINGS:
            motion = measure(load_faces(run(arguments.out, clip, dub, setting, weights), boxes), rate)
            found[setting].append(motion)
            print(
                f"{clip.stem:18} {setting:9} {motion.speech:7.3f} {motion.pauses:7.3f} {motion.ratio:6.2f}", flush=True
            )
    whole = {}
    for setting, motions in found.items():
        mean = Motion(float(np.mean([m.speech for m in motions])), float(np.mean([m.pauses for m in motions])))
        print(f"{'all':18} {setting:9} {mean.speech:7.3f} {mean.pauses:7.3f} {mean.ratio:6.2f}")
        whole[setting] = mean.ratio
    (arguments.out / "silence.json").write_text(json.dumps(whole, indent=1) + "\n")
    sys.exit(int(whole["close"] > MOST))


if __name__ == "__main__":
    main()
