"""The one soundtrack of the output: copied where the container takes the dub's own packets, else encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.error

from media.audio.buffer import Samples, audio_frame, num_channels, sample_at
from media.audio.driving import DRIVING_RATE
from media.audio.reader import first_sample_time, sound_format, sound_length
from media.audio.sample_faults import survey_samples
from media.audio.voice_activity import mute
from media.base.errors import StitchError, UnsupportedMedia
from media.base.files import atomic_file
from media.info import AudioInfo, MediaInfo
from media.intervals import Interval
from media.probe import open_input
from stitcher.audio.mix import SoundPlan, mix

AAC_FRAME_SAMPLES = 1024


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """A file whose packets are the output's sound.

    The assembler demuxes stream `stream_index` of `path` and muxes every packet, side data and discard flag included
    (they carry AAC's priming), with pts and dts moved by round(offset / time base) ticks of the stream's own time base,
    into a stream made from that stream as its template. Muxing to mp4 or mov with an offset above 0 wants the option
    movie_timescale (the sample rate will do): the edit list that delays the stream counts in it, in milliseconds if
    nothing is said. AAC's priming is then heard before the offset, as 1024 samples of silence.
    """

    path: str
    stream_index: int
    offset: Fraction
    """Seconds to add to the packets' times, so that they stand right on the output's clock."""
    kind: Literal["copied", "encoded", "spliced"]
    note: str
    """One sentence for the report."""


@dataclass(frozen=True, slots=True)
class _Encoder:
    name: str
    container: str
    """Where the packets wait for the assembler. mp4 and mov count times in samples and keep priming by edit list."""
    rates: tuple[int, ...] = ()
    """Allowed rates, increasing; empty if any."""
    channel_bit_rate: int = 0
    """Default bits per second for each channel; 0 for lossless codecs."""
    layouts: tuple[str, ...] = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1")
    """What the codec can say, one for each number of channels."""
    sample_format: str | None = None


_MPEG_RATES = (16000, 22050, 24000, 32000, 44100, 48000)
_ANY_LAYOUT = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
_ENCODERS = {
    "aac": _Encoder(
        "aac",
        "mp4",
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
        96_000,
        ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "5.1", "7.1"),
    ),
    "mp3": _Encoder("libmp3lame", "mp4", _MPEG_RATES, 96_000, ("mono", "stereo")),
    "ac3": _Encoder("ac3", "mp4", (32000, 44100, 48000), 96_000),
    "opus": _Encoder("libopus", "mp4", (48000,), 64_000, ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")),
    "flac": _Encoder("flac", "mp4", layouts=_ANY_LAYOUT, sample_format="s32"),
    "pcm_s16le": _Encoder("pcm_s16le", "mov", layouts=_ANY_LAYOUT),
    "pcm_s24le": _Encoder("pcm_s24le", "mov", layouts=_ANY_LAYOUT),
}

_TAKEN = {
    "mp4": {"aac", "mp3", "ac3", "opus", "flac"},
    "mov": {"aac", "mp3", "ac3", "pcm_s16le", "pcm_s24le"},
    "matroska": set(_ENCODERS),
    "webm": {"opus"},
    "mpegts": {"aac", "mp3", "ac3", "opus"},
    "flv": {"aac", "mp3"},
    "avi": {"mp3", "ac3", "pcm_s16le"},
    "mpeg": {"mp3", "ac3"},
    "vob": {"mp3", "ac3"},
}
"""Codecs that each of FFmpeg's muxers takes and common players play there."""

_COPIED = {
    ("mov,mp4,m4a,3gp,3g2,mj2", "mp4"): {"aac"},
    ("mov,mp4,m4a,3gp,3g2,mj2", "mov"): {"aac", "pcm_s16le", "pcm_s24le"},
    ("wav", "mov"): {"pcm_s16le", "pcm_s24le"},
    ("wav", "matroska"): {"pcm_s16le", "pcm_s24le", "pcm_f32le"},
    ("flac", "matroska"): {"flac"},
    ("matroska,webm", "matroska"): {"flac", "pcm_s16le", "pcm_s24le", "pcm_f32le"},
}
"""Codecs whose packets move from a container (its demuxer's name) to a muxer without losing a sample."""


def takes(muxer: str, codec: str) -> bool:
    """Tell whether a muxer takes sound that write_soundtrack can write."""
    return codec in _TAKEN.get(muxer, set())


def default_codec(muxer: str) -> str:
    """Return the codec to write for a muxer: AAC where it is at home; raise UnsupportedMedia for an unknown muxer.

    AVI gets PCM: it cannot tell that a decoder has to drop the first samples of anything else.
    """
    for codec in ("aac", "opus", "pcm_s16le", "ac3", "mp3"):
        if takes(muxer, codec):
            return codec
    raise UnsupportedMedia(f"No sound can be written to {muxer} files. Use .mp4, .mov or .mkv for the output.")


def can_copy(plan: SoundPlan, dub: MediaInfo, muxer: str) -> str | None:
    """Return why the dub's own packets cannot be the soundtrack; None if they can.

    They can if the dub is heard whole from its second 0, and its codec moves to the muxer exactly. A dub that is
    longer than the video by less than an AAC packet (1024 samples) is heard whole, not trimmed.
    """
    if len(plan.pieces) != 1 or plan.pieces[0].path != dub.path:
        return "the sound is put together from pieces"
    (piece,) = plan.pieces
    audio = _audio_of(dub, piece.stream_index)
    if audio.codec not in _COPIED.get((dub.container, muxer), set()):
        return f"{audio.codec} in {Path(dub.path).suffix} cannot be moved to {muxer} to the sample"
    if audio.codec == "aac" and audio.profile != "LC":
        return f"{audio.profile} is not AAC-LC"
    if piece.start != 0 or piece.output_start != 0:
        return "the dub does not begin with the video"
    length = sound_length(dub.path, piece.stream_index)
    if piece.zero is not None:
        lead = first_sample_time(dub.path, piece.stream_index) - piece.zero
        if lead <= -Fraction(1, audio.sample_rate):
            return "the dub begins before the video"
        length += lead
    if length - piece.output_stop >= Fraction(AAC_FRAME_SAMPLES, audio.sample_rate):
        return "the dub is trimmed"
    if (faults := survey_samples(dub.path, piece.stream_index)) and faults.num_broken:
        return "some of its samples are not numbers"
    if audio.codec == "aac" and _has_edits(dub.path, audio):
        return "the dub's file hides packets by an edit list"
    return None


def _audio_of(info: MediaInfo, stream_index: int) -> AudioInfo:
    return next(audio for audio in info.audio if audio.index == stream_index)


def _has_edits(path: str, audio: AudioInfo) -> bool:
    """Tell whether an edit list hides more than an encoder's priming (at most 2624 samples in the wild)."""
    with open_input(path) as container:
        hidden = [bool(packet.is_discard) for packet in container.demux(container.streams[audio.index]) if packet.size]
    num_leading = hidden.index(False) if False in hidden else len(hidden)
    return num_leading > 4 or any(hidden[num_leading:])


def copy_soundtrack(plan: SoundPlan, *, anchor: Fraction) -> Soundtrack:
    """Return the dub itself as the soundtrack; only where can_copy finds nothing against it.

    anchor: time of the first displayed frame on the output's clock, in seconds.
    """
    (piece,) = plan.pieces
    zero = first_sample_time(piece.path, piece.stream_index) if piece.zero is None else piece.zero
    return Soundtrack(piece.path, piece.stream_index, anchor - zero, "copied", "the dub's own packets")


def write_driving(plan: SoundPlan, path: Path, pauses: Sequence[Interval] = ()) -> None:
    """Write the sound that drives the lips: 16 kHz mono, 32-bit float WAV (RF64 where it outgrows 4 GiB).

    pauses: samples that are made silent. Raises WorkspaceError if the file cannot be written, UnreadableMedia if a
    piece cannot be read.
    """
    blocks = mute(mix(plan, rate=DRIVING_RATE, layout="mono"), pauses, DRIVING_RATE)
    _encode(blocks, path, _Encoder("pcm_f32le", "wav"), DRIVING_RATE, "mono", None)


def write_soundtrack(
    plan: SoundPlan,
    path: Path,
    *,
    anchor: Fraction,
    codec: str = "aac",
    bit_rate: int | None = None,
    rate: int | None = None,
    layout: str | None = None,
) -> Soundtrack:
    """Encode the whole plan once, to a file whose packets the assembler muxes.

    anchor: time of the first displayed frame on the output's clock, in seconds; sample 0 is heard there.
    codec: aac, mp3, ac3, opus, flac, pcm_s16le or pcm_s24le. AAC, FLAC and PCM keep the sound to the sample.
    bit_rate: bits per second; 192 kbit/s for two channels if None. rate, layout: those of the piece that is heard
    longest if None, brought to what the codec allows.

    Raises WorkspaceError if the file cannot be written, StitchError if the encoder refuses, UnreadableMedia if a piece
    cannot be read.
    """
    encoder = _ENCODERS[codec]
    main_rate, main_layout = _main_format(plan)
    rate = _allowed_rate(encoder, rate or main_rate)
    layout = _allowed_layout(encoder, layout or main_layout)
    if encoder.channel_bit_rate:
        bit_rate = bit_rate or encoder.channel_bit_rate * max(num_channels(layout), 2)
    if codec == "aac":
        # ISO 14496-3: at most 6144 bits for each channel of a packet.
        bit_rate = min(bit_rate or 0, 6144 * rate * num_channels(layout) // AAC_FRAME_SAMPLES)
    _encode(mix(plan, rate=rate, layout=layout), path, encoder, rate, layout, bit_rate)
    spoken = f"{codec}, {rate} Hz, {layout}" + (f", {bit_rate // 1000} kbit/s" if bit_rate else "")
    return Soundtrack(str(path), 0, anchor, "encoded", f"encoded once: {spoken}")


def fit_clock(soundtrack: Soundtrack, muxer: str) -> Soundtrack:
    """Return an encoded soundtrack whose packets stand right on the clock of a muxer.

    Matroska counts milliseconds, and FFmpeg adds Opus's priming (312 samples, 6.5 ms) to each time after rounding both.
    Packets of whole milliseconds then stand at 0, 21, 41 ms instead of 0, 20, 40, unless all begin on a tick.
    """
    if muxer not in ("matroska", "webm"):
        return soundtrack
    with open_input(soundtrack.path) as container:
        context = container.streams[soundtrack.stream_index].codec_context
        if context.name != "opus":
            return soundtrack
        # RFC 7845 5.1: OpusHead tells the priming in its bytes 10 and 11, in samples at 48 kHz.
        priming = Fraction(int.from_bytes(bytes(context.extradata or b"")[10:12], "little"), 48000)
    return replace(soundtrack, offset=soundtrack.offset + priming - Fraction(sample_at(priming, 1000), 1000))


def _main_format(plan: SoundPlan) -> tuple[int, str]:
    """Return rate and layout of the stream that is heard longest; 48 kHz stereo for silence."""
    heard: dict[tuple[str, int], Fraction] = {}
    for piece in plan.pieces:
        stream = (piece.path, piece.stream_index)
        heard[stream] = heard.get(stream, Fraction(0)) + piece.output_stop - piece.output_start
    return sound_format(*max(heard, key=heard.__getitem__)) if heard else (48000, "stereo")


def _allowed_rate(encoder: _Encoder, rate: int) -> int:
    """Return the lowest allowed rate that loses nothing, else the highest."""
    return next((allowed for allowed in encoder.rates if allowed >= rate), encoder.rates[-1]) if encoder.rates else rate


def _allowed_layout(encoder: _Encoder, layout: str) -> str:
    return encoder.layouts[min(num_channels(layout), len(encoder.layouts)) - 1]


@contextmanager
def sound_file(path: Path) -> Iterator[Path]:
    """Yield a partial name, as atomic_file does; what an encoder or muxer refuses becomes StitchError."""
    with atomic_file(path) as partial:
        try:
            yield partial
        except av.error.FFmpegError as exc:
            if isinstance(exc, OSError):
                raise
            raise StitchError(
                f"{path}: the sound cannot be encoded so ({exc}). Choose another codec or bit rate."
            ) from exc


def _encode(
    blocks: Iterable[Samples], path: Path, encoder: _Encoder, rate: int, layout: str, bit_rate: int | None
) -> None:
    options = {"rf64": "auto"} if encoder.container == "wav" else {}
    with (
        sound_file(path) as partial,
        av.open(f"file:{partial}", "w", format=encoder.container, container_options=options) as container,
    ):
        stream = container.add_stream(encoder.name, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        stream.time_base = Fraction(1, rate)
        if bit_rate:
            stream.bit_rate = bit_rate
        if encoder.sample_format:
            stream.codec_context.format = encoder.sample_format
        at = 0
        for block in blocks:
            frame = audio_frame(block, rate, layout)
            frame.pts, frame.time_base = at, stream.time_base
            at += frame.samples
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
