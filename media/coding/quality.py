"""How finely an encoder quantises: the scale of each, and the step that changes a picture by so many decibels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.coding.encoder_options import LAMBDA, VideoCoding, quantiser

BLOCK_PX, BLOCK_PSNR = 16, 28.0
"""What becomes of a small region hides in the mean of a large frame: each block of luma keeps this, too, in dB."""
SURE_QUANTISER: Final = 23
"""Of x264: up to it no block falls below BLOCK_PSNR. A coefficient that is rounded to 0 is at most 0.74 steps large
with our dead zone; x264 drops lone ones of 1 besides, two of 16 at most. That is a mean square of 0.85 squared steps,
69 at this quantiser, whose step is 9, where BLOCK_PSNR allows 103. The worst that lines, letters, noise, dots and
waves made on purpose came to was 35.5 dB."""
PLAIN_PRESETS: Final = ("ultrafast", "superfast", "veryfast")
"""Of x264: these round each coefficient by itself, and not for looks."""


def block_errors(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean square of the differences in each whole block of a plane, (rows, columns)."""
    rows, columns = difference.shape[0] // BLOCK_PX, difference.shape[1] // BLOCK_PX
    squared = np.square(difference[: rows * BLOCK_PX, : columns * BLOCK_PX])
    strips = squared.reshape(rows, BLOCK_PX, columns * BLOCK_PX).sum(axis=1)
    means = strips.reshape(rows, columns, BLOCK_PX).sum(axis=2) / BLOCK_PX**2
    return np.asarray(means, np.float32)


@dataclass(frozen=True, slots=True)
class _RateFactor:
    """A constant rate factor; lower is finer."""

    finest: int
    coarsest: int
    """That is tried: the mean of a picture that is flat for the most part hides what becomes of a few letters. At a
    quantiser of 26 H.264 rounds to multiples of 13 levels, which leaves each block 33 dB, edges aside."""
    step_db: float
    """Decibels that a step changes pictures by, as measured on six clips."""


_RATE_FACTORS: Final = {
    "libx264": _RateFactor(2, 26, 0.7),
    "libx265": _RateFactor(2, 28, 0.45),
    "libvpx-vp9": _RateFactor(2, 34, 0.27),
    "libsvtav1": _RateFactor(2, 36, 0.24),
}
FINEST_QUANTISERS: Final = {"mpeg1video": 2}
"""Of MPEG-1, whose coefficients end at 255: with a quantiser of 1 they are cut off, and pictures get worse."""
COARSEST_QUANTISER: Final = 6
"""Of the MPEG codecs' 31: they round to multiples of twice as many levels."""


def can_change(coding: VideoCoding) -> bool:
    """Tell whether an encoder can quantise more finely or more coarsely."""
    options = dict(coding.options)
    return "global_quality" in options or (_factor(options) in options and coding.encoder in _RATE_FACTORS)


def level(coding: VideoCoding) -> int:
    """Return how coarsely an encoder quantises, in steps of its own scale; 0 where it has none."""
    options = dict(coding.options)
    return int(options["global_quality"]) // LAMBDA if "global_quality" in options else _factor_of(coding)


def keeps_blocks(coding: VideoCoding) -> bool:
    """Tell whether each block of luma keeps BLOCK_PSNR by the quantiser alone."""
    options = dict(coding.options)
    is_plain = coding.encoder == "libx264" and options.get("preset") in PLAIN_PRESETS
    return is_plain and int(options.get("qp", SURE_QUANTISER + 1)) <= SURE_QUANTISER


def with_level(coding: VideoCoding, wanted: int) -> VideoCoding:
    """Return a coding that quantises so coarsely; see level."""
    return _quantised(coding, wanted) if "global_quality" in dict(coding.options) else _with_factor(coding, wanted)


def finer(coding: VideoCoding, decibels: float) -> VideoCoding | None:
    """Return a coding whose pictures come nearer by about so many decibels; None at the finest."""
    options = dict(coding.options)
    if "global_quality" in options:
        now, finest = int(options["global_quality"]) // LAMBDA, FINEST_QUANTISERS.get(coding.encoder, 1)
        wanted = max(min(floor(now * 10 ** (-decibels / 20)), now - 1), finest)
        return _quantised(coding, wanted) if now > finest else None
    scale = _RATE_FACTORS.get(coding.encoder)
    if scale is None or _factor_of(coding) <= scale.finest:
        return None
    return _with_factor(coding, _factor_of(coding) - max(ceil(decibels / scale.step_db), 1))


def coarser(coding: VideoCoding, decibels: float) -> VideoCoding | None:
    """Return a coding whose pictures go off by about so many decibels at most; None where no step is so small."""
    options = dict(coding.options)
    if "global_quality" in options:
        now = int(options["global_quality"]) // LAMBDA
        larger = min(floor(now * 10 ** (decibels / 20)), COARSEST_QUANTISER)
        return _quantised(coding, larger) if larger > now else None
    scale = _RATE_FACTORS.get(coding.encoder)
    if scale is None:
        return None
    now = _factor_of(coding)
    larger = min(now + floor(decibels / scale.step_db), scale.coarsest)
    return _with_factor(coding, larger) if larger > now else None


def _factor(options: dict[str, str]) -> str:
    """Return the option that says how coarsely: x264's quantiser of P pictures, or a rate factor, which is its mean."""
    return "qp" if "qp" in options else "crf"


def _factor_of(coding: VideoCoding) -> int:
    options = dict(coding.options)
    return int(options.get(_factor(options), 0))


def _with_factor(coding: VideoCoding, factor: int) -> VideoCoding:
    options, finest = dict(coding.options), _RATE_FACTORS[coding.encoder].finest
    return replace(coding, options=tuple({**options, _factor(options): str(max(factor, finest))}.items()))


def _quantised(coding: VideoCoding, number: int) -> VideoCoding:
    changed = {name: value for name, value in quantiser(number).items() if name != "flags"}
    return replace(coding, options=tuple({**dict(coding.options), **changed}.items()))
