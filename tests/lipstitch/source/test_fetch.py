"""Inputs on the web, from a server of this machine."""

import socket
import sys

import pytest
import soundfile

from demo.make_material import DUB_FILE
from demo.talking import PORTRAIT_FILE
from lipstitch.batch import find_finished
from lipstitch.job_file.config import load_job
from lipstitch.opened import open_job
from lipstitch.progress import Silent
from lipstitch.report.verify import verify_job
from lipstitch.source.web_file import CHUNK_BYTES
from media.base.errors import ConfigError, MediaError, UnreadableMedia
from media.reader import FrameReader
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import NUM_FRAMES, make_talk, run_quick, written
from tests.support.synthetic import read_stamp
from tests.support.web import serve

VIDEO = "video/mp4"


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Return the bytes of a video and of a dub."""
    folder = tmp_path_factory.mktemp("web")
    dub, rate = soundfile.read(DUB_FILE, frames=4 * 16000)
    soundfile.write(folder / "dub.wav", dub, rate)
    make_talk(folder / "talk.mp4")
    return {name: (folder / name).read_bytes() for name in ("talk.mp4", "dub.wav")}


@pytest.fixture
def site(media):
    with serve() as offered:
        offered.add("/talk.mp4", media["talk.mp4"], VIDEO)
        offered.add("/dub.wav", media["dub.wav"], "audio/x-wav")
        yield offered


def job_in(folder, video, audio="dub.wav", **more):
    (folder / "weights.bin").write_bytes(b"weights")
    content = {
        "segmenter": {"detector": "cascade", "embedder": "none"},
        "renderer": {"checkpoint": "weights.bin", "device": "cpu", "method": "network"},
        "execution": {"backend": "serial", "workspace": "work", "keep": "all"},
    }
    return load_job(write_job(folder, input={"video": video, "audio": audio, **more}, output="out.mp4", **content))


def opened(folder, *arguments, **more):
    return open_job(job_in(folder, *arguments, **more), Silent(), force=False)


def fetched(folder):
    return sorted(path.name.partition(".")[2] for path in (folder / "work").glob("fetched-*"))


def test_a_job_whose_inputs_are_all_on_the_web(tmp_path, site, media):
    config = job_in(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav?token=1")
    assert find_finished(config) is None
    run_quick(config)
    assert find_finished(config) == 0, "a list of jobs skips it"
    first = site.asked[:]
    assert first == [("/talk.mp4", None), ("/dub.wav", None)]
    assert load_report(config.output)["source"]["num_frames"] == NUM_FRAMES
    before = written(config)
    run_quick(config, force=True)
    assert verify_job(config, Silent()) == 0
    assert site.asked == first
    assert {name: file for name, file in written(config).items() if name in before and "lock" not in name} == {
        name: file for name, file in before.items() if "lock" not in name
    }
    assert fetched(tmp_path) == ["json", "json", "mp4", "wav"]
    (video,) = (tmp_path / "work").glob("fetched-*.mp4")
    assert video.read_bytes() == media["talk.mp4"]


def test_addresses_that_lead_elsewhere(tmp_path, site):
    site.moved = {"/latest": "/talk.mp4"}
    assert len(opened(tmp_path, f"{site.address}/latest", f"{site.address}/dub.wav").video.table) == NUM_FRAMES
    assert fetched(tmp_path) == ["json", "json", "media", "wav"]


def test_a_picture_on_the_web(tmp_path, site):
    site.add("/who", PORTRAIT_FILE.read_bytes(), "image/jpeg")
    assert len(opened(tmp_path, f"{site.address}/who", f"{site.address}/dub.wav").video.table) == 100


def test_a_cut_connection_goes_on_where_it_ended(tmp_path, site, media):
    site.cuts = [CHUNK_BYTES + 5000]
    opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    assert [wanted for path, wanted in site.asked if path == "/talk.mp4"] == [None, f"bytes={CHUNK_BYTES}-"]
    (video,) = (tmp_path / "work").glob("fetched-*.mp4")
    assert video.read_bytes() == media["talk.mp4"]


def test_a_later_run_goes_on(tmp_path, site, media):
    site.cuts = [CHUNK_BYTES + 5000, 0]
    with pytest.raises(UnreadableMedia, match="cut off"):
        opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    assert fetched(tmp_path) == ["mp4.part", "mp4.version.part"]
    opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    assert site.asked[-2] == ("/talk.mp4", f"bytes={CHUNK_BYTES}-")
    (video,) = (tmp_path / "work").glob("fetched-*.mp4")
    assert video.read_bytes() == media["talk.mp4"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_file_that_has_changed_meanwhile_begins_anew(tmp_path, site, media, resumes):
    site.resumes = resumes
    site.cuts = [CHUNK_BYTES + 5000, 0]
    with pytest.raises(UnreadableMedia, match="cut off"):
        opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    other = media["talk.mp4"] + b"\0\0\0\x10free12345678"
    site.add("/talk.mp4", other, VIDEO)
    opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    (video,) = (tmp_path / "work").glob("fetched-*.mp4")
    assert video.read_bytes() == other


def test_a_damaged_file_is_fetched_again(tmp_path, site, media):
    opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    (video,) = (tmp_path / "work").glob("fetched-*.mp4")
    video.write_bytes(media["talk.mp4"][:-1])
    opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    assert video.read_bytes() == media["talk.mp4"]


def test_what_cannot_be_downloaded(tmp_path, site):
    site.add("/notes.bin", b"no video at all" * 100)
    site.moved = {"/round": "/round"}
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for address, message in [
        (f"{site.address}/absent.mp4", r"input\.video: \S+/absent\.mp4 cannot be downloaded: the server answers 404"),
        (f"{site.address}/notes.bin", r"input\.video: \S+/notes\.bin: cannot be read as a media file"),
        (f"{site.address}/round", "only leads from one address to the next"),
        (f"http://127.0.0.1:{port}/a.mp4", "cannot be reached. Check the address and the network"),
        ("http://no-such-host.invalid/a.mp4", "cannot be reached. Check the address and the network"),
    ]:
        with pytest.raises(MediaError, match=message) as caught:
            opened(tmp_path, address, f"{site.address}/dub.wav")
        assert caught.value.exit_code == 3
        assert str(caught.value).count("\n") == 0
    assert [name for name in fetched(tmp_path) if not name.endswith("part")] == []
    with pytest.raises(MediaError, match=r"input\.audio: \S+/absent\.wav cannot be downloaded"):
        opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/absent.wav")


def test_nothing_is_fetched_for_an_output_that_cannot_be_written(tmp_path, site):
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="exists"):
        opened(tmp_path, f"{site.address}/talk.mp4", f"{site.address}/dub.wav")
    assert site.asked == []


@pytest.mark.parametrize(
    "value", ["http://", "https:///talk.mp4", "http://[::1/a.mp4", "http://host:x/a", "http://a b"]
)
def test_addresses_that_are_none(tmp_path, value):
    with pytest.raises(ConfigError, match=r"input\.video.*or an address such as https://host/talk\.mp4"):
        job_in(tmp_path, value)


# Pages


def page(site):
    """Offer a page that shows the video; return its address."""
    text = f'<html><head><title>Talk</title></head><body><video src="{site.address}/talk.mp4"></video></body></html>'
    return site.add("/watch", text.encode(), "text/html; charset=utf-8")


def test_a_page_that_shows_a_video(tmp_path, site, media):
    pytest.importorskip("yt_dlp", reason="the extra `download` is not installed")
    job = opened(tmp_path, page(site), f"{site.address}/dub.wav")
    assert len(job.video.table) == NUM_FRAMES
    num_asked = len(site.asked)
    opened(tmp_path, page(site), f"{site.address}/dub.wav")
    assert len(site.asked) == num_asked
    assert not list((tmp_path / "work").glob("*.pieces"))


def test_the_sound_of_a_page(tmp_path, site):
    pytest.importorskip("yt_dlp", reason="the extra `download` is not installed")
    job = opened(tmp_path, f"{site.address}/talk.mp4", page(site))
    assert job.specs[0].soundtrack is not None


def test_a_page_without_a_video(tmp_path, site):
    pytest.importorskip("yt_dlp", reason="the extra `download` is not installed")
    site.add("/empty", b"<html><body>Nothing here.</body></html>", "text/html")
    with pytest.raises(UnreadableMedia, match=r"input\.video: yt-dlp gets no video from \S+/empty \(.*\)\."):
        opened(tmp_path, f"{site.address}/empty", f"{site.address}/dub.wav")


def test_a_part_of_a_video(tmp_path, site):
    """Frames 25 to 74, to the frame, though packets begin anew at every twelfth."""
    pytest.importorskip("yt_dlp", reason="the extra `download` is not installed")
    for address in (f"{site.address}/talk.mp4", page(site)):
        dub = f"{site.address}/dub.wav"
        job = opened(tmp_path, f"{address}#t=1,00:00:03", dub, length_policy="cut")
        with FrameReader(job.video) as reader:
            assert [read_stamp(frame) for _, frame in reader.read(range(50))] == [*range(25, 75)]
        assert len(job.video.table) == 50
    with pytest.raises(ConfigError, match=r"#t=3,1 ends before it starts"):
        opened(tmp_path, f"{page(site)}#t=3,1")
    with pytest.raises(ConfigError, match=r"write a part as #t=start,end"):
        opened(tmp_path, f"{page(site)}#t=a")
    with pytest.raises(ConfigError, match=r"a part \(#t=\) can only be taken of a video"):
        opened(tmp_path, page(site), f"{site.address}/dub.wav#t=1,2")


def test_without_the_library(tmp_path, site, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(ConfigError, match=r"/watch is a page, not a media file.*pip install 'lipstitch\[download\]'"):
        opened(tmp_path, page(site), f"{site.address}/dub.wav")
