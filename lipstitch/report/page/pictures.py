"""Strips of pictures for a page: as fine as its size allows."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

NUM_TRIED: Final = 8
"""Strips that are encoded to see how large all of them will be."""
BASE64: Final = 4 / 3
"""Characters for each byte."""
RESERVE: Final = 0.05
"""By how much, as a share, all strips may turn out larger than those that were tried."""


@dataclass(frozen=True, slots=True)
class Fineness:
    """How strips are encoded for a page."""

    picture_px: int
    """Side of one picture; a strip is two pictures high."""
    quality: int
    """Of WebP."""

    def encode(self, strip: bytes) -> bytes:
        """Return a strip, an image file of any kind, as a WebP file; itself where that is no smaller."""
        picture = Image.open(io.BytesIO(strip))
        height = min(2 * self.picture_px, picture.height)
        width = max(round(picture.width * height / picture.height), 1)
        file = io.BytesIO()
        picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(
            file, "WEBP", quality=self.quality, method=4
        )
        return min(file.getvalue(), strip, key=len)


FINENESSES: Final = (
    None,
    *(Fineness(*each) for each in ((160, 80), (128, 75), (112, 70), (96, 65), (80, 55), (64, 45))),
)
"""From the finest on; None leaves strips as they are."""


class PageStrips:
    """Gives a page its strips, as fine as fits; strips that do not fit at all are left out.

    One strip is held at a time.
    """

    def __init__(self, clips: Sequence[int], load: Callable[[int], bytes], max_chars: int) -> None:
        """clips: those that have a strip, by index. load: returns a clip's strip, an image file, or nothing.

        max_chars: what all strips may take together.
        """
        self._clips, self._load = frozenset(clips), load
        self._left = max_chars
        self._fineness = choose_fineness(clips, load, max_chars)
        self.num_left_out = 0

    def __call__(self, clip: int) -> str:
        """Return a clip's strip as a URI; empty if it has none, or none fits any more."""
        strip = self._load(clip) if clip in self._clips else b""
        if not strip:
            return ""
        if self._fineness:
            strip = self._fineness.encode(strip)
        uri = f"data:{_kind(strip)};base64,{b64encode(strip).decode()}"
        if len(uri) > self._left:
            self.num_left_out += 1
            return ""
        self._left -= len(uri)
        return uri


def choose_fineness(clips: Sequence[int], load: Callable[[int], bytes], max_chars: int) -> Fineness | None:
    """Return the best fineness at which all strips likely fit, or else the least one. A few strips are tried."""
    tried = [load(clips[at * len(clips) // NUM_TRIED]) for at in range(NUM_TRIED)] if clips else []
    for fineness in FINENESSES:
        sizes = [len(fineness.encode(strip) if fineness else strip) for strip in tried if strip]
        if not sizes or sum(sizes) / len(tried) * len(clips) * BASE64 * (1 + RESERVE) <= max_chars:
            return fineness
    return FINENESSES[-1]


def _kind(strip: bytes) -> str:
    return "image/jpeg" if strip.startswith(b"\xff\xd8") else "image/webp"
