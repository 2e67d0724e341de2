"""What is kept beside the file of a finished clip: what became of it, and its strip of pictures."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

from lipstitch.workspace import Workspace
from media.clips import Clip, RenderedClip

RECORDED = ("outcome", "reason", "num_rendered", "boxes", "frame_hashes", "damaged_frames", "least_psnr")
"""What is kept of a RenderedClip."""
STRIP = "strip"
"""The key of its pictures, a JPEG file in base64; empty if no mouth was rendered. They are kept whether or not the job
wants them, so that asking for them later renders nothing; clips of earlier versions have none."""

HEARD = "heard_from"
"""The key of the time in the driving sound at which its first frame is shown."""


def seal_clip(rendered: RenderedClip, strip: bytes, heard_from: float) -> None:
    """Seal a finished clip's file with what is known of it.

    strip: its pictures. heard_from: where in the driving sound its first frame is, in seconds.
    """
    assert rendered.path is not None
    path = Path(rendered.path)
    known = {name: getattr(rendered, name) for name in RECORDED}
    Workspace(path.parent).seal(path, {**known, STRIP: b64encode(strip).decode(), HEARD: heard_from})


def load_finished(clip: Clip, path: Path) -> RenderedClip | None:
    """Return a clip that an earlier run finished, or None if its file or seal is missing, damaged or of an old version.

    A clip that fell back is not finished: it is tried again.
    """
    known = Workspace(path.parent).sealed(path)
    if known is None or known.keys() - {STRIP, HEARD} != {*RECORDED} or known["outcome"] == "fell_back":
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


def load_playable(path: Path) -> float | None:
    """Return where in the driving sound a finished clip with new mouths begins, in seconds; None for other files."""
    seal = Workspace(path.parent).load(path.with_suffix(".json"))
    known = seal["known"] if seal else {}
    return known.get(HEARD) if known.get("outcome") == "rendered" and known.get("num_rendered") else None


def load_strip(path: Path) -> bytes:
    """Return the strip of the clip with a file, a JPEG file; empty if it has none."""
    seal = Workspace(path.parent).load(path.with_suffix(".json"))
    return b64decode(seal["known"].get(STRIP, "")) if seal else b""
