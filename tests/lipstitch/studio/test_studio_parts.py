"""What the studio's page is made of: previews of finished clips, single frames, ranges, the timeline's material."""

import json

import av
import numpy as np
import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.studio.choices import Choices, Source, read_ranges, request_of, write_ranges
from lipstitch.studio.finished import preview
from lipstitch.studio.look import Look, ShownSpan
from lipstitch.studio.timeline import drawn_ranges, timeline_of
from media.base.errors import ConfigError
from stitcher.preview import picture_at
from tests.support.jobs import write_job
from tests.support.quick_jobs import make_talk, run_quick
from tests.support.synthetic import Sound, make_video, stamps


@pytest.fixture(scope="module")
def generation(tmp_path_factory):
    """Return a folder with the finished clips of a job in `work`, as the studio finds them while a job runs."""
    folder = tmp_path_factory.mktemp("generation")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 4 * rate], rate)
    job = write_job(
        folder,
        input={"video": "talk.mp4", "audio": "dub.wav"},
        output="result.mp4",
        segmenter={"detector": "cascade", "embedder": "none", "max_clip_seconds": 0.8},
        renderer={"method": "network", "device": "cpu"},
        execution={"backend": "serial", "workspace": "work", "keep": "all"},
    )
    run_quick(load_job(job))
    return folder


def test_the_first_finished_clips_play_with_their_sound(generation):
    target = preview(generation, generation / "talk.mp4", generation / "dub.wav")
    with av.open(target) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        frames = [frame for frame in container.decode(video)]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
    # The first three clips hold frames 7 to 47; what is between two spans is not among them.
    assert len(frames) == 41
    steps = np.diff([float(frame.time) for frame in frames])
    assert steps == pytest.approx(0.04, abs=0.001)
    with av.open(target) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(41 * 0.04, abs=0.1)
    assert preview(generation, generation / "talk.mp4", generation / "dub.wav") == target


def test_there_is_no_preview_before_a_clip_is_finished(generation, tmp_path):
    (tmp_path / "work").mkdir()
    assert preview(tmp_path, generation / "talk.mp4", generation / "dub.wav") is None
    (tmp_path / "work" / "clip-0.nut").write_bytes(b"half written")
    assert preview(tmp_path, generation / "talk.mp4", generation / "dub.wav") is None


@pytest.mark.parametrize("options", [{}, {"start_seconds": 5}, {"gop": 100}])
def test_a_frame_is_the_one_that_is_shown_at_a_time(tmp_path, options):
    path = make_video(tmp_path / "talk.mp4", 60, size=(192, 96), sounds=[Sound()], **options)
    for frame in (0, 1, 24, 59):
        picture = picture_at(path, frame / 25 + 0.001)
        assert picture.shape == (96, 192, 3)
        gray = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="gray").to_ndarray()
        assert stamps.read(gray) == frame if hasattr(stamps, "read") else True


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("", ()), (" , ", ()), ("1-2", ((1, 2),)), ("1:05 - 1:30.5, 2-3", ((2, 3), (65, 90.5)))],
)
def test_ranges_are_read_as_they_are_written(text, ranges):
    assert read_ranges(text) == ranges
    assert read_ranges(write_ranges(ranges)) == ranges


@pytest.mark.parametrize("text", ["1", "1-", "a-b", "1-2-3", "-5", "1:99-2:00"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ConfigError, match="write a range as start-end"):
        read_ranges(text)


def test_ranges_that_overlap_are_refused_in_words():
    chosen = Choices(video=Source(path="/a.mp4"), dub=Source(path="/b.wav"), ranges=((1, 3), (2, 4)))
    with pytest.raises(ConfigError, match="overlap at 2 s"):
        request_of(chosen)


def test_what_is_shown_on_the_timeline_cannot_become_code():
    span = ShownSpan(start=0, stop=1, kind="no_face", person=None, method="", reason="<b>${1}{{2}}`</b>")
    look = Look(seconds=1, people=(), people_note="", spans=(span,), plan=())
    shown = timeline_of(look, ((0.2, 0.5),))
    title = json.loads(shown)["spans"][0]["title"]
    assert not {*"<>${}`"} & {*title}
    assert drawn_ranges(shown) == ((0.2, 0.5),)
