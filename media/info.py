"""What a file holds: its streams, and what players are told of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from shlex import quote
from typing import Literal

from media.base.errors import MissingStream, UnsupportedMedia
from media.bitstream.sei import display_orientation
from media.orientation import PLAIN, DisplayMatrix, Orientation, find_orientation

Fields = Literal["progressive", "top field first", "bottom field first"]


@dataclass(frozen=True, slots=True)
class ColourTags:
    """How the numbers of pixels stand for colours. All but the range follow ITU-T H.273, where 2 is unknown."""

    range: int
    """FFmpeg's AVColorRange: 1 limited, 2 full, 0 unknown."""
    matrix: int
    primaries: int
    transfer: int


@dataclass(frozen=True, slots=True)
class DisplayTags:
    """What players are told of how pictures are shown."""

    matrix: DisplayMatrix
    """What the container says; PLAIN if it says nothing."""
    sample_aspect: Fraction
    """Width of a pixel divided by its height; 1 where the file does not say."""
    coded_aspect: Fraction | None = None
    """The sample aspect that the pictures themselves tell; None where they tell none. The container takes precedence,
    in players as in `sample_aspect`."""
    field_order: int = 0
    """FFmpeg's AVFieldOrder: 0 unknown, 1 progressive, 2 top field first, 3 bottom field first, 4 and 5 likewise but
    stored the other way round."""


@dataclass(frozen=True, slots=True)
class VideoClock:
    """The times of a video stream."""

    time_base: Fraction
    """Seconds per tick."""
    average_rate: Fraction
    """Frames per second on average; 25 where the file does not say."""
    start_seconds: Fraction
    """Time of the first displayed frame on the container's clock; 0 where the file does not say."""
    timecode: str = ""
    """What the file calls its first frame, hh:mm:ss:ff, with a semicolon before the frames if some numbers are left
    out (SMPTE ST 12); empty where it does not say."""


@dataclass(frozen=True, slots=True)
class CodedForm:
    """What a decoder or a muxer has to know of the coded pictures, beside the codec."""

    profile: str | None
    extradata: bytes
    """A configuration record or parameter sets, as the container holds them; empty where it holds none."""
    tag: str = ""
    """By what name the container calls the codec, where it has several: hvc1 or hev1 for example."""
    reorders: bool = False
    """Whether frames may be shown in another order than they are decoded (B-frames)."""
    lasting_sei: tuple[bytes, ...] = ()
    """H.264 and HEVC: units of the first key picture that say how HDR is to be shown, and how pictures are turned."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The main video stream, as stored."""

    index: int
    """Stream index inside the file."""
    codec: str
    """FFmpeg's decoder name, for example h264 or hevc."""
    width: int
    """Stored width in pixels, before the picture is turned upright."""
    height: int
    pixel_format: str
    colour: ColourTags
    display: DisplayTags
    clock: VideoClock
    coded: CodedForm
    beside: tuple[str, ...] = ()
    """What travels beside the pictures, as the first packet tells: transparency for example, or captions
    (media.bitstream.side_data)."""

    @property
    def orientation(self) -> Orientation:
        """How the picture is watched: as the container says, or else as the first H.264 or HEVC picture does.

        Raises ValueError, with the reason, for any other than the eight orientations; require_video refuses those.
        """
        asked = display_orientation(self.codec, self.coded.lasting_sei) if self.display.matrix == PLAIN else None
        return find_orientation(asked or self.display.matrix)

    @property
    def fields(self) -> Fields:
        """Return whether frames are interlaced, and which of their fields is shown first."""
        if self.display.field_order in (2, 4):
            return "top field first"
        return "bottom field first" if self.display.field_order in (3, 5) else "progressive"

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels of the picture as it is watched."""
        return self.orientation.upright_size(self.width, self.height)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """One audio stream."""

    index: int
    codec: str
    profile: str | None
    sample_rate: int
    """Samples per second."""
    layout: str
    """Channel layout by FFmpeg's name, for example mono, stereo, 5.1."""
    num_channels: int
    time_base: Fraction
    start_seconds: Fraction
    """Time of the first sample on the container's clock; 0 where the file does not say."""
    bit_rate: int | None
    """Bits per second; None where the file does not say."""
    is_enabled: bool = True
    """Whether players turn it on by themselves. In MP4 and MOV all such tracks are heard at once."""


@dataclass(frozen=True, slots=True)
class OtherInfo:
    """A stream that is neither the main video nor sound: subtitles, data, cover art, attachments."""

    index: int
    kind: str
    codec: str


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file holds."""

    path: str
    container: str
    """FFmpeg's format name, for example mov,mp4,m4a,3gp,3g2,mj2."""
    size_bytes: int
    video: VideoInfo | None
    audio: tuple[AudioInfo, ...]
    others: tuple[OtherInfo, ...]

    def require_video(self) -> VideoInfo:
        """Return the video stream; raise MissingStream if absent, UnsupportedMedia if it is shown askew."""
        if self.video is None:
            raise MissingStream(f"{self.path}: no video stream in this file. Give a file that has one.")
        try:
            _ = self.video.orientation
        except ValueError as exc:
            raise UnsupportedMedia(
                f"{self.path}: its display matrix {exc}, which players show in different ways."
                f" Convert it first: {self.turning}"
            ) from exc
        return self.video

    @property
    def turning(self) -> str:
        """The command by which ffmpeg writes the pictures as it shows them, so that no player has to turn them."""
        path = Path(self.path)
        target = path.with_name(f"{path.stem}.upright{path.suffix if path.suffix in ('.mp4', '.mov') else '.mkv'}")
        return f"ffmpeg -i {quote(self.path)} -c:a copy -c:v libx264 -crf 16 {quote(str(target))}"

    def require_audio(self) -> AudioInfo:
        """Return the first audio stream; raise MissingStream if the file has no sound."""
        if not self.audio:
            raise MissingStream(f"{self.path}: no audio stream in this file. Give a file that has one.")
        return self.audio[0]
