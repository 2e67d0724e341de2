"""The studio in headless Chromium, from files to the result: what is seen, chosen, drawn, run, compared and fetched."""

import time

import httpx
import pytest
import yaml

from media.probe import probe
from tests.support.browser import open_browser
from tests.support.crowd import Place, make_crowd, still
from tests.support.service import RunningService, serving

pytest.importorskip("gradio", reason="gradio is not installed")
PATIENCE_MS = 90_000


class Studio(RunningService):
    """A service with the page."""

    command = "studio"


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def studio(tmp_path_factory, talk):
    with serving(tmp_path_factory.mktemp("studio") / "service", "--inputs", talk, kind=Studio) as running:
        yield running


class Page:
    """The page of a studio, as a person uses it."""

    def __init__(self, browser, studio, **options):
        self.context = browser.new_context(viewport={"width": 1200, "height": 1500}, **options)
        self.page = self.context.new_page()
        self.errors, self.hosts = [], set()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.goto(f"{studio.url}/studio")
        self.page.wait_for_selector("#look", timeout=PATIENCE_MS)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.context.close()
        if kind is None:
            assert self.errors == []

    def upload(self, video, dub):
        for name, path in (("video", video), ("dub", dub)):
            self.page.set_input_files(f"#{name} input[type=file]", str(path))
            self.page.wait_for_selector(f"#{name} .file-preview", timeout=PATIENCE_MS)

    def look(self):
        self.page.click("#look")
        self.page.wait_for_selector("#timeline .span", timeout=PATIENCE_MS)

    def drag(self, start, stop):
        box = self.page.locator("#timeline .bar").bounding_box()
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + start * box["width"], y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + stop * box["width"], y, steps=4)
        self.page.mouse.up()

    def ranges(self):
        return self.page.locator("#ranges :is(textarea, input)").input_value()

    def said(self):
        return self.page.locator("#said").inner_text()

    def until(self, check, what):
        end = time.monotonic() + PATIENCE_MS / 1000
        while not (found := check()):
            assert time.monotonic() < end, f"{what}: {self.said()}"
            time.sleep(0.1)
        return found


def test_from_files_to_the_result(browser, studio, talk):
    with Page(browser, studio) as page:
        page.upload(talk / "talk.mp4", talk / "dub.wav")
        page.look()
        assert "cannot be told apart" in page.said()
        titles = page.page.eval_on_selector_all("#timeline .span", "all => all.map(each => each.title)")
        assert any("new mouths" in title for title in titles), titles
        assert any("nothing is rendered" in title for title in titles)
        page.drag(0.2, 0.6)
        drawn = page.until(page.ranges, "no range")
        page.drag(0.7, 0.9)
        page.until(lambda: page.ranges().count(",") == 1, "no second range")
        page.drag(0.8, 0.8)  # a click into a range removes it
        page.until(lambda: page.ranges() == drawn, "the range stays")
        page.page.click("#run")
        page.until(lambda: "Done" in page.said(), "not done")
        page.page.wait_for_selector("#slider img", timeout=PATIENCE_MS)
        links = page.page.eval_on_selector_all("#result a", "all => all.map(each => each.href)")
        files = page.page.locator("#files").inner_text()
        (generation,) = studio.client.get("/v2/generations").json()
        result = httpx.get(links[0])
        assert (result.status_code, result.headers["content-type"]) == (200, "video/mp4")
        assert page.hosts == {studio.url.split("/")[2]}
        assert all(name in "".join(files.split()) for name in ("result.mp4.report.json", "job.yaml"))
    place = studio.place(generation["id"])
    assert result.content == (place / "result.mp4").read_bytes()
    start, stop = (float(part) for part in drawn.split("-"))
    assert yaml.safe_load((place / "job.yaml").read_text())["ranges"] == [{"start": start, "end": stop}]
    assert probe(place / "result.mp4").video


def test_files_of_the_operator_and_ranges_by_the_keyboard(browser, studio, talk):
    with Page(browser, studio, color_scheme="dark") as page:
        page.page.get_by_text("Files on this machine").click()
        for name, file in (("near-video", "talk.mp4"), ("near-dub", "dub.wav")):
            page.page.locator(f"#{name} input").fill(str(talk / file))
            page.page.keyboard.press("Enter")
        page.look()
        box = page.page.locator("#ranges :is(textarea, input)")
        box.fill("0:00.5-1, nonsense")
        box.press("Enter")
        page.until(lambda: "write a range as start-end" in page.said(), "no complaint")
        box.fill("0:00.5-1")
        box.press("Enter")
        page.page.wait_for_selector("#timeline .range", timeout=PATIENCE_MS)
        assert page.page.locator("#timeline .range").count() == 1


def test_a_click_chooses_a_person_who_is_seen_whole(browser, talk, shared, tmp_path):
    sides = still(Place("head_12_512", 0, 20, 320), Place("head_05_512", 320, 20, 320))
    crowd = make_crowd(tmp_path / "two.mp4", shared / "clips", [(92, sides)])  # longer than the dub
    weights = shared / "checkpoints"
    people = {
        "detector": "retinaface",
        "detector_checkpoint": str(weights / "retinaface_mobilenet0.25.pth"),
        "embedder": str(weights / "mobilefacenet.onnx"),
    }
    with (
        serving(tmp_path / "service", kind=Studio, shared_settings={"segmenter": people}) as studio,
        Page(browser, studio) as page,
    ):
        page.upload(crowd.path, talk / "dub.wav")
        page.look()
        pictures = page.page.locator("#people img")
        assert pictures.count() == 2
        gallery = page.page.locator("#people").bounding_box()
        for number in range(2):
            seen = pictures.nth(number).bounding_box()
            assert seen["width"] > 100
            assert seen["y"] + seen["height"] <= gallery["y"] + gallery["height"]
        pictures.nth(1).click()
        who = page.page.locator("#who")
        page.until(lambda: "The lips of person 2 move" in who.inner_text(), "no other person")


def test_what_cannot_be_read_is_said_in_one_sentence(browser, studio, talk, tmp_path):
    (tmp_path / "text.mp4").write_text("this is text\n" * 100)
    with Page(browser, studio) as page:
        page.page.click("#look")
        page.until(lambda: "Give a video and its dub." in page.said(), "no complaint")
        page.upload(tmp_path / "text.mp4", talk / "dub.wav")
        page.page.click("#look")
        page.until(lambda: "not a media file" in page.said(), "no complaint")


def test_with_a_token_the_page_is_not_for_everyone(tmp_path):
    token = "a token of enough characters"
    with serving(tmp_path / "service", token=token, kind=Studio) as running:
        assert httpx.get(f"{running.url}/studio/").status_code == 401
        assert httpx.get(f"{running.url}/studio/", auth=("anyone", token)).status_code == 200
