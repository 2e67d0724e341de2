"""Find shot boundaries in a stream of small pictures, with PySceneDetect's adaptive detector."""

from __future__ import annotations

from typing import Any

from media.picture import Pixels

CUT_PICTURE_PX = 128
"""Longer side of the pictures that the thresholds below were measured with."""
RATIO = 3.0
"""A cut changes the picture at least this many times as much as the frames around it, on average. Measured: at least 4
at cuts between 870 pairs of real clips, below 3 for hard head motion."""
LEAST_CHANGE = 15.0
"""And it changes hue, saturation and brightness by at least this much in all (of 255). Measured: 27 and more at such
cuts, at most 12 for moving heads, hands and hand-held cameras."""


class CutDetector:
    """Finds the cuts of consecutive frames; use one for each uninterrupted part of a video.

    The adaptive detector compares a frame's change with that of two frames on either side, so that a panning camera
    does not look like a row of cuts. To find cuts at the very edges too, it is shown the first and the last picture
    repeatedly, as if the video stood still there.
    """

    LAG_FRAMES = 2
    """After frame n was pushed, every cut up to frame n - LAG_FRAMES is known."""

    def __init__(self) -> None:
        from scenedetect.common import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(RATIO, 1, window_width=self.LAG_FRAMES, min_content_val=LEAST_CHANGE)
        self._timecode = FrameTimecode
        self._last: tuple[int, Pixels] | None = None

    def push(self, frame: int, picture: Pixels) -> tuple[int, ...]:
        """Show the next frame; return the cuts found, each as the first frame of the new shot.

        picture: (height, width, 3) uint8 BGR, the same size every time, CUT_PICTURE_PX on its longer side.
        """
        if self._last is None:
            for early in range(-self.LAG_FRAMES, 0):
                self._show(frame + early, picture)
        self._last = frame, picture
        return self._show(frame, picture)

    def finish(self) -> tuple[int, ...]:
        """Return the cuts among the last frames; nothing may be pushed afterwards."""
        if self._last is None:
            return ()
        frame, picture = self._last
        return tuple(cut for late in range(self.LAG_FRAMES) for cut in self._show(frame + 1 + late, picture))

    def _show(self, frame: int, picture: Pixels) -> tuple[int, ...]:
        # Numbers are shifted because a timecode cannot be negative; the rate is required, but does not matter.
        shown: Any = self._timecode(frame + self.LAG_FRAMES, 25.0)
        cuts = self._detector.process_frame(shown, picture)
        return tuple(cut.frame_num - self.LAG_FRAMES for cut in cuts)
