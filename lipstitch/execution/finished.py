"""What is kept of a finished clip beside its file, so that a later run can use it."""

from __future__ import annotations

from pathlib import Path

from lipstitch.workspace import Workspace
from media.clips import Clip, RenderedClip

RECORDED = ("outcome", "reason", "num_rendered", "boxes", "frame_hashes", "damaged_frames", "least_psnr")
"""What is kept of a RenderedClip beside its file."""


def store_record(rendered: RenderedClip) -> None:
    """Seal a finished clip's file with what is known of it."""
    assert rendered.path is not None
    path = Path(rendered.path)
    Workspace(path.parent).seal(path, {name: getattr(rendered, name) for name in RECORDED})


def load_finished(clip: Clip, path: Path) -> RenderedClip | None:
    """Return a clip that an earlier run finished, or None if its file or seal is missing, damaged or of an old version.

    A clip that fell back is not finished: it is tried again.
    """
    known = Workspace(path.parent).sealed(path)
    if known is None or known.keys() != {*RECORDED} or known["outcome"] == "fell_back":
        return None
    return RenderedClip(
        clip=clip,
        path=str(path),
        # Seals of earlier versions have another word for this outcome.
        outcome="reencoded" if clip.action == "reencode" else known["outcome"],
        # Other clips may have asked for the same frames; the reason for re-encoding belongs to this one.
        reason=clip.reason,
        num_rendered=known["num_rendered"],
        seconds=None,
        boxes=tuple(tuple(box) if box else None for box in known["boxes"]),
        frame_hashes=tuple(known["frame_hashes"]),
        damaged_frames=tuple(known["damaged_frames"]),
        least_psnr=known["least_psnr"],
    )
