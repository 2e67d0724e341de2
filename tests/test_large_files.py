"""Files beyond 4 GiB, where 32 bits no longer count the bytes. Holes make them: they take no room on the disk."""

import os
import shutil
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.verify import verify_job
from media.audio.reader import read_samples, sound_length
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick
from tests.support.synthetic import independent_packets, independent_times, stamps

FULL = bool(os.environ.get("LIPSTITCH_FULL"))
GIB = 1 << 30
HOLE = 4 * GIB + 12345
"""Bytes, so that what lies behind it is beyond what 32 bits count."""


def with_hole(path, target):
    """Write an MP4 again with a hole in the middle of its media data: half of the chunks lie beyond 4 GiB.

    moov is the last box; its tables of chunk offsets (stco, 32 bits) become co64, and its boxes longer by as much.
    """
    content = path.read_bytes()
    boxes = {kind: (start, stop) for kind, start, stop in split_boxes(content, 0, len(content))}
    (mdat, mdat_end), (moov, moov_end) = boxes[b"mdat"], boxes[b"moov"]
    assert mdat_end == moov
    offsets = sorted(all_offsets(content, moov, moov_end))
    half = offsets[len(offsets) // 2]
    header = mdat + 8
    shifts = (8, 8 + HOLE)  # mdat's header is longer by its 64-bit size
    index = widened(content[moov:moov_end], lambda at: at + shifts[at >= half])
    with target.open("wb") as file:
        file.write(content[:mdat] + struct.pack(">I4sQ", 1, b"mdat", mdat_end - mdat + 8 + HOLE))
        file.write(content[header:half])
        file.seek(HOLE, os.SEEK_CUR)
        file.write(content[half:mdat_end] + index)
    return target


def split_boxes(content, start, stop):
    while start < stop:
        size, kind = struct.unpack_from(">I4s", content, start)
        yield kind, start, start + size
        start += size


HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def all_offsets(content, start, stop):
    for kind, begin, end in split_boxes(content, start, stop):
        if kind in HOLDERS:
            yield from all_offsets(content, begin + 8, end)
        elif kind == b"stco":
            (count,) = struct.unpack_from(">I", content, begin + 12)
            yield from struct.unpack_from(f">{count}I", content, begin + 16)


def widened(box, move):
    """Return a box in which all tables of chunk offsets count in 64 bits, each offset moved."""
    kind = box[4:8]
    if kind in HOLDERS:
        inner = b"".join(widened(box[start:stop], move) for _, start, stop in split_boxes(box, 8, len(box)))
        return struct.pack(">I4s", 8 + len(inner), kind) + inner
    if kind == b"stco":
        (count,) = struct.unpack_from(">I", box, 12)
        offsets = [move(at) for at in struct.unpack_from(f">{count}I", box, 16)]
        return struct.pack(f">I4sII{count}Q", 16 + 8 * count, b"co64", 0, count, *offsets)
    return box


def require_holes(folder):
    """Skip where a hole takes room."""
    probe = folder / "probe"
    with probe.open("wb") as file:
        file.truncate(64 << 20)
    taken = probe.stat().st_blocks * 512
    probe.unlink()
    if taken > 1 << 20:
        pytest.skip("this file system keeps no holes")


def job_in(folder, **changes):
    """Write the job of tests/support/quick_jobs.py on talk.mp4 and dub.wav of a folder, and load it."""
    (folder / "weights.bin").write_bytes(b"weights")
    job = write_job(
        folder,
        **{
            "input": {"video": "talk.mp4", "audio": "dub.wav"},
            "output": "out.mp4",
            "segmenter": {"detector": "cascade", "max_clip_seconds": 0.8},
            "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
            "execution": {"backend": "serial"},
            **changes,
        },
    )
    return load_job(job)


def write_dub(path, seconds):
    """Write speech of a length."""
    speech, rate = soundfile.read(DUB_FILE)
    soundfile.write(path, np.resize(speech, round(seconds * rate)), rate)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """Return the folder of a finished job on a video of more than 4 GiB, and its small twin."""
    folder = tmp_path_factory.mktemp("large")
    require_holes(folder)
    small = make_talk(folder / "small.mp4")
    with_hole(small, folder / "talk.mp4")
    write_dub(folder / "dub.wav", 4)
    job = job_in(folder)
    run_quick(job)
    yield folder, job
    (folder / "talk.mp4").unlink()


def test_the_video_is_larger_than_32_bits_count_and_reads_as_its_small_twin(sparse):
    folder, _ = sparse
    talk, small = folder / "talk.mp4", folder / "small.mp4"
    assert talk.stat().st_size > 4 * GIB
    for kind in ("video", "audio"):
        assert independent_packets(talk, kind) == independent_packets(small, kind)


def test_a_video_of_more_than_4_gib(sparse):
    folder, job = sparse
    small, out = folder / "small.mp4", folder / "out.mp4"
    assert independent_times(out) == independent_times(small)
    assert stamps(out)[40:60] == [*range(40, 60)]
    before, after = independent_packets(small), independent_packets(out)
    copied = {packet.payload for packet in before} & {packet.payload for packet in after}
    assert len(copied) > 20
    assert load_report(out)["num_rendered_frames"] == 62
    verify_job(job, Silent())


def test_a_dub_of_more_than_4_gib(tmp_path):
    """RF64, what WAV becomes beyond 4 GiB: 1 h 53 min of 96 kHz in six channels; a click lies near its end."""
    require_holes(tmp_path)
    rate, channels = 96000, 6
    seconds = 6800
    path = tmp_path / "dub.wav"
    size = seconds * rate * channels * 2
    assert size > 4 * GIB
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16", format="RF64") as file:
        file.write(np.zeros((rate, channels), np.int16))
    head = path.read_bytes()
    data = head.index(b"data") + 8
    header = bytearray(head[:data])
    at = header.index(b"ds64") + 8
    struct.pack_into("<QQQ", header, at, data - 8 + size, size, seconds * rate)
    struct.pack_into("<I", header, data - 4, 0xFFFFFFFF)
    wanted = np.random.default_rng(3).integers(-20000, 20000, (1000, channels), np.int16)
    place = (seconds - 1) * rate * channels * 2
    with path.open("wb") as file:
        file.write(header)
        file.seek(data + place)
        file.write(wanted.tobytes())
        file.truncate(data + size)
    assert sound_length(path, 0) == seconds
    blocks = read_samples(
        path, stream_index=0, rate=rate, layout="5.1", start=Fraction(seconds - 1), stop=Fraction(seconds)
    )
    found = np.concatenate([*blocks], axis=1)
    assert np.array_equal(np.rint(found[:, :1000].T * 32768), wanted)
    assert not found[:, 1000:].any()


FILLER_BYTES = 600_000
NUM_REPEATS = 75


@pytest.fixture
def room(tmp_path):
    """Return a folder with room for large files, which do not outlive the test."""
    if shutil.disk_usage(tmp_path).free < 20 * GIB:
        pytest.skip("needs 20 GiB of free disk")
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.skipif(not FULL, reason="writes 14 GB; `make acceptance` runs it")
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_an_output_of_more_than_4_gib(room, ending):
    """Every packet carries 600 kB that decoders skip (H.264's filler data), so that only the disk has to be fast."""
    talk = room / "talk.mp4"
    times = heavy(make_talk(room / "small.mp4"), talk)
    assert talk.stat().st_size > 4 * GIB
    write_dub(room / "dub.wav", len(times) / 25)
    job = job_in(room, output=f"out{ending}")
    run_quick(job)
    out = room / f"out{ending}"
    assert out.stat().st_size > 4 * GIB
    assert independent_frame_times(out) == times
    verify_job(job, Silent())


def heavy(small, path):
    """Repeat the packets of a small video, each with filler data; return the times of all frames, in seconds."""
    filler = struct.pack(">I", FILLER_BYTES) + b"\x0c" + b"\xff" * (FILLER_BYTES - 2) + b"\x80"
    found = []
    with av.open(str(small)) as reader, av.open(str(path), "w") as writer:
        video = reader.streams.video[0]
        target = writer.add_stream_from_template(video, opaque=True)
        packets = [packet for packet in reader.demux(video) if packet.size]
        length = round(Fraction(100, 25) / video.time_base)
        for number in range(NUM_REPEATS):
            for packet in packets:
                copy = av.Packet(bytes(packet) + filler)
                copy.pts, copy.dts = packet.pts + number * length, packet.dts + number * length
                copy.time_base, copy.duration, copy.is_keyframe = video.time_base, packet.duration, packet.is_keyframe
                copy.stream = target
                found.append(copy.pts * video.time_base)
                writer.mux_one(copy)
    return sorted(found)


def independent_frame_times(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(packet.pts * packet.time_base for packet in container.demux(stream) if packet.size)
