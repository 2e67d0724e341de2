"""Which faces are judged when, who is found to speak, and what is rendered of it: values alone."""

from fractions import Fraction

import numpy as np
import pytest

from media.faces import Face, FaceBox, FacePath, FrameDetections
from media.identity import EmbedderSettings
from segmenter.people.identities import find_people
from segmenter.people.targets import WhoSpeaks
from segmenter.scan import Scan
from segmenter.spans.find import find_target_spans
from segmenter.spans.presence import SpanRule, SpanSettings
from segmenter.speaking.decide import decide
from segmenter.speaking.passages import LONGEST_STEPS, JudgedFace, Passage, frame_at_step, frames_of, plan_passages
from segmenter.speaking.speakers import FoundSpeakers
from tests.support.tables import table_of

LEFT, RIGHT = FaceBox(20.0, 20.0, 120.0, 140.0), FaceBox(300.0, 20.0, 400.0, 140.0)


def make_table(rate, num_frames):
    """Return the table of a video with a constant frame rate."""
    return table_of(range(num_frames), 1 / Fraction(rate))


def seconds(*parts):
    return [(Fraction(str(start)), Fraction(str(stop))) for start, stop in parts]


def scanned(table, boxes, cuts=(), every=5):
    """Return the people of a scan that sees faces at boxes (frame -> list of boxes) in every fifth frame."""
    frames = sorted({*range(0, len(table), every), *cuts, *(cut - 1 for cut in cuts), len(table) - 1})
    samples = tuple(FrameDetections(frame, tuple(Face(box, 0.9) for box in boxes(frame))) for frame in frames)
    scan = Scan(samples, tuple(cuts), "retinaface", (480, 270))
    return find_people(scan, table, [(0, len(table))], EmbedderSettings())


@pytest.mark.parametrize("rate", [8, 25, Fraction(30000, 1001), 50, 60])
def test_every_step_shows_the_frame_of_its_time(rate):
    table = make_table(rate, 80)
    for step in range(int(table.seconds(79) * 25)):
        frame = frame_at_step(step, table)
        assert table.seconds(frame) <= Fraction(step, 25) < table.seconds(frame + 1)


def test_faces_are_judged_where_speech_is_heard_and_never_across_a_cut():
    table = make_table(25, 500)
    people = scanned(table, lambda frame: [LEFT] if frame < 200 else [LEFT, RIGHT], cuts=(200,))
    passages = plan_passages(people, table, seconds((1, 3), (3.5, 4), (7, 9)))
    assert [(passage.steps, len(passage.faces)) for passage in passages] == [
        ((15, 110), 1),
        ((165, 200), 1),
        ((200, 235), 2),
    ]
    assert plan_passages(people, table, []) == ()


def test_long_speech_is_judged_in_passages():
    table = make_table(25, 1200)
    passages = plan_passages(scanned(table, lambda frame: [LEFT]), table, seconds((0, 48)))
    assert [passage.steps for passage in passages] == [(240 * n, 240 * n + 240) for n in range(5)]
    assert all(stop - start <= LONGEST_STEPS for start, stop in (passage.steps for passage in passages))


def test_of_a_crowd_the_largest_faces_are_judged():
    table = make_table(25, 100)
    crowd = [FaceBox(80.0 * i, 20.0, 80.0 * i + 30 + 5 * i, 60.0 + 8 * i) for i in range(6)]
    (passage,) = plan_passages(scanned(table, lambda frame: crowd), table, seconds((0, 4)))
    assert [face.path.boxes[0] for face in passage.faces] == crowd[2:]


def test_one_face_speaks_at_a_time_and_none_where_nothing_is_said():
    path = FacePath((0,), (LEFT,))
    faces = (JudgedFace((0, 0), (0, 100), path), JudgedFace((0, 1), (20, 100), path))
    anna = np.where(np.arange(100) < 50, 1.5, -3.5).astype(np.float32)
    ben = np.where(np.arange(20, 100) < 52, -3.5, 1.0).astype(np.float32)
    ben[2] = 4.0  # a moment is no turn
    said = decide(Passage((0, 100), faces), [anna, ben], [(5, 70), (80, 100)])
    assert said[0] == ((5, 50),)
    assert [len(part) for part in (said[1],)] == [2]
    assert said[1][0][1] == 70
    assert 50 <= said[1][0][0] <= 53
    assert said[1][1] == (80, 100)
    assert decide(Passage((0, 100), faces), [anna - 4, ben - 4], [(0, 100)]) == [(), ()]


def test_a_face_is_rendered_while_it_speaks():
    table = make_table(25, 200)
    people = scanned(table, lambda frame: [LEFT, RIGHT])
    found = FoundSpeakers({(0, 0): ((10, 60),), (0, 1): ((80, 120),)})
    spoken = {
        (frame, face.box): found.spoken[0, index]
        for index, track in enumerate(people.shots[0].tracks)
        for frame, face in track.items()
    }
    rule = SpanRule(table, SpanSettings(), WhoSpeaks(spoken, found.describe(people, table)))
    spans = find_target_spans(people, [(0, 200)], rule)
    assert [(span.start_frame, span.stop_frame, span.kind, getattr(span, "reason", "")) for span in spans] == [
        (0, 10, "no_face", "does not speak"),
        (10, 60, "face", ""),
        (60, 80, "no_face", "does not speak"),
        (80, 120, "face", ""),
        (120, 200, "no_face", "does not speak"),
    ]
    assert rule.choice.describe(0) == "who speaks at the time: unidentified faces 3.6 s"


def test_steps_become_the_frames_that_begin_in_them():
    assert frames_of((25, 50), make_table(50, 200)) == (50, 100)
    assert frames_of((0, 4), make_table(8, 20)) == (0, 2)
