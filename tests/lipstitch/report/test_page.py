"""The page of a report in headless Chromium: what it shows, how it is filtered, and the span file that it writes."""

import csv
import shutil
from functools import partial
from itertools import pairwise

import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.job_file.span_file import read_spans
from lipstitch.report.page.page import rewrite_page
from lipstitch.report.records import MeasuresRecord
from lipstitch.report.report import load_report, page_path, report_path
from media.source_video import scan_video
from tests.support.browser import OpenPage, open_browser
from tests.support.jobs import write_job
from tests.support.quick_jobs import make_talk, run_quick

RENDERED = [1, 2, 3, 5, 6]
"""The clips with new mouths, in order of time."""
NO_FOOTAGE = "no mouth in the footage is sharp, lit and sure enough"
HOSTILE = "</script><img src=x onerror=\"console.log('bad')\"><b>{{ 7 * 7 }}</b>"


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


def job_in(folder, **changes):
    content = {
        "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
        "output": "out.mp4",
        "segmenter": {"detector": "cascade", "embedder": "none", "max_clip_seconds": 0.8},
        "renderer": {"checkpoint": "weights.bin", "device": "cpu"},
        "execution": {"backend": "serial", "keep": "all"},
    }
    for key, value in changes.items():
        content[key] = {**content[key], **value} if key in content else value
    return load_job(write_job(folder, **content))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a finished job."""
    folder = tmp_path_factory.mktemp("page")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 5 * rate], rate)
    (folder / "weights.bin").write_bytes(b"weights")
    run_quick(job_in(folder))
    return folder


@pytest.fixture
def open_page(browser, finished):
    return partial(OpenPage, browser, page_path(finished / "out.mp4"))


def changed_page(finished, tmp_path, **changes):
    """Return the path of the page with a report changed."""
    path = page_path(tmp_path / "out.mp4")
    shutil.copy(page_path(finished / "out.mp4"), path)
    rewrite_page(load_report(report_path(finished / "out.mp4")).model_copy(update=changes), path)
    return path


def test_it_shows_every_clip_with_a_picture_and_the_video_as_a_timeline(open_page):
    with open_page() as opened:
        page = opened.page
        assert opened.clips() == RENDERED
        page.locator("#clips li:visible img").last.scroll_into_view_if_needed()
        for image in page.locator("#clips li:visible img").all():
            image.scroll_into_view_if_needed()
            image.evaluate("image => image.decode()")
            assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [576, 384]
        assert page.locator(".lane").evaluate_all("lanes => lanes.map(lane => lane.ariaLabel)") == [
            "Shots: 5 parts",
            "Faces: 2 by a network",
            "Left as it is: 3 parts",
            "Clips: 3 copied, 5 with new mouths",
        ]
        # A span from 0.32 s to 1.6 s of 4 s.
        boxes = [page.locator(place).bounding_box() for place in (".canvas", ".lane .network >> nth=0")]
        left, right = (boxes[1]["x"] - boxes[0]["x"], boxes[1]["x"] + boxes[1]["width"] - boxes[0]["x"])
        assert left / boxes[0]["width"] == pytest.approx(0.08, abs=0.002)
        assert right / boxes[0]["width"] == pytest.approx(0.40, abs=0.002)
        assert "same frames" in page.locator("tbody").nth(0).inner_text()


def test_the_pictures_are_those_of_source_and_result(finished, open_page):
    """The network of the quick jobs only darkens mouths: below, the middle of each picture is darker than above."""
    with open_page() as opened:
        darker = opened.page.locator("#clips li:visible img").first.evaluate(
            """async (image) => {
              await image.decode();
              const canvas = Object.assign(document.createElement("canvas"), {width: 576, height: 384});
              const context = canvas.getContext("2d", {willReadFrequently: true});
              context.drawImage(image, 0, 0);
              const mean = (x, y) => context.getImageData(x, y, 40, 40).data.reduce((a, b) => a + b) / 6400;
              return [0, 192, 384].map((x) => mean(x + 76, 110) - mean(x + 76, 192 + 110));
            }"""
        )
        assert min(darker) > 5


def test_filter_and_search(open_page):
    with open_page() as opened:
        page = opened.page
        page.get_by_label("copied", exact=True).check()
        assert sorted(opened.clips()) == list(range(8))
        page.get_by_label("with new mouths", exact=True).uncheck()
        assert opened.clips() == [0, 4, 7]
        assert opened.texts("#count") == ["3 of 8 clips"]
        page.get_by_label("copied", exact=True).uncheck()
        page.get_by_label("with new mouths", exact=True).check()
        page.get_by_label("Search").fill("CLIP 5")
        assert opened.clips() == [5]
        page.get_by_label("Search").fill("")
        page.locator("#method").select_option("footage")
        assert opened.clips() == []
        page.locator("#method").select_option("network")
        assert opened.clips() == RENDERED


def test_measured_clips_come_worst_first_and_in_any_order(browser, finished, tmp_path):
    confidences = {1: 6.0, 2: 2.0, 3: 7.0, 5: 4.0}
    measures = [MeasuresRecord(clip=None, figures={"lse_c": 5.0})]
    measures += [MeasuresRecord(clip=clip, figures={"lse_c": value}) for clip, value in confidences.items()]
    path = changed_page(finished, tmp_path, measures=tuple(measures))
    with OpenPage(browser, path) as opened:
        assert opened.clips() == [2, 5, 1, 3, 6]
        assert opened.texts("#clip-2 dl") == ["lse_c\n2"]
        order = opened.page.get_by_label("Order")
        order.select_option("time")
        assert opened.clips() == RENDERED
        order.select_option("-lse_c")
        assert opened.clips() == [3, 1, 5, 2, 6]
        order.select_option("+lse_c")
        assert opened.clips() == [2, 5, 1, 3, 6]
        order.select_option("worst")
        assert opened.clips() == [2, 5, 1, 3, 6]
        assert opened.page.locator("#clips li:visible img").count() == 5


def test_clips_that_fell_back_come_first_with_the_reason(browser, finished, tmp_path):
    clips = [
        clip.model_copy(update={"outcome": "fell_back", "reason": "out of memory"}) if clip.index == 5 else clip
        for clip in load_report(report_path(finished / "out.mp4")).clips
    ]
    changes = {"clips": tuple(clips), "num_clips": {"rendered": 4, "fell_back": 1, "copied": 3}}
    with OpenPage(browser, changed_page(finished, tmp_path, **changes)) as opened:
        assert opened.clips() == [5, 1, 2, 3, 6]
        assert opened.texts("#clip-5 .concern") == ["Fell back to the original frames: out of memory."]
        assert "1 of 8 clips could not be rendered" in opened.page.locator(".notices").inner_text()


def download(page, tmp_path):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download span file").click()
    assert waiting.value.suggested_filename == "out.mp4.spans.csv"
    path = tmp_path / "spans.csv"
    waiting.value.save_as(path)
    return path


def read_rows(path, folder):
    """Return the rows of a span file, each followed by what is changed inside it."""
    rows = read_spans(path, scan_video(folder / "talk.mp4").table)
    return [
        line
        for row in rows
        for line in (
            (row.start_frame, row.stop_frame, row.kind, row.method, row.reason),
            *((each.start_frame, each.stop_frame, each.method, each.strength, each.quality) for each in row.changes),
        )
    ]


def test_collected_clips_become_a_span_file_that_a_job_takes(open_page, finished, tmp_path):
    with open_page(accept_downloads=True) as opened:
        page = opened.page
        page.locator("#clip-2 img").click()
        page.locator("#clip-5 .head b").click()
        assert opened.texts("#collected") == ["2 clips collected, 0 to be changed"]
        assert page.get_by_role("button", name="Download span file").is_disabled()
        page.get_by_label("method of clip 2", exact=True).select_option("network")
        page.get_by_label("quality of clip 2", exact=True).select_option("enhanced")
        page.get_by_label("method of clip 5", exact=True).select_option("keep")
        page.get_by_label("strength of clip 5", exact=True).fill("0.8")
        assert opened.texts("#collected") == ["2 clips collected, 2 to be changed"]
        assert page.locator(".lane .collected").count() == 2
        path = download(page, tmp_path)
    assert read_rows(path, finished) == [
        (0, 8, "no_face", None, "no face"),
        (8, 40, "face", "network", NO_FOOTAGE),
        (21, 35, "network", None, "enhanced"),
        (40, 60, "no_face", None, "no face"),
        (60, 90, "face", "network", NO_FOOTAGE),
        (60, 78, "keep", None, None),
        (90, 100, "no_face", None, "no face"),
    ]
    assert path.read_text().splitlines()[0] == "start,stop,person,kind,method,strength,quality,reason"
    kept = scan_video(finished / "talk.mp4").table.seconds(78)
    assert f"2.4,{float(kept):g},,face,keep,,," in path.read_text().splitlines()


def test_neighbours_with_the_same_choice_are_one_row(open_page, tmp_path):
    with open_page(accept_downloads=True) as opened:
        page = opened.page
        for clip in (1, 2, 3):
            page.locator(f"#clip-{clip} input").check()
        page.get_by_label("strength of all of them").fill("0.8")
        path = download(page, tmp_path)
        assert page.get_by_label("strength of clip 3").input_value() == "0.8"
        page.get_by_label("strength of clip 2").fill("3")
        assert page.get_by_role("button", name="Download span file").is_disabled()
        page.get_by_role("button", name="Remove clip 2").click()
        assert not page.locator("#clip-2 input").is_checked()
        page.get_by_role("button", name="Empty").click()
        assert not page.locator("#basket").is_visible()
        assert page.locator("#clips input:checked, .collected").count() == 0
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["start", "stop", "person", "kind", "method", "strength", "quality", "reason"]
    assert [row[3:7] for row in rows] == [
        ["no_face", "", "", ""],
        ["face", "network", "", ""],
        ["face", "", "0.8", ""],
        ["no_face", "", "", ""],
        ["face", "network", "", ""],
        ["no_face", "", "", ""],
    ]


def test_a_job_with_the_span_file_renders_what_was_collected_alone(open_page, finished, tmp_path):
    folder = tmp_path / "job"
    shutil.copytree(finished, folder)
    with open_page(accept_downloads=True) as opened:
        opened.page.locator("#clip-5 input").check()
        opened.page.get_by_label("method of clip 5", exact=True).select_option("keep")
        shutil.move(download(opened.page, tmp_path), folder / "spans.csv")
    redone = run_quick(job_in(folder, segmenter={"spans": "spans.csv"}), force=True)
    assert not redone.scanned
    assert redone.clips
    assert all(start >= 60 and stop <= 78 for start, stop in redone.clips)
    report = load_report(report_path(folder / "out.mp4"))
    rendered = [part for clip in report.clips for part in clip.rendered]
    assert (rendered[0][0], rendered[-1][1]) == (8, 90)
    assert not any(start < 74 and stop > 60 for start, stop in rendered), "from 74 on the mouth fades in"


def test_all_of_it_works_with_the_keyboard_alone(open_page, finished, tmp_path):
    with open_page(accept_downloads=True) as opened:
        page, keys = opened.page, opened.page.keyboard
        keys.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        keys.press("Enter")
        keys.press("Tab")
        assert page.evaluate("document.activeElement.ariaLabel") == "Collect clip 1"
        keys.press("Space")
        for _ in range(100):
            keys.press("Tab")
            if page.evaluate("document.activeElement.ariaLabel") == "method of clip 1":
                break
        keys.press("n")  # network
        with page.expect_download() as waiting:
            for _ in range(100):
                keys.press("Tab")
                if page.evaluate("document.activeElement.id") == "download":
                    break
            keys.press("Enter")
        waiting.value.save_as(tmp_path / "spans.csv")
        page.locator("#timeline").focus()
        width = page.locator(".canvas").evaluate("canvas => canvas.clientWidth")
        keys.press("+")
        keys.press("+")
        assert page.locator(".canvas").evaluate("canvas => canvas.clientWidth") == pytest.approx(2.25 * width, rel=0.01)
        keys.press("0")
        assert page.locator(".canvas").evaluate("canvas => canvas.clientWidth") == width
    assert (8, 21, "network", None, None) in read_rows(tmp_path / "spans.csv", finished)


def test_the_timeline_zooms_about_the_pointer_and_leads_to_clips(open_page):
    with open_page(viewport={"width": 1000, "height": 900}) as opened:
        page = opened.page
        block = page.locator(".lane .rendered").last
        before = block.bounding_box()
        page.mouse.move(before["x"] + 1, before["y"] + 5)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -400)
        page.keyboard.up("Control")
        for _ in range(50):
            if page.locator(".canvas").evaluate("canvas => canvas.clientWidth") > 2000:
                break
            page.wait_for_timeout(50)
        after = block.bounding_box()
        assert after["x"] == pytest.approx(before["x"], abs=3)
        assert after["width"] == pytest.approx(2.718 * before["width"], rel=0.03)
        page.locator("#clips").evaluate("list => list.querySelector('#clip-6').hidden = true")
        block.click()
        assert page.evaluate("document.activeElement.ariaLabel") == "Collect clip 6"
        assert "with new mouths" in page.locator("#readout").inner_text()
        page.get_by_role("button", name="no face").click()
        assert page.locator(".lane .dim").count() == 0
        page.get_by_role("button", name="Whole video").click()
        assert page.locator(".axis span").first.inner_text() == "00:00:00.0"


CONTRASTS = """() => {
  const shade = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const channels = (colour) => {
    shade.clearRect(0, 0, 1, 1); shade.fillStyle = colour; shade.fillRect(0, 0, 1, 1);
    return shade.getImageData(0, 0, 1, 1).data;
  };
  const light = (colour) => {
    const [r, g, b] = [...channels(colour)].map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (channels(colour)[3] === 255) return colour;
    }
    return "Canvas";
  };
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || element.matches("script, style, template, :disabled") || !element.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
    const place = `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 20)}`;
    found[place] = (a + 0.05) / (b + 0.05);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read_and_chosen(browser, finished, tmp_path, scheme):
    damaged = changed_page(finished, tmp_path, damaged_frames=(10, 11))
    with OpenPage(browser, damaged, color_scheme=scheme) as opened:
        page = opened.page

        def paper():
            return page.evaluate("getComputedStyle(document.body).backgroundColor")

        first = paper()
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 30
        assert {place: round(value, 1) for place, value in contrasts.items() if value < 4.5} == {}
        button = page.locator("#theme")
        seen = {}
        for _ in range(3):
            button.click()
            seen[button.inner_text()] = paper()
        assert seen["Theme: automatic"] == seen[f"Theme: {scheme}"] == first
        assert seen["Theme: light"] != seen["Theme: dark"]


def test_everything_has_a_name_for_screen_readers(open_page):
    with open_page() as opened:
        opened.page.locator("#clip-1 input").check()
        snapshot = opened.page.locator("body").aria_snapshot()
        for role in ("button", "checkbox", "combobox", "textbox", "searchbox", "spinbutton", "img", "table"):
            lines = [line.strip() for line in snapshot.splitlines() if line.strip().startswith(f"- {role}")]
            assert all('"' in line for line in lines if role != "table"), lines
        levels = opened.page.locator("h1, h2, h3").evaluate_all("titles => titles.map(title => +title.tagName[1])")
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert opened.page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("width", [320, 390, 1600])
def test_nothing_is_wider_than_the_window(open_page, width):
    with open_page(viewport={"width": width, "height": 800}) as opened:
        opened.page.locator("#clip-1 input").check()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_text_from_files_stays_text(browser, finished, tmp_path):
    report = load_report(report_path(finished / "out.mp4"))
    hostile = {
        "source": report.source.model_copy(update={"path": f"/films/{HOSTILE}\udcff.mp4"}),
        "output": report.output.model_copy(update={"path": f"/films/{HOSTILE}", "dropped_streams": (HOSTILE,)}),
        "clips": tuple(clip.model_copy(update={"reason": HOSTILE}) for clip in report.clips),
        "spans": tuple(
            span.model_copy(update={"reason": HOSTILE} if span.kind == "no_face" else {"method_reason": HOSTILE})
            for span in report.spans
        ),
        "measures": (MeasuresRecord(clip=1, figures={HOSTILE: 1.0}),),
        "seconds": {HOSTILE: 1.0},
    }
    with OpenPage(browser, changed_page(finished, tmp_path, **hostile)) as opened:
        page = opened.page
        assert page.locator("#clips img").count() == len(RENDERED) == page.locator("img").count()
        assert page.locator("script").count() == 2
        assert page.locator("#clip-1 .concern").inner_text() == f"A network drew the mouth: {HOSTILE}."
        assert HOSTILE in page.locator(".notices").inner_text()
        assert f"{HOSTILE}\\udcff.mp4" in page.locator(".facts").first.inner_text()
        page.get_by_label("Search").fill("onerror")
        assert opened.clips() == RENDERED


def test_a_script_that_came_in_would_not_run(browser, finished, tmp_path):
    path = tmp_path / "page.html"
    text = page_path(finished / "out.mp4").read_text()
    path.write_text(text.replace("<main>", "<main><script>document.title = 'bad'</script>"))
    opened = OpenPage(browser, path)
    assert opened.page.title() == "Report: out.mp4"
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)
    opened.context.close()


def test_without_scripts_it_is_read_all_the_same(open_page):
    with open_page(java_script_enabled=False) as opened:
        assert sorted(opened.clips()) == list(range(8))
        assert not opened.page.locator("#filter").is_visible()


def test_a_video_without_a_face(browser, finished, tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    for name in ("talk.mp4", "dub.wav", "weights.bin"):
        shutil.copy(finished / name, folder)
    run_quick(job_in(folder, segmenter={"min_face_px": 4096}))
    with OpenPage(browser, page_path(folder / "out.mp4")) as opened:
        assert opened.clips() == []
        assert "There was no face to render" in opened.page.locator(".notices").inner_text()
