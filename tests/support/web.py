"""A web server of this machine, in a thread: whole files, parts of them, pages, and what goes wrong."""

import hashlib
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What a server offers, and what it was asked for."""

    address: str = ""
    files: dict = field(default_factory=dict)
    """(type, bytes) by path."""
    moved: dict = field(default_factory=dict)
    """Where else a path leads."""
    cuts: list = field(default_factory=list)
    """After how many bytes each of the next answers is cut off."""
    asked: list = field(default_factory=list)
    """(path, range) of each request."""
    resumes: bool = True

    def add(self, path, content, kind="application/octet-stream"):
        self.files[path] = (kind, content)
        return f"{self.address}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site = self.server.site
        self._answer(site, sends=True)

    def do_HEAD(self):
        self._answer(self.server.site, sends=False)

    def _answer(self, site, *, sends):
        path = self.path.partition("?")[0]
        wanted = self.headers.get("Range")
        if sends:
            site.asked.append((path, wanted))
        if path in site.moved:
            self.send_response(302)
            self.send_header("Location", site.moved[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path not in site.files:
            self.send_error(404)
            return
        kind, content = site.files[path]
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start, is_part = 0, False
        if site.resumes and wanted and self.headers.get("If-Range", tag) == tag:
            start, is_part = int(re.match(r"bytes=(\d+)-", wanted)[1]), True
        if start > len(content):
            self.send_error(416)
            return
        self.send_response(206 if is_part else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) - start))
        if site.resumes:
            self.send_header("ETag", tag)
            self.send_header("Accept-Ranges", "bytes")
        if is_part:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not sends:
            return
        cut = site.cuts.pop(0) if site.cuts else None
        self.wfile.write(content[start : None if cut is None else start + cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serve():
    """Yield a Site that a server of this machine offers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
