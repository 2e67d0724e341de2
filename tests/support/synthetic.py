"""Frame-stamped videos: every frame tells its own number, so that a test reads from the pixels what ended up where.

The stamp is a strip of 16 blocks along the upper edge of the stored picture, black for 0 and white for 1:

    | 12 bits: the number, highest first | 4 bits: its check sum |

Below it a shape moves over a textured background. Everything is made with PyAV, from nothing but the arguments, and
what a file holds is read back here by demuxing and decoding it anew, without any of our own code.
"""

import io
import zlib
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType

from media.orientation import UPRIGHT

STAMP_BITS, SUM_BITS = 12, 4
NUM_BLOCKS = STAMP_BITS + SUM_BITS
STAMP_PX = 12
"""Height of the strip; the blocks are as wide as the picture allows."""


@dataclass(frozen=True)
class Sound:
    """One audio track: a soft tone with a click at each whole second after its start."""

    codec: str = "aac"
    rate: int = 48000
    language: str | None = None
    start: Fraction = Fraction(0)
    hertz: int = 220


@dataclass(frozen=True)
class Packet:
    """One displayed packet as a file holds it; times in seconds."""

    pts: Fraction
    dts: Fraction | None
    is_keyframe: bool
    payload: bytes

    @property
    def digest(self):
        return zlib.crc32(self.payload)


UNEVEN = [40 * number + 13 * (number % 3 == 1) - 11 * (number % 7 == 4) for number in range(60)]
SOURCES = {
    "closed.mp4": {},
    "ntsc.mp4": {"rate": Fraction(30000, 1001)},
    "open.mkv": {"open_gop": True, "idr": (36,)},
    "closed.ts": {},
    "open.ts": {"open_gop": True, "idr": (36,)},
    "hevc.mp4": {"codec": "libx265", "open_gop": True},
    "hevc.mkv": {"codec": "libx265", "open_gop": True},
    "late.mp4": {"start": 330},
    "hidden.mp4": {"start": -300},
    "uneven.mp4": {"pts": UNEVEN, "time_base": Fraction(1, 1000)},
    "uneven.mkv": {"pts": UNEVEN, "time_base": Fraction(1, 1000)},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "deep.mp4": {"pixel_format": "yuv420p10le"},
}
"""Videos of 60 frames (hidden.mp4 shows 57) that differ in what makes frames hard to find, or packets to copy."""


def make_source(folder, name):
    """Write one of SOURCES into a folder and return its path."""
    return make_video(folder / name, 60, **SOURCES[name])


# Making


def make_video(
    path,
    num_frames=48,
    *,
    size=(192, 108),
    codec="libx264",
    rate=Fraction(25),
    gop=12,
    b_frames=2,
    open_gop=False,
    idr=(),
    pixel_format="yuv420p",
    pts=None,
    time_base=None,
    start=0,
    orientation=UPRIGHT,
    full_range=False,
    color=None,
    crf=18,
    tag=None,
    options=None,
    sounds=(),
    subtitles=None,
    chapters=(),
    metadata=None,
    muxer=None,
):
    """Write a stamped video and return its path; the container follows from the name unless `muxer` says otherwise.

    idr: frames that begin a closed GOP although open_gop is set. start: ticks added to all times; where it is negative,
    an mp4 hides the frames before 0 by its edit list. pts: times of the frames in ticks of time_base, for a variable
    frame rate. orientation: how players show the picture. color: (matrix, primaries, transfer) of
    ITU-T H.273. subtitles: text of an SRT file. chapters: (start, stop, title) in seconds.
    """
    rate = Fraction(rate)
    time_base = time_base or Fraction(1, rate.numerator * (100 if rate.denominator == 1 else 1))
    if pts is None:
        pts = [round(number / rate / time_base) for number in range(num_frames)]
    container_options = {"avoid_negative_ts": "disabled", "video_track_timescale": str(time_base.denominator)}
    with av.open(str(path), "w", format=muxer, container_options=container_options) as container:
        container.metadata.update(metadata or {})
        video = container.add_stream(codec, rate=rate, options=_coding(codec, gop, b_frames, open_gop, crf, options))
        video.width, video.height = size
        video.pix_fmt = pixel_format
        context = video.codec_context
        context.time_base = video.time_base = time_base
        context.gop_size = gop
        if codec == "mpeg4":
            context.max_b_frames = b_frames
        if tag:
            context.codec_tag = tag
        context.color_range = 2 if full_range else 1
        if color:
            context.colorspace, context.color_primaries, context.color_trc = color
        tracks = [_Track(container, sound, pts, time_base) for sound in sounds]
        texts = _subtitle_packets(container, subtitles) if subtitles else []
        if orientation != UPRIGHT:
            video.set_display_matrix(orientation.display_matrix)
        for number, ticks in enumerate(pts[:num_frames]):
            for track in tracks:
                track.write_until(container, (ticks - pts[0]) * time_base)
            frame = stamped_frame(number, size, pixel_format)
            frame.pts, frame.time_base = ticks + start, time_base
            frame.color_range = context.color_range
            frame.pict_type = PictureType.I if number in idr else PictureType.NONE
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for track in tracks:
            track.finish(container)
        for packet in texts:
            container.mux(packet)
        if chapters:
            container.set_chapters([_chapter(number, *chapter) for number, chapter in enumerate(chapters, 1)])
    return path


def _coding(codec, gop, b_frames, open_gop, crf, options):
    shared = {"crf": str(crf), **(options or {})}
    if codec == "libx264":
        params = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:b-adapt=0:open-gop={int(open_gop)}"
        return {"preset": "veryfast", "forced-idr": "1", "x264-params": f"{params}:threads=1", **shared}
    if codec == "libx265":
        params = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:b-adapt=0:open-gop={int(open_gop)}"
        return {
            "preset": "ultrafast",
            "forced-idr": "1",
            "x265-params": f"{params}:pools=1:frame-threads=1:log-level=none",
            **shared,
        }
    if codec in ("libvpx-vp9", "libvpx"):
        lag = {"auto-alt-ref": "0", "lag-in-frames": "0"}
        return {"b": "0", "cpu-used": "8", "deadline": "realtime", "g": str(gop), **lag, **shared}
    if codec in ("mpeg4", "mjpeg"):
        return {"flags": "+qscale", "global_quality": str(3 * 118), **(options or {})}
    return dict(options or {})


def stamped_frame(number, size=(192, 108), pixel_format="yuv420p"):
    """Return the frame with a number in its stamp and a picture that depends on nothing but that number."""
    frame = av.VideoFrame(*size, pixel_format)
    scale = (1 << frame.format.components[0].bits) / 256
    for index, plane in enumerate(frame.planes):
        pixels = _luma(number, size) if index == 0 else _chroma(number, (plane.width, plane.height), index)
        dtype = np.uint16 if scale > 1 else np.uint8
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        rows[:, : plane.width] = np.clip(np.rint(pixels * scale), 0, 256 * scale - 1)
    return frame


def _luma(number, size):
    width, height = size
    y, x = np.arange(height)[:, None], np.arange(width)
    waves = 40 * np.cos((y - number) / 13) * np.sin((x + 2 * number) / 17)
    pixels = 110 + waves + 6 * np.cos(y * 0.9) * np.sin(x * 1.1)
    left, top = (7 * number) % max(width - 24, 1), STAMP_PX + (5 * number) % max(height - STAMP_PX - 20, 1)
    pixels[top : top + 20, left : left + 24] = 190
    pixels[:STAMP_PX] = np.repeat(_blocks(number), -(-width // NUM_BLOCKS))[None, :width]
    return pixels


def _chroma(number, size, index):
    width, height = size
    y, x = np.arange(height)[:, None], np.arange(width)
    return 128 + 25 * np.cos(y / 9 + index) * np.sin((x + number * (3 - 2 * index)) / 11 + index)


def _check_sum(number):
    return (number + (number >> 4) + (number >> 8) + 5) & 15


def _blocks(number):
    word = (number << SUM_BITS) | _check_sum(number)
    return np.array([235 if word >> (NUM_BLOCKS - 1 - bit) & 1 else 16 for bit in range(NUM_BLOCKS)])


def read_stamp(frame):
    """Return the number in a decoded frame's stamp; raise ValueError if there is no stamp."""
    plane = frame.planes[0]
    depth = frame.format.components[0].bits
    rows = np.frombuffer(plane, np.uint16 if depth > 8 else np.uint8).reshape(plane.height, -1)
    block = -(-frame.width // NUM_BLOCKS)
    strip = rows[3 : STAMP_PX - 3, : frame.width].mean(axis=0) / (1 << (depth - 8))
    levels = [float(strip[at + 2 : at + block - 2].mean()) for at in range(0, block * NUM_BLOCKS, block)]
    word = sum((level > 125) << (NUM_BLOCKS - 1 - bit) for bit, level in enumerate(levels))
    number = word >> SUM_BITS
    if word & 15 != _check_sum(number) or any(70 < level < 180 for level in levels):
        raise ValueError(f"no stamp in this frame: levels {[round(level) for level in levels]}")
    return number


class _Track:
    """An audio stream that is written as the pictures go by."""

    def __init__(self, container, sound, pts, time_base):
        self.sound = sound
        self.stream = container.add_stream(sound.codec, rate=sound.rate, layout="stereo")
        self.stream.time_base = Fraction(1, sound.rate)
        if sound.language:
            self.stream.metadata["language"] = sound.language
        self.total = round((pts[-1] + pts[-1] - pts[-2] - pts[0]) * time_base * sound.rate)
        self.samples = click_track(self.total, sound.rate, sound.hertz)
        self.first = round(sound.start * sound.rate)
        self.at = 0

    def write_until(self, container, seconds):
        while self.at < self.total and self.at < seconds * self.sound.rate:
            container.mux(self.stream.encode(self._frame(self.at, 1024)))
            self.at += 1024

    def finish(self, container):
        self.write_until(container, Fraction(1 << 30))
        container.mux(self.stream.encode(None))

    def _frame(self, start, num_samples):
        part = np.ascontiguousarray(self.samples[:, start : start + num_samples])
        planar = self.stream.codec_context.format.name != "s16"
        if not planar:
            part = np.rint(part.T.reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(part, format="fltp" if planar else "s16", layout="stereo")
        frame.sample_rate, frame.time_base, frame.pts = (
            self.sound.rate,
            Fraction(1, self.sound.rate),
            self.first + start,
        )
        return frame


def click_track(num_samples, rate, hertz=220):
    """Return (2, num_samples) float32 sound: a soft tone, and a click of 2 ms at each whole second."""
    tone = 0.05 * np.sin(2 * np.pi * hertz * np.arange(num_samples) / rate)
    for start in range(0, num_samples, rate):
        tone[start : start + rate // 500] = 0.9
    return np.stack([tone, tone]).astype(np.float32)


def _subtitle_packets(container, text):
    with av.open(io.BytesIO(text.encode()), format="srt") as source:
        stream = source.streams.subtitles[0]
        target = container.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in source.demux(stream) if packet.size]
    for packet in packets:
        packet.stream = target
    return packets


def _chapter(number, start, stop, title):
    return {
        "id": number,
        "start": round(start * 1000),
        "end": round(stop * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": title},
    }


def with_payload(packet, payload):
    """Return a packet that stands where another one stood, with other bytes."""
    changed = av.Packet(bytes(payload))
    changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
    changed.duration, changed.is_keyframe = packet.duration, packet.is_keyframe
    return changed


# Reading, without our own code


def independent_packets(path, kind="video", number=0):
    """Return the displayed packets of a stream in file order, demuxed anew."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[number]
        return [
            Packet(
                packet.pts * stream.time_base,
                None if packet.dts is None else packet.dts * stream.time_base,
                packet.is_keyframe,
                bytes(packet),
            )
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]


def independent_times(path):
    """Return when each frame of the video is shown, in seconds, in order."""
    return sorted(packet.pts for packet in independent_packets(path))


def decode_all(path):
    """Return (seconds, stamp, CRC-32 of all planes) of every decoded frame, in the decoder's order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(frame.pts * stream.time_base, read_stamp(frame), digest(frame)) for frame in container.decode(stream)]


def stamps(path):
    """Return the stamps of all decoded frames."""
    return [stamp for _, stamp, _ in decode_all(path)]


def seek_and_decode(path, seconds, *, margin=Fraction(0)):
    """Seek to a time as a player does and return (stamp, digest) of the frame shown then.

    margin: seconds by which to seek too early, for containers without an index.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(int((seconds - margin) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts * stream.time_base >= seconds:
                return read_stamp(frame), digest(frame)
    raise ValueError(f"no frame at {float(seconds)} s")


def planes(frame):
    """Return the visible samples of each plane as arrays of their own."""
    depth = max(component.bits for component in frame.format.components)
    dtype = np.uint16 if depth > 8 else np.uint8
    return [np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width].copy() for plane in frame.planes]


def digest(frame):
    """Return the CRC-32 of a frame's visible samples."""
    value = 0
    for plane in planes(frame):
        value = zlib.crc32(plane.tobytes(), value)
    return value


def click_times(path, number=0):
    """Return when the clicks of an audio track are heard, in seconds (float, to the sample)."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[number]
        resampler = av.AudioResampler("fltp", "mono")
        samples, start = [], None
        for frame in container.decode(stream):
            if start is None:
                start = frame.pts * frame.time_base
            samples += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        rate = stream.rate
    loud = np.flatnonzero(np.abs(np.concatenate(samples)) > 0.4)
    firsts = [int(at) for index, at in enumerate(loud) if index == 0 or at - loud[index - 1] > rate // 10]
    return [float(start + Fraction(at, rate)) for at in firsts]
