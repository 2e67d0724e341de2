"""Pictures as people have them (PNG, JPEG, WebP, ...), made into the frame of a video that every player shows.

Such a frame is upright, opaque, 8 bit, 4:2:0 and BT.709 in limited range, with even sides, and no larger than common
decoders take.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from typing import Final

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from media.base.errors import MediaError, UnreadableMedia, UnsupportedMedia
from media.picture import EXACT, FULL_RANGE
from media.probe import is_picture_format, open_input

FORMATS: Final = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""By Pillow's names. Files of the others are videos to FFmpeg, or rarely met."""
ANIMATED: Final = ("PNG", "WEBP")
"""Formats in which several pictures follow one another; in others (TIFF, JPEG of cameras) the first is the picture."""
LONGEST_SIDE, MOST_PIXELS = 4096, 3840 * 2160
"""What decoders in devices take (H.264, level 5.1 and 5.2); a larger picture is made smaller."""
SHORTEST_SIDE: Final = 16
"""One macroblock."""
STEP: Final = 2
"""Rows and columns that share a chroma sample."""


def is_still(path: Path) -> bool:
    """Tell whether a file holds a picture, not a video. False, too, for what cannot be opened, or is neither."""
    if not path.is_file():  # opening a pipe may never end
        return False
    try:
        with _pillow_errors(path), Image.open(path, formats=FORMATS):
            pass
        with open_input(path) as container:  # raw Motion JPEG begins like a picture, and is a video
            return is_picture_format(container.format.name)
    except UnsupportedMedia:  # too large: loading it says so
        return True
    except (MediaError, OSError):
        return False


def load_frame(path: Path) -> VideoFrame:
    """Return a picture as the frame of a video, turned upright as its Exif says, its colours as its ICC profile says.

    Transparent parts become black. A picture of more than LONGEST_SIDE pixels on a side, or of more than MOST_PIXELS,
    is made smaller; an odd side loses its last row or column. Raises UnreadableMedia, or UnsupportedMedia for a picture
    that is animated, tiny, or of more pixels than Pillow opens.
    """
    with _pillow_errors(path), Image.open(path, formats=FORMATS) as file:
        if file.format in ANIMATED and getattr(file, "n_frames", 1) > 1:
            raise UnsupportedMedia(f"{path}: this picture is animated. Convert it to a video first.")
        target = fitting_size(*file.size)
        file.draft(file.mode, target)  # JPEG: decoded at a half, a quarter or an eighth of its size, if that is enough
        picture = _opaque(path, ImageOps.exif_transpose(file))
    width, height = fitting_size(*picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    if min(width, height) < SHORTEST_SIDE:
        raise UnsupportedMedia(
            f"{path}: {width}x{height} pixels are too few for a video. Give a picture of {SHORTEST_SIDE} pixels at"
            " least on each side."
        )
    return _frame(picture.crop((0, 0, width // STEP * STEP, height // STEP * STEP)))


def fitting_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of a picture, made smaller until it fits a video, if need be."""
    scale = min(1.0, LONGEST_SIDE / max(width, height), sqrt(MOST_PIXELS / (width * height)))
    return max(int(width * scale), 1), max(int(height * scale), 1)


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """Turn Pillow's errors into ours: here and nowhere else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of pictures that are merely large
            yield
    except Image.DecompressionBombError as exc:
        raise UnsupportedMedia(f"{path}: the picture has too many pixels to be opened. Make it smaller first.") from exc
    except UnidentifiedImageError as exc:
        raise UnreadableMedia(f"{path}: cannot be read as a picture. Check that it is complete.") from exc
    except (OSError, SyntaxError, ValueError) as exc:  # what Pillow's decoders raise for damaged files
        if isinstance(exc, OSError) and exc.errno is not None:
            raise UnreadableMedia(f"{path}: cannot be read ({exc.strerror}). Check the path and its rights.") from exc
        raise UnreadableMedia(f"{path}: the picture is damaged ({exc}). Give a complete one.") from exc


def _opaque(path: Path, picture: Image.Image) -> Image.Image:
    """Return a picture as 8-bit sRGB without transparency."""
    if picture.mode == "F":
        raise UnsupportedMedia(f"{path}: its samples are floating-point numbers. Convert it to an 8-bit PNG first.")
    if picture.mode.startswith("I"):  # grey, 16 bit; Pillow itself makes 8 of 16 bits only where there are colours
        samples = np.asarray(picture).astype(np.int32).clip(0, 65535)
        return Image.fromarray(((samples * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    profile = picture.info.get("icc_profile")
    if not picture.has_transparency_data:
        return _srgb(picture, profile)
    with_alpha = picture.convert("RGBA")
    opaque = Image.new("RGB", picture.size)
    opaque.paste(_srgb(with_alpha.convert("RGB"), profile), mask=with_alpha.getchannel("A"))
    return opaque


def _srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture's colours as sRGB, for which those without a profile, or with an unfit one, are taken."""
    picture = picture if picture.mode in ("RGB", "CMYK", "L") else picture.convert("RGB")
    if profile:
        try:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # broken, or of another kind of colours than the picture's
            converted = None
        if converted is not None:
            return converted
    return picture.convert("RGB")


def _frame(picture: Image.Image) -> VideoFrame:
    """Return an RGB picture as a frame of 4:2:0."""
    full = VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
    frame = VideoReformatter().reformat(
        full,
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=FULL_RANGE,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACT,
    )
    frame.colorspace, frame.color_range = Colorspace.ITU709, ColorRange.MPEG
    frame.color_primaries, frame.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return frame
