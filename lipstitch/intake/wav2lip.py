"""Wav2Lip's options as a job: what each of them asks for here, and which ask for nothing.

Names, units and defaults are those of the script inference.py that Wav2Lip's authors published, so that a program
which starts that script can start lipstitch in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.segmenter import LEAST_BOX_PX, SCAN_DEFAULTS
from lipstitch.plan.audio.inputs import open_sound
from media.base.errors import ConfigError
from media.base.settings import check_settings, override_settings
from media.source_video import scan_video
from media.stills.picture_file import is_still

Sides = tuple[int, int, int, int]
"""Top, bottom, left, right, in pixels."""
DEFAULT_PADS: Final[Sides] = (0, 10, 0, 0)
WHOLE_PICTURE: Final[Sides] = (0, -1, 0, -1)
NO_BOX: Final[Sides] = (-1, -1, -1, -1)


@dataclass(frozen=True, slots=True)
class Wav2LipFiles:
    """The files that a call names."""

    checkpoint: str
    """A path, or a name of the registry."""
    face: Path
    audio: Path
    outfile: Path


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """Its options that change frames, or name the face's place in them."""

    resize_factor: int = 1
    crop: Sides = WHOLE_PICTURE
    box: Sides = NO_BOX
    rotate: bool = False


@dataclass(frozen=True, slots=True)
class Wav2LipOptions:
    """Its other options."""

    pads: Sides = DEFAULT_PADS
    """Pixels added to the face's box."""
    is_static: bool = False
    """Whether only the first frame is shown."""
    fps: float = 25.0
    """Frames a second of a picture."""
    is_steadied: bool = True
    """Whether the box is smoothed over time."""
    batch_size: int | None = None
    """Faces in a pass of the network; None: as many as jobs take."""
    detection_batch_size: int | None = None
    """Frames in a pass of the detector; None: not given."""
    frames: FrameOptions = FrameOptions()


def build_wav2lip_job(files: Wav2LipFiles, options: Wav2LipOptions, settings: Sequence[str] = ()) -> JobConfig:
    """Return the job of a call. settings: key=value as --set takes them, which override what the options say.

    As with Wav2Lip, a network draws the largest face of each shot and the output lasts as long as the sound: the video
    begins again or ends early. Beside it nothing is left. Raises ConfigError, or MediaError for a file that cannot be
    read.
    """
    is_picture = is_still(files.face)
    if options.is_static and not is_picture:
        raise ConfigError("--static: no single frame is taken from a video. Give a picture of it as --face.")
    box = options.frames.box
    has_box = box[0] != -1  # as Wav2Lip tells it
    renderer: dict[str, Any] = {
        "checkpoint": files.checkpoint,
        "method": "network",
        "pads": [0, 0, 0, 0] if has_box else [*options.pads],
        **({} if options.is_steadied else {"smoothing_frames": 1}),
        **({"batch_size": options.batch_size} if options.batch_size else {}),
    }
    content: dict[str, Any] = {
        "input": {"video": files.face, "audio": files.audio, "audio_start": "video", "length_policy": "loop"},
        "output": files.outfile,
        "segmenter": {"target": "largest", **(_given_face(box) if has_box else {})},
        "renderer": renderer,
        "stitcher": {"report": "none"},
        "execution": {"keep": "none"},
    }
    if is_picture:
        content["input"]["still_fps"] = options.fps
    else:
        video, heard = scan_video(files.face), open_sound(files.audio).length
        if video.table.frame_at(heard) < len(video.table):  # ends early
            content["input"]["length_policy"] = "cut"
            content |= {"mode": "extract", "extract": {"join": True}, "ranges": [{"start": 0, "end": heard}]}
    override_settings(content, settings)
    return check_settings(JobConfig, content, folder=Path())


def _given_face(box: Sides) -> dict[str, Any]:
    """Return the keys of a face that is given; it is drawn however small it is."""
    least = SCAN_DEFAULTS.min_face_px
    return {"box": [*box], "min_face_px": min(max(box[1] - box[0], LEAST_BOX_PX), least)}


def describe_ignored(options: Wav2LipOptions) -> list[str]:
    """Return a sentence for each option that was given and means nothing here."""
    frames = options.frames
    ignored = {
        "--crop: the picture stays whole; with several people, --set segmenter.target says whose lips move": (
            frames.crop != WHOLE_PICTURE
        ),
        "--resize_factor: the picture keeps its size, and faces are looked for in a smaller copy of it": (
            frames.resize_factor > 1
        ),
        "--rotate: pictures are turned as the file tells players to": frames.rotate,
        "--face_det_batch_size: faces are looked for in one frame at a time, on all cores": (
            options.detection_batch_size is not None
        ),
    }
    return [f"Without effect: {text}." for text, is_given in ignored.items() if is_given]
