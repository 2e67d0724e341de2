"""Video for other programs: every sample as it is given, in a file that anything reads."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final

import av
from av import VideoFrame
from av.video.stream import VideoStream

from media.base.errors import WorkspaceError
from media.info import ColourTags

PROGRAM_FORMAT: Final = "yuv420p"
PROGRAM_COLOUR: Final = ColourTags(range=1, matrix=6, primaries=6, transfer=6)
"""BT.601, limited: programs that decode through OpenCV take all video for that, and what they write is not tagged."""


class LosslessWriter:
    """Writes frames of a constant rate as H.264 that loses nothing. Use it in a `with` statement."""

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction) -> None:
        """path: an MP4 file, which is overwritten. size: width and height, even. rate: frames a second."""
        self._path, self._rate, self._num_frames = path, rate, 0
        self._container = av.open(f"file:{path}", "w", format="mp4")
        stream = self._container.add_stream("libx264", rate=rate, options={"qp": "0", "preset": "ultrafast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = PROGRAM_FORMAT
        context, colour = stream.codec_context, PROGRAM_COLOUR
        context.color_range, context.colorspace = colour.range, colour.matrix
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        self._stream = stream

    def __enter__(self) -> LosslessWriter:
        return self

    def write(self, frame: VideoFrame) -> None:
        """Write a frame in PROGRAM_FORMAT; its time is overwritten."""
        frame.pts, frame.time_base = self._num_frames, 1 / self._rate
        self._num_frames += 1
        self._mux(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._mux(None)
        finally:
            try:
                self._container.close()
            except OSError as exc:
                raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc

    def _mux(self, frame: VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as exc:
            raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc
