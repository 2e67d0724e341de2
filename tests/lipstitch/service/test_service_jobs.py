"""Generations from the request to the result, by a server and its worker as an operator starts them."""

import hashlib
import hmac
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.support.service import other_server, serving, until
from tests.support.synthetic import independent_times

NUM_FRAMES = 72
SECRET_BYTES = 32


@pytest.fixture(scope="module")
def listener(talk):
    """Return a server of the client: it gives files, and hears of ends after it failed once."""
    heard = []

    def answer(path):
        if path.startswith("/hook"):
            heard.append(path)
            return (500 if len(heard) == 1 else 200), {}, b""
        name = path.removeprefix("/files/")
        if name == "away.mp4":
            return 302, {"Location": "http://169.254.169.254/latest/meta-data"}, b""
        if name == "big.mp4":
            return 200, {"Content-Length": 2 << 30}, b"x"
        if name == "endless.mp4":
            return 200, {"Content-Length": None}, bytes(4 << 20)
        file = talk / name
        return (200, {}, file.read_bytes()) if file.is_file() else (404, {}, b"")

    with other_server(answer) as server:
        yield server


@pytest.fixture(scope="module")
def service(talk, listener, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs") / "service"
    options = ("--inputs", talk, "--jobs", 2, "--trust", listener.place, "--max-megabytes", 3)
    with serving(folder, *options) as running:
        until(lambda: running.client.get("/health").json()["workers"] == 1)
        yield running


@pytest.fixture(scope="module")
def two(service, talk, listener):
    """Return what is told of two generations that were rendered at a time, and the events of the first."""
    first = service.ask(talk / "talk.mp4", talk / "dub.flac", webhookUrl=f"http://{listener.place}/hook/first")
    segments = [{"startTime": 0.3, "endTime": 0.7, "audioInput": {"refId": "line", "startTime": 3}}]
    with (talk / "talk.mp4").open("rb") as video, (talk / "dub.flac").open("rb") as audio:
        texts = {
            "model": "lipsync-2",
            "input": json.dumps([{"type": "audio", "refId": "line"}]),
            "segments": json.dumps(segments),
            "options": json.dumps({"temperature": 0.75}),
            "outputFileName": "second",
        }
        files = {"video": ("a talk.mp4", video), "audio": ("dub.flac", audio)}
        answer = service.client.post("/v2/generate", data=texts, files=files)
    assert answer.status_code == 201, answer.text
    second = answer.json()
    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(read_events, service, first["id"])
        until(lambda: {service.get(each["id"])["status"] for each in (first, second)} == {"PROCESSING"})
        return service.wait(first["id"]), service.wait(second["id"]), following.result()


def read_events(service, generation, last=None):
    """Return (event, id, data) of the events of a generation, to their end."""
    events, fields = [], {}
    headers = {"last-event-id": str(last)} if last is not None else {}
    with service.client.stream("GET", f"/v2/generate/{generation}/events", headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                events.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
                fields = {}
    return events


def test_two_generations_at_a_time_share_the_machine(service, two):
    for told in two[:2]:
        assert told["status"] == "COMPLETED", told
        assert told["error"] is None
        assert told["outputDuration"] == pytest.approx(NUM_FRAMES / 25, abs=0.05)
        report = service.client.get(f"/v2/generate/{told['id']}/report").json()
        assert {"rendered", "copied"} <= {clip["outcome"] for clip in report["clips"]}
        assert len(independent_times(service.place(told["id"]) / "result.mp4")) == NUM_FRAMES


def test_segments_have_sounds_of_their_own(service, two):
    told = two[1]
    assert told["segments"][0]["audioInput"]["refId"] == "line"
    report = service.client.get(f"/v2/generate/{told['id']}/report").json()
    rendered = [part for clip in report["clips"] for part in clip["rendered"]]
    assert rendered
    assert all(7 <= start < stop <= 18 for start, stop in rendered)
    job = yaml.safe_load((service.place(told["id"]) / "job.yaml").read_text())
    assert job["ranges"][0]["audio_start"] == 3
    assert job["renderer"]["strength"] == 1.5


def test_the_workspace_goes_with_the_end_and_the_job_file_stays(service, two):
    for told in two[:2]:
        names = {path.name for path in service.place(told["id"]).iterdir()}
        assert {"job.yaml", "result.mp4", "result.mp4.report.json"} <= names
        assert "work" not in names


def test_events_tell_all_stages_and_the_end(service, two):
    first, _, events = two
    stages = [data["stage"] for event, _, data in events if event == "progress" and data["event"] == "begin"]
    assert stages[:2] == ["scan", "render"]
    statuses = [data["status"] for event, _, data in events if event == "status"]
    assert statuses[-2:] == ["PROCESSING", "COMPLETED"]
    assert events[-1][0] == "status"
    assert str(service.folder) not in json.dumps(events)
    middle = events[len(events) // 2][1]
    rest = read_events(service, first["id"], middle)
    assert [event for event in rest if event[0] == "progress"] == [
        event for event in events if event[0] == "progress" and event[1] > middle
    ]


def test_the_result_is_fetched_in_ranges(service, two):
    url = two[0]["outputUrl"]
    whole = service.client.get(url)
    assert whole.status_code == 200
    assert whole.headers["accept-ranges"] == "bytes"
    part = service.client.get(url, headers={"range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.content == whole.content[1000:2000]
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(whole.content)}"
    assert service.client.get(url, headers={"range": "bytes=-5"}).content == whole.content[-5:]
    assert service.client.get(url, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert service.client.get(url.partition("?")[0]).status_code == 403
    assert 'filename="second.mp4"' in service.client.get(two[1]["outputUrl"]).headers["content-disposition"]


def test_the_webhook_is_signed_and_tried_again(service, two, listener):
    until(lambda: len(hooks(listener)) == 2)
    secret = (service.folder / "secret").read_text()
    assert len(secret) == 2 * SECRET_BYTES
    assert (service.folder / "secret").stat().st_mode & 0o077 == 0
    for headers, body in hooks(listener):
        timestamp, signature = (part.partition("=")[2] for part in headers["Sync-Signature"].split(","))
        assert abs(time.time() - int(timestamp)) < 120
        signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
        assert signed.hexdigest() == signature
        assert json.loads(body) == two[0]
    time.sleep(2.5)
    assert len(hooks(listener)) == 2, "what was heard is not said again"


def hooks(listener):
    return [(headers, body) for _, path, headers, body in listener.received if path == "/hook/first"]


def test_lists_metrics_and_health_count_them(service, two):
    done = service.client.get("/v2/generations", params={"status": "COMPLETED"}).json()
    assert [told["id"] for told in done][-2:] == [two[1]["id"], two[0]["id"]]
    assert len(service.client.get("/v2/generations?limit=1").json()) == 1
    health = service.client.get("/health").json()
    assert (health["status"], health["workers"]) == ("ok", 1)
    metrics = service.client.get("/metrics").text
    assert f'lipstitch_generations{{status="COMPLETED"}} {float(len(done))}' in metrics
    assert "lipstitch_workers 1.0" in metrics


def test_the_openapi_page_describes_what_is_taken(service):
    text = service.client.get("/openapi.json").text
    page = json.loads(text)
    taken = page["paths"]["/v2/generate"]["post"]["requestBody"]["content"]
    assert {"model", "input", "options", "webhookUrl"} <= taken["application/json"]["schema"]["properties"].keys()
    assert {"video", "audio"} <= taken["multipart/form-data"]["schema"]["properties"].keys()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named <= page["components"]["schemas"].keys()
    assert "422" not in text


def test_inputs_are_fetched_and_refused_by_what_they_are(service, listener, talk):
    """Redirections to private networks, files that are too large, no videos: REJECTED with a sentence."""

    def ask(name):
        inputs = [{"type": "video", "url": f"http://{listener.place}/files/{name}"}, {"type": "audio", "url": dub}]
        return service.client.post("/v2/generate", json={"model": "m", "input": inputs}).json()["id"]

    dub = f"http://{listener.place}/files/dub.flac"
    asked = {name: ask(name) for name in ("away.mp4", "big.mp4", "endless.mp4", "missing.mp4", "dub.flac")}
    said = {}
    for name, generation in asked.items():
        told = service.wait(generation)
        assert told["status"] == "REJECTED", told
        said[name] = told["error"]
        assert not [path for path in service.place(generation).iterdir() if path.suffix in (".part", ".mp4")]
    assert "private network" in said["away.mp4"] or "does not call" in said["away.mp4"]
    assert "larger than 3145728 bytes" in said["big.mp4"]
    assert "larger than 3145728 bytes" in said["endless.mp4"]
    assert "answered 404" in said["missing.mp4"]
    assert "this file has no video" in said["dub.flac"]


def test_one_that_is_canceled_ends_within_seconds(service, talk):
    running = service.ask(talk / "talk.mp4", talk / "dub.flac")["id"]
    pids = until(lambda: service.pids("run-generation"))
    service.wait(running, "PROCESSING")
    begun = time.monotonic()
    answer = service.client.post(f"/v2/generate/{running}/cancel")
    assert answer.status_code == 200
    assert service.wait(running)["status"] == "CANCELED"
    assert time.monotonic() - begun < 8, "two seconds, on a machine that is not as busy"
    until(lambda: not {*pids} & {*service.pids("run-generation")})
    assert not [*service.place(running).glob("result.*")]
    assert service.client.post(f"/v2/generate/{running}/cancel").status_code == 409


def test_a_job_whose_process_is_killed_is_begun_again_and_given_up_after_three(service, talk):
    generation = service.ask(talk / "talk.mp4", talk / "dub.flac")["id"]
    killed = set()

    def kill_each():
        for pid in {*service.pids("run-generation")} - killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return service.get(generation)["status"] == "FAILED"

    until(kill_each)
    told = service.get(generation)
    assert len(killed) == 3
    assert "killed 3 times" in told["error"]
    assert told["outputUrl"] is None
