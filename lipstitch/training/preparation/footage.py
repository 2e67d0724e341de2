"""One video to aligned face crops and mel: a folder of plain arrays that are mapped, never parsed.

    crops.npy    (rows, 112, 112, 3) uint8 BGR     dataset/crops.py
    frames.npy   (rows,) int32                     source frame of each row
    columns.npy  (rows,) int32                     first column of the mel window that the renderer gives to that frame
    mel.npy      (columns, 80) float32 in [-4, 4]  the whole track
    facts.json   VideoFacts                        written last: a folder without it does not count

A track is a run of rows, one for each 1/25 s, of one face in one shot.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
from numpy.lib.format import open_memmap

from lipstitch.training.dataset.crops import CROP_PX, CropCutter
from lipstitch.training.dataset.facts import VERSION, Segment, VideoFacts
from lipstitch.training.dataset.grid import STEPS_PER_SECOND, grid_segments, within_sound
from media.audio.reader import first_sample_time, read_samples, sound_length
from media.base.content import content_key, hash_bytes
from media.base.errors import MediaError, MissingStream, UnsupportedMedia
from media.base.files import disk_errors
from media.clips import FaceSpan, Gap, Span
from media.info import MediaInfo
from media.packets.frame_table import FrameTable
from media.packets.scan import scan_packets
from media.picture import PictureConverter, is_composable
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.mel import COLUMNS_PER_SECOND, MEL_BANDS, SAMPLE_RATE, WINDOW_COLUMNS, MelTrack, window_start
from segmenter.detectors.base import FaceDetector
from segmenter.scan import ScanSettings
from segmenter.scanner import FaceScanner, scan_faces
from segmenter.spans.find import find_spans
from segmenter.spans.presence import SpanSettings
from segmenter.tracker import BoxTracker

LEAST_ROWS = STEPS_PER_SECOND
"""Rows of the shortest track that is kept: 1 s."""
LONGEST_SOUND_SECONDS = 24 * 3600
"""Sound that claims to be longer has damaged times."""


def prepare_video(path: Path, folder: Path, detector: FaceDetector, *, min_face_px: int) -> tuple[VideoFacts, bool]:
    """Write a video's faces and sound into `folder`; return the facts and whether they were there already.

    A video that cannot be used gives facts with a problem and no arrays. The folder appears whole or not at all.
    """
    try:
        info = probe(path)
    except MediaError as exc:
        return VideoFacts(path.stem, "", problem=_reason(exc, path)), False
    key = content_key(VERSION, hash_bytes(path), detector.name, min_face_px)
    known = VideoFacts.load(folder)
    if known is not None and known.key == key:
        return known, True
    partial = folder.with_name(f"{folder.name}.part")
    with disk_errors(folder):
        for leftover in (partial, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            facts = _write_faces(info, path.stem, key, partial, detector, min_face_px)
        except MediaError as exc:
            facts = VideoFacts(path.stem, key, problem=_reason(exc, path))
        if not facts.tracks:
            for array in partial.glob("*.npy"):
                array.unlink()
        facts.store(partial)
        os.replace(partial, folder)
    return facts, False


def _reason(error: MediaError, path: Path) -> str:
    """Return an error's sentence without the path that the table shows anyway."""
    return str(error).removeprefix(f"{path}: ")


def _write_faces(
    info: MediaInfo, name: str, key: str, folder: Path, detector: FaceDetector, min_face_px: int
) -> VideoFacts:
    video = info.require_video()
    if not info.audio:
        raise MissingStream("no sound: there is nothing that the lips could belong to.")
    if not is_composable(video.pixel_format):
        raise UnsupportedMedia(f"pixels are stored as {video.pixel_format}. Convert it to yuv420p first.")
    table = scan_packets(info)
    sound_start, num_columns = _write_mel(info, table, folder)
    spans = _find_faces(info, table, detector, min_face_px)
    rejected: dict[str, float] = defaultdict(float)
    plan: list[tuple[FaceSpan, list[Segment]]] = []
    for span in spans:
        seconds = float(table.seconds(span.stop_frame) - table.seconds(span.start_frame))
        if isinstance(span, Gap):
            rejected[span.reason] += seconds
            continue
        whole = list(grid_segments(table, (span.start_frame, span.stop_frame)))
        heard = [within_sound(table, each, sound_start=sound_start, num_columns=num_columns) for each in whole]
        segments = [each for each in heard if len(each) >= LEAST_ROWS]
        seen = sum(map(len, whole)) / STEPS_PER_SECOND
        rejected["fewer than 14 frames/s"] += max(seconds - seen, 0)
        rejected["outside the sound"] += seen - sum(map(len, heard)) / STEPS_PER_SECOND
        rejected["shorter than 1 s"] += sum(map(len, heard)) / STEPS_PER_SECOND - _seconds(segments)
        plan.append((span, segments))
    tracks = _write_crops(info, table, plan, folder, detector)
    planned = sum(_seconds(segments) for _, segments in plan)
    kept = sum(stop - start for start, stop in tracks) / STEPS_PER_SECOND
    rejected["face outside the picture"] += planned - kept
    seconds_by_reason = {reason: round(value, 2) for reason, value in sorted(rejected.items()) if round(value, 1) > 0}
    problem = "" if tracks else "no stretch of 1 s with one clear face and sound"
    return VideoFacts(name, key, tracks, num_columns, seconds_by_reason, problem)


def _seconds(segments: list[Segment]) -> float:
    return sum(map(len, segments)) / STEPS_PER_SECOND


def _find_faces(info: MediaInfo, table: FrameTable, detector: FaceDetector, min_face_px: int) -> tuple[Span, ...]:
    video = info.require_video()
    whole = (0, len(table))
    with FrameReader(SourceVideo(info, table), num_threads=1, roughly=True) as reader:
        converter, settings = PictureConverter(video.orientation), ScanSettings(min_face_px=min_face_px)
        scanner = FaceScanner(table, video.upright_size, detector, converter, settings)
        scan = scan_faces(reader.read(range(*whole)), scanner)
    return find_spans(scan, table, [whole], SpanSettings(min_face_px=min_face_px))


def _write_mel(info: MediaInfo, table: FrameTable, folder: Path) -> tuple[Fraction, int]:
    """Write the spectrogram of the video's own sound; return its start (seconds after the first frame) and length.

    The sound goes through a WAV file as the driving sound of a job does, so that the columns are the same to the bit
    and a long track is never held.
    """
    stream = info.require_audio().index
    zero = table.pts[0] * table.time_base
    sound_start = first_sample_time(info.path, stream) - zero
    length = sound_length(info.path, stream)
    if length > LONGEST_SOUND_SECONDS:
        raise UnsupportedMedia("by its times the sound would last for days. Remux or convert the file first.")
    stop = min(table.seconds(len(table)), sound_start + length)
    if stop <= 0:
        raise UnsupportedMedia("the sound ends before the first frame.")
    with TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch, "sound.wav")
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "FLOAT") as file:
            for block in read_samples(
                info.path, stream_index=stream, rate=SAMPLE_RATE, layout="mono", stop=stop, zero=zero
            ):
                file.write(block[0])
        with MelTrack(path) as track:
            mel = open_memmap(folder / "mel.npy", "w+", np.float32, (track.num_columns, MEL_BANDS))
            for start in range(0, track.num_columns, WINDOW_COLUMNS):
                start = min(start, track.num_columns - WINDOW_COLUMNS)
                mel[start : start + WINDOW_COLUMNS] = track.window(Fraction(start, COLUMNS_PER_SECOND)).T
            mel.flush()
            return sound_start, track.num_columns


def _write_crops(
    info: MediaInfo,
    table: FrameTable,
    plan: list[tuple[FaceSpan, list[Segment]]],
    folder: Path,
    detector: FaceDetector,
) -> tuple[tuple[int, int], ...]:
    """Write crops, frames and columns of the planned segments; return the tracks. Holds a few frames at a time."""
    num_rows = sum(len(segment) for _, segments in plan for segment in segments)
    if not num_rows:
        return ()
    crops: Any = open_memmap(folder / "crops.npy", "w+", np.uint8, (num_rows, CROP_PX, CROP_PX, 3))
    frames = np.array([frame for _, segments in plan for segment in segments for frame in segment], np.int32)
    columns = np.array([window_start(table.seconds(int(frame))) for frame in frames], np.int32)
    cut = np.zeros(num_rows, bool)
    first = 0
    orientation = info.require_video().orientation
    cutter, tracker = CropCutter(orientation), BoxTracker(detector, PictureConverter(orientation))
    with FrameReader(SourceVideo(info, table), num_threads=1) as reader:
        for span, segments in plan:
            stop = first + sum(map(len, segments))
            if segments:
                decoded = reader.read(range(span.start_frame, span.stop_frame))
                for index, frame, followed in tracker.track(decoded, [span]):
                    start, end = first + np.searchsorted(frames[first:stop], [index, index + 1])
                    face = cutter.cut(frame, followed[0]) if followed and start < end else None
                    if face is not None:
                        crops[start:end], cut[start:end] = face, True
            first = stop
        cut &= ~np.isin(frames, list(reader.damaged))
    crops.flush()
    np.save(folder / "frames.npy", frames)
    np.save(folder / "columns.npy", columns)
    return tuple(_tracks(plan, cut))


def _tracks(
    plan: list[tuple[FaceSpan, list[Segment]]], cut: np.ndarray[Any, np.dtype[np.bool_]]
) -> Iterator[tuple[int, int]]:
    """Yield the runs of rows that hold a face; segments stay apart."""
    first = 0
    for _, segments in plan:
        for segment in segments:
            stop = first + len(segment)
            missing = first + np.flatnonzero(~cut[first:stop])
            for start, end in pairwise([first - 1, *map(int, missing), stop]):
                if end - (start + 1) >= LEAST_ROWS:
                    yield start + 1, end
            first = stop
