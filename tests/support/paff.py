"""Field-coded H.264 (PAFF): every field a picture of its own, as AVCHD camcorders write; no encoder here does.

All macroblocks are I_PCM, samples as they are, so that a decoder gives back exactly what was put in. Names of fields
are those of ITU-T H.264.
"""

import re
from fractions import Fraction

import av
import numpy as np

from tests.support.synthetic import planes, stamped_frame

SIZE = (192, 128)
"""Width is a multiple of 16, height one of 32: a field is made of whole macroblocks."""
GOP = 6


class _Bits:
    def __init__(self):
        self.text = ""

    def u(self, count, value):
        self.text += f"{value:0{count}b}"
        return self

    def ue(self, *values):
        for value in values:
            digits = f"{value + 1:b}"
            self.text += "0" * (len(digits) - 1) + digits
        return self

    def whole_bytes(self, last=""):
        text = self.text + last
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def _unit(reference, kind, payload):
    escaped = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)
    return b"\0\0\0\1" + bytes([reference << 5 | kind]) + escaped


def _sets(size):
    sps = _Bits().u(8, 77).u(8, 0).u(8, 40).ue(0)  # Main, level 4.0
    sps.ue(0, 0, 4, 1).u(1, 0)  # 4 bits of frame_num, order counts of 8 bits, one reference frame, no gaps
    sps.ue(size[0] // 16 - 1, size[1] // 32 - 1)
    sps.u(1, 0).u(1, 0).u(1, 1).u(1, 0).u(1, 0)  # fields, none adaptive by macroblock, direct_8x8, no cropping, no VUI
    pps = _Bits().ue(0, 0).u(1, 0).u(1, 0).ue(0, 0, 0).u(1, 0).u(2, 0).ue(0, 0, 0).u(1, 1).u(1, 0).u(1, 0)
    return _unit(3, 7, sps.whole_bytes("1")) + _unit(3, 8, pps.whole_bytes("1"))


def _field(number, is_bottom, frame):
    at = number % GOP
    is_idr = at == 0 and not is_bottom
    header = _Bits().ue(0, 7, 0).u(4, at).u(1, 1).u(1, int(is_bottom))
    if is_idr:
        header.ue(number // GOP % 2)
    header.u(8, 2 * at + is_bottom).u(2 if is_idr else 1, 0).ue(0, 1)  # marking; slice_qp_delta 0; no deblocking
    body = bytearray(header.ue(25).whole_bytes())
    following = _Bits().ue(25).whole_bytes()
    luma, *chroma = (plane[int(is_bottom) :: 2] for plane in planes(frame))
    for row in range(luma.shape[0] // 16):
        for column in range(luma.shape[1] // 16):
            if row or column:
                body += following
            for plane, px in ((luma, 16), (chroma[0], 8), (chroma[1], 8)):
                body += plane[row * px : row * px + px, column * px : column * px + px].astype(np.uint8).tobytes()
    delimiter = b"\0\0\0\1\x09\x10"
    sets = _sets((luma.shape[1], 2 * luma.shape[0])) if is_idr else b""
    return delimiter + sets + _unit(2, 5 if is_idr else 1, bytes(body) + b"\x80")


def make_paff(path, num_frames, *, together, rate=25):
    """Write a stamped, field-coded video. together: a packet a frame instead of a packet a field."""
    fields = [[_field(n, bottom, stamped_frame(n, SIZE)) for bottom in (False, True)] for n in range(num_frames)]
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(field for pair in fields for field in pair))
    payloads = [b"".join(pair) for pair in fields] if together else [field for pair in fields for field in pair]
    step = 90000 // rate // (1 if together else 2)
    with av.open(str(raw)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        stream.time_base = Fraction(1, 90000)
        for number, payload in enumerate(payloads):
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, Fraction(1, 90000)
            packet.pts = packet.dts = number * step
            packet.duration = step
            packet.is_keyframe = number * step * rate % (90000 * GOP) == 0
            writer.mux_one(packet)
    return path
