"""How an edit's soundtrack is made: kept, copied, spliced into the source's, or encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import ceil
from pathlib import Path
from typing import Any

from base.errors import UnsupportedMedia
from base.files import content_key, plain
from lipstitch.job_file.coding import AudioConfig
from lipstitch.job_file.config import Silence
from lipstitch.plan.outputs import OutputSpec
from lipstitch.progress import Reporter
from lipstitch.workspace import Workspace, hash_input
from media.audio.voice_activity import find_pauses, find_speech
from media.info import MediaInfo
from media.intervals import Interval, intersect, merge
from media.probe import probe
from stitcher.audio.mix import SoundPlan, mix
from stitcher.audio.soundtrack import (
    DRIVING_RATE,
    Soundtrack,
    can_copy,
    copy_soundtrack,
    default_codec,
    fit_clock,
    write_driving,
    write_soundtrack,
)
from stitcher.audio.splice import can_splice, splice_soundtrack

ENCODE_TIMES_REALTIME = 120.0
"""Seconds of stereo sound that AAC encoding gets through in a second."""
SOUND_VERSION = 2
"""Raised when the same plan gives other samples than before."""
SPEECH_VERSION = 2
"""Raised when the same sound gives other stretches of speech than before."""


def describe_sound(edit: OutputSpec, source: MediaInfo, muxer: str, config: AudioConfig) -> str:
    """Return how the soundtrack will be made, for the plan."""
    if edit.heard is None:
        return "the source's own, copied"
    if _is_copied(edit, muxer, config):
        return "the dub's own packets, copied"
    if _is_spliced(edit, source, config):
        return "the source's packets, copied; only the ranges are encoded"
    seconds = float(edit.heard.duration) / ENCODE_TIMES_REALTIME
    return f"encoded once as {_codec(muxer, config)}, about {seconds:.0f} s"


def make_soundtrack(
    edit: OutputSpec,
    source: MediaInfo,
    anchor: Fraction,
    muxer: str,
    config: AudioConfig,
    workspace: Workspace,
    reporter: Reporter,
) -> Soundtrack | None:
    """Return the soundtrack of an edit; None where the source's own stays. Finished ones are reused.

    anchor: time of the first frame on the output's clock, in seconds.
    """
    if edit.heard is None:
        return None
    if muxer == "avi":  # which cannot tell that sound begins later than the file
        edit, anchor = replace(edit, heard=edit.heard.delayed(anchor)), Fraction(0)
    assert edit.heard is not None
    if _is_copied(edit, muxer, config):
        return copy_soundtrack(edit.heard, anchor=anchor)
    path = workspace.path("sound", soundtrack_key(edit, source, anchor, muxer, config), ".mp4")
    if (known := workspace.sealed(path)) is not None:
        soundtrack = Soundtrack(**{**known, "path": str(path), "offset": Fraction(known["offset"])})
    else:
        soundtrack = _write(edit, source, anchor, muxer, config, path, reporter)
        workspace.seal(path, plain(soundtrack))
    return fit_clock(soundtrack, muxer)


def make_driving(edit: OutputSpec, pauses: Sequence[Sequence[Interval]], workspace: Workspace) -> tuple[Path, ...]:
    """Return the file of each voice that drives lips, silent in its pauses; finished ones are reused."""
    paths = []
    for plan, silent in zip(edit.voices, pauses, strict=True):
        path = workspace.path("driving", content_key(SOUND_VERSION, sound_content(plan), silent), ".wav")
        if workspace.sealed(path) is None:
            write_driving(plan, path, silent)
            workspace.seal(path, {})
        paths.append(path)
    return tuple(paths)


def soundtrack_key(edit: OutputSpec, source: MediaInfo, anchor: Fraction, muxer: str, config: AudioConfig) -> str:
    """Return the content key of a soundtrack: all that its packets depend on; the muxer counts by its codec alone."""
    assert edit.heard is not None
    spliced = hash_input(Path(source.path)) if _is_spliced(edit, source, config) else None
    return content_key(
        SOUND_VERSION, sound_content(edit.heard), _codec(muxer, config), config.bit_rate, anchor, spliced
    )


def sound_content(plan: SoundPlan) -> list[Any]:
    """Return a plan with the hash of each file in place of its name, so that files may be moved and renamed."""
    pieces = [replace(piece, path=hash_input(Path(piece.path))) for piece in plan.pieces]
    return [pieces, plan.duration, plan.crossfade_seconds]


def find_spoken(driving: SoundPlan, workspace: Workspace) -> list[Interval]:
    """Return the samples of a sound that drives lips which hold speech; what an earlier run found is reused."""
    path = workspace.path("speech", content_key(SPEECH_VERSION, sound_content(driving)), ".json")
    stored = workspace.load(path)
    if stored is None:
        stored = find_speech(mix(driving, rate=DRIVING_RATE, layout="mono"), DRIVING_RATE)
        workspace.store(path, stored)
    return [(int(start), int(stop)) for start, stop in stored]


def driving_pauses(driving: SoundPlan, workspace: Workspace) -> list[Interval]:
    """Return the samples of a sound that drives lips in which nobody speaks."""
    num_samples = ceil(driving.duration * DRIVING_RATE)
    return find_pauses(find_spoken(driving, workspace), num_samples, DRIVING_RATE)


def shared_pauses(pauses: Sequence[Sequence[Interval]]) -> list[Interval]:
    """Return where nobody speaks, by the pauses of each voice."""
    return reduce(intersect, pauses[1:], [*pauses[0]])


def is_silent(edit: OutputSpec, pauses: Sequence[Sequence[Interval]]) -> bool:
    """Tell whether no voice ever speaks: perhaps the dub is music alone, or the wrong file."""
    silent = sum(stop - start for start, stop in shared_pauses(pauses))
    return silent >= edit.driving.duration * DRIVING_RATE


def describe_silence(edit: OutputSpec, pauses: Sequence[Sequence[Interval]], silence: Silence) -> str:
    """Return in one line what mouths do while nobody speaks, for plan and report. pauses: of each voice."""
    if silence == "render":
        return "mouths are drawn from whatever is heard"
    does = "mouths are drawn shut" if silence == "close" else "mouths stay as they are"
    if is_silent(edit, pauses):
        return f"no speech was found in the sound that drives the lips: {does} throughout"
    seconds = sum(stop - start for start, stop in shared_pauses(pauses)) / DRIVING_RATE
    return f"{does} while nobody speaks, {seconds:.1f} s in all"


def frames_hearing(edit: OutputSpec, parts: Sequence[Interval]) -> list[Interval]:
    """Return the output frames that are shown while some samples of the driving sound are heard."""
    timeline = edit.timeline
    starts = [stretch.start_frame for stretch in edit.stretches]
    heard: list[Interval] = []
    for stretch, stop_frame in zip(edit.stretches, [*starts[1:], len(timeline)], strict=True):
        for part in parts:
            seconds = (Fraction(sample, DRIVING_RATE) - stretch.shift for sample in part)
            first, last = (timeline.frame_at(max(second, Fraction(0))) for second in seconds)
            heard.append((max(first, stretch.start_frame), min(last, stop_frame)))
    return merge(part for part in heard if part[0] < part[1])


def _write(
    edit: OutputSpec,
    source: MediaInfo,
    anchor: Fraction,
    muxer: str,
    config: AudioConfig,
    path: Path,
    reporter: Reporter,
) -> Soundtrack:
    assert edit.heard is not None
    if _is_spliced(edit, source, config):
        try:
            return splice_soundtrack(edit.heard, source, source.audio[0], path, anchor=anchor)
        except UnsupportedMedia as exc:
            reporter.info(f"The whole soundtrack is encoded: {exc}")
    return write_soundtrack(edit.heard, path, anchor=anchor, codec=_codec(muxer, config), bit_rate=config.bit_rate)


def _codec(muxer: str, config: AudioConfig) -> str:
    return default_codec(muxer) if config.codec == "auto" else config.codec


def _is_copied(edit: OutputSpec, muxer: str, config: AudioConfig) -> bool:
    if config.codec != "auto" or edit.heard is None or len(edit.heard.pieces) != 1:
        return False
    return can_copy(edit.heard, probe(edit.heard.pieces[0].path), muxer) is None


def _is_spliced(edit: OutputSpec, source: MediaInfo, config: AudioConfig) -> bool:
    may = bool(edit.patched) and config.codec == "auto" and bool(source.audio)
    return may and can_splice(source.audio[0], source.container) is None
