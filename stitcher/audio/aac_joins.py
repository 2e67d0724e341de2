"""AAC-LC packets of two encoders in one stream.

A packet holds 2048 windowed samples and overlaps its neighbours by half; what its window spoils, the neighbour mends
(time domain alias cancellation). So a packet of another encoder may follow one of the source wherever both have coded
the same sound, with the same window, in the block of 1024 samples that they share:

    copied      [= = = = = =]
                     [= = = = = =]                 |~~~~ changed sound
    coded                 [- - - - - -]            |
                          |    | [- - - - - -]
                           join

Ranges are coded on the source's own packet grid, the encoder fed with the sound before and after, and each join is
tried: decoded, and compared with the source. Where windows do not fit, the join moves on by a packet.

FFmpeg's encoder knows one long window, Kaiser-Bessel-derived; many others use the sine. There the shared block is fed
to the encoder in such a shape that its own window makes of it what the sine would have made of the sound.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import av
import av.error
import numpy as np
import numpy.typing as npt

from media.audio.buffer import Samples, audio_frame, num_channels
from media.base.errors import UnsupportedMedia
from media.intervals import Interval
from stitcher.audio.mix import SoundPlan, mix
from stitcher.audio.packets import Replacement, SoundPackets, build_encoder
from stitcher.audio.soundtrack import AAC_FRAME_SAMPLES

_BLOCK = AAC_FRAME_SAMPLES
_CANDIDATES = 12
"""Joins to try on either side of a range, one packet apart: 0.25 s at 48 kHz."""
_PRIME = 8
"""Packets coded before the first that may be used: the encoder's psychoacoustics settle in two or three."""
_CONTEXT = 5
"""Packets decoded before a join; the decoder needs one."""
_CHANNEL_BIT_RATE = 128_000
"""Bits per second and channel of what is coded: it is little, and its noise shall stay below the source's."""
_CLEAN_RATIO = 2.0
"""A join is clean if its error is at most so many times that of coding alone. Measured on real clips: joins of windows
that fit lie 2 to 17 dB below coding noise, those of windows that do not 9 to 46 dB above."""
_INAUDIBLE = 2e-4
"""Errors below -74 dBFS (root mean square) are clean in any case."""

Floats = npt.NDArray[np.float64]

_KBD = np.sqrt(np.cumsum(np.kaiser(_BLOCK + 1, 4 * np.pi))[:-1] / np.sum(np.kaiser(_BLOCK + 1, 4 * np.pi)))
"""Rising half of the Kaiser-Bessel-derived window, alpha 4 (ISO 14496-3, 4.6.11.3)."""
_SINE = np.sin((np.arange(_BLOCK) + 0.5) * np.pi / (2 * _BLOCK))


def replace_aac(
    track: SoundPackets, plan: SoundPlan, changed: Sequence[Interval], folder: Path
) -> Iterator[Replacement]:
    """Yield the packets of each changed interval (output samples), from the join before it to the join after it.

    folder: where the packets of one range wait in a nameless file, so that a long range does not fill memory.
    Raises UnsupportedMedia where no join is clean, or the first packet would have to be joined.
    """
    # Behind the source's last packet there is nothing to copy: all changes there are one.
    bounded = ((min(start, track.starts[-1]), stop) for start, stop in changed)
    for start, stop in _apart(bounded, 4 * _CANDIDATES * _BLOCK):
        heads, tails = _head_joins(track, start), _tail_joins(track, stop)
        first = heads[-1] if heads else _first_packet(track, start)
        last = tails[-1] if tails else _end_packet(track, stop)
        with tempfile.TemporaryFile(dir=folder) as file:
            coded = _Coded(track, plan, first, last + 1, file)
            if heads:
                first = _clean_join(track, plan, coded, heads, coded_follows=True)
            if tails:
                last = _clean_join(track, plan, coded, tails, coded_follows=False)
            yield Replacement(first, last, (coded[index] for index in range(first, last)), is_last=not tails)


def _apart(changed: Iterable[Interval], distance: int) -> list[Interval]:
    """Join intervals that are closer than a distance."""
    apart: list[Interval] = []
    for start, stop in changed:
        begin = apart.pop()[0] if apart and start - apart[-1][1] < distance else start
        apart.append((begin, stop))
    return apart


def _head_joins(track: SoundPackets, start: int) -> list[int]:
    """Return the packets with which coding may begin, so that the shared block lies before `start`; nearest first."""
    nearest = min((start - track.start(0)) // _BLOCK, len(track)) - 1
    return [index for index in range(nearest, nearest - _CANDIDATES, -1) if index > 0 and track.start(index) >= 0]


def _tail_joins(track: SoundPackets, stop: int) -> list[int]:
    """Return the packets with which copying may resume, so that the shared block lies after `stop`; nearest first."""
    nearest = -((track.start(0) - stop) // _BLOCK)
    joins = range(nearest, nearest + _CANDIDATES)
    return [index for index in joins if index < len(track) and track.start(index + 1) <= track.total]


def _first_packet(track: SoundPackets, start: int) -> int:
    """Return 0 if coding can begin with the first packet: the block that it spoils must not be heard."""
    if track.start(0) > start or track.start(1) > 0:
        raise UnsupportedMedia(f"{track.path}: the sound cannot be spliced: it begins too late.")
    return 0


def _end_packet(track: SoundPackets, stop: int) -> int:
    """Return the number of packets that reach the end of the change, and of the source's sound within the output."""
    reaching = (min(stop, track.total) - 1 - track.start(0)) // _BLOCK
    ending = min((track.total - 1 - track.start(0)) // _BLOCK, len(track) - 1)
    return max(reaching, ending) + 1


class _Coded:
    """A range coded on the source's packet grid. Payloads lie in a file, but for those made to fit a join."""

    def __init__(self, track: SoundPackets, plan: SoundPlan, start: int, stop: int, file: IO[bytes]) -> None:
        """Code packets [start, stop), and some before them."""
        self._file, self._ends = file, array("q", [0])
        self._first = start - _PRIME
        self._joined: dict[int, bytes] = {}
        for payload in _encode(track, _fed(track, plan, self._first, stop + 1)):
            self._file.write(payload)
            self._ends.append(self._ends[-1] + len(payload))

    def __getitem__(self, index: int) -> bytes:
        if index in self._joined:
            return self._joined[index]
        begin, end = self._ends[index - self._first], self._ends[index - self._first + 1]
        self._file.seek(begin)
        return self._file.read(end - begin)

    def __setitem__(self, index: int, payload: bytes) -> None:
        self._joined[index] = payload


def _fed(track: SoundPackets, plan: SoundPlan, start: int, stop: int) -> Iterator[Samples]:
    """Yield the mix of blocks [start, stop), block by block."""
    begin, end = track.start(start), track.start(stop)
    for part in mix(plan, rate=track.rate, layout=track.layout, start=begin, stop=end):
        for at in range(0, part.shape[1], _BLOCK):
            yield part[:, at : at + _BLOCK]


def _encode(track: SoundPackets, blocks: Iterable[Samples]) -> Iterator[bytes]:
    """Yield the packet that begins with each block; the last one overlaps silence."""
    encoder = build_encoder(track)
    encoder.bit_rate = min(_CHANNEL_BIT_RATE, 6144 * track.rate // _BLOCK) * num_channels(track.layout)
    # Noise substitution saves bits by not coding the waveform, and a join needs the waveform.
    encoder.options = {"aac_pns": "0"}
    num_packets = 0
    for block in (*blocks, None):
        frame = None if block is None else audio_frame(block, track.rate, track.layout)
        for packet in encoder.encode(frame):
            # The first packet covers silence and the first block.
            if num_packets:
                yield bytes(packet)
            num_packets += 1


def _clean_join(
    track: SoundPackets, plan: SoundPlan, coded: _Coded, joins: Sequence[int], *, coded_follows: bool
) -> int:
    """Return the first join that cannot be heard; raise UnsupportedMedia if all can be."""
    copied = track.payloads(min(joins) - _CONTEXT, max(joins) + 1)
    for join in joins:
        around = range(max(join - _CONTEXT, 0), join + 1)
        source, anew = [copied[index] for index in around], [coded[index] for index in around]
        wanted = _last_block(track, source)
        coding = _level(_last_block(track, anew) - wanted)
        # Decoders fill what was coded as noise with random numbers, others ones if they begin elsewhere.
        noise = _level(_last_block(track, source[-3:]) - wanted) if len(source) > 3 else 0.0
        allowed = max(_CLEAN_RATIO * coding, _CLEAN_RATIO * noise, _INAUDIBLE)
        joined = [*source[:-1], anew[-1]] if coded_follows else [*anew[:-1], source[-1]]
        if _level(_last_block(track, joined) - wanted) <= allowed:
            return join
        fitted = _fitted(track, plan, join, coded_follows=coded_follows)
        if fitted is None:
            continue
        joined = [*source[:-1], fitted] if coded_follows else [*anew[:-2], fitted, source[-1]]
        if _level(_last_block(track, joined) - wanted) <= allowed:
            coded[join if coded_follows else join - 1] = fitted
            return join
    raise UnsupportedMedia(f"{track.path}: the sound cannot be spliced: its encoder's windows do not fit.")


def _last_block(track: SoundPackets, payloads: Iterable[bytes]) -> Floats:
    """Decode packets and return the last block, shape (channels, 1024)."""
    decoder = av.CodecContext.create("aac", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata = track.extradata
    try:
        *_, last = (frame for payload in payloads for frame in decoder.decode(av.Packet(payload)))
    except (av.error.FFmpegError, ValueError) as exc:
        raise UnsupportedMedia(f"{track.path}: the sound cannot be spliced: it is damaged beside a range.") from exc
    block: npt.NDArray[Any] = last.to_ndarray()
    return block.astype(np.float64)


def _level(error: Floats) -> float:
    """Return the loudest 128 samples of an error, as root mean square: a click is short."""
    parts = error.reshape(error.shape[0], -1, 128)
    return float(np.sqrt((parts**2).mean(axis=2).max()))


# Sine windows


def _fitted(track: SoundPackets, plan: SoundPlan, join: int, *, coded_follows: bool) -> bytes | None:
    """Return the coded packet beside a join, made for a neighbour with the sine window; None if that cannot be.

    The packet after the join is decoded with the left slope that the packet before it asks for. So a coded packet
    before the join must ask for the sine, too.
    """
    first = join - _PRIME
    blocks = list(_fed(track, plan, first, join + 3))
    at = join - first
    blocks[at] = _reshaped(blocks[at].astype(np.float64), rising=coded_follows).astype(np.float32)
    packets = list(_encode(track, blocks))
    return packets[at] if coded_follows else _with_sine(packets[at - 1])


def _reshaped(sound: Floats, *, rising: bool) -> Floats:
    """Return a block of which the KBD slope makes what the sine slope makes of `sound`.

    A windowed half block is folded onto itself (rising: minus its mirror image, falling: plus). For each pair of
    mirrored samples that fixes one number, `folded`; the other, `free`, is left as near to the sound as it can be.
    """
    sign, kbd, sine = (-1, _KBD, _SINE) if rising else (1, _KBD[::-1], _SINE[::-1])
    mirrored = sound[:, ::-1]
    folded = sine * sound + sign * sine[::-1] * mirrored
    free = kbd[::-1] * sound - sign * kbd * mirrored
    return kbd * folded + kbd[::-1] * free


def _with_sine(packet: bytes) -> bytes | None:
    """Return a packet whose long window falls with the sine slope; None if its channels have windows of their own.

    ISO 14496-3, 4.4.2: element (3 bits), tag (4); a channel pair says whether its channels share a window (1), a single
    channel comes with its gain (8); then reserved (1), window sequence (2), window shape (1).
    """
    head = int.from_bytes(packet[:3], "big")
    element, shared = head >> 21, head >> 16 & 1
    if element == 1 and shared:
        shape_bit = 11
    elif element == 0:
        shape_bit = 18
    else:
        return None
    return (head & ~(1 << (23 - shape_bit))).to_bytes(3, "big") + packet[3:]
