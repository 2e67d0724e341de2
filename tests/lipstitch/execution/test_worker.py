"""What the workers of a process keep from clip to clip."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lipstitch.execution.seals import RECORDED, load_finished
from lipstitch.execution.worker import HashedFile, NetworkFile, WorkerCache, WorkerSetup
from lipstitch.job_file.renderer import RendererConfig
from lipstitch.source.weights import FaceFinder
from lipstitch.workspace import Workspace
from media.clips import Clip
from media.coding.encoder_options import choose_coding
from media.packets.scan import scan_packets
from media.probe import probe
from media.source_video import SourceVideo
from renderer.face_stages.base import DEFAULT_STAGES
from renderer.networks.base import WAV2LIP_SPEC
from tests.support.doubles import QUICK_TOOLS, DarkMouths, NoMel, StillFaces
from tests.support.quick_jobs import make_talk


class Counting:
    """Tools that note what is made."""

    def __init__(self):
        self.engines, self.trackers, self.opened, self.closed = [], 0, [], []
        self.tools = replace(
            QUICK_TOOLS, load_engine=self.load_engine, build_tracker=self.build_tracker, open_mel=self.open_mel
        )

    def load_engine(self, checkpoint, settings, device, num_threads):
        self.engines.append(checkpoint.name)
        return DarkMouths()

    def build_tracker(self, detector, orientation, settings):
        self.trackers += 1
        return StillFaces()

    def open_mel(self, path, spec):
        noting = self

        class Noted(NoMel):
            def close(self):
                noting.closed.append(path.name)

        self.opened.append(path.name)
        return Noted()


@pytest.fixture
def made():
    return Counting()


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return Path(make_talk(tmp_path_factory.mktemp("talk") / "talk.mp4"))


@pytest.fixture(scope="module")
def source(talk):
    info = probe(talk)
    return SourceVideo(info, scan_packets(info))


@pytest.fixture
def setup(source, made):
    return WorkerSetup(
        video=HashedFile("talk.mp4", "talk"),
        network=NetworkFile("one.pth", "one", WAV2LIP_SPEC),
        finder=FaceFinder("cascade", None, tools=made.tools),
        stages=DEFAULT_STAGES,
        driving=("anna.wav", "ben.wav"),
        renderer=RendererConfig(device="cpu"),
        coding=choose_coding(source.video, crf=18, preset="fast"),
        banks=(),
        num_threads=1,
        drawing_threads=None,
    )


@pytest.fixture
def cache(source):
    cache = WorkerCache()
    cache.share_source("talk", source)
    return cache


def test_clips_of_one_setup_load_once(cache, setup, made):
    for turn in range(3):
        cache.lips(setup, cache.engine(setup, turn))
    assert (made.engines, made.trackers, made.opened, made.closed) == (["one.pth"], 1, ["anna.wav", "ben.wav"], [])


def test_another_sound_is_all_that_is_opened_for_the_next_output(cache, setup, made):
    first = cache.lips(setup, cache.engine(setup, 0))
    following = replace(setup, driving=("next.wav",))
    lips = cache.lips(following, cache.engine(following, 0))
    assert made.closed == ["anna.wav", "ben.wav"]
    assert (made.engines, made.trackers, made.opened[2:]) == (["one.pth"], 1, ["next.wav"])
    assert lips.tracker is first.tracker
    assert len(lips.mels) == 1


@pytest.mark.parametrize("change", ["weights", "settings", "tools"])
def test_what_another_job_has_different_is_loaded_and_the_old_network_is_dropped(cache, setup, made, change):
    cache.engine(setup, 0)
    tools = replace(made.tools, load_engine=lambda *_: made.engines.append("tools") or DarkMouths())
    other = {
        "weights": replace(setup, network=NetworkFile("two.pth", "two", WAV2LIP_SPEC)),
        "settings": replace(setup, renderer=RendererConfig(device="cpu", precision="float32")),
        "tools": replace(setup, finder=replace(setup.finder, tools=tools)),
    }[change]
    cache.engine(other, 0)
    assert len(made.engines) == 2
    cache.engine(setup, 0)  # of the first job again
    assert len(made.engines) == 3
    assert made.trackers == 3


def test_threads_share_the_network_and_nothing_else(cache, setup, made):
    threads = [threading.Thread(target=lambda: cache.lips(setup, cache.engine(setup, 0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made.engines, made.trackers, len(made.opened)) == (["one.pth"], 3, 6)


def test_a_source_is_known_by_its_content(cache, source, talk, setup):
    """A worker that outlives a job must not take another file under the same name for this one."""
    assert cache.source(setup.video) is source
    other = cache.source(HashedFile(str(talk), "another"))
    assert other is not source
    assert other.table == source.table
    assert cache.source(HashedFile("not there", "another")) is other


def test_a_setup_for_other_machines_names_whole_paths(setup, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sent = replace(setup, finder=replace(setup.finder, detector_weights=Path("faces.pth")))
    sent = sent.for_other_machines("cuda:1", "float16")
    names = ["talk.mp4", "one.pth", "anna.wav", "ben.wav", "faces.pth"]
    assert list(sent.files) == [str(tmp_path / name) for name in names]
    assert (sent.renderer.device, sent.renderer.precision) == ("cuda:1", "float16")
    assert (sent.video.hash, sent.network.hash) == ("talk", "one")


def test_a_clip_that_an_earlier_version_sealed_is_finished(tmp_path):
    """It was re-encoded without a new mouth, which had another name; that of a rendered clip is the same."""
    for action, sealed, outcome in [("reencode", "coded" + "_again", "reencoded"), ("render", "rendered", "rendered")]:
        path = tmp_path / f"clip-{action}.nut"
        path.write_bytes(b"frames")
        record = dict.fromkeys(RECORDED, ()) | {"outcome": sealed, "reason": "", "num_rendered": 0, "least_psnr": 50.0}
        record["strip"] = ""
        Workspace(tmp_path).seal(path, record)
        clip = Clip(0, 0, 5, action, "why", range(5), (), ())
        finished = load_finished(clip, path)
        assert (finished.outcome, finished.reused, finished.reason) == (outcome, True, "why")
