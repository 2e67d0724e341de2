"""A dialogue as frames: pauses that belong to turns, spans cut to them, held frames."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lipstitch.plan.output_timeline import extend_timeline, identity_timeline, split_held
from media.clips import FaceSpan, Gap
from media.faces import FaceBox, FacePath
from segmenter.spans.turns import Speaker, cut_to_turns, join_turns
from tests.support.tables import table_of

TABLE = table_of(range(0, 4000, 40))
WHOLE = identity_timeline(TABLE)


def seconds(*pairs):
    return [(Fraction(str(start)), Fraction(str(stop))) for start, stop in pairs]


def test_short_pauses_belong_to_the_turns():
    own = seconds((0, 1), (1.4, 2), (2.5, 3), (3.1, 3.2))
    assert join_turns(own, []) == seconds((0, 2), (2.5, 3.2))


def test_turns_that_overlap_or_touch_are_one_whoever_else_speaks():
    own = seconds((0, 4), (0, 4), (1, 2), (3, 5), (5, 6), (8, 9), (8.5, 8.6))
    for others in ([], seconds((0, 9))):
        assert join_turns(own, others) == seconds((0, 6), (8, 9))


def test_a_pause_in_which_another_person_speaks_stays():
    own = seconds((0, 1), (1.4, 2), (2.2, 3))
    assert join_turns(own, seconds((0.5, 1.1))) == seconds((0, 1), (1.4, 3))
    assert join_turns(own, seconds((0, 0.1), (1.3, 1.5))) == seconds((0, 1), (1.4, 3))
    assert join_turns(own, seconds((0, 9), (0.2, 0.3))) == own
    assert join_turns(own, seconds((0, 1), (2, 2.2))) == seconds((0, 2), (2.2, 3))


def face(start, stop, person):
    frames = tuple(range(max(start - 3, 0), stop + 4, 5))
    return FaceSpan(start, stop, FacePath(frames, tuple(FaceBox(f, 0, f + 9, 9) for f in frames)), person=person)


intervals = st.lists(st.integers(0, 100), max_size=8, unique=True).map(
    lambda edges: tuple(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)


def members(parts):
    return {frame for start, stop in parts for frame in range(start, stop)}


@given(intervals, intervals, intervals, intervals)
def test_spans_are_those_of_faces_in_their_turns(seen_one, seen_two, turns_one, turns_two):
    faces = [face(*part, 1) for part in seen_one] + [face(*part, 2) for part in seen_two]
    both = members(seen_one) | members(seen_two)
    rest = [Gap(frame, frame + 1, "no face") for frame in range(100) if frame not in both]
    speakers = [Speaker("a", 0, turns_one, (1,)), Speaker("b", 1, turns_two, (2, 5))]
    cut = cut_to_turns([*faces, *rest], [(WHOLE, speakers)])
    for person, drive_index, seen, turns in ((1, 0, seen_one, turns_one), (2, 1, seen_two, turns_two)):
        own = [span for span in cut if span.person == person]
        assert members((span.start_frame, span.stop_frame) for span in own) == members(seen) & members(turns)
        assert {span.drive_index for span in own} <= {drive_index}
        whole = {
            frame: span for span in faces if span.person == person for frame in range(span.start_frame, span.stop_frame)
        }
        for span in own:
            for frame in range(span.start_frame, span.stop_frame):
                assert span.path.box_at(frame) == whole[frame].path.box_at(frame)
    left = members((span.start_frame, span.stop_frame) for span in cut if span.kind == "face")
    said = [
        (frame, span.reason)
        for span in cut
        if span.kind != "face"
        for frame in range(span.start_frame, span.stop_frame)
    ]
    assert sorted(frame for frame, _ in said) == sorted(set(range(100)) - left)
    spoken = members(turns_one) | members(turns_two)
    for frame, reason in said:
        expected = "no face" if frame not in both else "another speaker's turn" if frame in spoken else "no turn"
        assert reason == expected
    assert cut_to_turns(cut, [(WHOLE, speakers)]) == cut


def test_a_held_frame_is_held_turn_by_turn():
    timeline = extend_timeline(WHOLE, Fraction(5), "freeze")
    split = split_held(timeline, (10, 100, 110, 125, 130))
    assert [(run.start_frame, run.stop_frame, run.step) for run in split.runs] == [
        (0, 100, 1),
        (100, 110, 0),
        (110, 125, 0),
    ]
    assert split_held(WHOLE, (10, 20)) == WHOLE
