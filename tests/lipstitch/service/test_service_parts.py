"""What the service is made of, piece by piece."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from lipstitch.job_file.config import load_job
from lipstitch.service.addresses import AddressRefused, AddressUnreachable, check_address, fetch
from lipstitch.service.build_job import build_job
from lipstitch.service.inputs import InputRefused, check_media, resolve_file
from lipstitch.service.queue import Queue
from lipstitch.service.request import GenerationRequest
from lipstitch.service.settings import (
    Addresses,
    Limits,
    ServiceSettings,
    check_settings,
    load_saved_settings,
    save_settings,
)
from lipstitch.service.store import Delivery, Store, new_id
from lipstitch.service.upkeep import Upkeep
from lipstitch.service.webhook import sign
from lipstitch.service.worker import share_cores
from media.base.errors import ConfigError, WorkspaceError
from media.probe import Stated
from tests.support.commands import ROOT, run_command
from tests.support.service import other_server
from tests.support.synthetic import make_video

VIDEO, AUDIO = {"type": "video", "url": "/in/talk.mp4"}, {"type": "audio", "url": "/in/dub.wav", "refId": "a"}


def request(**more):
    return GenerationRequest.model_validate({"model": "m", "input": [AUDIO, VIDEO], **more})


def job_of(tmp_path, video_seconds=10, sound_seconds=10, base=None, **more):
    """Return the checked job of a request whose inputs are that long."""
    asked = request(**more)
    stated = {"video": Stated(Fraction(video_seconds), Fraction(25), has_audio=True)}
    stated["audio"] = Stated(Fraction(sound_seconds), None, has_audio=True)
    files = [Path(part.url) for part in asked.input]
    content = build_job(asked, files, [stated[part.type] for part in asked.input], tmp_path, base)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_job(path)


@pytest.mark.parametrize(
    ("mode", "sound_seconds", "policy", "end"),
    [
        (None, 12, "video", None),
        (None, 8, "video", None),
        ("cut_off", 12, "cut", None),
        ("cut_off", 8, "video", 8),
        ("silence", 12, "cut", None),
        ("silence", 8, "cut", None),
        ("loop", 12, "loop", None),
        ("loop", 8, "video", 8),
        ("bounce", 12, "bounce", None),
        ("bounce", 8, "video", 8),
    ],
)
def test_sync_modes_are_length_policies(tmp_path, mode, sound_seconds, policy, end):
    options = {"sync_mode": mode} if mode else {}
    job = job_of(tmp_path, sound_seconds=sound_seconds, options=options)
    assert job.input.length_policy == policy
    assert (job.ranges[0].end if job.ranges else None) == end
    assert job.mode == ("extract" if end else "patch")
    assert job.input.audio == Path("/in/dub.wav")
    assert job.input.audio_start == "video"
    assert job.output == tmp_path / "result.mp4"
    assert job.execution.workspace == tmp_path / "work"


def test_segments_are_ranges(tmp_path):
    job = job_of(tmp_path, input=[{**VIDEO, "segments_secs": [[5, 6], [1, 2.5]]}, AUDIO])
    assert [(part.start, part.end, part.audio) for part in job.ranges] == [(1, Fraction(5, 2), None), (5, 6, None)]
    segments = [{"startTime": 3, "endTime": 4, "audioInput": {"refId": "a", "startTime": 7.25, "endTime": 8.25}}]
    job = job_of(tmp_path, segments=segments)
    assert job.input.audio is None
    (part,) = job.ranges
    assert (part.start, part.end, part.audio_start) == (3, 4, Fraction(29, 4))
    assert part.audio == Path("/in/dub.wav")


def test_options_are_settings_and_the_operators_stay(tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text("renderer: {strength: 0.3, batch_size: 4}\nsegmenter: {min_face_px: 99}\nexecution: {workers: 3}\n")
    job = job_of(tmp_path, base=base)
    assert (job.renderer.strength, job.renderer.batch_size, job.execution.workers) == (0.3, 4, 3)
    options = {"temperature": 0.75, "occlusion_detection_enabled": True}
    job = job_of(tmp_path, base=base, options=options)
    assert (job.renderer.strength, job.renderer.mask, job.segmenter.min_face_px) == (1.5, "parsing", 99)
    assert job_of(tmp_path, options={"temperature": 0.5}).renderer.strength == 1
    speaker = {"frame_number": 50, "coordinates": [120, 80]}
    target = job_of(tmp_path, options={"active_speaker_detection": speaker}).segmenter.target
    assert 50 <= target.at * 25 < 51
    assert target.point == (120, 80)
    auto = {"active_speaker_detection": {"auto_detect": True}}
    assert job_of(tmp_path, options=auto).segmenter.target == "speaker"


def test_the_operators_job_file_is_checked_when_the_service_starts(tmp_path):
    base = tmp_path / "base.yaml"
    for text, said in (
        ("input: {video: a.mp4}", "holds segmenter, renderer, stitcher, execution"),
        ("renderer: {batch: 3}", "unknown key"),
        ("renderer: {checkpoint: weights/a.pth}", "must be absolute"),
    ):
        base.write_text(text)
        with pytest.raises(ConfigError, match=said):
            check_settings(ServiceSettings(folder=tmp_path / "service", base_job=base))
    base.write_text("renderer: {checkpoint: /weights/a.pth}\nsegmenter:\n")
    settings = check_settings(ServiceSettings(folder=tmp_path / "service", base_job=base, token="x" * 16))
    save_settings(settings)
    assert load_saved_settings(tmp_path / "service") == settings.model_copy(update={"token": None})
    with pytest.raises(ConfigError, match="Start `lipstitch serve`"):
        load_saved_settings(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": (Path("/missing"),)}, "no such folder"),
        ({"token": "short"}, "fewer than 16"),
        ({"redis": "127.0.0.1:6379"}, "redis://"),
        ({"public_url": "example.com"}, "https://host"),
        ({"addresses": Addresses(trusted=("example.com",))}, "host:port"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        check_settings(ServiceSettings(folder=tmp_path, **changes))


def test_pictures_of_any_size_are_not_taken(tmp_path):
    path = make_video(tmp_path / "a.mp4", 2, size=(96, 64))
    check_media(path, "video", Limits(max_pixels=96 * 64), "a.mp4")
    with pytest.raises(InputRefused, match=r"a\.mp4: pictures of 6144 pixels; this service takes 6143 at most"):
        check_media(path, "video", Limits(max_pixels=96 * 64 - 1), "a.mp4")


def test_ids_are_uuids_in_the_order_of_time():
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert first < second
    assert uuid.UUID(first).version == 7
    assert uuid.UUID(first).variant == uuid.RFC_4122


def test_a_claim_is_for_one_and_its_end_is_for_all(tmp_path):
    store = Store(tmp_path)
    asked = store.add(request(webhookUrl="https://example.com"), [None, None], "http://localhost/")
    with store.claim(asked.id) as is_mine, store.claim(asked.id) as is_mine_too:
        assert is_mine
        assert not is_mine_too
        assert store.cancel(asked.id).status == "PENDING", "its worker ends it"
        assert store.finish(asked.id, "COMPLETED").status == "CANCELED", "its end was asked for"
    assert store.finish(asked.id, "FAILED").status == "CANCELED"
    assert store.state(asked.id).delivery.is_due
    assert store.asked(asked.id) == asked
    assert store.asked("../" + asked.id) is None
    other = store.add(request(), [None, None], "http://localhost/")
    assert store.cancel(other.id).status == "CANCELED", "no one has it"
    assert not store.state(other.id).delivery.is_due


def test_old_results_and_uploads_are_removed_and_what_is_needed_stays(tmp_path):
    store = Store(tmp_path)

    def put_upload(name):
        path = store.uploads / name / "a.mp4"
        path.parent.mkdir()
        path.touch()
        for each in (path, path.parent):
            os.utime(each, (0, 0))
        return path

    unread, read = put_upload(new_id()), put_upload(new_id())
    killed = put_upload(f".{new_id()}")
    old, told, fresh, waiting = (store.add(request(), [read, None], "http://localhost/") for _ in range(4))
    for asked in (old, told, fresh):
        store.finish(asked.id, "FAILED")
    past = {"finished_at": store.state(old.id).finished_at.replace(year=2020)}
    store.change(old.id, lambda was: was.model_copy(update=past))
    store.change(told.id, lambda was: was.model_copy(update={**past, "delivery": Delivery(is_due=True)}))
    store.remove_old(3600)
    assert {*store.ids()} == {told.id, fresh.id, waiting.id}
    assert read.exists()
    assert not unread.parent.exists()
    assert not killed.parent.exists()


def test_links_are_followed_before_folders_are_compared(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (tmp_path / "secret").touch()
    (inputs / "file").touch()
    (inputs / "out").symlink_to(tmp_path / "secret")
    (inputs / "in").symlink_to(inputs / "file")
    settings = check_settings(ServiceSettings(folder=tmp_path / "service", inputs=(inputs,)))
    assert resolve_file(str(inputs / "in"), settings) == (inputs / "file").resolve()
    for name in ("out", "../secret", "../inputs", "", "missing"):
        with pytest.raises(InputRefused):
            resolve_file(f"{inputs}/{name}", settings)


def test_a_redirection_leads_nowhere_private(tmp_path):
    def answer(path):
        places = {"/private": "http://169.254.169.254/", "/file": "file:///etc/passwd", "/circle": "/circle"}
        return (302, {"Location": places[path]}, b"") if path in places else (200, {}, b"content")

    with other_server(answer) as server, other_server(answer) as untrusted:
        rules = Addresses(allowed=True, trusted=(server.place,))
        fetch(f"http://{server.place}/a", tmp_path / "a", rules, 100, lambda _: None)
        assert (tmp_path / "a").read_bytes() == b"content"
        for name, said in (("private", "private network"), ("file", "begin with http"), ("circle", "redirections")):
            with pytest.raises(AddressRefused, match=said):
                fetch(f"http://{server.place}/{name}", tmp_path / "b", rules, 100, lambda _: None)
        with pytest.raises(AddressRefused, match="private network"):
            fetch(f"http://{untrusted.place}/a", tmp_path / "b", rules, 100, lambda _: None)
        with pytest.raises(AddressRefused, match="larger than 3 bytes"):
            fetch(f"http://{server.place}/a", tmp_path / "b", rules, 3, lambda _: None)
        assert untrusted.received == []
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(AddressUnreachable):
        fetch(f"http://{server.place}/a", tmp_path / "b", rules, 100, lambda _: None)


def test_a_name_that_stands_for_something_else_a_moment_later_leads_nowhere(tmp_path, monkeypatch):
    """DNS rebinding: public when it is checked, this machine when it is connected to."""
    with other_server(lambda _path: (200, {}, b"secret")) as server:
        port = int(server.place.rpartition(":")[2])
        numbers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (next(numbers), port))])
        address = f"http://rebind.example:{port}/a"
        check_address(address, Addresses(allowed=True))
        with pytest.raises(AddressRefused, match="private network"):
            fetch(address, tmp_path / "a", Addresses(allowed=True), 100, lambda _: None)
        assert server.received == []


def test_a_signature_is_what_openssl_makes():
    """printf '1700000000.{"id": "a"}' | openssl dgst -sha256 -hmac secret."""
    digest = "7fc54bb60576bec06e8b7f9f6555b3ebf53367905f20ab14d475823394e9b050"
    assert sign("secret", 1_700_000_000, b'{"id": "a"}') == f"t=1700000000,v1={digest}"


@pytest.mark.parametrize("num_jobs", [1, 2, 3, 5])
def test_jobs_share_the_cores(num_jobs):
    shares = share_cores(num_jobs)
    assert len(shares) == num_jobs
    cores = os.sched_getaffinity(0)
    if num_jobs == 1:
        assert shares == [()]
    else:
        assert {core for share in shares for core in share} == {*cores}
        assert all(shares)


CONSUMER = """
import sys
from pathlib import Path
from lipstitch.service.queue import Queue
from lipstitch.service.settings import ServiceSettings
settings = ServiceSettings(folder=Path(sys.argv[1]), redis=sys.argv[2] or None)
Queue(settings, lambda number: print(number, flush=True)).consume(1)
"""


@contextmanager
def redis_for_tests():
    fakeredis = pytest.importorskip("fakeredis", reason="needs fakeredis, a Redis for tests")
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_queue_hands_each_generation_to_one_worker_in_order(tmp_path, kind):
    with redis_for_tests() if kind == "redis" else nullcontext() as redis:
        queue = Queue(ServiceSettings(folder=tmp_path, redis=redis))
        for number in ("one", "two"):
            queue.put(number)
        queue.put("begun", was_begun=True)
        assert queue.waiting() == {"one": False, "two": False, "begun": True}
        command = [sys.executable, "-c", CONSUMER, str(tmp_path), redis or ""]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
            try:
                assert [worker.stdout.readline().strip() for _ in range(3)] == ["begun", "one", "two"]
                assert queue.waiting() == {}
            finally:
                worker.kill()


def test_what_was_begun_and_lost_comes_before_what_was_not(tmp_path):
    """Also if it was put back once already, in the moment between the queue and the worker."""
    settings = ServiceSettings(folder=tmp_path)
    store, queue = Store(tmp_path), Queue(settings)
    lost, new, held = (store.add(request(), [None, None], "http://localhost/").id for _ in range(3))
    upkeep = Upkeep(settings, store, queue, "secret")
    with store.claim(held):
        upkeep.requeue_lost()
        assert queue.waiting() == {lost: False, new: False}
        store.change(lost, lambda was: was.model_copy(update={"started_at": datetime.now(UTC)}))
        for _ in range(2):
            upkeep.requeue_lost()
            assert queue.waiting() == {lost: True, new: False}


def test_what_lies_in_the_queue_is_no_code(tmp_path):
    queue = Queue(ServiceSettings(folder=tmp_path))
    queue.put("one")
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database:
        ((message,),) = database.execute("select data from task")
    assert json.loads(message)["args"] == ["one"]


def test_a_redis_that_is_away_is_one_sentence(tmp_path):
    queue = Queue(ServiceSettings(folder=tmp_path, redis="redis://127.0.0.1:9"))
    with pytest.raises(WorkspaceError, match=r"queue .* cannot be used"):
        queue.put("one")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "Set a token"),
        (("--inputs", "/missing"), "no such folder"),
        (("--trust", "localhost"), "write it as host:port"),
        (("--token-file", "/missing"), "cannot be read"),
    ],
)
def test_a_server_that_must_not_or_cannot_start_says_why(tmp_path, options, said):
    done = run_command("serve", "--folder", tmp_path / "service", *options, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_worker_needs_the_folder_of_a_service(tmp_path):
    done = run_command("work", "--folder", tmp_path, timeout=60)
    assert done.returncode == 2
    assert "Start `lipstitch serve`" in done.stderr


def test_a_port_that_is_taken_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_command("serve", "--folder", tmp_path, "--port", taken.getsockname()[1], timeout=60)
    assert done.returncode == 2
    assert "cannot listen there (Address already in use)" in done.stderr
