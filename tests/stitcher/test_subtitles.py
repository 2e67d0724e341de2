"""Subtitles at the beginning of an extracted range."""

import shutil
import subprocess

import av
import pytest

from lipstitch.plan.output_timeline import concat_ranges
from tests.support.synthetic import make_video
from tests.support.zoo import produce

TEXT = """1
00:00:00,200 --> 00:00:00,600
Over

2
00:00:00,800 --> 00:00:01,800
Shown

3
00:00:02,200 --> 00:00:02,600
Inside
"""


@pytest.fixture(params=["talk.mkv", "talk.mp4"])
def talk(request, tmp_path):
    made = make_video(tmp_path / "made.mkv", 100, subtitles=TEXT)
    if request.param == "talk.mkv":
        return made
    if not shutil.which("ffmpeg"):
        pytest.skip("needs ffmpeg on PATH")
    path = tmp_path / request.param
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", made, "-map", "0", "-c:v", "copy", "-c:s", "mov_text", path]
    subprocess.run([str(part) for part in command], check=True)
    return path


def extracted(talk, *ranges):
    """Return (begin, end, text) of the subtitles of an extraction, in milliseconds since its first frame."""
    output = produce(talk, talk.with_name(f"out{talk.suffix}"), [], lay_out=lambda table: concat_ranges(table, ranges))
    found = []
    with av.open(str(output.path)) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            words = [word for word in ("Over", "Shown", "Inside") if word.encode() in bytes(packet)]
            found += [(packet.pts * packet.time_base, packet.duration * packet.time_base, word) for word in words]
    return [(round(1000 * start), round(1000 * (start + length)), word) for start, length, word in found]


def test_a_subtitle_that_began_before_the_range_is_shown_for_the_rest_of_its_time(talk):
    assert extracted(talk, (30, 80)) == [(0, 600, "Shown"), (1000, 1400, "Inside")]


def test_in_every_range_of_a_joined_extraction(talk):
    assert extracted(talk, (10, 20), (30, 50)) == [(0, 200, "Over"), (400, 1000, "Shown")]
