"""What a request to the studio's page could name, and must not: files of this machine, and addresses."""

import json

import pytest
from starlette.testclient import TestClient

from lipstitch.service.settings import ServiceSettings, check_settings
from lipstitch.studio.app import build_studio
from tests.support.synthetic import Sound, make_video


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Return a client of a studio, which can do no work."""
    root = tmp_path_factory.mktemp("attacked")
    make_video(root / "private.mp4", 10, sounds=[Sound()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # is set by the studio, for this process
        settings = check_settings(ServiceSettings(folder=root / "service"))
        with TestClient(build_studio(settings), base_url="http://127.0.0.1") as client:
            client.root = root
            yield client


def call(client, number, value):
    """Send a value for each input of one of the page's events, and return the answer."""
    event = client.get("/studio/config").json()["dependencies"][number]
    content = {"fn_index": number, "data": [value] * len(event["inputs"]), "session_hash": "session"}
    return client.post("/studio/gradio_api/queue/join", json=content)


def file(path, **more):
    return {"path": str(path), "orig_name": "a.mp4", "meta": {"_type": "gradio.FileData"}, **more}


def kept(client):
    """Return the files that the page can show."""
    return [path for path in client.app.state.service.store.sent.rglob("*") if path.is_file()]


@pytest.mark.parametrize("event", [0, 4])  # files are asked for, or a text
@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "{root}/private.mp4", "{root}/service/secret", "{sent}/../secret", "{sent}/link.mp4"),
        *("README.md", "http://93.184.216.34/a.mp4", "http://127.0.0.1/a.mp4", "file:///etc/passwd", "a\0b", "/"),
    ],
)
def test_a_file_that_was_not_uploaded_is_not_read(client, event, name):
    sent = client.app.state.service.store.sent
    link = sent / "link.mp4"
    link.symlink_to(client.root / "private.mp4")
    try:
        path = name.format(root=client.root, sent=sent)
        for value in (file(path), [file(path)], {"a": {"b": file(path, url="x")}}):
            answer = call(client, event, value)
            assert answer.status_code == 400
            assert answer.json()["message"] == "A file that was not uploaded here. Upload it first."
        assert call(client, event, json.dumps(file(path))).status_code == 200, "a text is a text"
    finally:
        link.unlink()
    assert kept(client) == []


def test_a_file_that_was_uploaded_may_be_named(client):
    content = (client.root / "private.mp4").read_bytes()
    (path,) = client.post("/studio/gradio_api/upload", files={"files": ("a.mp4", content)}).json()
    try:
        assert call(client, 0, file(path)).status_code == 200
        assert [each.read_bytes() for each in kept(client) if each.name == "a.mp4"] == [content]
    finally:
        for each in kept(client):
            each.unlink()


def test_what_is_no_request_of_the_page_is_refused(client):
    post = client.post
    assert post("/studio/gradio_api/queue/join", content=b"{").status_code == 400
    assert post("/studio/gradio_api/queue/join", content=b"[" * 100_000).status_code == 400
    assert post("/studio/gradio_api/queue/join", content=b" " * (17 << 20)).status_code == 413
    assert post("/studio/gradio_api/queue/join", content=b"").status_code == 422
