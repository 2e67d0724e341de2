"""A few ranges of a long soundtrack coded anew, everything else copied packet by packet."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from media.audio.buffer import audio_frame, sample_at
from media.base.errors import UnsupportedMedia
from media.info import AudioInfo, MediaInfo
from media.intervals import Interval, complement
from stitcher.audio.aac_joins import replace_aac
from stitcher.audio.mix import SampleReader, SoundPlan, mix
from stitcher.audio.packets import PCM_BYTES, Replacement, SoundPackets, build_encoder, scan_sound, write_replaced
from stitcher.audio.soundtrack import Soundtrack


def can_splice(audio: AudioInfo, container: str) -> str | None:
    """Return why a stream's packets cannot be replaced here and there; None if it may be tried.

    container: FFmpeg's demuxer name of the source. Only mp4 and mov count times in samples.
    """
    if container != "mov,mp4,m4a,3gp,3g2,mj2" or audio.time_base != Fraction(1, audio.sample_rate):
        return "its container does not count time in samples"
    if audio.codec in PCM_BYTES:
        return None
    if audio.codec != "aac" or audio.profile != "LC":
        return f"packets of different encoders do not join in {audio.codec} {audio.profile or ''}".rstrip()
    if audio.num_channels > 2:
        return f"joining AAC with {audio.num_channels} channels is not supported"
    return None


def splice_soundtrack(
    plan: SoundPlan, source: MediaInfo, audio: AudioInfo, path: Path, *, anchor: Fraction
) -> Soundtrack:
    """Write the source's packets, those of the ranges that the plan changes coded anew.

    plan: the source's own sound is what its pieces take from this stream with zero == anchor and
    start == output_start; everything else is change.
    anchor: time of the first displayed frame on the source's clock, in seconds. Packets keep the source's times, so
    the offset of the result is 0. Nothing is decoded farther than about a second from a range.

    Raises UnsupportedMedia if the packets do not allow it, or if no clean join is found beside a range: the caller
    then encodes the whole track. Raises WorkspaceError if the file cannot be written.
    """
    if (reason := can_splice(audio, source.container)) is not None:
        raise UnsupportedMedia(f"{source.path}: the sound cannot be spliced: {reason}.")
    track = scan_sound(plan, source.path, audio, anchor)
    changed = _changed(plan, source, audio, anchor)
    if audio.codec == "aac":
        write_replaced(track, replace_aac(track, plan, changed, path.parent), path)
    else:
        write_replaced(track, _replace_pcm(track, plan, changed), path)
    seconds = sum(stop - start for start, stop in changed) / audio.sample_rate
    return Soundtrack(str(path), 0, Fraction(0), "spliced", f"{seconds:.1f} s encoded, all other packets copied")


def _changed(plan: SoundPlan, source: MediaInfo, audio: AudioInfo, anchor: Fraction) -> list[Interval]:
    """Return where the output's sound differs from the source's, fades included, in output samples."""
    rate = audio.sample_rate
    total, fade = sample_at(plan.duration, rate), sample_at(plan.crossfade_seconds / 2, rate)
    kept: list[Interval] = []
    for piece in plan.pieces:
        own = (piece.path, piece.stream_index, piece.zero) == (source.path, audio.index, anchor)
        if own and piece.start == piece.output_start:
            start, stop = sample_at(piece.output_start, rate), sample_at(piece.output_stop, rate)
            kept.append((start + fade if start else 0, stop - fade if stop < total else total))
    return complement([(start, stop) for start, stop in kept if start < stop], 0, total)


def _replace_pcm(track: SoundPackets, plan: SoundPlan, changed: Sequence[Interval]) -> Iterator[Replacement]:
    """Give every packet that a change touches its new samples; the others in it pass through floats unchanged."""
    done = 0
    for start, stop in changed:
        if start < track.starts[0] or stop > track.starts[-1]:
            raise UnsupportedMedia(f"{track.path}: the sound cannot be spliced: it is shorter than the video.")
        first = max(bisect_right(track.starts, start) - 1, done)
        done = bisect_left(track.starts, stop)
        yield Replacement(first, done, _pcm(track, plan, track.starts[first : done + 1]), is_last=False)


def _pcm(track: SoundPackets, plan: SoundPlan, borders: Sequence[int]) -> Iterator[bytes]:
    """Yield packets of the mix between neighbouring borders (output samples)."""
    encoder = build_encoder(track)
    reader = SampleReader(mix(plan, rate=track.rate, layout=track.layout, start=borders[0], stop=borders[-1]))
    for start, stop in pairwise(borders):
        for packet in encoder.encode(audio_frame(reader.take(stop - start), track.rate, track.layout)):
            yield bytes(packet)
