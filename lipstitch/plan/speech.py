"""Where the sounds that drive lips hold speech, and which frames are shown meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from math import ceil
from pathlib import Path
from typing import Any

from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.workspace import Workspace
from media.audio.driving import DRIVING_RATE
from media.audio.speech_network import SpeechNetwork, find_speech_weights
from media.audio.voice_activity import Speech, find_pauses, find_speech
from media.base.content import content_key, hash_once
from media.intervals import Interval, intersect, merge
from stitcher.audio.mix import SoundPlan, mix

SPEECH_VERSION = 3
"""Raised when the same sound gives other stretches of speech than before."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """Where the voices that drive lips pause, and what told so."""

    pauses: tuple[tuple[Interval, ...], ...]
    """Samples of each voice that hold no speech; empty where pauses play no part."""
    has_speech: bool
    """Whether any voice ever speaks, as far as anything was looked for: the dub may be music, or the wrong file."""
    foreign: tuple[str, ...] = ()
    """Names of the sounds that are not speech-like, and whose energy told where they speak."""


def sound_content(plan: SoundPlan) -> list[Any]:
    """Return a plan with the hash of each file in place of its name, so that files may be moved and renamed."""
    pieces = [replace(piece, path=hash_once(Path(piece.path))) for piece in plan.pieces]
    return [pieces, plan.duration, plan.crossfade_seconds]


def listen(driving: SoundPlan, workspace: Workspace) -> Speech:
    """Return where a sound that drives lips holds speech, and what told so; what an earlier run found is reused.

    Raises CheckpointNotFound where silero-vad is not installed.
    """
    weights = hash_once(find_speech_weights())
    path = workspace.path("speech", content_key(SPEECH_VERSION, weights, sound_content(driving)), ".json")
    stored = workspace.load(path)
    if stored is None:
        found = find_speech(mix(driving, rate=DRIVING_RATE, layout="mono"), SpeechNetwork())
        workspace.store(path, found)
        return found
    return Speech(tuple((int(start), int(stop)) for start, stop in stored["spoken"]), stored["found_by"])


def hear(voices: Sequence[SoundPlan], workspace: Workspace) -> Hearing:
    """Return where the voices that drive lips pause."""
    found = [listen(voice, workspace) for voice in voices]
    pauses = [
        find_pauses(speech.spoken, ceil(voice.duration * DRIVING_RATE), DRIVING_RATE)
        for voice, speech in zip(voices, found, strict=True)
    ]
    return Hearing(
        pauses=tuple(map(tuple, pauses)),
        has_speech=any(speech.spoken for speech in found),
        foreign=tuple(
            dict.fromkeys(
                Path(piece.path).name
                for voice, speech in zip(voices, found, strict=True)
                if speech.found_by == "energy"
                for piece in voice.pieces
            )
        ),
    )


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
