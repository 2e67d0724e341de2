"""The portrait as a speaker: lips that say the source's own words, eyes that blink, a head that turns a little.

A photograph, and the means of the product itself: its mesh finds the points of the face, its network hears the shapes
of lips in the speech, and they are led there. So the source of the demonstration talks, like the recordings that
lipstitch is made for, and the dub has footage to choose from.
"""

from __future__ import annotations

from functools import lru_cache
from math import pi, sin
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import soundfile
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from media.base.shipped import shipped_folder
from media.faces import FaceBox
from media.mesh import EYE_CORNERS, Mesh, group, points_at
from media.orientation import UPRIGHT
from media.picture import PictureConverter, plane_views
from renderer.footage.drawing.draw import Mouth, Part, draw, led_in_frame
from renderer.footage.drawing.mask import Pose
from renderer.footage.drawing.warp import Nodes, ThinPlate
from renderer.footage.lip_motion import load_lip_motion
from renderer.footage.lip_shape import Normal, measure, upright
from renderer.footage.log_mel import COLUMNS_PER_SECOND, is_silent, log_mel
from renderer.footage.sound_shape import hear, load_sound_shape
from segmenter.mesh.crop import square_of_box
from segmenter.mesh.mesher import SHIPPED, FaceMesher, OnnxMesh

Picture = NDArray[np.uint8]

PORTRAIT_FILE: Final = Path(__file__).with_name("astronaut.jpg")
SPEECH_FILE: Final = Path(__file__).with_name("speech.flac")
"""What she says in the source: 72 s, 16 kHz, mono, silent where she is not seen."""
SOUND_SHAPE: Final = shipped_folder("checkpoints") / "sound_shape.safetensors"
FRAME_RATE: Final = 25
HEAD: Final = (120, 10, 350, 240)
"""Left, top, right and bottom of what moves, in the portrait."""
FACE: Final = (178.0, 62.0, 274.0, 182.0)
"""Of the face, likewise."""
BLINK_SECONDS: Final = 0.24
BLINKS_AT: Final = (1.3, 4.1, 7.4, 8.0, 11.6, 14.9, 17.2, 19.8)
"""Seconds in every BLINK_PERIOD."""
BLINK_PERIOD: Final = 21.0
SHUT: Final = 0.92
"""How far the upper lid comes down, as a share of the open eye."""
LID_HEIGHT: Final = 0.8
"""Of the skin above an eye that comes down with its lid, as a share of the open eye."""
EYES: Final = (
    (points_at((33, 159, 158, 133)), points_at((33, 145, 153, 133))),
    (points_at((362, 385, 386, 263)), points_at((362, 380, 374, 263))),
)
"""The upper and the lower lid of each eye, from left to right."""
HELD: Final = group("nose", "eyes", "brows", "cheeks", "jaw", "outline")
"""Points that turn with the head."""
TURN_DEGREES, NOD_DEGREES = 3.5, 2.0
EDGE_KNOTS: Final = 7


@lru_cache(maxsize=2)
def read_portrait(enlargement: int) -> Picture:
    """Return the portrait, enlarged once with a good filter."""
    portrait = cv2.imread(str(PORTRAIT_FILE), cv2.IMREAD_COLOR)
    if portrait is None:
        raise FileNotFoundError(f"{PORTRAIT_FILE}: the demonstration's portrait cannot be read")
    whole = cv2.resize(portrait, None, fx=enlargement, fy=enlargement, interpolation=cv2.INTER_LANCZOS4)
    return np.asarray(whole, np.uint8)


@lru_cache(maxsize=1)
def read_speech() -> NDArray[np.float32]:
    """Return what she says, mono, 16 kHz."""
    samples, _ = soundfile.read(SPEECH_FILE, dtype="float32")
    return np.asarray(samples, np.float32)


class TalkingPortrait:
    """The portrait at any time of the speech."""

    def __init__(self, enlargement: int) -> None:
        """enlargement: pixels for each of the portrait's."""
        self._whole = read_portrait(enlargement)
        self._window = tuple(edge * enlargement for edge in HEAD)
        left, top, right, bottom = self._window
        self._frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(self._whole[top:bottom, left:right]), format="bgr24"
        ).reformat(format="yuv444p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        mesher = FaceMesher(OnnxMesh(SHIPPED), PictureConverter(UPRIGHT))
        box = FaceBox(*((edge - HEAD[side % 2]) * enlargement for side, edge in enumerate(FACE)))
        self._mesh: Mesh = mesher.find(self._frame, square_of_box(box), passes=3).mesh
        self._points, self._reference = upright(self._mesh[None])
        self._measured = measure(self._mesh[None], self._reference)[0]
        self._motion = load_lip_motion()
        self._wanted = self._wanted_shapes()
        planes = tuple(plane.copy() for plane in plane_views(self._frame))
        self._mouth = Mouth(planes, (0, 0), self._mesh, self._mesh)

    def at(self, seconds: float) -> Picture:
        """Return the portrait at a time of the speech, BGR."""
        left, top, right, bottom = self._window
        whole = self._whole.copy()
        whole[top:bottom, left:right] = self._turned(self._blinking(self._speaking(seconds), seconds), seconds)
        return whole

    def _wanted_shapes(self) -> NDArray[np.float32]:
        """Return the measures of the mouth at every frame of the speech."""
        samples = read_speech()
        columns = log_mel(samples)
        seconds = np.arange(int(len(samples) / 16_000 * FRAME_RATE)) / FRAME_RATE
        heard = hear(load_sound_shape(SOUND_SHAPE), columns, seconds)
        own = Normal(self._measured, self._motion.spread)
        return self._motion.wanted(heard, is_silent(columns, seconds * COLUMNS_PER_SECOND), own)

    def _speaking(self, seconds: float) -> Picture:
        wanted = self._wanted[min(round(seconds * FRAME_RATE), len(self._wanted) - 1)]
        pose = Pose(self._mesh, self._mesh)
        away = np.tensordot(wanted - self._measured, self._motion.motion, axes=1)
        planes = [plane.copy() for plane in self._mouth.planes]
        draw(planes, pose, [Part(self._mouth, 1.0, led_in_frame(away, self._reference, pose))], full_scale=255)
        for plane, drawn in zip(plane_views(self._frame), planes, strict=True):
            plane[:] = drawn
        bgr: Any = self._frame.to_ndarray(format="bgr24", src_colorspace=Colorspace.ITU709)
        return np.asarray(bgr, np.uint8)

    def _blinking(self, picture: Picture, seconds: float) -> Picture:
        """Return a picture of the head with its upper lids as low as they are at a time."""
        shut = SHUT * blink(seconds)
        if not shut:
            return picture
        result = picture.copy()
        for upper, lower in EYES:
            (along, high), (_, low) = (self._mesh[points, :2].astype(np.float64).T for points in (upper, lower))
            columns = np.arange(int(along[0]) + 1, int(along[-1]))
            top, bottom = np.interp(columns, along, high), np.interp(columns, along, low)
            lid = LID_HEIGHT * (bottom - top).max()
            edge = top + shut * (bottom - top)
            rows = np.arange(int((top - lid).min()), int(bottom.max()) + 1)[:, None]
            # The skin of the lid is stretched down to its new edge, lashes and all.
            filmed = top - lid + (rows - top + lid) * lid / (lid + edge - top)
            places = np.stack([np.broadcast_to(columns, filmed.shape), filmed], axis=-1).astype(np.float32)
            skin = cv2.remap(picture, places, np.empty(0, np.float32), cv2.INTER_CUBIC)
            target = result[rows[0, 0] : rows[-1, 0] + 1, columns[0] : columns[-1] + 1]
            covered = np.clip(np.minimum(rows - (top - lid), edge - rows), 0, 1)[..., None]
            target[:] = np.rint(target * (1 - covered) + skin * covered)
        return result

    def _turned(self, picture: Picture, seconds: float) -> Picture:
        """Return a picture of the head turned as it is at a time."""
        height, width = picture.shape[:2]
        yaw = np.radians(TURN_DEGREES * sin(2 * pi * 0.21 * seconds) * sin(2 * pi * 0.047 * seconds + 1))
        nod = np.radians(NOD_DEGREES * sin(2 * pi * 0.31 * seconds + 2) * sin(2 * pi * 0.061 * seconds))
        own = self._mesh[HELD].astype(np.float64)
        depth = own[:, 2] - float(self._mesh[EYE_CORNERS, 2].mean())
        seen = own[:, :2] - depth[:, None] * np.sin([yaw, nod])
        across, down = np.linspace(0, width - 1, EDGE_KNOTS), np.linspace(0, height - 1, EDGE_KNOTS)
        edge = np.concatenate(
            [np.column_stack([across, np.full(EDGE_KNOTS, y)]) for y in (0, height - 1)]
            + [np.column_stack([np.full(EDGE_KNOTS, x), down]) for x in (0, width - 1)]
        )
        nodes = Nodes((0, 0, width, height))
        knots = np.concatenate([seen, edge]), np.concatenate([own[:, :2], edge])
        places = ThinPlate(*knots, stiffness=1e-3)(nodes.places)
        moved = cv2.remap(picture, nodes.spread(places), np.empty(0, np.float32), cv2.INTER_CUBIC)
        return np.asarray(moved, np.uint8)


@lru_cache(maxsize=2)
def talking_portrait(enlargement: int) -> TalkingPortrait:
    """Return the portrait, at so many pixels for each of its own; all scenes share it."""
    return TalkingPortrait(enlargement)


def blink(seconds: float) -> float:
    """Return how far the eyes are shut at a time, in [0, 1]."""
    since = min(abs(seconds % BLINK_PERIOD - at) for at in BLINKS_AT)
    return float(np.clip(1.4 * (1 - 2 * since / BLINK_SECONDS), 0, 1))
