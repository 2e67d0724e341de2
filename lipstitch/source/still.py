"""A picture as the video of a job: made into a video of the dub's length once, and kept in the workspace."""

from __future__ import annotations

from fractions import Fraction
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Final

from lipstitch.job_file.config import JobConfig
from lipstitch.source.checks import require_sane_length
from lipstitch.source.offset import given_offset
from lipstitch.workspace import Workspace
from media.audio.reader import first_sample_time, measure_sound
from media.base.content import content_key, hash_once
from media.base.files import atomic_file
from media.probe import probe
from media.stills.picture_file import is_still, load_frame
from media.stills.still_video import write_still_video

STILL_VERSION: Final = 1
"""Raised when the same picture gives another video than before."""
SECONDS_ALONE: Final = Fraction(1)
"""Of a picture without a dub: enough to see who is in it."""


def find_video(config: JobConfig, folder: Path) -> Path:
    """Return the file that holds the job's frames: input.video, or where that is a picture the video made of it.

    folder: of the workspace, for that video, which is as long as the dub; without a dub it reaches to the end of the
    ranges. Raises MediaError for a picture or a dub that cannot be used, WorkspaceError if another run is at work.
    """
    picture = config.input.video_file
    if not is_still(picture):
        return picture
    seconds, rate = _seconds(config), config.input.still_fps
    num_frames = max(ceil(seconds * rate), 1)
    key = content_key(STILL_VERSION, version("av"), version("pillow"), hash_once(picture), rate, num_frames)
    path = Workspace(folder).path("still", key, ".mp4")
    if Workspace(folder).sealed(path) is None:
        frame = load_frame(picture)
        with Workspace(folder) as workspace:
            with atomic_file(path) as partial:
                write_still_video(partial, frame, rate, num_frames)
            workspace.seal(path, {})
    return path


def _seconds(config: JobConfig) -> Fraction:
    """Return when the dub ends, on the clock of the picture."""
    audio = config.input.audio_file
    if audio is None:
        return max((part.end for part in config.ranges or ()), default=SECONDS_ALONE)
    info = probe(audio)
    stream, setting = info.require_audio(), config.input.audio_start
    end = measure_sound(info.path, stream.index).seconds
    if info.video is not None:  # whose first frame is the dub's second 0
        end += first_sample_time(info.path, stream.index) - info.video.clock.start_seconds
    require_sane_length(info.path, end)
    return end + (setting if isinstance(setting, Fraction) else 0) + given_offset(config).seconds
