"""The page of the contact sheet; tests/lipstitch/plan/test_target.py makes whole ones."""

from base64 import b64encode
from html.parser import HTMLParser

import pytest

from lipstitch.report.contact_sheet import BestFace, ListedPerson, build_sheet


def person(number, **changes):
    facts = {
        "seconds": 61.25,
        "first": 0.0,
        "last": 3.96,
        "spoken": 12.34,
        "num_shots": 7,
        "shots": ((0.0, 4.0),),
        "best": BestFace(seconds=1.0, point=(5, 6)),
    }
    return ListedPerson(person=number, **facts | changes)


class Page(HTMLParser):
    """Collects what a browser would show: texts, images and the tags that are opened."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.images, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


def test_a_person_is_shown_with_a_picture_and_facts():
    page = Page(build_sheet("talk.mp4", [person(1)], {1: b"JPEG"}))
    assert page.images == [
        {"alt": "Person 1", "src": f"data:image/jpeg;base64,{b64encode(b'JPEG').decode()}"},
    ]
    facts = page.texts[page.texts.index("Person 1") :]
    assert facts[1:5] == ["on screen", "61.2 s", "speaks", "12.3 s"]
    assert facts[5:] == ["first seen", "00:00:00.0", "last seen", "00:00:03.9", "shots", "7"]


def test_where_who_speaks_cannot_be_told_a_note_says_so():
    page = Page(build_sheet("talk.mp4", [person(1, spoken=None)], {}, "Who speaks is not shown: why."))
    assert "Who speaks is not shown: why." in page.texts
    assert "speaks" not in page.texts


def test_people_beyond_the_last_picture_are_listed_without_one():
    page = Page(build_sheet("talk.mp4", [person(1), person(2)], {1: b"JPEG"}))
    assert [image["alt"] for image in page.images] == ["Person 1"]
    assert page.texts.count("Person 2") == 1


@pytest.mark.parametrize(("num_people", "example", "has_dialogue"), [(1, 1, False), (2, 2, True), (5, 2, True)])
def test_the_example_names_a_person_of_the_video(num_people, example, has_dialogue):
    page = build_sheet("talk.mp4", [person(number) for number in range(1, num_people + 1)], {})
    assert f"segmenter: {{target: {example}}}" in page
    assert f"--set segmenter.target={example}" in page
    assert ("speakers:" in page) == has_dialogue


def test_a_video_without_people_gives_no_advice():
    page = build_sheet("talk.mp4", [], {})
    assert "No person was found" in page
    assert "target" not in page


def test_the_name_of_a_video_cannot_add_tags():
    page = Page(build_sheet("<script>alert('&amp;')</script>.mp4", [], {}))
    assert "script" not in page.tags
    assert page.texts.count("People in <script>alert('&amp;')</script>.mp4") == 2
