"""input.length_policy: what happens where a dub and its picture differ in length."""

from __future__ import annotations

from fractions import Fraction

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.audio.inputs import AudioInput
from lipstitch.plan.output_timeline import extend_timeline, identity_timeline
from media.audio.reader import loudest_after
from media.base.errors import ConfigError
from media.packets.frame_table import FrameTable
from media.timeline import OutputTimeline

SILENCE_DBFS = -50.0
"""Peak below which the end of a longer dub may be cut without a word."""


def fit_timeline(config: JobConfig, table: FrameTable, dub: AudioInput) -> OutputTimeline:
    """Return the timeline of the whole video, extended if the policy says so; raise ConfigError where it forbids."""
    timeline = identity_timeline(table)
    video, sound = timeline.seconds(len(timeline)), dub.length
    policy = config.input.length_policy
    if policy in ("freeze", "loop", "bounce"):
        return extend_timeline(timeline, sound, policy) if sound > video else timeline
    last_frame = video - table.seconds(len(table) - 1)
    check_length(config, "input.audio", dub, start=Fraction(0), room=video, tolerance=last_frame)
    return timeline


def check_length(
    config: JobConfig, key: str, voice: AudioInput, *, start: Fraction, room: Fraction, tolerance: Fraction
) -> None:
    """Raise ConfigError if the policy forbids what a sound does with a picture; times in seconds.

    start: where in the sound the picture begins. room: how long the picture is. tolerance: how much longer or shorter
    than that the rest of the sound may be.
    """
    policy, sound = config.input.length_policy, voice.length - start
    begins = f" and begins at {float(voice.lead):.3f} s" if voice.lead and not voice.has_own_picture else ""
    lengths = (
        f"{key} lasts {float(sound - (voice.lead if begins else 0)):.3f} s{begins}, the picture {float(room):.3f} s"
    )
    remedies = "cut" if config.ranges else "cut, freeze, loop or bounce"
    if policy == "error" and abs(sound - room) > tolerance:
        raise ConfigError(f"{lengths}, and input.length_policy is error. Set it to video, {remedies}.")
    if policy == "video" and sound - room > tolerance:
        index = voice.info.require_audio().index
        peak = loudest_after(voice.info.path, index, start + room - voice.lead)
        if peak > SILENCE_DBFS:
            raise ConfigError(
                f"{lengths}, and what would be cut is not silent (peak {peak:.1f} dBFS)."
                f" Set input.length_policy to {remedies}."
            )
