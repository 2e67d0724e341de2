"""Requests that cannot be done: each is answered at once, with 4xx and one sentence; nothing of it is kept."""

import json
import os
import re
import shutil
import wave
from contextlib import suppress

import httpx
import pytest

from tests.support.service import DUB_FILE, TOKEN, serving
from tests.support.synthetic import Sound, make_video


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder of inputs with all kinds of files, beside one that holds a secret."""
    root = tmp_path_factory.mktemp("place")
    inputs = root / "inputs"
    inputs.mkdir()
    (root / "inputs2").mkdir()
    make_video(inputs / "talk.mp4", 25, sounds=[Sound()])
    shutil.copy(DUB_FILE, inputs / "dub.flac")
    for copy in (root / "secret.mp4", root / "inputs2" / "near.mp4"):
        shutil.copy(inputs / "talk.mp4", copy)
    (inputs / "link.mp4").symlink_to(root / "secret.mp4")
    (inputs / "folder.mp4").symlink_to(root)
    (inputs / "circle.mp4").symlink_to(inputs / "circle.mp4")
    (inputs / "inner.mp4").symlink_to(inputs / "talk.mp4")
    (inputs / "text.mp4").write_text("no video at all")
    (inputs / "empty.mp4").touch()
    (inputs / "concat.mp4").write_text("ffconcat version 1.0\nfile talk.mp4\n")
    (inputs / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{root}/secret.mp4\n#EXT-X-ENDLIST\n"
    )
    os.mkfifo(inputs / "pipe.mp4")
    make_video(inputs / "silent.mp4", 10, sounds=[])
    with wave.open(str(inputs / "long.wav"), "wb") as file:
        file.setparams((1, 2, 4000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 4000 * 101))
    return root


@pytest.fixture(scope="module")
def service(place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests") / "service"
    options = ("--inputs", place / "inputs", "--jobs", 0, "--max-seconds", 100, "--max-megabytes", 1)
    with serving(folder, *options) as running:
        yield running


@pytest.fixture(scope="module")
def calling(place, tmp_path_factory):
    """Return a service that calls addresses."""
    folder = tmp_path_factory.mktemp("calling") / "service"
    with serving(folder, "--jobs", 0, "--allow-addresses") as running:
        yield running


def request(place, **changes):
    inputs = place / "inputs"
    content = {
        "model": "lipsync-2",
        "input": [
            {"type": "video", "url": str(inputs / "talk.mp4")},
            {"type": "audio", "url": str(inputs / "dub.flac")},
        ],
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def refused(answer, *statuses):
    """Check that an answer refuses in one sentence, and return that."""
    assert answer.status_code in (statuses or (400,)), (answer.status_code, answer.text)
    content = answer.json()
    assert content["statusCode"] == answer.status_code
    sentence = content["message"]
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert 10 < len(sentence) < 500
    return sentence


VIDEO = {"type": "video", "url": "talk"}
AUDIO = {"type": "audio", "url": "dub", "refId": "a"}


def part(start=0, end=1, ref="a", **audio):
    return {"startTime": start, "endTime": end, "audioInput": {"refId": ref, **audio}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "model: this key is needed"),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"input": None}, "input: this key is needed"),
        ({"input": []}, "input"),
        ({"input": "talk.mp4"}, "input"),
        ({"input": [VIDEO]}, "give one audio"),
        ({"input": [AUDIO]}, "give one video"),
        ({"input": [VIDEO, VIDEO, AUDIO]}, "give one video"),
        ({"input": [VIDEO, AUDIO, AUDIO]}, "give one audio"),
        ({"input": [VIDEO, {"type": "text", "provider": {}}]}, "input.1"),
        ({"input": [{"type": "video"}, AUDIO]}, "url or assetId"),
        ({"input": [{**VIDEO, "assetId": "x"}, AUDIO]}, "url or assetId"),
        ({"input": [{**VIDEO, "url": "x" * 3000}, AUDIO]}, "input.0.url"),
        ({"input": [{**VIDEO, "segments_secs": [[3, 1]]}, AUDIO]}, "must lie after"),
        ({"input": [{**VIDEO, "segments_secs": [[0, 2], [1, 3]]}, AUDIO]}, "overlap at 1 s"),
        ({"input": [{**VIDEO, "segments_secs": [[0]]}, AUDIO]}, "segments_secs"),
        ({"input": [{**VIDEO, "segments_secs": [[-1, 2]]}, AUDIO]}, "segments_secs"),
        ({"input": [{**VIDEO, "segments_frames": [[0, 9]]}, AUDIO]}, "segments_frames: unknown here"),
        ({"options": {"sync_mode": "remap"}}, "remap would stretch"),
        ({"options": {"sync_mode": "stretch"}}, "options.sync_mode"),
        ({"options": {"temperature": 1.5}}, "options.temperature"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"output_resolution": [1280, 720]}}, "options.output_resolution: unknown here"),
        ({"options": {"active_speaker_detection": {"frame_number": 3}}}, "belong together"),
        ({"options": {"active_speaker_detection": {"auto_detect": "perhaps"}}}, "auto_detect"),
        ({"options": []}, "options"),
        ({"segments": []}, "segments"),
        ({"segments": [part(ref="b")], "input": [VIDEO, AUDIO]}, "no audio input has the refId"),
        ({"segments": [part(2, 1)], "input": [VIDEO, AUDIO]}, "must lie after"),
        ({"segments": [part(), part(0.5, 2)], "input": [VIDEO, AUDIO]}, "overlap"),
        ({"segments": [part()]}, "refId of its own"),
        ({"segments": [part(0, 3, startTime=0, endTime=1)], "input": [VIDEO, AUDIO]}, "2 s shorter"),
        ({"segments": [part()], "input": [{**VIDEO, "segments_secs": [[0, 1]]}, AUDIO]}, "one of the two"),
        ({"segments": [part()], "input": [VIDEO, AUDIO], "options": {"sync_mode": "loop"}}, "segments leave"),
        ({"outputFileName": "../../etc/passwd"}, "outputFileName"),
        ({"outputFileName": "a b"}, "outputFileName"),
        ({"webhookUrl": "https://example.com/hook"}, "does not call addresses"),
        ({"webhookUrl": ""}, "webhookUrl"),
        ({"surprise": 1}, "surprise: unknown here"),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(service, place, changes, said):
    answer = service.client.post("/v2/generate", json=request(place, **changes))
    assert said in refused(answer)


@pytest.mark.parametrize(
    ("video", "said"),
    [
        ("../secret.mp4", "not a file in a folder"),
        ("link.mp4", "not a file in a folder"),
        ("folder.mp4/secret.mp4", "not a file in a folder"),
        ("circle.mp4", "not a file in a folder"),
        ("../inputs2/near.mp4", "not a file in a folder"),
        ("missing.mp4", "not a file in a folder"),
        ("talk.mp4/x", "not a file in a folder"),
        ("pipe.mp4", "not a file in a folder"),
        ("", "not a file in a folder"),
        ("x" * 300, "not a file in a folder"),
        ("zero\0byte.mp4", "not a file in a folder"),
        ("text.mp4", "not a media file"),
        ("empty.mp4", "not a media file"),
        ("concat.mp4", "not a media file"),
        ("list.m3u8", "not a media file"),
        ("dub.flac", "this file has no video"),
    ],
)
def test_a_file_that_must_not_or_cannot_be_read_is_refused(service, place, video, said):
    inputs = [{"type": "video", "url": f"{place}/inputs/{video}"}, request(place)["input"][1]]
    assert said in refused(service.client.post("/v2/generate", json=request(place, input=inputs)))


@pytest.mark.parametrize(
    "url", ["talk.mp4", "file:///etc/passwd", "https://example.com/a.mp4", "~/a.mp4", "concat:a|b", "data:video/mp4,x"]
)
def test_addresses_are_refused_where_they_are_not_allowed(service, place, url):
    inputs = [{"type": "video", "url": url}, request(place)["input"][1]]
    refused(service.client.post("/v2/generate", json=request(place, input=inputs)))


def test_sound_and_length_are_checked(service, place):
    def ask(video, audio):
        files = {"video": video, "audio": audio}
        inputs = [{"type": kind, "url": f"{place}/inputs/{name}"} for kind, name in files.items()]
        return service.client.post("/v2/generate", json=request(place, input=inputs))

    assert "this file has no sound" in refused(ask("talk.mp4", "silent.mp4"))
    assert "101.0 s long; this service takes 100 s at most" in refused(ask("talk.mp4", "long.wav"))
    assert ask("inner.mp4", "dub.flac").status_code == 201, "a link within the folder is a file like others"


def test_bodies_that_are_no_requests_are_refused(service, place):
    post, json_type = service.client.post, {"content-type": "application/json"}
    for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": "a"', b"[" * 100_000):
        refused(post("/v2/generate", content=body, headers=json_type))
    refused(post("/v2/generate", content=b" " * (2 << 20), headers=json_type), 413)
    refused(post("/v2/generate", content=b"a=b", headers={"content-type": "application/x-www-form-urlencoded"}), 415)
    refused(post("/v2/generate", content=json.dumps(request(place)), headers={"content-type": "text/plain"}), 415)
    form = {"content-type": "multipart/form-data"}
    refused(post("/v2/generate", content=b"--x", headers=form))
    refused(post("/v2/generate", content=b"no boundary", headers={"content-type": "multipart/form-data; boundary=x"}))


def test_bad_uploads_are_refused_and_leave_nothing(service, place):
    post, talk_bytes = service.client.post, (place / "inputs" / "talk.mp4").read_bytes()
    before = {path.name for path in (service.folder / "uploads").iterdir()}
    refused(post("/v2/assets", files={"other": talk_bytes}))
    refused(post("/v2/assets", files={"file": b""}))
    refused(post("/v2/assets", json={}))
    refused(post("/v2/assets", files={"file": b"x" * (4 << 20)}), 413)
    refused(post("/v2/assets", files=[("file", b"x"), ("file", b"y")]))
    refused(post("/v2/assets", data={"a": "x" * (2 << 20)}, files={"file": talk_bytes}), 413)
    refused(post("/v2/generate", data={f"field{n}": "x" for n in range(30)}, files={"video": talk_bytes}))
    refused(post("/v2/generate", data={"model": "m"}, files={"picture": talk_bytes}))
    refused(post("/v2/generate", data={"model": "m", "input": "{"}, files={"video": talk_bytes}))
    refused(post("/v2/generate", data={"model": "m", "input": "3"}, files={"video": talk_bytes}))
    assert {path.name for path in (service.folder / "uploads").iterdir()} == before
    for asset in ("nothing", "../..", "01a2302e-8ef3-7a13-8f6e-e532b0bdfb9f", "."):
        inputs = [{"type": "video", "assetId": asset}, {"type": "audio", "assetId": asset}]
        assert "assetId" in refused(post("/v2/generate", json={"model": "m", "input": inputs}))


def test_an_upload_without_end_is_cut_off(service):
    """A client that states no length sends until it is told to stop, and its bytes do not stay."""

    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(1000):
            yield b"\0" * (1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    with suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):  # closed before all was sent
        refused(service.client.post("/v2/assets", content=endless(), headers=headers), 413)
    assert not [path for path in (service.folder / "uploads").iterdir() if path.name.startswith(".")]


def test_addresses_that_lead_nowhere_are_refused(service):
    unknown = "01a2302e-8ef3-7a13-8f6e-e532b0bdfb9f"
    for generation in (unknown, "nothing", "..%2f..%2fetc", "%00"):
        refused(service.client.get(f"/v2/generate/{generation}"), 404)
    for tail in ("events", "report"):
        refused(service.client.get(f"/v2/generate/{unknown}/{tail}"), 404)
    refused(service.client.post(f"/v2/generate/{unknown}/cancel"), 404)
    refused(service.client.get(f"/v2/generate/{unknown}/output/result.mp4"), 403)
    refused(service.client.get(f"/v2/generate/{unknown}/output/result.mp4?signature=é"), 403)
    refused(service.client.get("/v2/elsewhere"), 404)
    refused(service.client.put("/v2/generate"), 405)
    refused(service.client.get("/v2/generations?limit=0"))
    refused(service.client.get("/v2/generations?status=DONE"))


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/a.mp4",
        "http://localhost:8000/a.mp4",
        "http://LOCALHOST/a.mp4",
        "http://[::1]/a.mp4",
        "http://0.0.0.0/a.mp4",
        "http://127.1/a.mp4",
        "http://2130706433/a.mp4",
        "http://0x7f000001/a.mp4",
        "http://[::ffff:127.0.0.1]/a.mp4",
        "http://[::ffff:10.0.0.1]/a.mp4",
        "http://[64:ff9b::7f00:1]/a.mp4",
        "http://[2002:7f00:1::]/a.mp4",
        "http://10.0.0.1/a.mp4",
        "http://172.16.3.4/a.mp4",
        "http://192.168.1.1/a.mp4",
        "http://100.64.0.1/a.mp4",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/a.mp4",
        "http://[fd00::1]/a.mp4",
        "http://224.0.0.1/a.mp4",
        "http://255.255.255.255/a.mp4",
        "http://someone@93.184.216.34/a.mp4",
        "http:///a.mp4",
        "http://a b/a.mp4",
        "http://127.0.0.1:99999/a.mp4",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://93.184.216.34/a.mp4",
        "gopher://93.184.216.34/",
        "//93.184.216.34/a.mp4",
    ],
)
def test_addresses_of_private_networks_are_refused(calling, address):
    for inputs in (
        [{"type": "video", "url": address}, {"type": "audio", "url": "http://93.184.216.34/a.wav"}],
        [{"type": "video", "url": "http://93.184.216.34/a.mp4"}, {"type": "audio", "url": address}],
    ):
        refused(calling.client.post("/v2/generate", json={"model": "m", "input": inputs}))
    inputs = [{"type": kind, "url": "http://93.184.216.34/a"} for kind in ("video", "audio")]
    refused(calling.client.post("/v2/generate", json={"model": "m", "input": inputs, "webhookUrl": address}))
    assert calling.client.get("/v2/generations").json() == []


def test_pages_of_other_sites_may_not_call_it(service):
    """A browser shows them where they come from, or asks for a name that stands for this machine."""
    refused(service.client.get("/v2/generations", headers={"origin": "https://evil.example"}), 403)
    refused(service.client.get("/v2/generations", headers={"host": "evil.example:8000"}), 403)
    assert service.client.get("/v2/generations", headers={"origin": service.url}).status_code == 200


@pytest.fixture(scope="module")
def guarded(place, tmp_path_factory):
    """Return a service that anyone may reach, with a token; its address; and a client without the token."""
    options = ("--inputs", place / "inputs", "--jobs", 0, "--host", "0.0.0.0", "--max-waiting", 4)
    with serving(tmp_path_factory.mktemp("guarded") / "service", *options, token=TOKEN) as service:
        local = service.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=local, trust_env=False) as stranger:
            yield service, local, stranger


def test_with_a_token_all_but_health_and_docs_need_it(guarded):
    service, _, stranger = guarded
    for path in ("/v2/generations", "/metrics", "/v2/generate/x/output/y", "/studio/output/x", "/docs/../metrics"):
        refused(stranger.get(path), 401)
    for header in ({"x-api-key": "wrong"}, {"authorization": "Basic ?"}, {"authorization": "Bearer é".encode()}):
        refused(stranger.get("/v2/generations", headers=header), 401)
    page = stranger.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert "//" not in "".join(loaded), "nothing is loaded from elsewhere"
    for path in ("/health", "/openapi.json", *loaded):
        assert stranger.get(path).status_code == 200
    assert stranger.get("/v2/generations", auth=("anyone", TOKEN)).json() == []
    for header in ({"x-api-key": TOKEN}, {"authorization": f"Bearer {TOKEN}"}):
        assert stranger.get("/v2/generations", headers=header).json() == []
    assert TOKEN not in "".join(path.read_text(errors="replace") for path in service.folder.glob("*.json"))


def test_sync_sos_own_client_is_served_until_too_many_wait(guarded, place):
    """The public SDK asks, uploads, waits and lists as its documentation shows."""
    sdk = pytest.importorskip("sync", reason="needs syncsdk, sync.so's public client")
    from sync.common import Audio, GenerationOptions, Video
    from sync.core.api_error import ApiError

    _, url, stranger = guarded
    client = sdk.Sync(api_key=TOKEN, base_url=url)
    talk, dub = (place / "inputs" / name for name in ("talk.mp4", "dub.flac"))
    inputs = [Video(url=str(talk)), Audio(url=str(dub))]
    options = GenerationOptions(sync_mode="cut_off")
    made = client.generations.create(input=inputs, model="lipsync-2", options=options, output_file_name="quick")
    assert made.status == "PENDING"
    assert client.generations.get(made.id).status == "PENDING"
    assert [each.id for each in client.generations.list()] == [made.id]
    with talk.open("rb") as video, dub.open("rb") as audio:
        sent = client.generations.create_with_files(model="lipsync-2", video=video, audio=audio)
    assert sent.status == "PENDING"
    assert sent.input[0].asset_id
    for wrong in ([inputs[0]], [Video(url="/etc/passwd"), inputs[1]]):
        with pytest.raises(ApiError) as refusal:
            client.generations.create(input=wrong, model="lipsync-2")
        assert refusal.value.status_code == 400
    with pytest.raises(ApiError) as refusal:
        sdk.Sync(api_key="wrong", base_url=url).generations.get(made.id)
    assert refusal.value.status_code == 401
    headers = {"x-api-key": TOKEN}
    for _ in range(2):
        assert stranger.post("/v2/generate", json=request(place), headers=headers).status_code == 201
    answer = stranger.post("/v2/generate", json=request(place), headers=headers)
    assert "4 generations are waiting" in refused(answer, 429)
    assert stranger.post(f"/v2/generate/{made.id}/cancel", headers=headers).json()["status"] == "CANCELED"
    assert stranger.post("/v2/generate", json=request(place), headers=headers).status_code == 201
