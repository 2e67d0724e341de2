"""A service in processes of its own, as an operator starts it, and servers of others that it calls."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import httpx
import yaml

from demo.make_material import DUB_FILE
from tests.support.commands import ROOT

TOKEN = "a token of enough characters"
QUICK = {
    "segmenter": {"detector": "cascade", "max_clip_seconds": 0.4},
    "renderer": {"method": "network", "checkpoint": "compact", "align": "box"},
    "stitcher": {"report": "json"},
    "execution": {"workers": 1, "backend": "serial"},
}
"""What generations of tests share: a small network draws clips of ten frames."""
FINISHED = ("COMPLETED", "FAILED", "REJECTED", "CANCELED")
PATIENCE_SECONDS = 90


class RunningService:
    """A server, with the worker that it starts, on a folder."""

    command = "serve"

    def __init__(self, folder, *options, token=None, port=0, shared_settings=QUICK):
        """options: of `lipstitch serve`. shared_settings: what all its jobs share."""
        self.folder, self._options, self._token = folder, [str(each) for each in options], token
        self._port = port
        base = folder.parent / f"{folder.name}.yaml"
        base.write_text(yaml.safe_dump(shared_settings))
        self._options += ["--config", str(base)]
        self.start()

    def start(self):
        """Start the server, again on the same port, and wait until it says that it serves."""
        command = [sys.executable, "-m", "lipstitch", self.command, "--folder", self.folder, "--port", self._port]
        environment = {**os.environ, **({"LIPSTITCH_TOKEN": self._token} if self._token else {})}
        self.process = subprocess.Popen(
            [str(part) for part in [*command, *self._options]],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        line = self.process.stdout.readline()
        assert line.startswith("Serving on http://"), line
        self.url = line.split()[-1].removesuffix("/studio")
        self._port = int(self.url.rpartition(":")[2])
        headers = {"x-api-key": self._token} if self._token else {}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def kill(self):
        """Kill the server alone, as the system does when memory runs out."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Stop the server as an operator does; its worker and jobs end with it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def ask(self, video, audio, *, segments=None, **more):
        """Ask for a generation of two files and return the answer; segments: of the video, in seconds."""
        inputs = [{"type": "video", "url": str(video)}, {"type": "audio", "url": str(audio)}]
        if segments:
            inputs[0]["segments_secs"] = segments
        content = {"model": "lipsync-2", "input": inputs, "options": {"sync_mode": "cut_off"}, **more}
        answer = self.client.post("/v2/generate", json=content)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def get(self, generation):
        """Return what is told of a generation."""
        return self.client.get(f"/v2/generate/{generation}").json()

    def wait(self, generation, *statuses):
        """Wait until a generation has one of these statuses, by default until it has ended; return what is told."""
        return until(lambda: (told := self.get(generation))["status"] in (statuses or FINISHED) and told)

    def place(self, generation):
        """Return a generation's folder."""
        return self.folder / "generations" / generation

    def pids(self, command):
        """Return the processes of this service's session that run a command."""
        listed = subprocess.run(
            ["ps", "-s", str(self.process.pid), "-o", "pid=,args="], capture_output=True, text=True, check=False
        ).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if f"lipstitch {command}" in line]


def until(check, seconds=PATIENCE_SECONDS):
    """Call `check` until what it returns is true, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@contextmanager
def serving(folder, *options, kind=RunningService, **more):
    """Run a service while the context lasts; kind: which."""
    service = kind(folder, *options, **more)
    try:
        yield service
    finally:
        service.stop()


class _Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        self.server.received.append((self.command, self.path, dict(self.headers), body))
        status, headers, content = self.server.answer(self.path)
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_):
        pass


@contextmanager
def other_server(answer):
    """Run an HTTP server; yield it, with its `place` (host:port) and what it has `received`.

    answer: returns (status, headers, content) for a path; a header that is None is left out.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.answer, server.received = answer, []
    server.place = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


__all__ = ["DUB_FILE", "RunningService", "other_server", "serving", "until"]
