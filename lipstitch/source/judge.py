"""Who speaks in the video's own sound: every face judged on all cores, once, and kept in the workspace."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lipstitch.job_file.config import JobConfig
from lipstitch.progress import Reporter, Timings, stage
from lipstitch.source.scan import Scanned
from lipstitch.source.weights import find_weights
from lipstitch.workspace import Workspace
from media.audio.mfcc import MFCC_HOP, MFCC_RATE, mfcc
from media.audio.reader import read_samples
from media.base.content import content_key
from media.base.errors import ConfigError
from media.base.machine import num_cores
from media.info import MediaInfo
from media.intervals import Interval
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file
from segmenter.people.identities import Identities
from segmenter.speaking.crops import cut_face
from segmenter.speaking.decide import decide
from segmenter.speaking.passages import STEPS_PER_SECOND, Passage, Place, frame_at_step, frames_of, plan_passages
from segmenter.speaking.speakers import FoundSpeakers

JUDGE_VERSION = 1
"""Raised when the same faces and sound give other scores than before."""
MOST_THREADS = 16
ROWS_A_STEP = MFCC_RATE // MFCC_HOP // STEPS_PER_SECOND
LAST_WINDOW = Fraction(1, 50)
"""Seconds of sound behind the last step that its coefficients hear."""

Scores = list[NDArray[np.float32]]
"""Of each face of a passage."""


def require_own_sound(config: JobConfig, info: MediaInfo) -> None:
    """Raise ConfigError, before any work, if faces are to be judged against sound that the video has not."""
    if config.judges_speakers and not info.audio:
        key = "segmenter.target: speaker" if config.input.speakers is None else "input.speakers: auto"
        instead = "name a person as target" if config.input.speakers is None else "give a file of turns"
        raise ConfigError(f"{key} needs the video's own sound, and {config.input.video} has none. Instead, {instead}.")


def find_judge(config: JobConfig, reporter: Reporter) -> Path | None:
    """Return the weights of the network that tells who speaks; None where the job does not ask.

    Raises CheckpointError if they are neither here nor can be downloaded.
    """
    return find_weights(config.segmenter.speaking, config, reporter, download=True) if config.judges_speakers else None


def judge_speakers(
    scanned: Scanned,
    identities: Identities,
    speech: Sequence[tuple[Fraction, Fraction]],
    workspace: Workspace,
    reporter: Reporter,
    timings: Timings,
) -> FoundSpeakers:
    """Return who speaks when; the scores are those of an earlier run, if there was one.

    speech: when the video's own sound speaks, as far as it is moved, in seconds since the first frame.
    """
    source, judge, offset = scanned.source, scanned.judge, scanned.offset.seconds
    assert judge is not None
    passages = plan_passages(identities, source.table, speech)
    heard_stream = [source.info.audio[0].index, *([offset] if offset else [])]
    key = content_key(JUDGE_VERSION, source.fingerprint, *heard_stream, hash_file(judge), passages)
    path = workspace.path("speaking", key, ".json")
    stored = cast(list[list[list[float]]] | None, workspace.load(path))
    if stored is None:
        scores = _judge_in_parts(scanned, passages, judge, reporter, timings)
        stored = [[_rounded(each) for each in passage] for passage in scores]
        workspace.store(path, stored)
    heard = [(int(start * STEPS_PER_SECOND), ceil(stop * STEPS_PER_SECOND)) for start, stop in speech]
    spoken: dict[Place, list[Interval]] = {}
    for passage, values in zip(passages, stored, strict=True):
        said = decide(passage, [np.array(each, np.float32) for each in values], heard)
        for face, parts in zip(passage.faces, said, strict=True):
            frames = [frames_of(part, source.table) for part in parts]
            spoken.setdefault(face.place, []).extend(part for part in frames if part[0] < part[1])
    return FoundSpeakers({place: tuple(sorted(frames)) for place, frames in spoken.items() if frames})


def _rounded(scores: NDArray[np.float32]) -> list[float]:
    return [round(float(score), 2) for score in scores]


def _judge_in_parts(
    scanned: Scanned, passages: Sequence[Passage], judge: Path, reporter: Reporter, timings: Timings
) -> list[Scores]:
    """Return the scores of each face of each passage; they do not depend on the number of cores."""
    from segmenter.speaking.network import SpeakerNetwork, load_speaker_network  # imports torch, which takes seconds

    network: SpeakerNetwork = load_speaker_network(judge)  # one for all threads
    found: dict[int, Scores] = {}
    waiting = iter(enumerate(passages))
    lock, stopped = threading.Lock(), threading.Event()
    num_done = 0

    def take() -> tuple[int, Passage] | None:
        with lock:
            return None if stopped.is_set() else next(waiting, None)

    def count(passage: Passage) -> None:
        nonlocal num_done
        with lock:
            num_done += passage.steps[1] - passage.steps[0]
            reporter.advance(num_done // STEPS_PER_SECOND)

    def work() -> None:
        with FrameReader(scanned.source, num_threads=1, roughly=True) as reader:
            while taken := take():
                number, passage = taken
                found[number] = _judge(scanned, passage, network, reader)
                count(passage)

    seconds = sum(passage.steps[1] - passage.steps[0] for passage in passages) // STEPS_PER_SECOND
    num_threads = max(min(num_cores(), MOST_THREADS, len(passages)), 1)
    with stage(reporter, "speakers", seconds, "seconds", timings), ThreadPoolExecutor(num_threads, "judge") as pool:
        try:
            for finished in as_completed([pool.submit(work) for _ in range(num_threads)]):
                finished.result()
        finally:
            stopped.set()  # after a failure, the other threads end with their passage
    return [found[number] for number in range(len(passages))]


def _judge(scanned: Scanned, passage: Passage, network: Any, reader: FrameReader) -> Scores:
    """Return the scores of the faces of a passage; decodes it once, and holds a pass of faces each."""
    source, (start, stop) = scanned.source, passage.steps
    orientation = source.video.orientation
    sights = [network.watch() for _ in passage.faces]
    steps_at: dict[int, list[int]] = {}
    for step in range(start, stop):
        steps_at.setdefault(frame_at_step(step, source.table), []).append(step)
    for index, frame in reader.read(range(min(steps_at), max(steps_at) + 1)):
        for face, sight in zip(passage.faces, sights, strict=True):
            seen = [step for step in steps_at.get(index, ()) if face.steps[0] <= step < face.steps[1]]
            if seen:
                crop = cut_face(frame, face.path.box_at(index), orientation)
                for _ in seen:  # a low frame rate shows one frame at several steps
                    sight.push(crop)
    heard = network.hear(_coefficients(source, start, stop, scanned.offset.seconds))
    return [
        network.score_in_windows(sight.finish(), heard[face.steps[0] - start : face.steps[1] - start])
        for face, sight in zip(passage.faces, sights, strict=True)
    ]


def _coefficients(source: SourceVideo, start: int, stop: int, offset: Fraction) -> NDArray[np.float32]:
    """Return what the network hears from one step to another. offset: seconds by which the sound is heard later."""
    blocks = read_samples(
        source.info.path,
        stream_index=source.info.audio[0].index,
        zero=source.table.pts[0] * source.table.time_base - offset,
        start=Fraction(start, STEPS_PER_SECOND),
        stop=Fraction(stop, STEPS_PER_SECOND) + LAST_WINDOW,
        rate=MFCC_RATE,
        layout="mono",
    )
    samples = np.concatenate([block[0] for block in blocks])
    return mfcc(samples)[: (stop - start) * ROWS_A_STEP]
