"""Pixels of decoded frames: native planes, upright BGR copies for analysis, and conversion of small regions.

A rectangle is (left, top, right, bottom) in whole pixels, right and bottom exclusive. "Upright" is the picture as it
is watched; "stored" is the picture as it is coded. Only regions are ever converted to BGR for rendering: a full trip
through RGB costs 44 to 49 dB.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av import VideoFrame as VideoFrame
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from media.info import VideoInfo
from media.orientation import Orientation, Plane, Rectangle

Pixels = NDArray[np.uint8]

FULL_RANGE = ColorRange.JPEG
ACCURATE = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
EXACT = Interpolation.BILINEAR | ACCURATE
"""Without these flags the scaler truncates: a trip to BGR and back darkens luma by 1 to 2 levels."""


def plane_views(frame: VideoFrame) -> list[Plane]:
    """Return each plane as an array view of its visible samples; writing to it writes to the frame."""
    dtype = "<u2" if _depth(frame.format) > 8 else "u1"
    views = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), dtype=dtype).reshape(plane.height, -1)
        views.append(rows[:, : plane.width])
    return views


def _depth(pixel_format: VideoFormat) -> int:
    return max(component.bits for component in pixel_format.components)


def is_composable(pixel_format: str) -> bool:
    """Tell whether every component has a plane of its own in native byte order, as compositing needs."""
    known = VideoFormat(pixel_format)
    planes = {component.plane for component in known.components}
    return len(planes) == len(known.components) and not known.has_palette and not known.is_big_endian


def bytes_per_pixel(pixel_format: str) -> float:
    """Return how many bytes a pixel takes in memory, chroma included: 1.5 for yuv420p."""
    known = VideoFormat(pixel_format)
    width, height = chroma_step(known)
    num_chroma = sum(component.is_chroma for component in known.components)
    samples = len(known.components) - num_chroma + num_chroma / (width * height)
    return samples * (2 if _depth(known) > 8 else 1)


def unranged(pixel_format: str) -> str:
    """Return a format's name without FFmpeg's word on full range (yuvj420p), which frames tell by themselves, too."""
    return pixel_format.replace("yuvj", "yuv")


def chroma_step(pixel_format: VideoFormat) -> tuple[int, int]:
    """Return how many luma columns and rows share one chroma sample: (2, 2) for 4:2:0."""
    return 16 // pixel_format.chroma_width(16), 16 // pixel_format.chroma_height(16)


def snap_to_chroma(rectangle: Rectangle, frame: VideoFrame) -> Rectangle:
    """Grow a stored rectangle to whole chroma samples, inside the frame.

    Growing by a further chroma sample on each side would not matter: chroma is filtered within the region, and only
    the inside of a mask, which stays away from the rectangle's edge, is ever written back.
    """
    step_x, step_y = chroma_step(frame.format)
    left, top, right, bottom = rectangle
    return (
        max(left, 0) // step_x * step_x,
        max(top, 0) // step_y * step_y,
        min(-(-right // step_x) * step_x, frame.width),
        min(-(-bottom // step_y) * step_y, frame.height),
    )


class PictureConverter:
    """Converts frames and regions of them between native planes and BGR, with the stream's own matrix and range.

    Keep one for each thread: it reuses the scaler's tables.
    """

    def __init__(self, orientation: Orientation) -> None:
        """orientation: of every frame that is given."""
        self.orientation = orientation
        self._whole = VideoReformatter()
        self._region = VideoReformatter()
        self._back = VideoReformatter()

    def upright_bgr(self, frame: VideoFrame, size: tuple[int, int] | None = None) -> Pixels:
        """Return a whole frame as upright (height, width, 3) uint8 BGR, scaled to an upright (width, height)."""
        width, height = self.orientation.upright_size(*size) if size else (frame.width, frame.height)
        scaled = self._whole.reformat(
            frame, width, height, "bgr24", dst_color_range=FULL_RANGE, interpolation=Interpolation.AREA, threads=1
        )
        return self.orientation.turn(scaled.to_ndarray())

    def region_bgr(self, frame: VideoFrame, rectangle: Rectangle, *, shrink: int = 1) -> Pixels:
        """Return an aligned stored rectangle of a frame as upright (height, width, 3) uint8 BGR.

        shrink: pixels on a side that become one, by their mean; the rectangle's sides must be multiples of it.
        """
        region = crop(frame, rectangle)
        converted = self._region.reformat(
            region,
            region.width // shrink,
            region.height // shrink,
            format="bgr24",
            dst_color_range=FULL_RANGE,
            interpolation=EXACT if shrink == 1 else Interpolation.AREA,
            threads=1,
        )
        return self.orientation.turn(converted.to_ndarray())

    def native_planes(self, pixels: Pixels, like: VideoFrame) -> list[Plane]:
        """Return upright (height, width, 3) uint8 BGR as stored planes in the format, matrix and range of a frame."""
        frame = VideoFrame.from_ndarray(self.orientation.turn_back(pixels), format="bgr24")
        frame.color_range = FULL_RANGE
        converted = self._back.reformat(
            frame,
            format=like.format.name,
            dst_colorspace=_matrix(like),
            dst_color_range=_range(like),
            src_color_range=FULL_RANGE,
            interpolation=EXACT,
            threads=1,
        )
        return [plane.copy() for plane in plane_views(converted)]


class FrameConformer:
    """Makes the frames of one video as if they were another's: pixel format, matrix, range, and how they are stored."""

    def __init__(self, orientation: Orientation, like: VideoInfo, size: tuple[int, int]) -> None:
        """orientation: of the frames that are given. size: width and height that their upright pictures get.

        like: the video that they are to be like; its own size plays no part.
        """
        self._orientation, self._like = orientation, like
        self._stored_size = orientation.upright_size(*size)
        self._scale, self._finish = VideoReformatter(), VideoReformatter()

    def conform(self, frame: VideoFrame) -> VideoFrame:
        """Return a frame as the other video would hold it."""
        like, width = self._like, self._stored_size[0]
        kind = Interpolation.AREA if width < frame.width else Interpolation.BICUBIC
        step_x, step_y = chroma_step(VideoFormat(like.pixel_format))
        is_turned = self._orientation != like.orientation
        # 4:2:2 turned sideways would be 4:4:0, which no format of the video's kind need be.
        between = "yuv444p16le" if is_turned and step_x != step_y else like.pixel_format
        scaled = self._scale.reformat(
            frame,
            *self._stored_size,
            between,
            dst_colorspace=_known_matrix(like.colour.matrix),
            dst_color_range=_known_range(like.colour.range, VideoFormat(like.pixel_format)),
            interpolation=kind | ACCURATE,
            threads=1,
        )
        if not is_turned:
            return _tag(scaled, like)
        planes = [like.orientation.turn_back(self._orientation.turn(plane)) for plane in plane_views(scaled)]
        turned = VideoFrame(planes[0].shape[1], planes[0].shape[0], between)
        for target, plane in zip(plane_views(turned), planes, strict=True):
            target[:] = plane
        _tag(turned, like)
        finished = self._finish.reformat(turned, format=like.pixel_format, interpolation=EXACT, threads=1)
        return _tag(finished, like)


def _tag(frame: VideoFrame, like: VideoInfo) -> VideoFrame:
    frame.colorspace, frame.color_range = like.colour.matrix, like.colour.range
    return frame


def crop(frame: VideoFrame, rectangle: Rectangle) -> VideoFrame:
    """Return a copy of an aligned stored rectangle of a frame, with its colour tags."""
    left, top, right, bottom = rectangle
    region = VideoFrame(right - left, bottom - top, frame.format.name)
    for target, source in zip(plane_views(region), plane_views(frame), strict=True):
        step_x, step_y = round(frame.width / source.shape[1]), round(frame.height / source.shape[0])
        y, x = top // step_y, left // step_x
        target[:] = source[y : y + target.shape[0], x : x + target.shape[1]]
    region.colorspace = frame.colorspace
    region.color_range = frame.color_range
    return region


def copy_frame(frame: VideoFrame) -> VideoFrame:
    """Return a frame with the same samples in memory of its own, and all that goes with it.

    Colour tags, the order of fields, captions and other side data are what an encoder writes beside the picture. Only
    a trip through a filter that does nothing gives a second frame that has them; it shares the samples until written.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    sink = graph.add("buffersink")
    source.link_to(sink)
    graph.configure()
    graph.push(frame)
    copy = graph.pull()
    assert isinstance(copy, VideoFrame)
    copy.make_writable()
    return copy


def largest_sample(frame: VideoFrame) -> int:
    """Return the largest sample that the planes of a frame can hold."""
    return (1 << _depth(frame.format)) - 1


def luma_levels(frame: VideoFrame) -> tuple[int, int]:
    """Return the samples that stand for black and white in the first plane of a frame."""
    depth = _depth(frame.format)
    if _range(frame) == FULL_RANGE:
        return 0, (1 << depth) - 1
    return 16 << (depth - 8), 235 << (depth - 8)


def _matrix(frame: VideoFrame) -> int:
    """Return the matrix for converting to a frame's format; the scaler's own default where the frame has none."""
    return _known_matrix(int(frame.colorspace))


def _known_matrix(matrix: int) -> int:
    unknown = (2, 0)
    return Colorspace.DEFAULT if matrix in unknown else matrix


def _range(frame: VideoFrame) -> int:
    """Return the range of a frame's samples; limited where it is not tagged, as players take it."""
    return _known_range(int(frame.color_range), frame.format)


def _known_range(tagged: int, pixel_format: VideoFormat) -> int:
    full = tagged == FULL_RANGE or pixel_format.name.startswith("yuvj") or pixel_format.is_rgb
    return FULL_RANGE if full else ColorRange.MPEG
