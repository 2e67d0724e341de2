"""sync() as other programs use it: typed results, typed errors, from threads, called off and continued."""

import logging
import threading
from functools import partial

import pytest
import soundfile
import torch

import lipstitch
from demo.make_material import DUB_FILE
from lipstitch import api
from media.base.errors import ConfigError, MissingStream, UnreadableMedia
from media.probe import probe
from renderer.engine import own_threads
from tests.support.doubles import QUICK_TOOLS
from tests.support.quick_jobs import make_talk

SETTINGS = {
    "input.length_policy": "cut",
    "segmenter": {"detector": "cascade", "embedder": "none", "max_clip_seconds": 0.8},
    "renderer": {"method": "network", "device": "cpu"},
    "execution": {"keep": "all", "workers": 1},
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(api, "run_job", partial(api.run_job, tools=QUICK_TOOLS))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder with a video and its dub."""
    folder = tmp_path_factory.mktemp("stock")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 5 * rate], rate)
    return folder


@pytest.fixture
def talk(stock):
    return stock / "talk.mp4"


@pytest.fixture
def dub(stock):
    return stock / "dub.wav"


def test_a_call_returns_the_report_and_writes_the_output(talk, dub, tmp_path, caplog):
    caplog.set_level(logging.INFO, "lipstitch")
    seen = []
    result = lipstitch.sync(talk, dub, tmp_path / "out.mp4", settings=SETTINGS, progress=seen.append)
    assert probe(result.report.output.path).path == str(tmp_path / "out.mp4")
    assert isinstance(result.report, lipstitch.Report)
    assert result.report.num_rendered_frames > 0
    assert (result.num_fell_back, result.warnings) == (0, ())
    assert [each.stage for each in seen if each.done == 0][:2] == ["scan", "render"]
    rendering = [each for each in seen if each.stage == "render"]
    assert (rendering[-1].done, rendering[-1].unit) == (rendering[-1].total, "frames")
    assert any("out.mp4: clips" in record.message for record in caplog.records)


def test_ranges_and_relative_paths(talk, dub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = lipstitch.sync(str(talk), dub, "out.mkv", ranges=[(0, 1), ("0:02", "0:02.5")], settings=SETTINGS)
    assert (tmp_path / "out.mkv").is_file()
    assert all(b <= 25 or a >= 50 for clip in result.report.clips for a, b in clip.rendered)
    parts = lipstitch.sync(
        talk, dub, "part.mkv", ranges=[(0, 1), (2, 3)], settings={**SETTINGS, "mode": "extract"}
    ).reports
    assert len(parts) == 2


def test_torch_keeps_the_number_of_threads_of_the_caller(talk, dub, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 3)
        lipstitch.sync(talk, dub, tmp_path / "out.mp4", settings=SETTINGS)
        assert torch.get_num_threads() == before + 3
    finally:
        torch.set_num_threads(before)


def test_calls_that_overlap_leave_torch_its_threads_too():
    """The second begins while the first has changed the number, and ends after it."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    before, after = torch.get_num_threads(), {}

    def work(waits_for, says, waits_on, ended):
        waits_for.wait()
        with own_threads():
            torch.set_num_threads(1)
            says.set()
            waits_on.wait()
        ended.set()
        after[says] = torch.get_num_threads()

    begin, last_out = threading.Event(), threading.Event()
    begin.set()
    try:
        torch.set_num_threads(before + 3)
        calls = ((begin, first_in, second_in, first_out), (first_in, second_in, first_out, last_out))
        threads = [threading.Thread(target=work, args=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.get_num_threads() == before + 3
        assert {*after.values()} == {before + 3}
    finally:
        torch.set_num_threads(before)


def test_a_call_that_is_called_off_goes_on_where_it_was(talk, dub, tmp_path):
    def stop(progress):
        if progress.stage == "render" and progress.done:
            raise lipstitch.Cancelled("The user closed the window.")

    with pytest.raises(lipstitch.Cancelled, match="closed the window"):
        lipstitch.sync(talk, dub, tmp_path / "out.mp4", settings=SETTINGS, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4.lipstitch"]
    result = lipstitch.sync(talk, dub, tmp_path / "out.mp4", settings=SETTINGS)
    assert any(clip.reused for clip in result.report.clips)
    assert not [path for path in (tmp_path / "out.mp4.lipstitch").iterdir() if path.name.endswith(".part")]


def test_what_the_callback_raises_comes_out(talk, dub, tmp_path):
    with pytest.raises(ZeroDivisionError):
        lipstitch.sync(talk, dub, tmp_path / "out.mp4", settings=SETTINGS, progress=lambda progress: 1 // 0)


def test_two_calls_at_once_from_threads(talk, dub, tmp_path):
    alone = lipstitch.sync(talk, dub, tmp_path / "alone.mp4", settings=SETTINGS).report
    results = {}

    def work(name):
        results[name] = lipstitch.sync(talk, dub, tmp_path / f"{name}.mp4", settings=SETTINGS).report

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for report in results.values():
        assert report.check == alone.check
        assert report.num_rendered_frames == alone.num_rendered_frames


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"settings": {"renderer.metod": "network"}}, ConfigError, "renderer.metod.*unknown key"),
        ({"settings": {"input.video": "x.mp4"}}, ConfigError, "input.video is given twice"),
        ({"settings": {"input": {"audio": "x.wav"}}}, ConfigError, "input is given twice"),
        ({"ranges": [(2, 1)]}, ConfigError, "must lie after start"),
        ({"audio": "nothing.wav"}, UnreadableMedia, "nothing.wav"),
        ({"video": __file__}, UnreadableMedia, "test_api.py"),
    ],
)
def test_errors_are_typed_and_leave_nothing(talk, dub, tmp_path, changes, error, message):
    given = {"video": talk, "audio": dub, "output": tmp_path / "out.mp4", **changes}
    with pytest.raises(error, match=message) as caught:
        lipstitch.sync(given.pop("video"), given.pop("audio"), given.pop("output"), **given)
    assert isinstance(caught.value, lipstitch.LipstitchError)
    assert [*tmp_path.iterdir()] == []


def test_an_output_is_replaced_only_if_asked(talk, dub, tmp_path):
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    with pytest.raises(ConfigError, match="exists"):
        lipstitch.sync(talk, dub, output, settings=SETTINGS)
    assert output.read_text() == "precious"
    lipstitch.sync(talk, dub, output, settings=SETTINGS, replace=True)
    assert probe(output).video


def test_a_silent_video_without_a_dub(tmp_path):
    mute = make_talk(tmp_path / "mute.mp4", has_sound=False)
    with pytest.raises(MissingStream):
        lipstitch.sync(mute, None, tmp_path / "out.mp4")
