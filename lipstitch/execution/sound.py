"""Make the sounds of an output: the soundtrack, and what drives the lips. Finished ones are reused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.soundtrack import SoundtrackChoice
from lipstitch.plan.speech import sound_content
from lipstitch.progress import Reporter
from lipstitch.workspace import Workspace
from media.base.content import content_key, hash_once, plain
from media.base.errors import UnsupportedMedia
from media.info import MediaInfo
from media.intervals import Interval
from stitcher.audio.mix import SoundPlan
from stitcher.audio.soundtrack import Soundtrack, copy_soundtrack, fit_clock, write_driving, write_soundtrack
from stitcher.audio.splice import splice_soundtrack

SOUND_VERSION = 2
"""Raised when the same plan gives other samples than before."""


def make_soundtrack(
    spec: OutputSpec, choice: SoundtrackChoice, source: MediaInfo, workspace: Workspace, reporter: Reporter
) -> Soundtrack | None:
    """Return the soundtrack of an output, made as was decided; None where the source's own stays."""
    plan, anchor = spec.soundtrack, spec.anchor_seconds
    if plan is None:
        return None
    if choice.kind == "copied":
        return copy_soundtrack(plan, anchor=anchor)
    if spec.muxer == "avi":  # which cannot tell that sound begins later than the file
        plan, anchor = plan.delayed(anchor), Fraction(0)
    path = workspace.path("sound", soundtrack_key(plan, choice, source, anchor), ".mp4")
    if (known := workspace.sealed(path)) is not None:
        soundtrack = Soundtrack(**{**known, "path": str(path), "offset": Fraction(known["offset"])})
    else:
        soundtrack = encode_soundtrack(plan, choice, source, anchor, path, reporter)
        workspace.seal(path, plain(soundtrack))
    return fit_clock(soundtrack, spec.muxer)


def make_drive_audio(spec: OutputSpec, pauses: Sequence[Sequence[Interval]], workspace: Workspace) -> tuple[Path, ...]:
    """Return the file of each voice that drives lips, silent in its pauses."""
    paths = []
    for plan, silent in zip(spec.drive_audio.voices, pauses, strict=True):
        path = workspace.path("driving", content_key(SOUND_VERSION, sound_content(plan), silent), ".wav")
        if workspace.sealed(path) is None:
            write_driving(plan, path, silent)
            workspace.seal(path, {})
        paths.append(path)
    return tuple(paths)


def soundtrack_key(plan: SoundPlan, choice: SoundtrackChoice, source: MediaInfo, anchor: Fraction) -> str:
    """Return the content key of a soundtrack: all that its packets depend on; the muxer counts by its codec alone.

    anchor: time of the first frame on the output's clock, in seconds.
    """
    spliced = hash_once(Path(source.path)) if choice.kind == "spliced" else None
    return content_key(SOUND_VERSION, sound_content(plan), choice.codec, choice.bit_rate, anchor, spliced)


def encode_soundtrack(
    plan: SoundPlan, choice: SoundtrackChoice, source: MediaInfo, anchor: Fraction, path: Path, reporter: Reporter
) -> Soundtrack:
    """Write a soundtrack to a file: spliced into the source's packets if that was decided and works, else whole."""
    if choice.kind == "spliced":
        try:
            return splice_soundtrack(plan, source, source.audio[0], path, anchor=anchor)
        except UnsupportedMedia as exc:
            reporter.info(f"The whole soundtrack is encoded: {exc}")
    return write_soundtrack(plan, path, anchor=anchor, codec=choice.codec, bit_rate=choice.bit_rate)
