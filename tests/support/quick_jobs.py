"""Whole jobs in this process within a second: a canned scan, no network, and mouths that only become darker."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

import lipstitch.execution.executor
import lipstitch.execution.sound
import lipstitch.execution.worker
import lipstitch.execution.write_output
import lipstitch.source.parallel_scan
import lipstitch.source.weights
from lipstitch.execution.worker import run_clip
from media.clips import TrackedFace
from media.faces import Face, FaceBox, FrameDetections
from renderer.networks.base import WAV2LIP_SPEC
from segmenter.scan import Scan
from tests.support.synthetic import Sound, make_video

NUM_FRAMES, SIZE = 100, (192, 108)
SPANS = {(8, 40): 0.9, (60, 90): 0.7}
"""Frames in which there is a face, with its score; the second one's drops to 0.5 for its last ten frames."""
FIRST, SECOND = {(7, 21), (21, 35), (35, 48)}, {(60, 78), (78, 96)}
"""Clips of up to 0.8 s that hold the first and the second span."""


@dataclass
class Redone:
    """What a run made."""

    scanned: bool = False
    clips: set = field(default_factory=set)
    """(first frame, frame behind the last) of each."""
    driving: bool = False
    sound: bool = False

    def forget(self):
        self.scanned = self.driving = self.sound = False
        self.clips = set()


def make_talk(path, *, has_sound=True, **options):
    """Write the video that the canned scan belongs to; packets can be copied again from every twelfth frame on."""
    return make_video(path, NUM_FRAMES, size=SIZE, gop=12, sounds=[Sound()] if has_sound else [], **options)


def canned_scan(frames, scanner, **_):
    samples = []
    for index, _ in frames:
        span = next((span for span in SPANS if span[0] <= index < span[1]), None)
        score = 0.5 if span == (60, 90) and index >= 80 else SPANS.get(span, 0)
        faces = (Face(FaceBox(60.0, 16.0, 120.0, 92.0), score),) if span else ()
        samples.append(FrameDetections(index, faces))
    cuts = tuple(border for span in SPANS for border in span)
    return Scan(tuple(samples), cuts, "cascade", SIZE)


class DarkMouths:
    """An engine without a network."""

    batch_size = 16
    spec = WAV2LIP_SPEC

    def render(self, faces, mel_windows, references=None):
        return faces // 2


class StillFaces:
    """A tracker that needs no detector: the face stands where the scan saw it."""

    reach_frames = 0

    def track(self, frames, spans):
        for index, frame in frames:
            here = [span for span in spans if span.start_frame <= index < span.stop_frame]
            yield index, frame, tuple(TrackedFace(span, span.path.box_at(index)) for span in here)


class NoMel:
    def window(self, seconds):
        return np.zeros((80, 16), np.float32)

    def close(self):
        pass


@contextmanager
def quick_jobs(scan=canned_scan):
    """Replace what is slow while the context lasts; yield what notes what is made. scan: stands in for scan_faces."""
    redone = Redone()

    def noting(name, function):
        def call(*arguments, **keys):
            setattr(redone, name, True)
            return function(*arguments, **keys)

        return call

    def noted_work(setup, job, target):
        redone.clips.add((job.clip.start_frame, job.clip.stop_frame))
        return run_clip(setup, job, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lipstitch.source.parallel_scan, "scan_faces", noting("scanned", scan))
        patch.setattr(lipstitch.source.weights, "build_detector", lambda *_: None)
        patch.setattr(lipstitch.execution.executor, "run_clip", noted_work)
        patch.setattr(lipstitch.execution.worker, "_engine", lambda *_: DarkMouths())
        patch.setattr(lipstitch.execution.worker, "build_detector", lambda *_: None)
        patch.setattr(lipstitch.execution.worker, "BoxTracker", lambda *_, **__: StillFaces())
        patch.setattr(lipstitch.execution.worker, "MelTrack", lambda *_: NoMel())
        patch.setattr(lipstitch.execution.write_output, "check_renderer", lambda *_: None)
        patch.setattr(lipstitch.execution.write_output, "read_spec", lambda *_, **__: WAV2LIP_SPEC)
        sound = lipstitch.execution.sound
        patch.setattr(sound, "write_driving", noting("driving", sound.write_driving))
        patch.setattr(sound, "encode_soundtrack", noting("sound", sound.encode_soundtrack))
        yield redone
