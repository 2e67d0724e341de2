"""Two hours, from the command line to the finished file: every frame at its time, the dub at its sample to the end.

The suite takes half an hour of few frames (bursts of a speaker at the start, in the middle and at the end, slides of
twenty seconds between them) and a dub of 8 kHz: a sample of it that is lost or doubled shows as well as at 48 kHz.
LIPSTITCH_FULL=1 makes it two hours, 180,000 frames at 25 frames a second with a stereo dub of 48 kHz, as
`make acceptance` does.
"""

import os
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import soundfile

from benchmarks.measure import run_measured
from demo.talking import PORTRAIT_FILE
from tests.support import synthetic
from tests.support.commands import ROOT
from tests.support.jobs import load_report, write_job
from tests.support.synthetic import make_video, read_stamp

FULL = bool(os.environ.get("LIPSTITCH_FULL"))
SECONDS = 7200 if FULL else 1800
RATE, CHANNELS = (48000, 2) if FULL else (8000, 1)
SIZE = (192, 108)
CLICK_SAMPLES = RATE // 200
SEARCHED = 200
"""Samples by which a click may be off on either side to be found at all."""
NOISE = np.random.default_rng(2).uniform(-1, 1, 1 << 16)
CLOCK = Fraction(1, 1000)
BURST = 20
"""Frames of the speaker at 25 frames a second."""
if FULL:
    UNIT = 3000
    PTS = [40 * number for number in range(SECONDS * 25)]
    SPEAKER = {*range(BURST), *range(UNIT - BURST, UNIT)}
    UNITS_OF_SPEAKER = (0, 30, 59)
else:
    SLIDES = [*range(40 * BURST, 500 * SECONDS, 20000)]
    HALF = [40 * number for number in range(BURST)] + SLIDES
    PTS = (
        HALF
        + [500 * SECONDS + ticks for ticks in HALF]
        + [1000 * SECONDS - 40 * number for number in range(BURST, 0, -1)]
    )
    UNIT = len(PTS)
    SPEAKER = {first + number for first in (0, UNIT // 2 - BURST // 2, UNIT - BURST) for number in range(BURST)}
MOST_MEGABYTES = 1500
"""Of the largest process of a job: networks and their libraries are most of it, and nothing that grows."""


def click(second):
    """Return the noise that is heard at the beginning of a second: no other second has the same."""
    at = 7 * second
    return 0.7 * NOISE[at : at + CLICK_SAMPLES]


def make_dub(path):
    """Write silence, which is quickly encoded, with a click at each whole second."""
    sound = np.zeros(RATE)
    with soundfile.SoundFile(path, "w", RATE, CHANNELS, "PCM_16") as file:
        for second in range(SECONDS):
            sound[:CLICK_SAMPLES] = click(second)
            file.write(sound[:, None].repeat(CHANNELS, 1))
    return path


def make_talk(path):
    """Write the stamped video, with a face in the frames of SPEAKER."""
    if not FULL:
        return make_unit(path, SPEAKER)
    units = [make_unit(path.with_name(f"unit{number}.mp4"), faces) for number, faces in enumerate(((), SPEAKER))]
    return join([units[number in UNITS_OF_SPEAKER] for number in range(len(PTS) // UNIT)], path)


def make_unit(path, faces):
    """Write UNIT stamped frames, some of them with a face."""
    portrait = cv2.imread(str(PORTRAIT_FILE))[40:212, 128:328]
    face = cv2.resize(cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY), (112, 96), interpolation=cv2.INTER_AREA)
    original = synthetic.stamped_frame

    def drawn(number, *arguments):
        frame = original(number, *arguments)
        if number in faces:
            rows = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)
            rows[synthetic.STAMP_PX :, 40:152] = face
        return frame

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "stamped_frame", drawn)
        return make_video(path, UNIT, size=SIZE, pts=PTS[:UNIT], time_base=CLOCK, gop=25)


def join(units, path):
    """Write the packets of units, one after another, and return the path."""
    options = {"avoid_negative_ts": "disabled", "video_track_timescale": str(CLOCK.denominator)}
    with av.open(str(path), "w", container_options=options) as writer:
        target = None
        for number, unit in enumerate(units):
            with av.open(str(unit)) as reader:
                stream = reader.streams.video[0]
                target = target or writer.add_stream_from_template(stream, opaque=True)
                for packet in reader.demux(stream):
                    if packet.size:
                        packet.pts += PTS[number * UNIT]
                        packet.dts += PTS[number * UNIT]
                        packet.stream = target
                        writer.mux_one(packet)
    return path


def run_main(*arguments):
    """Run main.py and return (what it says, megabytes of its processes together)."""
    done = run_measured([sys.executable, str(ROOT / "main.py"), *map(str, arguments)])
    sys.stdout.write(
        f"main.py {arguments[0]}: {done.seconds:.1f} s ({done.cpu_seconds:.1f} s of work), {done.peak_mb:.0f} MB\n"
    )
    return done.output, done.peak_mb


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hours")
    return write_job(
        folder,
        input={"video": make_talk(folder / "talk.mp4"), "audio": make_dub(folder / "dub.wav")},
        output=folder / "out.mp4",
        segmenter={"detector": "cascade", "min_face_px": 48, "samples_per_second": 1 if FULL else 5},
        stitcher={"audio": {"bit_rate": 128_000 if FULL else 24_000}},
        execution={"workers": 1, "backend": "serial", "keep": "all", "workspace": folder / "work"},
    )


@pytest.fixture(scope="module")
def finished(job):
    """Return the finished mp4, with an AAC track that was encoded from the dub."""
    _, megabytes = run_main("--config", job)
    assert megabytes < MOST_MEGABYTES
    return job.parent / "out.mp4"


@pytest.fixture(scope="module", params=["aac.mp4", "pcm.mkv", *(["flac.mkv"] if FULL else [])])
def output(request, job, finished):
    """Return the same job's output in other containers and codecs, too; clips are reused."""
    if request.param == "aac.mp4":
        return finished
    path = job.parent / request.param
    codec = "flac" if request.param == "flac.mkv" else "auto"
    run_main("--config", job, "--set", f"output={path}", "--set", f"stitcher.audio.codec={codec}")
    return path


def heard(path):
    """Yield (first sample, samples) of the decoded sound; sample 0 is that of the first displayed frame.

    Samples are counted. The times that the file tells are only held against the count, up to Matroska's milliseconds.
    """
    with av.open(str(path)) as container:
        at = None
        for frame in container.decode(container.streams.audio[0]):
            told = frame.pts * frame.time_base * RATE
            at = round(told) if at is None else at
            assert abs(told - at) <= max(frame.time_base * RATE, 1), f"sample {at} is said to be {float(told)}"
            values = frame.to_ndarray()
            scale = 1 if values.dtype == np.float32 else np.iinfo(values.dtype).max + 1.0
            yield at, (values[0] if frame.format.is_planar else values.reshape(-1, CHANNELS)[:, 0]) / scale
            at += frame.samples


class Clicks:
    """Measures by how many samples the click of each second is late, as the sound goes by."""

    def __init__(self):
        self.late = []
        self._held, self._start = np.zeros(SEARCHED), -SEARCHED  # silence stands in before the sound

    def push(self, at, samples):
        self._held = np.concatenate([self._held, samples])
        assert self._start + len(self._held) == at + len(samples)
        while len(self.late) < SECONDS:
            first = len(self.late) * RATE - self._start
            around = self._held[first - SEARCHED : first + CLICK_SAMPLES + SEARCHED]
            if len(around) < CLICK_SAMPLES + 2 * SEARCHED:
                break
            self.late.append(int(np.correlate(around, click(len(self.late))).argmax()) - SEARCHED)
        spare = len(self._held) - RATE
        if spare > 0:
            self._held, self._start = self._held[spare:], self._start + spare


def test_every_click_is_at_its_sample(output, job):
    """What is lossless is the dub bit for bit, too."""
    clicks = Clicks()
    with soundfile.SoundFile(job.parent / "dub.wav") as dub:
        for at, samples in heard(output):
            clicks.push(at, samples)
            if output.suffix == ".mkv":
                wanted = dub.read(len(samples), always_2d=True)[:, 0]
                assert np.array_equal(samples[: len(wanted)], wanted), at
                assert not samples[len(wanted) :].any(), at
        assert output.suffix == ".mp4" or not len(dub.read(1))
    late = clicks.late
    places = f"{late[0]} samples at 0 s, {late[SECONDS // 2]} in the middle, {late[-1]} at the end"
    sys.stdout.write(f"{output.name}: late by {places}\n")
    assert len(late) == SECONDS
    assert set(late) == {0}
    # The muxer is not told how long the last frame is shown, so the sound may last a little longer than the dub.
    assert 0 <= at + len(samples) - SECONDS * RATE < 20 * RATE


def test_every_frame_is_there_at_its_time_and_tells_its_number(output):
    frame_times, numbers = [], []
    with av.open(str(output)) as container:
        for frame in container.decode(container.streams.video[0]):
            frame_times.append(frame.pts * frame.time_base)
            numbers.append(read_stamp(frame))
    assert numbers == [number % UNIT for number in range(len(PTS))]
    assert frame_times == [ticks * CLOCK for ticks in PTS]


def test_the_speaker_was_rendered_at_the_start_and_at_the_end(finished):
    report = load_report(finished)
    rendered = [frame for start, stop in report["check"]["spans"] for frame in range(start, stop)]
    assert {number % UNIT for number in rendered} == set(SPEAKER)
    assert (rendered[0], rendered[-1]) == (0, len(PTS) - 1)


def test_the_full_check_finds_the_same_in_little_memory(job, finished):
    said, megabytes = run_main("verify", "--config", job)
    assert said.count("kept") == 6
    assert "+0.00 ms off at most, drift +0.00 ms" in said
    assert megabytes < 400  # two decoders, and some bytes a frame
