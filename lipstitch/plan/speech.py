"""Where the sounds that drive lips hold speech, and which frames are shown meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import ceil
from pathlib import Path
from typing import Any

from base.content import content_key, hash_once
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.workspace import Workspace
from media.audio.driving import DRIVING_RATE
from media.audio.voice_activity import find_pauses, find_speech
from media.intervals import Interval, intersect, merge
from stitcher.audio.mix import SoundPlan, mix

SPEECH_VERSION = 2
"""Raised when the same sound gives other stretches of speech than before."""


def sound_content(plan: SoundPlan) -> list[Any]:
    """Return a plan with the hash of each file in place of its name, so that files may be moved and renamed."""
    pieces = [replace(piece, path=hash_once(Path(piece.path))) for piece in plan.pieces]
    return [pieces, plan.duration, plan.crossfade_seconds]


def find_spoken(driving: SoundPlan, workspace: Workspace) -> list[Interval]:
    """Return the samples of a sound that drives lips which hold speech; what an earlier run found is reused."""
    path = workspace.path("speech", content_key(SPEECH_VERSION, sound_content(driving)), ".json")
    stored = workspace.load(path)
    if stored is None:
        stored = find_speech(mix(driving, rate=DRIVING_RATE, layout="mono"), DRIVING_RATE)
        workspace.store(path, stored)
    return [(int(start), int(stop)) for start, stop in stored]


def find_voice_pauses(driving: SoundPlan, workspace: Workspace) -> list[Interval]:
    """Return the samples of a sound that drives lips which hold no speech."""
    num_samples = ceil(driving.duration * DRIVING_RATE)
    return find_pauses(find_spoken(driving, workspace), num_samples, DRIVING_RATE)


def shared_pauses(pauses: Sequence[Sequence[Interval]]) -> list[Interval]:
    """Return the samples in which no voice speaks. pauses: of each voice."""
    return reduce(intersect, pauses[1:], [*pauses[0]])


def frames_hearing(spec: OutputSpec, parts: Sequence[Interval]) -> list[Interval]:
    """Return the output frames that are shown while some samples of the driving sound are heard."""
    timeline, segments = spec.timeline, spec.drive_audio.segments
    starts = [segment.start_frame for segment in segments]
    heard: list[Interval] = []
    for segment, stop_frame in zip(segments, [*starts[1:], len(timeline)], strict=True):
        for part in parts:
            seconds = (Fraction(sample, DRIVING_RATE) - segment.shift for sample in part)
            first, last = (timeline.frame_at(max(second, Fraction(0))) for second in seconds)
            heard.append((max(first, segment.start_frame), min(last, stop_frame)))
    return merge(part for part in heard if part[0] < part[1])
