"""find_offset(): how late or early a source's own sound is, by its own lips: input.audio_offset: auto.

    scan       ...ffffffffff.........fffffffffffffffffffff....ff.....          where faces are seen
    stretches     [---)[---)         [---)[---)[---)[---)                      spread over the video, 80 s at most
    each       faces followed -> crops -> the expert's vectors of lips, against those of the sound at every shift

The mean distance over all of them is least where the sound belongs. What is found is kept in the workspace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from lipstitch.evaluation.faces import FaceFollower, SeenFace
from lipstitch.evaluation.judges import SHIPPED_EXPERT, ExpertJudge, FaceJudge
from lipstitch.evaluation.shifts import FARTHEST_STEPS, STEPS_PER_SECOND, WINDOW_STEPS, ShiftSums, SyncRun
from lipstitch.evaluation.steps import steps_of
from lipstitch.plan.audio.inputs import AudioInput
from lipstitch.progress import Reporter, Timings, stage
from lipstitch.source.offset import FoundOffset
from lipstitch.source.scan import Scanned
from lipstitch.workspace import Workspace
from media.base.content import content_key
from media.faces import FaceBox
from media.intervals import Interval, even_pieces
from media.packets.frame_table import FrameTable
from media.picture import PictureConverter, VideoFrame
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file
from renderer.mel import Mel, MelTrack
from segmenter.detectors.base import FaceDetector
from segmenter.mesh.mesher import SHIPPED, FaceMesher, OnnxMesh
from segmenter.scan import Scan, ScanSettings
from segmenter.scanner import FaceScanner
from stitcher.audio.mix import SoundPlan
from stitcher.audio.soundtrack import write_driving

OFFSET_VERSION: Final = 1
"""Raised when the same faces and sound give another offset than before."""
STRETCH_SECONDS: Final = 5
MOST_STRETCHES: Final = 16
ENOUGH: Final = 2.0
"""Certainty at which no further stretch is looked at."""
NUM_ROUNDS: Final = 4
"""In which the video is gone through, so that the first stretches lie all over it."""
LEAST_STRETCH_SECONDS: Final = 2
LONGEST_GAP_SECONDS: Final = 1
"""Between two looks of the scan that see a face all the while."""
CLEAR_SCORE: Final = 0.5
"""Detector score of a face that is worth a look."""
MARGIN_STEPS: Final = FARTHEST_STEPS + WINDOW_STEPS
"""Of sound on either side of a stretch."""
GRID_STEPS: Final = 5
"""0.2 s, 16 columns of the spectrogram: where a sound that is cut there begins does not change its columns' places."""


def find_offset(
    scanned: Scanned, box: FaceBox | None, workspace: Workspace, reporter: Reporter, timings: Timings
) -> FoundOffset | None:
    """Return how the source's own sound fits its lips; what an earlier run found is reused.

    box: where the only face is, if the job says so. None where there is no sound, or no face for long enough. Raises
    MediaError if the sound cannot be read.
    """
    source, finder = scanned.source, scanned.finder
    stretches = choose_stretches(scanned.scan, source.table) if source.info.audio else []
    if not stretches:
        return None
    weights = [hash_file(path) for path in (finder.detector_weights, SHIPPED_EXPERT, SHIPPED) if path]
    key = content_key(
        OFFSET_VERSION,
        source.fingerprint,
        source.info.audio[0].index,
        stretches,
        finder.detector,
        *weights,
        *(["box", box] if box else []),
    )
    path = workspace.path("offset", key, ".json")
    stored = workspace.load(path)
    if stored is None:
        with timings.measure("offset"):
            own = AudioInput(source.info, source.table.pts[0] * source.table.time_base)
            found = measure_offset(source, own, stretches, finder.build_detector(), box, reporter)
        workspace.store(path, asdict(found))
        return found
    return FoundOffset(**stored)


def choose_stretches(scan: Scan, table: FrameTable) -> list[Interval]:
    """Return the frames to look at: pieces of shots that show faces, as evenly spread as may be, in rounds.

    Pieces with a single face come first: of two faces in one picture, one listens.
    """
    pieces = [
        (num_faces > 1, piece)
        for start, stop, num_faces in _runs_with_faces(scan, table)
        for piece in even_pieces(start, stop, ceil(STRETCH_SECONDS * len(table) / table.seconds(len(table))))
        if table.seconds(piece[1]) - table.seconds(piece[0]) >= LEAST_STRETCH_SECONDS
    ]
    alone = [piece for is_shared, piece in pieces if not is_shared]
    chosen = alone or [piece for _, piece in pieces]
    places = np.linspace(0, len(chosen) - 1, min(MOST_STRETCHES, len(chosen))).round().astype(int)
    return [chosen[place] for first in range(NUM_ROUNDS) for place in places[first::NUM_ROUNDS]]


def _runs_with_faces(scan: Scan, table: FrameTable) -> Iterator[tuple[int, int, int]]:
    """Yield (first frame, frame behind the last, number of faces) where looks in a row see as many faces."""
    cuts = set(scan.cuts)
    run: tuple[int, int, int] | None = None
    for before, after in pairwise(scan.samples):
        counts = [sum(face.score >= CLEAR_SCORE for face in sample.faces) for sample in (before, after)]
        is_near = table.seconds(after.frame) - table.seconds(before.frame) <= LONGEST_GAP_SECONDS
        is_cut = not cuts.isdisjoint(range(before.frame + 1, after.frame + 1))
        if counts[0] and counts[0] == counts[1] and is_near and not is_cut:
            run = (run[0] if run else before.frame, after.frame + 1, counts[0])
        elif run:
            yield run
            run = None
    if run:
        yield run


def measure_offset(
    source: SourceVideo,
    voice: AudioInput,
    stretches: Sequence[Interval],
    detector: FaceDetector,
    box: FaceBox | None,
    reporter: Reporter,
) -> FoundOffset:
    """Return how a sound fits the faces of some stretches of a video: as many, in order, as are enough.

    stretches: one at least. box: as of find_offset. Raises MediaError if a frame or the sound cannot be read.
    """
    video, sums, done = source.video, ShiftSums(), 0
    converter = PictureConverter(video.orientation)
    scanner = FaceScanner(source.table, video.upright_size, detector, converter, ScanSettings(box=box))
    mesher = FaceMesher(OnnxMesh(), converter)
    num_frames = sum(stop - start for start, stop in stretches)
    with stage(reporter, "offset", num_frames, "frames"), FrameReader(source) as reader:
        for stretch in stretches:
            with heard_around(source, voice, stretch) as mel:
                judge = ExpertJudge(SHIPPED_EXPERT, mel, video.orientation, torch.device("cpu"))
                faces = _Faces(judge, source.table)
                for item in FaceFollower(scanner, mesher).follow(reader.read(range(*stretch))):
                    faces.add(*item)
                    done += 1
                    reporter.advance(done)
                sums.add(faces.finish())
            found = offset_of(sums)
            if found.certainty >= ENOUGH:
                break
    return found


def offset_of(sums: ShiftSums) -> FoundOffset:
    """Return what distances of lips and sound say of the sound."""
    return FoundOffset(
        milliseconds=round(1000 * sums.finer_offset / STEPS_PER_SECOND),
        lead=round(sums.lead, 4),
        seconds=round(sums.count / STEPS_PER_SECOND, 2),
    )


class _Faces:
    """The faces of one stretch, as they are followed, before the judge."""

    def __init__(self, judge: FaceJudge, table: FrameTable) -> None:
        self._judge, self._table = judge, table
        self._runs: dict[int, SyncRun] = {}
        """By track."""
        self._sums = ShiftSums()

    def add(self, index: int, frame: VideoFrame, faces: Sequence[SeenFace]) -> None:
        """Show the judge the faces of a frame, as often as it stands for a step."""
        steps = steps_of(self._table, index)
        for face in faces if steps else ():
            crop = self._judge.crop(frame, face)
            for step in steps:
                if face.track in self._runs and (crop is None or self._runs[face.track].next_step != step):
                    self._end(face.track)
                if crop is not None:
                    self._runs.setdefault(face.track, SyncRun(self._judge, step)).add(crop, 0)

    def finish(self) -> ShiftSums:
        """Return the sums over all faces."""
        for track in list(self._runs):
            self._end(track)
        return self._sums

    def _end(self, track: int) -> None:
        for sums in self._runs.pop(track).finish().values():
            self._sums.add(sums)


@dataclass(frozen=True, slots=True)
class _PartOfMel:
    """The spectrogram of a part of a sound, asked for by times of the whole."""

    part: Mel
    start: Fraction
    """Second of the whole at which the part begins."""

    def window(self, seconds: Fraction) -> NDArray[np.float32]:
        """Return the window (bands, columns) of a frame shown at a second of the whole."""
        return self.part.window(seconds - self.start)


@contextmanager
def heard_around(source: SourceVideo, voice: AudioInput, frames: Interval) -> Iterator[Mel]:
    """Yield the sound of some frames as the judge hears it, asked for by seconds since the video's first frame."""
    first, stop = (round(source.table.seconds(frame) * STEPS_PER_SECOND) for frame in frames)
    start = (first - MARGIN_STEPS) // GRID_STEPS * GRID_STEPS
    begin, length = Fraction(start, STEPS_PER_SECOND), Fraction(stop + 2 * MARGIN_STEPS - start, STEPS_PER_SECOND)
    with TemporaryDirectory(prefix="lipstitch-") as folder:
        path = Path(folder) / "sound.wav"
        write_driving(SoundPlan((voice.piece(begin, Fraction(0), length),), length), path)
        with MelTrack(path) as mel:
            yield _PartOfMel(mel, begin)
