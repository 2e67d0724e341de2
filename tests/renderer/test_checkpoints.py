import hashlib
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from media.base.errors import CheckpointError, CheckpointNotFound, ChecksumMismatch
from renderer import checkpoints
from renderer.checkpoints import CHUNK_BYTES, SHIPPED_REGISTRY, find_checkpoint, hash_file, load_registry
from renderer.networks.base import load_module
from renderer.networks.compact import CompactNetwork

CONTENT = np.random.default_rng(1).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Shelf:
    """What the server gives, and what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    cut_after: list[int] = field(default_factory=list)
    """For each coming answer, the bytes of its body after which the connection is cut."""
    continues: bool = True
    """Whether Range is understood."""
    asked: list[str | None] = field(default_factory=list)
    """The Range header of each request."""


@pytest.fixture
def shelf(monkeypatch):
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/file")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            shelf.asked.append(self.headers["Range"])
            if self.path != "/file":
                self.send_error(404)
                return
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "") if shelf.continues else None
            body = shelf.content[int(wanted[1]) :] if wanted else shelf.content
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: shelf.cut_after.pop(0)] if shelf.cut_after else body)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    shelf.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield shelf
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


def write_registry(tmp_path: Path, *addresses: str, name: str = "net", file_name: str = "net.pth") -> Path:
    registry = tmp_path / "registry" / "registry.toml"
    registry.parent.mkdir(exist_ok=True)
    registry.write_text(
        f'["{name}"]\nwhat = "a network"\nfile_name = "{file_name}"\naddresses = {list(addresses)!r}\n'
        f'sha256 = "{SHA256}"\nbytes = {len(CONTENT)}\nlicence = "none"\n'
    )
    return registry


def test_shipped_registry():
    entries = load_registry()
    published = {"wav2lip_gan", "wav2lip", "retinaface_mobilenet", "sface", "gfpgan", "codeformer", "face_parsing"}
    published |= {"realesrgan_x2plus", "light_asd", "light_asd_talkset", "syncnet_v2"}
    shipped = {"compact", "face_mesh", "sound_shape", "lip_motion"}
    assert set(entries) == published | shipped
    assert entries["wav2lip_gan"].num_bytes == 435801865
    assert {name for name, entry in entries.items() if not entry.is_commercial} == {"codeformer"}
    assert all(re.fullmatch("[0-9a-f]{64}", entry.sha256) for entry in entries.values())
    assert all(address.startswith("https://") for entry in entries.values() for address in entry.addresses)


@pytest.mark.parametrize("name", ["compact", "face_mesh", "sound_shape", "lip_motion"])
def test_what_ships_is_what_the_registry_says(folder, name):
    path = find_checkpoint(name, folder=folder, download=False)
    assert path.parent == SHIPPED_REGISTRY.parent
    assert path.stat().st_size == load_registry()[name].num_bytes


def test_compact_ships(folder):
    path = find_checkpoint("compact", folder=folder, download=False)
    assert path == SHIPPED_REGISTRY.parent / "compact.safetensors"
    assert path.stat().st_size == load_registry()["compact"].num_bytes
    assert isinstance(load_module(path), CompactNetwork)


def test_download_lands_with_progress(tmp_path, folder, shelf):
    registry = write_registry(tmp_path, f"{shelf.address}/moved")
    seen = []
    path = find_checkpoint("net", folder=folder, registry=registry, on_progress=lambda *step: seen.append(step))
    assert path == folder / "net.pth"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in folder.iterdir()] == ["net.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert hash_file(path) == SHA256
    assert find_checkpoint("net", folder=folder, registry=registry) == path
    assert len(shelf.asked) == 1


def test_cut_connection_is_continued(tmp_path, folder, shelf):
    shelf.cut_after = [2 * CHUNK_BYTES + 5, CHUNK_BYTES]
    registry = write_registry(tmp_path, f"{shelf.address}/moved")
    assert find_checkpoint("net", folder=folder, registry=registry).read_bytes() == CONTENT
    assert shelf.asked == [None, f"bytes={2 * CHUNK_BYTES}-", f"bytes={3 * CHUNK_BYTES}-"]


def test_next_call_continues_a_part(tmp_path, folder, shelf):
    shelf.cut_after = [2 * CHUNK_BYTES, 0]
    registry = write_registry(tmp_path, f"{shelf.address}/file")
    with pytest.raises(CheckpointNotFound):
        find_checkpoint("net", folder=folder, registry=registry)
    assert [entry.name for entry in folder.iterdir()] == ["net.pth.part"]
    seen = []
    path = find_checkpoint("net", folder=folder, registry=registry, on_progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert shelf.asked[-1] == f"bytes={2 * CHUNK_BYTES}-"
    assert seen[0][0] > 2 * CHUNK_BYTES


def test_server_without_ranges_is_asked_anew(tmp_path, folder, shelf):
    shelf.cut_after, shelf.continues = [CHUNK_BYTES], False
    registry = write_registry(tmp_path, f"{shelf.address}/file")
    assert find_checkpoint("net", folder=folder, registry=registry).read_bytes() == CONTENT
    assert shelf.asked == [None, f"bytes={CHUNK_BYTES}-"]


@pytest.mark.parametrize("left_over", [CONTENT, CONTENT + b"more"])
def test_part_that_is_complete_or_too_long(tmp_path, folder, shelf, left_over):
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(left_over)
    registry = write_registry(tmp_path, f"{shelf.address}/file")
    assert find_checkpoint("net", folder=folder, registry=registry).read_bytes() == CONTENT
    assert shelf.asked == ([] if left_over == CONTENT else [None])


def test_another_file_leaves_nothing(tmp_path, folder, shelf):
    shelf.content = CONTENT[:-1] + b"?"
    registry = write_registry(tmp_path, f"{shelf.address}/file")
    with pytest.raises(ChecksumMismatch, match=r"SHA-256 differs.*put net\.pth into"):
        find_checkpoint("net", folder=folder, registry=registry)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("first", ["http://127.0.0.1:1/file", "{shelf}/missing"])
def test_next_address_is_tried(tmp_path, folder, shelf, first):
    registry = write_registry(tmp_path, first.format(shelf=shelf.address), f"{shelf.address}/file")
    assert find_checkpoint("net", folder=folder, registry=registry).read_bytes() == CONTENT


def test_every_problem_is_named(tmp_path, folder, shelf):
    registry = write_registry(tmp_path, "http://127.0.0.1:1/file", f"{shelf.address}/missing")
    with pytest.raises(CheckpointNotFound, match=r"\(127\.0\.0\.1:1: ConnectionError; 127\.0\.0\.1:\d+: HTTP 404\)"):
        find_checkpoint("net", folder=folder, registry=registry)


def test_no_network_and_no_file_says_what_to_do(tmp_path, folder):
    registry = write_registry(tmp_path, "http://127.0.0.1:1/file")
    for download in (True, False):
        with pytest.raises(CheckpointNotFound) as caught:
            find_checkpoint("net", folder=folder, registry=registry, download=download)
        assert f"put net.pth into {folder}, from http://127.0.0.1:1/file." in str(caught.value)
        assert not folder.exists() or not list(folder.iterdir())


def test_folder_that_cannot_be_written(tmp_path, shelf):
    (tmp_path / "file").touch()
    registry = write_registry(tmp_path, f"{shelf.address}/file")
    with pytest.raises(CheckpointError, match="cannot be written"):
        find_checkpoint("net", folder=tmp_path / "file" / "weights", registry=registry)


def test_file_with_another_hash_is_refused_and_kept(tmp_path, folder, shelf):
    folder.mkdir()
    (folder / "net.pth").write_bytes(b"mine")
    with pytest.raises(ChecksumMismatch, match=r"net\.pth is not the file"):
        find_checkpoint("net", folder=folder, registry=write_registry(tmp_path, f"{shelf.address}/file"))
    assert (folder / "net.pth").read_bytes() == b"mine"
    assert shelf.asked == []


def test_paths_are_taken_as_they_are(tmp_path, folder):
    (tmp_path / "own.pth").write_bytes(b"anything")
    assert find_checkpoint(str(tmp_path / "own.pth"), folder=folder) == tmp_path / "own.pth"
    for missing in (str(tmp_path / "missing.pth"), "wav2lip_hd", "../registry.toml"):
        with pytest.raises(CheckpointNotFound, match=r"neither a file nor one of the names .*wav2lip_gan"):
            find_checkpoint(missing, folder=folder)


@pytest.mark.parametrize(
    ("name", "file_name"), [("../net", "net.pth"), ("net", "../net.pth"), ("net", "/net.pth"), ("net", "..")]
)
def test_registry_names_cannot_leave_the_folder(tmp_path, folder, name, file_name):
    registry = write_registry(tmp_path, name=name, file_name=file_name)
    with pytest.raises(CheckpointError, match="must not hold a path"):
        find_checkpoint(name, folder=folder, registry=registry)


@pytest.mark.parametrize("text", ["not toml", '[net]\nwhat = "no more"\n', "net = 3\n"])
def test_unsound_registry(tmp_path, folder, text):
    (tmp_path / "registry.toml").write_text(text)
    with pytest.raises(CheckpointError, match="is not a registry"):
        find_checkpoint("net", folder=folder, registry=tmp_path / "registry.toml")


def test_finding_needs_no_torch():
    code = "import sys, renderer.checkpoints; sys.exit('torch' in sys.modules or 'requests' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


@pytest.mark.parametrize(("in_checkout", "writable"), [(True, True), (True, False), (False, True)])
def test_weights_go_to_the_users_cache_where_no_checkout_can_hold_them(monkeypatch, tmp_path, in_checkout, writable):
    monkeypatch.setattr(checkpoints, "is_checkout", lambda: in_checkout)
    monkeypatch.setattr(checkpoints.os, "access", lambda path, mode: writable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = SHIPPED_REGISTRY.parent if in_checkout and writable else tmp_path / "lipstitch"
    assert checkpoints.download_folder() == expected
