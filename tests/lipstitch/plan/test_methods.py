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
from lipstitch.job_file.config import RendererConfig
from lipstitch.plan.methods import MISFIT_SHARE, MOST_DOUBT, MOST_TURN, with_method
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
    with Bank(bank.path) as opened:
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
    chosen = with_method(SPAN, Footage((bank,)), scan_of(pose), RendererConfig())
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
    assert MISFIT_SHARE < 0.5
    chosen = with_method(SPAN, Footage((bank,)), scan_of(pose, **changes), RendererConfig(**settings))
    if expected == "keep":
        assert isinstance(chosen, Gap)
        assert chosen.reason == f"no mouths from footage: {reason}"
    else:
        assert chosen.source == MouthSource("network", reason)


def test_who_asks_for_footage_gets_it_wherever_there_is_some(bank, pose):
    scan = scan_of(pose, turned=90.0, doubt=1.0)
    asked = replace(SPAN, source=MouthSource("footage", is_asked=True))
    for span, settings in ((asked, RendererConfig()), (SPAN, RendererConfig(method="footage"))):
        assert with_method(span, Footage((bank,)), scan, settings).source.method == "footage"
    empty = replace(bank, num_mouths=0)
    chosen = with_method(asked, Footage((empty,)), scan, RendererConfig())
    assert chosen.reason == "no mouths from footage: no mouth in the footage is sharp, lit and sure enough"


def test_a_turn_between_two_samples_is_judged_by_its_whole_span(bank, pose):
    turn = replace(SPAN, start_frame=12, stop_frame=18, path=FacePath((15,), (BOX,)))
    assert with_method(turn, Footage((bank,)), scan_of(pose), RendererConfig()).source.method == "footage"


@pytest.mark.parametrize("people", [0, 1, 5, 100, 5_000])
def test_the_footage_of_a_job_is_bounded_however_many_are_seen(people):
    each = seconds_of_each(people)
    assert LEAST_SECONDS <= each <= MOST_SECONDS
    assert people * each <= max(JOB_SECONDS, people * LEAST_SECONDS)
