"""Where the new mouths of a span come from, and what happens where no footage suits it."""

from dataclasses import replace

import numpy as np
import pytest

from lipstitch.footage.read import Footage, SubjectBank
from lipstitch.footage.subjects import (
    JOB_SECONDS,
    LEAST_SECONDS,
    MOST_SECONDS,
    Subject,
    seconds_of_each,
)
from lipstitch.job_file.renderer import RendererConfig
from lipstitch.plan.methods import COVERED, MOST_DOUBT, MOST_TURN, FaceSelection, _runs, with_methods
from media.clips import FaceSpan, Gap, MouthSource
from media.faces import Face, FaceBox, FacePath, FaceView, FrameDetections
from media.mesh import NUM_LIGHTS, head_pose
from renderer.footage.bank import Bank
from segmenter.scan import Scan
from tests.renderer.footage.test_bank import write_bank

BOX = FaceBox(10.0, 10.0, 60.0, 70.0)
FRAMES = (0, 10, 20, 30)
SPAN = FaceSpan(0, 31, FacePath(FRAMES, (BOX,) * len(FRAMES)), person=1)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    path = write_bank(tmp_path_factory.mktemp("bank") / "a.bank", range(30))
    return SubjectBank(Subject((SPAN,)), path, "a", 30)


@pytest.fixture(scope="module")
def pose(bank):
    """Return how the head is held in the footage."""
    opened = Bank(bank.path)
    return np.median(head_pose(opened.meshes), axis=0)


def scan_of(pose, *, turned=0.0, doubt=0.01, seen=FRAMES):
    """Return a scan in which the head is held as in the footage, and at every third sample turned further."""
    samples = []
    for number, frame in enumerate(FRAMES):
        held = pose + np.array([turned if number % 3 else 0.0, 0, 0, 0])
        view = FaceView(tuple(map(float, held)), (100.0,) * NUM_LIGHTS, doubt) if frame in seen else None
        samples.append(FrameDetections(frame, (Face(BOX, 0.9, view=view),)))
    return Scan(tuple(samples), (), "cascade", (100, 100))


def test_a_face_that_its_footage_suits_gets_mouths_from_it(bank, pose):
    (chosen,) = with_methods(SPAN, Footage((bank,)), scan_of(pose), RendererConfig())
    assert chosen.source == MouthSource("footage")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"doubt": 1.5 * MOST_DOUBT}, "the points of the face are unsure in it"),
        ({"turned": 2 * MOST_TURN}, "the head is turned further, or larger, than in the footage"),
        ({"seen": ()}, "the points of the face were not looked for in it"),
    ],
)
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "keep"),
        ({"fallback": "keep", "checkpoint": "wav2lip_gan"}, "keep"),
        ({"checkpoint": "wav2lip_gan"}, "network"),
        ({"fallback": "network"}, "network"),
    ],
)
def test_where_footage_does_not_suit_the_network_draws_that_the_job_names(
    bank, pose, changes, reason, settings, expected
):
    (chosen,) = with_methods(SPAN, Footage((bank,)), scan_of(pose, **changes), RendererConfig(**settings))
    if expected == "keep":
        assert isinstance(chosen, Gap)
        assert chosen.reason == f"no mouths from footage: {reason}"
    else:
        assert chosen.source == MouthSource("network", reason)


def scan_with(pose, doubts, turns):
    """Return a scan of ten samples, and the span that they show."""
    frames = tuple(range(0, 100, 10))
    views = [
        FaceView(tuple(map(float, pose + np.array([turn, 0, 0, 0]))), (100.0,) * NUM_LIGHTS, doubt)
        for doubt, turn in zip(doubts, turns, strict=True)
    ]
    samples = [FrameDetections(frame, (Face(BOX, 0.9, view=view),)) for frame, view in zip(frames, views, strict=True)]
    span = replace(SPAN, stop_frame=100, path=FacePath(frames, (BOX,) * len(frames)), fades_in=False, fades_out=False)
    return Scan(tuple(samples), (), "cascade", (100, 100)), span


def parts_of(bank, pose, doubts, turns, **settings):
    scan, span = scan_with(pose, doubts, turns)
    return with_methods(span, Footage((bank,)), scan, RendererConfig(**settings))


AWAY = 3 * MOST_TURN


@pytest.mark.parametrize("fallback", ["keep", "network"])
def test_frames_in_which_a_hand_is_before_the_mouth_stay(bank, pose, fallback):
    """Whatever falls back: a network would draw over the hand."""
    doubts = [0.01] * 3 + [0.025] * 4 + [0.01] * 3
    before, covered, behind = parts_of(bank, pose, doubts, [0.0] * 10, fallback=fallback)
    assert (covered.start_frame, covered.stop_frame) == (26, 66)
    assert covered.reason == COVERED
    assert [(part.start_frame, part.stop_frame, part.source.method) for part in (before, behind)] == [
        (0, 26, "footage"),
        (66, 100, "footage"),
    ]
    assert (before.fades_in, before.fades_out, behind.fades_in, behind.fades_out) == (False, True, True, False)


@pytest.mark.parametrize(("fallback", "expected"), [("keep", "no_face"), ("network", "face")])
def test_a_speaker_who_turns_away_and_back_gets_footage_before_and_after(bank, pose, fallback, expected):
    turns = [0.0] * 3 + [AWAY] * 5 + [0.0] * 2
    parts = parts_of(bank, pose, [0.01] * 10, turns, fallback=fallback)
    assert [(part.start_frame, part.stop_frame, part.kind) for part in parts] == [
        (0, 26, "face"),
        (26, 76, expected),
        (76, 100, "face"),
    ]
    assert [part.source.method for part in parts[::2]] == ["footage"] * 2


TURN_PATH = FacePath((30, 40, 50), (BOX,) * 3)


class OneTurn:
    """A target of which one turn is rendered, shorter than two steps of the scan."""

    def __init__(self, span):
        self.span = span

    def seen_spans(self, intervals):
        return (self.span,)

    def cut_spans(self, seen, specs):
        parts = [replace(span, start_frame=32, stop_frame=48, path=TURN_PATH) for span in seen]
        return tuple(part for part in parts if isinstance(part, FaceSpan))


def test_a_turn_is_cut_from_a_span_whose_method_is_decided_as_the_plan_decides_it(bank, pose):
    """Around it two single samples are covered, which by themselves would be most of what is known."""
    scan, span = scan_with(pose, [0.01] * 3 + [0.025, 0.01, 0.025] + [0.01] * 4, [0.0] * 10)
    faces = FaceSelection(OneTurn(span), Footage((bank,)), scan, RendererConfig())
    assert [(part.kind, part.source.method) for part in faces.spans_of([])] == [("face", "footage")]


def test_a_single_sample_changes_nothing(bank, pose):
    turns = [0.0, 0.0, AWAY, 0.0, 0.0, 0.0, AWAY, 0.0, 0.0, AWAY]
    (part,) = parts_of(bank, pose, [0.01] * 10, turns)
    assert (part.start_frame, part.stop_frame, part.source.method) == (0, 100, "footage")
    (turned,) = parts_of(bank, pose, [0.01] * 10, [AWAY, AWAY, 0.0] + [AWAY] * 7)
    assert turned.reason.endswith("than in the footage")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ("--C-----", [(0, 8, "")]),
        ("C-", [(0, 2, "")]),
        ("---CTCTCTCT", [(0, 3, ""), (3, 11, "C")]),
        ("C-CC-CCC--", [(0, 8, "C"), (8, 10, "")]),
        ("TTT---TTT", [(0, 3, "T"), (3, 6, ""), (6, 9, "T")]),
        ("TT-TT", [(0, 5, "T")]),
        ("T", [(0, 1, "T")]),
    ],
)
def test_runs_of_samples_that_suit_or_do_not(seen, expected):
    """-: suits; C, T: two problems, of which the more frequent one is told."""
    assert _runs([letter.strip("-") for letter in seen]) == expected


def test_who_asks_for_footage_gets_it_wherever_there_is_some(bank, pose):
    scan = scan_of(pose, turned=90.0, doubt=1.0)
    asked = replace(SPAN, source=MouthSource("footage", is_asked=True))
    for span, settings in ((asked, RendererConfig()), (SPAN, RendererConfig(method="footage"))):
        (chosen,) = with_methods(span, Footage((bank,)), scan, settings)
        assert chosen.source.method == "footage"
    empty = replace(bank, num_mouths=0)
    (chosen,) = with_methods(asked, Footage((empty,)), scan, RendererConfig())
    assert chosen.reason == "no mouths from footage: no mouth in the footage is sharp, lit and sure enough"


def test_a_turn_between_two_samples_is_judged_by_its_whole_span(bank, pose):
    turn = replace(SPAN, start_frame=12, stop_frame=18, path=FacePath((15,), (BOX,)))
    (chosen,) = with_methods(turn, Footage((bank,)), scan_of(pose), RendererConfig())
    assert chosen.source.method == "footage"


@pytest.mark.parametrize("people", [0, 1, 5, 100, 5_000])
def test_the_footage_of_a_job_is_bounded_however_many_are_seen(people):
    each = seconds_of_each(people)
    assert LEAST_SECONDS <= each <= MOST_SECONDS
    assert people * each <= max(JOB_SECONDS, people * LEAST_SECONDS)
