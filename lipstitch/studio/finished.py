"""What is to be seen of a job that runs: the clips that are finished, playing while the rest is rendered."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from lipstitch.execution.seals import load_playable
from media.base.errors import MediaError
from stitcher.preview import ClipFile, write_preview

PREVIEW_NAME = "preview.mp4"
MOST_CLIPS = 3
"""Clips that a preview shows: with these it is not made again."""


def preview(folder: Path, video: Path, dub: Path) -> Path | None:
    """Return a small video of the first finished clips with new mouths; None before the first.

    folder: of a generation. It is made again as long as it holds fewer clips than MOST_CLIPS.
    """
    clips = _finished_clips(folder / "work")[:MOST_CLIPS]
    target = folder / PREVIEW_NAME.replace(".", f"-{len(clips)}.")
    if not clips:
        return None
    if not target.exists():
        try:
            write_preview(clips, video, dub, target)
        except MediaError:  # a clip went meanwhile: the job has ended
            return None
    return target


def _finished_clips(folder: Path) -> list[ClipFile]:
    """Return the clips with new mouths that are finished, in order of time."""
    found = ((path, load_playable(path)) for path in [*folder.glob("clip-*.nut")])
    clips = [ClipFile(path, Fraction(start)) for path, start in found if start is not None]
    return sorted(clips, key=lambda clip: clip.start)
