"""Sound for the tests: signals, files of every kind that hold them, and where one signal lies in another."""

from fractions import Fraction

import av
import numpy as np

from media.audio.buffer import audio_frame
from media.audio.reader import read_samples


def voice(seconds, rate, *, seed=0, channels=2):
    """Return a voice-like signal, shape (channels, samples): gliding harmonics with syllables and a click a second."""
    at = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    pitch = 110 + 30 * np.sin(2 * np.pi * (0.3 + 0.05 * seed) * at + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 12) if k * 140 < rate / 2)
    sound = 0.12 * sound * (0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * at + seed)) + 0.001 * rng.standard_normal(len(at))
    for second in range(int(seconds)):
        start = second * rate + rate // 2
        sound[start : start + 20] += 0.4 * np.hanning(20)[: len(sound) - start]
    return np.stack([sound * (1 - 0.3 * channel) for channel in range(channels)]).astype(np.float32)


def write_sound(path, samples, rate, codec, container, *, start=0.0, bit_rate=None, layout=None, video=False):
    """Write samples with a codec into a container; `start` seconds late, beside a small video if asked for."""
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[0]]
    # The edit list that delays a late stream counts in this; milliseconds if nothing is said.
    options = {"avoid_negative_ts": "disabled"} | (
        {"movie_timescale": str(rate)} if container in ("mp4", "mov") else {}
    )
    with av.open(str(path), "w", format=container, container_options=options) as file:
        if video:
            picture = file.add_stream("libx264", rate=25, width=64, height=64, pix_fmt="yuv420p")
            picture.codec_context.options = {"bf": "0"}
        stream = file.add_stream(codec, rate=rate, layout=layout)
        stream.time_base = Fraction(1, rate)
        if bit_rate:
            stream.bit_rate = bit_rate
        if video:
            for number in range(round(samples.shape[1] / rate * 25)):
                frame = av.VideoFrame(64, 64, "yuv420p")
                for plane in frame.planes:
                    plane.update(bytes([number % 200 + 20]) * plane.buffer_size)
                frame.pts = number
                file.mux(picture.encode(frame))
            file.mux(picture.encode(None))
        first = round(start * rate)
        for at in range(0, samples.shape[1], 4096):
            frame = audio_frame(samples[:, at : at + 4096], rate, layout)
            frame.pts, frame.time_base = first + at, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def rewrite(source, path, change, container="mp4"):
    """Copy a sound file's packets; `change(number, packet)` returns the packet, or None to drop it."""
    with av.open(str(source)) as file, av.open(str(path), "w", format=container) as copy:
        stream = file.streams.audio[0]
        target = copy.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(packet for packet in file.demux(stream) if packet.size):
            if (changed := change(number, packet)) is not None:
                changed.stream = target
                copy.mux(changed)
    return path


def audio_index(path):
    with av.open(str(path)) as file:
        return file.streams.audio[0].index


def read_all(path, rate, layout="stereo", **range_):
    blocks = read_samples(path, stream_index=audio_index(path), rate=rate, layout=layout, **range_)
    return np.concatenate([*blocks], axis=1)


def packets_of(path, index=None):
    """Return (pts, dts, payload) of a file's sound packets."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0] if index is None else file.streams[index]
        return [(packet.pts, packet.dts, bytes(packet)) for packet in file.demux(stream) if packet.size]


def lag(found, wanted):
    """Return by how many samples (a float) `found` is later than `wanted`, both one channel of equal rate."""
    size = 2 * max(len(found), len(wanted))
    spectrum = np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size))
    match = np.fft.irfft(spectrum, size)
    peak = int(match.argmax())
    before, top, after = (match[(peak + step) % size] for step in (-1, 0, 1))
    whole = peak - size if peak > size // 2 else peak
    return whole + 0.5 * (before - after) / (before - 2 * top + after)


def decibels(value):
    return float(20 * np.log10(max(float(value), 1e-12)))


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def with_edits(source, path, rate, edits):
    """Copy an MP4 file that write_sound has made, so that it shows parts (start, stop) of its sound, in seconds."""
    content = bytearray(source.read_bytes())
    # ISO/IEC 14496-12, 8.6.6: size, type, version and flags, number of entries; entries of duration, media time, rate.
    at = content.index(b"elst") - 4
    size, priming = (int.from_bytes(content[start : start + 4], "big") for start in (at, at + 20))
    numbers = [(round((stop - start) * rate), round(start * rate) + priming, 1 << 16) for start, stop in edits]
    entries = [number.to_bytes(4, "big") for entry in numbers for number in entry]
    for box in (b"elst", b"edts", b"trak", b"moov"):
        head = content.index(box) - 4
        grown = int.from_bytes(content[head : head + 4], "big") + 16 + 4 * len(entries) - size
        content[head : head + 4] = grown.to_bytes(4, "big")
    content[at + 12 : at + size] = b"".join([len(edits).to_bytes(4, "big"), *entries])
    path.write_bytes(content)
    return path
