"""The pictures of the demonstration: a talking portrait filmed by a swaying camera, and scenes drawn by code.

Every painter takes the seconds since its scene began and returns a new (720, 1280, 3) uint8 BGR picture. Nothing is
random: the same second always gives the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.talking import TalkingPortrait, talking_portrait

Picture = NDArray[np.uint8]
Painter = Callable[[float], Picture]
Color = tuple[int, int, int]

WIDTH_PX = 1280
HEIGHT_PX = 720

NIGHT: Color = (52, 30, 18)
DEEP: Color = (96, 58, 30)
PAPER: Color = (236, 240, 242)
INK: Color = (70, 58, 48)
SAND: Color = (120, 196, 240)
CORAL: Color = (88, 112, 238)
TEAL: Color = (150, 150, 40)

SUBPIXEL_BITS = 4
"""Fractional bits of drawn coordinates: shapes move smoothly instead of jumping from pixel to pixel."""


def portrait_close(spoken_from: float) -> Painter:
    """Return the portrait filling the frame, the face about 310 px wide. spoken_from: where in the speech it begins."""
    camera = _Camera(spoken_from, center=(228.0, 121.0), zoom=3.3, sway=0.8)
    return lambda seconds: camera.film(seconds, (WIDTH_PX, HEIGHT_PX))


def portrait_wide(spoken_from: float) -> Painter:
    """Return the portrait from further away, the camera panning slowly; the face about 260 px wide."""
    camera = _Camera(spoken_from, center=(222.0, 152.0), zoom=2.75, sway=1.0, pan_per_second=0.9)
    return lambda seconds: camera.film(seconds, (WIDTH_PX, HEIGHT_PX))


def portrait_beside_chart(spoken_from: float) -> Painter:
    """Return the portrait in a panel on the right of a chart that grows; the face about 160 px wide."""
    camera = _Camera(spoken_from, center=(228.0, 170.0), zoom=1.7, sway=1.2)
    backdrop = _gradient(PAPER, (214, 222, 228))
    _write(backdrop, "one track of sound", (70, 110), 1.3, INK)
    _write(backdrop, "many small clips", (70, 160), 1.3, INK)

    def paint(seconds: float) -> Picture:
        picture = backdrop.copy()
        _paint_bars(picture, seconds)
        picture[60:660, 660:1220] = camera.film(seconds, (560, 600))
        cv2.rectangle(picture, (659, 59), (1220, 660), INK, 2, cv2.LINE_AA)
        return picture

    return paint


def title(heading: str, line: str) -> Painter:
    """Return a title card: a heading, a line below it, and bars that move like a sound level meter."""
    backdrop = _gradient(NIGHT, DEEP)
    _write(backdrop, heading, (110, 320), 3.4, PAPER, thickness=5)
    _write(backdrop, line, (116, 390), 1.2, SAND)

    def paint(seconds: float) -> Picture:
        picture = backdrop.copy()
        for bar in range(44):
            level = 0.5 + 0.5 * sin(2.1 * seconds + 0.55 * bar) * cos(1.3 * seconds - 0.23 * bar)
            _fill_box(picture, (116 + 24.0 * bar, 620 - 110 * level, 130 + 24.0 * bar, 624), TEAL)
        return picture

    return paint


def wave_graph() -> Painter:
    """Return a graph on squared paper: a wave that is drawn from left to right."""
    backdrop = _gradient((246, 248, 248), PAPER)
    for column in range(80, WIDTH_PX, 80):
        cv2.line(backdrop, (column, 0), (column, HEIGHT_PX), (222, 226, 228), 1)
    for row in range(40, HEIGHT_PX, 80):
        cv2.line(backdrop, (0, row), (WIDTH_PX, row), (222, 226, 228), 1)
    cv2.line(backdrop, (80, 40), (80, 640), INK, 3)
    cv2.line(backdrop, (80, 360), (1200, 360), INK, 3)
    _write(backdrop, "no face: copied bit for bit", (120, 100), 1.2, INK)

    def paint(seconds: float) -> Picture:
        picture = backdrop.copy()
        columns = np.linspace(80, 80 + 1120 * min(1.0, 0.06 + seconds / 8), 280)
        phase = (columns - 80) / 1120
        swell = np.sin(pi * phase) * (0.55 + 0.45 * np.sin(9 * phase + 0.8 * seconds))
        for rate, color in ((44, TEAL), (17, CORAL)):
            _draw_curve(picture, columns, 360 + 210 * swell * np.sin(rate * phase + 1.5 * seconds), color)
        return picture

    return paint


def landscape() -> Painter:
    """Return hills passing by below a low sun."""
    sky = _gradient((190, 130, 70), (150, 205, 250))

    def paint(seconds: float) -> Picture:
        picture = sky.copy()
        _fill_disc(picture, (380 + 26 * seconds, 250 + 9 * seconds), 70, (170, 225, 255))
        for depth, color in enumerate(((178, 150, 120), (128, 122, 78), (84, 96, 52), (48, 62, 34))):
            travel = (14 + 22 * depth) * seconds + 500 * depth
            _fill_hills(picture, level=380 + 75.0 * depth, travel=travel, color=color)
        return picture

    return paint


def shapes() -> Painter:
    """Return polygons that turn and drift over a plain ground."""
    ground = _gradient((110, 70, 84), (60, 44, 60))

    def paint(seconds: float) -> Picture:
        picture = ground.copy()
        for index, color in enumerate((CORAL, SAND, TEAL, PAPER, (160, 110, 200))):
            turn = (0.5 + 0.16 * index) * seconds * (-1) ** index
            center = (210 + 215 * index + 45 * sin(0.9 * seconds + index), 360 + 130 * cos(0.7 * seconds + 1.9 * index))
            _fill_polygon(picture, _regular_polygon(center, 80 + 6 * index, 3 + index % 2, turn), color)
        return picture

    return paint


class _Camera:
    """Films the portrait as a hand would hold a camera: slow sway, breathing zoom, a little roll."""

    def __init__(
        self,
        spoken_from: float,
        *,
        center: tuple[float, float],
        zoom: float,
        sway: float,
        pan_per_second: float = 0.0,
    ) -> None:
        """Point at `center` (portrait pixels) with `zoom` picture pixels a portrait pixel; `sway` scales the motion.

        spoken_from: the second of the speech at which the scene begins.
        """
        self._center, self._zoom, self._sway, self._pan = center, zoom, sway, pan_per_second
        self._spoken_from = spoken_from
        # Enlarged once with a good filter, so that the fast filter used on every frame has little left to do.
        self._enlargement = 3 if zoom > 2 else 2
        self._speaker: TalkingPortrait | None = None

    def film(self, seconds: float, size_px: tuple[int, int]) -> Picture:
        """Return the picture of (width, height) `size_px` at a time."""
        turn, sway = 2 * pi * seconds, self._sway
        x = self._center[0] + self._pan * seconds + sway * (4.0 * sin(0.17 * turn) + 1.2 * sin(0.43 * turn + 1))
        y = self._center[1] + sway * (2.6 * sin(0.13 * turn + 2) + 1.0 * sin(0.37 * turn))
        scale = self._enlargement / (self._zoom * (1 + 0.035 * sway * sin(0.08 * turn)))
        roll = radians(1.3 * sway * sin(0.11 * turn + 0.5))
        along, across = scale * cos(roll), scale * sin(roll)
        width, height = size_px
        offset_x = x * self._enlargement - along * width / 2 + across * height / 2
        offset_y = y * self._enlargement - across * width / 2 - along * height / 2
        matrix = np.array([[along, -across, offset_x], [across, along, offset_y]])
        if self._speaker is None:
            self._speaker = talking_portrait(self._enlargement)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        portrait = self._speaker.at(self._spoken_from + seconds)
        picture = cv2.warpAffine(portrait, matrix, size_px, flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(picture, np.uint8)


def _gradient(top: Color, bottom: Color) -> Picture:
    share = np.linspace(0, 1, HEIGHT_PX)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    return np.repeat(np.rint(rows), WIDTH_PX, axis=1).astype(np.uint8)


def _write(picture: Picture, text: str, origin: tuple[int, int], size: float, color: Color, thickness: int = 2) -> None:
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_DUPLEX, size, color, thickness, cv2.LINE_AA)


def _fixed_point(points: Any) -> NDArray[np.int32]:
    return np.asarray(np.rint(np.multiply(points, 1 << SUBPIXEL_BITS)), np.int32)


def _fill_polygon(picture: Picture, points: Any, color: Color) -> None:
    cv2.fillPoly(picture, [_fixed_point(points)], color, cv2.LINE_AA, SUBPIXEL_BITS)


def _fill_box(picture: Picture, edges: tuple[float, float, float, float], color: Color) -> None:
    left, top, right, bottom = edges
    _fill_polygon(picture, ((left, top), (right, top), (right, bottom), (left, bottom)), color)


def _fill_disc(picture: Picture, center: tuple[float, float], radius: float, color: Color) -> None:
    x, y = (int(value) for value in _fixed_point(center))
    cv2.circle(picture, (x, y), int(_fixed_point(radius)), color, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_curve(picture: Picture, columns: NDArray[np.float64], rows: NDArray[np.float64], color: Color) -> None:
    points = _fixed_point(np.stack([columns, rows], axis=1))
    cv2.polylines(picture, [points], False, color, 3, cv2.LINE_AA, SUBPIXEL_BITS)  # noqa: FBT003 - OpenCV's order


def _fill_hills(picture: Picture, *, level: float, travel: float, color: Color) -> None:
    columns = np.linspace(0, WIDTH_PX, 129)
    place = (columns + travel) / WIDTH_PX * 2 * pi
    rows = level + 42 * np.sin(1.3 * place) + 20 * np.sin(3.1 * place + 1) + 7 * np.sin(7.3 * place)
    floor = [(WIDTH_PX, HEIGHT_PX), (0, HEIGHT_PX)]
    _fill_polygon(picture, np.concatenate([np.stack([columns, rows], axis=1), floor]), color)


def _regular_polygon(
    center: tuple[float, float], radius: float, num_corners: int, turn: float
) -> list[tuple[float, float]]:
    angles = [turn + 2 * pi * corner / num_corners for corner in range(num_corners)]
    return [(center[0] + radius * cos(angle), center[1] + radius * sin(angle)) for angle in angles]


def _paint_bars(picture: Picture, seconds: float) -> None:
    for bar in range(7):
        grown = min(1.0, max(0.0, seconds / 2.5 - 0.35 * bar))
        height = grown * (150 + 40 * bar + 22 * sin(1.1 * seconds + bar))
        _fill_box(picture, (80 + 76.0 * bar, 640 - height, 134 + 76.0 * bar, 640), CORAL if bar % 2 else TEAL)
