"""Server and worker are killed (kill -9) at any moment: nothing is lost, and nothing is rendered twice.

Two moments here; LIPSTITCH_FULL=1 adds ten at random.
"""

import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest

from tests.support.service import other_server, serving, until

FULL = bool(os.environ.get("LIPSTITCH_FULL"))
NUM_RANDOM_KILLS = 10
SEED = 18
SEGMENTS = [[0.3, 0.8], [1.2, 1.7]]
"""Seconds of the video that are rendered: a face is seen there."""


def kill_worker(service):
    """Kill the worker alone; the server starts another."""
    for pid in service.pids("work --folder"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_server(service):
    """Kill the server, with which its worker ends, and start it again."""
    service.kill()
    until(lambda: not service.pids("work --folder") and not service.pids("run-generation"), 5)
    service.start()


def kill_all(service):
    """Kill the server, its worker and the job in one moment, as a power cut does, and start the server again."""
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait()
    service.start()


def begun(service, generation, stage):
    """Tell whether a generation's job has begun a stage."""
    path = service.place(generation) / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return any(f'"stage": "{stage}"' in line for line in lines)


def clips_of(service, generation):
    """Return {name: (inode, time)} of the finished clips in a generation's workspace."""
    found = {}
    for path in (service.place(generation) / "work").glob("clip-*"):
        with suppress(FileNotFoundError):
            if not path.name.endswith(".part") and path.suffix == ".json":
                status = path.stat()
                found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def check_reused(service, generation, clips):
    """Check that what was rendered before the last kill was used as it was."""
    report = json.loads((service.place(generation) / "result.mp4.report.json").read_text())
    reused = sum(clip["reused"] for clip in report["clips"])
    assert reused >= len(clips), (reused, clips)


def test_killed_while_scanning_and_rendering_it_ends_as_if_it_never_was(talk, tmp_path):
    heard = []

    def answer(path):
        if path == "/hook":
            heard.append(path)
            return 200, {}, b""
        return 200, {}, (talk / path[1:]).read_bytes()

    with (
        other_server(answer) as client,
        serving(tmp_path / "service", "--inputs", talk, "--trust", client.place) as service,
    ):
        address = f"http://{client.place}"
        files = (f"{address}/talk.mp4", talk / "dub.flac")
        first = service.ask(*files, segments=SEGMENTS, webhookUrl=f"{address}/hook")["id"]
        second = service.ask(talk / "talk.mp4", talk / "dub.flac", segments=[[0, 0.2]])["id"]
        until(lambda: begun(service, first, "scan"))
        kill_worker(service)
        until(lambda: clips_of(service, first))
        before = clips_of(service, first)
        kill_all(service)
        assert [service.get(each)["status"] for each in (first, second)] == ["PROCESSING", "PENDING"]
        assert service.wait(first)["status"] == "COMPLETED"
        check_reused(service, first, before)
        kill_server(service)
        assert service.wait(second)["status"] == "COMPLETED"
        until(lambda: heard)
        fetched = [path for command, path, *_ in client.received if command == "GET"]
        assert fetched == ["/talk.mp4"], "what was fetched is not fetched again"
        assert heard == ["/hook"]
        assert len(service.client.get("/v2/generations").json()) == 2
        assert "lipstitch_queue 0.0" in service.client.get("/metrics").text


@pytest.mark.skipif(not FULL, reason="ten kills at random moments; LIPSTITCH_FULL=1, or make acceptance")
def test_killed_at_ten_random_moments_every_generation_ends_once(talk, tmp_path):
    moments = random.Random(SEED)
    heard = []

    def answer(path):
        heard.append(path)
        return 200, {}, b""

    with (
        other_server(answer) as client,
        serving(tmp_path / "service", "--inputs", talk, "--trust", client.place, "--jobs", 2) as service,
    ):
        asked, kills = [], []
        while len(kills) < NUM_RANDOM_KILLS:
            if sum(service.get(each)["status"] in ("PENDING", "PROCESSING") for each in asked) < 2:
                hook = f"http://{client.place}/{len(asked)}"
                asked.append(
                    service.ask(talk / "talk.mp4", talk / "dub.flac", segments=SEGMENTS, webhookUrl=hook)["id"]
                )
                continue
            time.sleep(moments.uniform(0, 6))
            states = [service.get(each)["status"] for each in asked]
            before = {each: clips_of(service, each) for each in asked}
            kill = moments.choice((kill_worker, kill_server))
            kill(service)
            for generation, clips in before.items():
                now = clips_of(service, generation)
                assert all(now.get(name) == status for name, status in clips.items() if name in now)
            kills.append((kill.__name__, states))
        assert {name for name, _ in kills} == {"kill_worker", "kill_server"}
        for generation in asked:
            assert service.wait(generation)["status"] == "COMPLETED"
        results = {(service.place(each) / "result.mp4").read_bytes() for each in asked}
        assert len(results) == 1
        until(lambda: {*heard} == {f"/{number}" for number in range(len(asked))})
