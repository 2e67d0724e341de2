"""What a client, a page of another site, or a server that is called could do to the service, and must not."""

import base64
import errno
import html
import json
import os
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from lipstitch.service import addresses
from lipstitch.service.addresses import AddressRefused, AddressUnreachable, check_address, fetch, post
from lipstitch.service.api import uploads
from lipstitch.service.api.app import build_app
from lipstitch.service.queue import Queue
from lipstitch.service.request import GenerationRequest
from lipstitch.service.settings import Addresses, Limits, ServiceSettings, check_settings
from lipstitch.service.store import Store
from lipstitch.service.upkeep import Upkeep
from lipstitch.service.worker import Worker
from tests.support.service import TOKEN
from tests.support.synthetic import Sound, make_video

INPUTS = [{"type": "video", "url": "https://example.com/a.mp4"}, {"type": "audio", "url": "https://example.com/a.wav"}]
REQUEST = GenerationRequest.model_validate({"model": "m", "input": INPUTS})
UPLOADS = [{"type": kind, "assetId": "01a2302e-8ef3-7a13-8f6e-e532b0bdfb9f"} for kind in ("video", "audio")]
REQUEST_FILES = GenerationRequest.model_validate({"model": "m", "input": UPLOADS})
LOCAL = "http://127.0.0.1:8765"
FRAME = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
PICTURE = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
OWN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
TYPED = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture(scope="module")
def small_talk(tmp_path_factory):
    """Return a video of a second, with sound."""
    path = tmp_path_factory.mktemp("small") / "talk.mp4"
    make_video(path, 25, sounds=[Sound()])
    return path


def client_of(tmp_path, **settings):
    """Return a client of a service in this process; no worker is there."""
    checked = check_settings(ServiceSettings(folder=tmp_path / "service", **settings))
    return TestClient(build_app(checked), base_url=LOCAL)


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("headers", [{"host": "[::1"}, {"host": "[x]"}, {"origin": "http://["}, {"origin": "//[:"}])
def test_an_address_that_is_none_is_refused(tmp_path, token, headers):
    answer = client_of(tmp_path, token=token).get("/v2/generations", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["message"] == "The header Host or Origin is not an address."


def test_a_token_may_hold_any_characters(tmp_path):
    token = "größer als sechzehn €"
    client, sent = client_of(tmp_path, token=token), token.encode()
    basic = b"Basic " + base64.b64encode(b"anyone:" + sent)
    for name, value in ((b"x-api-key", sent), (b"authorization", b"Bearer " + sent), (b"authorization", basic)):
        assert client.get("/v2/generations", headers=[(name, value)]).status_code == 200
    for wrong in (b"x" + sent, b"", b"Basic \xff", b"Basic x", b"Bearer", b"Basic " + base64.b64encode(sent)):
        for name in (b"x-api-key", b"authorization"):
            assert client.get("/v2/generations", headers=[(name, wrong)]).status_code == 401


@pytest.mark.parametrize(("headers", "status"), [(FRAME, 403), (PICTURE, 403), (LINK, 200), (OWN, 200), (TYPED, 200)])
def test_pages_of_other_sites_cannot_embed_it(tmp_path, headers, status):
    """In a frame its buttons could be clicked by someone who sees another page; a browser states no Origin then."""
    client = client_of(tmp_path)
    assert client.get("/v2/generations", headers=headers).status_code == status
    unknown = "01a2302e-8ef3-7a13-8f6e-e532b0bdfb9f"
    answer = client.get(f"/v2/generate/{unknown}/output/result.mp4", headers=headers)
    assert "it is signed" in answer.json()["message"], "anyone who was told the address of a result may embed it"


@pytest.mark.parametrize(
    "number", ["::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::127.0.0.1", "fec0::1", "100::1", "4000::1", "fe80::1"]
)
def test_only_the_numbers_of_public_servers_are_called(number):
    """Among the others are IPv4 in further disguises, and what a site's own translator leads to."""
    with pytest.raises(AddressRefused, match="private network"):
        check_address(f"http://[{number}]/a.mp4", Addresses(allowed=True))
    check_address("http://[2606:4700::1111]/a.mp4", Addresses(allowed=True))


def test_servers_are_trusted_however_they_are_written():
    rules = Addresses(trusted=("LocalHost:81", "[::1]:82"))
    for address in ("http://localhost:81/a", "http://LOCALHOST:81/a", "http://[::1]:82/a"):
        check_address(address, rules)
    for address in ("http://localhost:82/a", "http://[::1]:81/a", "http://localhost/a"):
        with pytest.raises(AddressRefused, match="does not call"):
            check_address(address, rules)


@contextmanager
def dripping(head, drop, pause):
    """Yield the place of a server that answers each call with `head`, and then with `drop` again and again."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection):
            try:
                connection.recv(1 << 16)
                connection.sendall(head)
                while not time.sleep(pause):
                    connection.sendall(drop)
            except OSError:
                connection.close()

        def accept():
            try:
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize("head", [OK_HEAD, b"HTTP/1.1 200 OK\r\n"])
def test_a_server_that_only_drips_is_given_up(tmp_path, monkeypatch, head):
    """Each byte would come in time; all of them would come in years, and hold a worker so long."""
    monkeypatch.setattr(addresses, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(addresses, "ANSWER_SECONDS", 0.5)
    with dripping(head, b"x", 0.05) as place:
        rules, begin = Addresses(trusted=(place,)), time.monotonic()
        with pytest.raises(AddressUnreachable, match="too slow"):
            fetch(f"http://{place}/a", tmp_path / "a", rules, 1 << 20, lambda _: None)
        if head != OK_HEAD:
            with pytest.raises(AddressUnreachable, match="too slow"):
                post(f"http://{place}/a", b"{}", {}, rules)
        assert time.monotonic() - begin < 3
    assert [*tmp_path.iterdir()] == []


def test_a_server_that_sends_steadily_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(addresses, "PATIENCE_SECONDS", 1.0)
    drop = b"x" * 2500  # 40 of them: 2 s
    with dripping(OK_HEAD, drop, 0.05) as place:
        fetch(f"http://{place}/a", tmp_path / "a", Addresses(trusted=(place,)), 1 << 20, lambda _: None)
    assert (tmp_path / "a").stat().st_size == 100_000


@pytest.mark.parametrize("head", [OK_HEAD, b""])
def test_a_fetch_ends_within_a_second_while_nothing_comes(tmp_path, head):
    class Canceled(Exception):
        pass

    begin = time.monotonic()

    def advance(_):
        if time.monotonic() - begin > 0.3:
            raise Canceled

    with dripping(head, b"", 60) as place, pytest.raises(Canceled):
        fetch(f"http://{place}/a", tmp_path / "a", Addresses(trusted=(place,)), 1 << 20, advance)
    assert time.monotonic() - begin < 2


def ended(store, files=(), status="FAILED", **what):
    """Return a generation that has ended, with files in its folder: it was rendered, and an input was fetched."""
    asked = store.add(REQUEST, [None, None], LOCAL)
    for name in ("input0.mp4", "work/clip-0.nut", "result.mp4", "result.mp4.report.json", *files):
        path = store.place(asked.id) / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    store.finish(asked.id, status, **what)
    return asked.id


def test_what_has_ended_keeps_its_result_alone(tmp_path):
    """What was fetched may be gigabytes; so may be what a process that was killed in between has left."""
    store = Store(tmp_path)
    done, failed = ended(store, status="COMPLETED"), ended(store)
    for _ in range(2):
        assert sorted(path.name for path in store.place(done).glob("[!.]*[!k]")) == [
            *("asked.json", "result.mp4", "result.mp4.report.json", "state.json")
        ]
        assert sorted(path.name for path in store.place(failed).glob("[!.]*[!k]")) == ["asked.json", "state.json"]
        for left in (store.place(done) / "work", store.place(failed) / "work"):
            left.mkdir()
            (left / "clip-0.nut").touch()
        store.remove_old(3600)


def test_clients_are_not_told_where_the_service_lies(tmp_path):
    store = Store(tmp_path)
    failed = ended(store, error=f"{store.folder}/x/input0: cannot be written (No space left on device).")
    assert store.state(failed).error == "generations/x/input0: cannot be written (No space left on device)."


def test_an_upload_that_lasts_hours_is_not_taken_for_a_killed_one(tmp_path):
    store = Store(tmp_path)
    for name, age in ((".slow", 60), (".killed", 7200)):
        (store.uploads / name).mkdir()
        (store.uploads / name / "0").touch()
        os.utime(store.uploads / name / "0", (time.time() - age,) * 2)
        os.utime(store.uploads / name, (0, 0))  # a folder's time is that of the last file that came into it
    store.remove_old(1e9)
    assert [path.name for path in store.uploads.iterdir()] == [".slow"]


def test_what_the_studio_was_sent_is_removed_too(tmp_path):
    store = Store(tmp_path)
    for folder in (store.sent, store.looks):
        for name in ("old/a.mp4", "new/a.mp4", "cut-off"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if name != "new/a.mp4":
                os.utime(path, (0, 0))
        os.utime(folder / "old", (0, 0))
    store.remove_old(3600)
    assert [path.name for path in (*store.sent.iterdir(), *store.looks.iterdir())] == ["new", "new"]


@pytest.mark.parametrize(
    ("does", "code", "said"),
    [
        ("kill -9 $$", "failed", "was killed 3 times"),
        ("echo Traceback >&2; exit 1", "failed", "errors.txt"),
        (None, "workspace", "cannot be written"),
    ],
)
def test_why_a_process_gave_no_result_is_told_apart(tmp_path, small_talk, monkeypatch, does, code, said):
    """No memory, a fault of the program, or a disk that cannot be written to: each needs something else."""
    settings, store = check_settings(ServiceSettings(folder=tmp_path)), Store(tmp_path)
    asked = store.add(REQUEST_FILES, [small_talk, small_talk], LOCAL)
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    if does is None:
        (store.place(asked.id) / "errors.txt").mkdir()
    Worker(settings, store, 1).work_on(asked.id)
    state = store.state(asked.id)
    assert (state.status, state.error_code) == ("FAILED", code)
    assert said in state.error
    assert str(tmp_path) not in state.error


def test_an_end_that_was_asked_for_in_a_bad_moment_comes(tmp_path):
    """While another process looked at it, or was killed: it waits in the queue, behind hours of work perhaps."""
    settings, store = ServiceSettings(folder=tmp_path), Store(tmp_path)
    asked = store.add(REQUEST, [None, None], LOCAL)
    with store.claim(asked.id):
        assert store.cancel(asked.id).status == "PENDING"
    Upkeep(settings, store, Queue(settings), "secret").requeue_lost()
    assert store.state(asked.id).status == "CANCELED"


def test_files_of_a_form_that_is_refused_are_not_kept(tmp_path, small_talk):
    """A client that is told to come later (429) sends its gigabytes each time."""
    limits = Limits(max_waiting=1)
    client = client_of(tmp_path, limits=limits)
    kept_in = tmp_path / "service" / "uploads"

    def send(**texts):
        with small_talk.open("rb") as video, small_talk.open("rb") as audio:
            return client.post("/v2/generate", data={"model": "m", **texts}, files={"video": video, "audio": audio})

    assert send(surprise="1").status_code == 400
    assert send(input='[{"type": "audio", "url": "/etc/passwd", "refId": "a"}]').status_code == 400
    assert [*kept_in.iterdir()] == []
    assert send().status_code == 201
    kept = sorted(kept_in.iterdir())
    assert len(kept) == 2
    assert send().status_code == 429
    assert sorted(kept_in.iterdir()) == kept


def test_a_disk_that_fills_up_meanwhile_is_said(tmp_path, monkeypatch):
    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    client = client_of(tmp_path)
    monkeypatch.setattr(uploads._Parts, "_take", write)
    answer = client.post("/v2/assets", files={"file": b"x"})
    assert (answer.status_code, answer.json()["message"]) == (507, uploads.FULL)
    assert [*(tmp_path / "service" / "uploads").iterdir()] == []


def test_uploads_leave_some_of_the_disk_to_the_service(tmp_path, monkeypatch):
    """Also those that do not say how long they are, and those that began before others filled the disk."""
    client = client_of(tmp_path)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    free = [uploads.RESERVE_BYTES, uploads.RESERVE_BYTES - 1, uploads.RESERVE_BYTES]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free.pop(0)))

    def chunks():
        yield head
        for _ in range(80):
            yield bytes(1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v2/assets", content=chunks(), headers=headers).status_code == 507
    assert len(free) == 1, "it looked again"
    assert client.post("/v2/assets", files={"file": b"x"}).status_code == 507
    assert [*(tmp_path / "service" / "uploads").iterdir()] == []


def test_a_report_does_not_say_where_the_service_lies(tmp_path, small_talk):
    client = client_of(tmp_path / 'a "häm" & <b>')
    with small_talk.open("rb") as video, small_talk.open("rb") as audio:
        made = client.post("/v2/generate", data={"model": "m"}, files={"video": video, "audio": audio}).json()
    store = client.app.state.service.store
    place = store.place(made["id"])
    result = place / "result.mp4"
    for path in (result, store.uploads):
        assert store.without_paths(json.dumps(str(path))) == json.dumps(str(path.relative_to(store.folder.parent)))
    result.touch()
    (place / "result.mp4.report.json").write_text(json.dumps({"output": {"path": str(result)}}), encoding="utf-8")
    (place / "result.mp4.report.html").write_text(f"<p>{html.escape(str(result))}</p>", encoding="utf-8")
    relative = f"generations/{made['id']}/result.mp4"
    assert client.get(f"/v2/generate/{made['id']}/report").json() == {"output": {"path": relative}}
    page = client.get(f"/v2/generate/{made['id']}/page")
    assert (page.text, page.headers["content-type"]) == (f"<p>{relative}</p>", "text/html; charset=utf-8")


def test_numbers_without_bounds_are_refused(tmp_path, small_talk):
    """They would be too large for what is made of them: hours later, or in the midst of an answer."""
    client = client_of(tmp_path, inputs=(small_talk.parent,))
    inputs = [{"type": kind, "url": str(small_talk)} for kind in ("video", "audio")]
    speaker = {"frame_number": 10**400, "coordinates": [1, 2]}
    content = {"model": "m", "input": inputs, "options": {"active_speaker_detection": speaker}}
    answer = client.post("/v2/generate", json=content)
    assert (answer.status_code, "frame_number" in answer.text) == (400, True)
    made = client.post("/v2/generate", json={"model": "m", "input": inputs}).json()
    place = client.app.state.service.store.place(made["id"])
    (place / "events.jsonl").write_text("{}\n")
    assert client.get(f"/v2/generate/{made['id']}/events", headers={"last-event-id": str(10**25)}).status_code == 400
    client.post(f"/v2/generate/{made['id']}/cancel")
    answer = client.get(f"/v2/generate/{made['id']}/events", headers={"last-event-id": str(1 << 62)})
    assert (answer.status_code, "CANCELED" in answer.text) == (200, True)
