"""Tracks to people, and people to spans: drawn faces with embeddings of which it is known whose they are."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.clips import FaceSpan
from media.faces import Face, FaceBox, FrameDetections
from media.identity import EmbedderSettings, mean_direction, pack, unit, unpack
from media.intervals import complement, merge
from segmenter.people.identities import find_people, split_by_identity
from segmenter.people.targets import (
    NOT_TOLD_APART,
    ONE_KNOWN,
    UNLIKE_REFERENCE,
    ByPlace,
    ChosenPeople,
    Everyone,
    choose_at,
    choose_like,
    choose_main,
)
from segmenter.scan import Scan
from segmenter.spans.find import find_target_spans
from segmenter.spans.presence import SpanRule, SpanSettings
from segmenter.spans.table import NOT_LISTED, NOT_SEEN, SpanRow, from_rows, to_rows
from segmenter.tracks import face_distance
from tests.support.tables import table_of

SIZE = (1280, 720)
PLAIN = SpanSettings(min_on_seconds=0, min_off_seconds=0)
EMBEDDER = EmbedderSettings()
SECOND = table_of(range(0, 10000, 100))
"""10 s at 10 frames a second."""
PLACES = {"L": 200, "M": 640, "R": 1080}


@cache
def vector_of(name, number=0):
    """Return an embedding of a person: the same direction each time, plus a little noise."""
    random = np.random.default_rng(sum(map(ord, name)))
    centre = unit(random.standard_normal(64).astype(np.float32))
    own = unit(np.random.default_rng(number).standard_normal(64).astype(np.float32))
    return unit(centre + 0.3 * own)


@cache
def face(name, place, number=0, *, height=150, score=0.95, is_known=True):
    x, width = PLACES[place], 0.7 * height
    box = FaceBox(x - width / 2, 360 - height / 2, x + width / 2, 360 + height / 2)
    return Face(box, score, None, pack(vector_of(name, number)) if is_known else b"")


def scan_of(script, cuts=(), **options):
    """Return a scan of every frame of a script: for each place who is there in each frame, . for no one.

    Every fifth detection at a place has an embedding.
    """
    length = max(map(len, script.values()))
    samples = []
    for number in range(length):
        faces = [
            face(who[number], place, number, is_known=number % 5 == 0 or number in cuts, **options)
            for place, who in script.items()
            if who[number] != "."
        ]
        samples.append(FrameDetections(number, tuple(faces)))
    return Scan(tuple(samples), tuple(cuts), "drawn", SIZE)


def cast_of(table, script, cuts=(), **options):
    length = max(map(len, script.values()))
    return find_people(scan_of(script, cuts, **options), table, [(0, length)], EMBEDDER)


def spans_of(cast, table, choice, intervals=None, limits=PLAIN):
    return find_target_spans(cast, intervals or [(0, cast.shots[-1].stop)], SpanRule(table, limits, choice))


def drawn(spans):
    """Return (start, stop, person or reason) of each span."""
    return [(s.start_frame, s.stop_frame, s.person if s.kind == "face" else s.reason) for s in spans]


@pytest.fixture(scope="module")
def second():
    return SECOND


# Embeddings


def test_a_packed_vector_keeps_its_direction():
    vector = vector_of("A")
    assert len(pack(vector)) == 64
    assert float(unpack(pack(vector)) @ vector) > 0.9995
    assert not unpack(pack(np.zeros(8, np.float32))).any()


def test_a_mean_direction_lies_between_and_nearer_to_what_counts_more():
    a, b = vector_of("A"), vector_of("B")
    mean = mean_direction([pack(a), pack(b)], [3, 1])
    assert mean @ a > mean @ b > a @ b


# Who is who


def test_a_person_is_recognised_in_another_shot_and_place(second):
    cast = cast_of(second, {"L": "A" * 10 + "." * 10 + "B" * 10, "R": "." * 10 + "A" * 10 + "." * 10}, (10, 20))
    assert [(p.number, p.seconds, p.num_shots, p.first_frame, p.last_frame) for p in cast.people] == [
        (1, 2.0, 2, 0, 19),
        (2, 1.0, 1, 20, 29),
    ]
    assert [shot.people for shot in cast.shots] == [(1,), (1,), (2,)]


def test_numbers_go_by_seconds_on_screen(second):
    cast = cast_of(second, {"L": "A" * 10 + "." * 20, "R": "B" * 30, "M": "." * 5 + "C" * 20 + "." * 5})
    assert [round(person.seconds, 6) for person in cast.people] == [3.0, 2.0, 1.0]


def test_two_who_are_seen_at_once_are_two(second):
    twins = cast_of(second, {"L": "A" * 20, "R": "A" * 20})
    assert len(twins.people) == 2
    assert cast_of(second, {"L": "A" * 20 + "." * 20, "R": "." * 20 + "A" * 20}).people[0].seconds == 4.0


def test_a_face_without_an_embedding_is_unidentified(second):
    scan = Scan((FrameDetections(0, (face("A", "L"), face("B", "R", is_known=False))),), (), "drawn", SIZE)
    cast = find_people(scan, second, [(0, 10)], EMBEDDER)
    assert cast.shots[0].people == (1, None)


def test_a_face_in_anothers_place_without_a_cut_is_another_person(second):
    cast = cast_of(second, {"M": "A" * 20 + "..." + "B" * 20})
    assert [len(shot.tracks) for shot in cast.shots] == [2]
    assert [len(track) for track in cast.shots[0].tracks] == [20, 20]
    assert set(cast.shots[0].people) == {1, 2}


def test_a_track_is_cut_at_its_widest_step():
    track = {n: face("A" if n < 7 else "B", "L" if n < 7 else "M", n, is_known=n % 5 == 0) for n in range(15)}
    parts = list(split_by_identity(track, 0.35))
    assert [sorted(part) for part in parts] == [list(range(7)), list(range(7, 15))]


def test_landmarks_tell_faces_apart_whose_boxes_are_the_same():
    box = FaceBox(0, 0, 100, 140)
    left = tuple((x, 60.0) for x in range(10, 60, 10))
    right = tuple((x + 40, 60.0) for x in range(10, 60, 10))
    a, b, c = Face(box, 0.9, left), Face(box, 0.9, right), Face(box, 0.9)
    assert face_distance(a, a) == face_distance(a, c) == 0
    assert face_distance(a, b) == pytest.approx(0.2)


# Whose mouth moves


@pytest.fixture(scope="module")
def dialogue(second):
    """Return identities: A and B in turns, then both, then C large in the middle, then A alone."""
    script = {
        "L": "A" * 20 + "." * 10 + "A" * 20 + "." * 10 + "A" * 10,
        "M": "." * 50 + "C" * 10 + "." * 10,
        "R": "." * 20 + "B" * 10 + "B" * 20 + "." * 20,
    }
    return cast_of(second, script, (20, 30, 50, 60))


def test_main_is_who_is_on_screen_longest_while_the_dub_speaks(second, dialogue):
    main = lambda speech: choose_main(dialogue, second, speech, least_px=64, least_score=0.4).people  # noqa: E731
    assert [round(p.seconds, 6) for p in dialogue.people] == [5.0, 3.0, 1.0]
    assert main([(0, 70)]) == (1,)
    assert main([(20, 35)]) == (2,)
    assert main([(50, 60)]) == (3,)
    assert main([]) == (1,)


def test_a_person_is_rendered_and_the_others_are_left_alone(second, dialogue):
    spans = spans_of(dialogue, second, ChosenPeople((1,)))
    assert drawn(spans) == [
        (0, 20, 1),
        (20, 30, "another person"),
        (30, 50, 1),
        (50, 60, "another person"),
        (60, 70, 1),
    ]
    assert {box.left < 640 for span in spans if isinstance(span, FaceSpan) for box in span.path.boxes} == {True}


def test_all_are_rendered_each_in_a_span_of_their_own(second, dialogue):
    spans = spans_of(dialogue, second, Everyone())
    assert drawn(spans) == [(0, 20, 1), (20, 30, 2), (30, 50, 1), (30, 50, 2), (50, 60, 3), (60, 70, 1)]


def test_the_largest_of_each_shot(second):
    scan = Scan(
        tuple(FrameDetections(n, (face("A", "L", n, height=200), face("B", "M", n, height=150))) for n in range(20)),
        (),
        "drawn",
        SIZE,
    )
    cast = find_people(scan, second, [(0, 20)], EMBEDDER)
    (largest,) = spans_of(cast, second, ByPlace("largest"))
    (central,) = spans_of(cast, second, ByPlace())
    assert largest.path.boxes[0].left < central.path.boxes[0].left
    assert {largest.person, central.person} == {1, 2}


def test_a_reference_finds_its_person_or_no_one(second, dialogue):
    chosen = choose_like(dialogue, vector_of("B", 77), EMBEDDER)
    assert chosen.people == (2,)
    no_one = choose_like(dialogue, vector_of("X"), EMBEDDER)
    assert no_one.people == ()
    assert no_one.note
    assert drawn(spans_of(dialogue, second, no_one)) == [(0, 70, UNLIKE_REFERENCE)]


def test_a_point_shows_a_person(second, dialogue):
    assert choose_at(dialogue, second, 35, (PLACES["R"], 360)).people == (2,)
    assert choose_at(dialogue, second, 35, (PLACES["L"] + 60, 300)).people == (1,)  # just beside the face
    assert choose_at(dialogue, second, 35, (PLACES["M"], 360)) is None
    assert choose_at(dialogue, second, 99, (PLACES["L"], 360)) is None


def test_a_point_inside_a_box_means_that_face_and_not_its_neighbour(second):
    left, right = FaceBox(540, 300, 650, 450), FaceBox(660, 300, 770, 450)
    faces = [
        tuple(Face(box, 0.9, None, pack(vector_of(name, n))) for name, box in (("A", left), ("B", right)))
        for n in range(10)
    ]
    cast = find_people(
        Scan(tuple(map(FrameDetections, range(10), faces)), (), "drawn", SIZE), second, [(0, 10)], EMBEDDER
    )
    chosen = {x: choose_at(cast, second, 5, (x, 370)).people for x in (595, 648, 662, 700)}
    assert chosen[595] == chosen[648] != chosen[662] == chosen[700]


def test_a_point_on_an_unidentified_face_follows_it_in_its_shot(second):
    scan = scan_of({"L": "A" * 20, "R": "B" * 20}, (10,))
    blind = Scan(
        tuple(FrameDetections(s.frame, tuple(Face(f.box, f.score) for f in s.faces)) for s in scan.samples),
        scan.cuts,
        "drawn",
        SIZE,
    )
    cast = find_people(blind, second, [(0, 20)], EMBEDDER)
    choice = choose_at(cast, second, 3, (PLACES["R"], 360))
    assert choice.note
    spans = spans_of(cast, second, choice)
    assert [span.kind for span in spans] == ["face", "no_face"]
    assert spans[0].path.boxes[0].left > 640
    assert drawn(spans_of(cast, second, choice, [(0, 5), (5, 20)])) == [
        (0, 5, None),
        (5, 10, None),
        (10, 20, "another face"),
    ]
    assert choose_main(cast, second, [], least_px=64, least_score=0.4) == ByPlace(note=NOT_TOLD_APART)


def test_one_person_alone_is_followed_wherever_a_face_is(second):
    """No one else could be meant, so faces without an embedding count as well, as they do without an embedder."""
    scan = Scan(
        tuple(FrameDetections(n, (face("A", "M", n, is_known=n < 9),)) for n in range(20)), (10,), "drawn", SIZE
    )
    cast = find_people(scan, second, [(0, 20)], EMBEDDER)
    choice = choose_main(cast, second, [(0, 20)], least_px=64, least_score=0.4)
    assert choice.note == ONE_KNOWN
    assert drawn(spans_of(cast, second, choice)) == [(0, 10, 1), (10, 20, None)]


def test_one_person_comes_before_an_unidentified_face_nearer_to_the_centre(second):
    faces = [(face("A", "L", n), face("B", "M", n, height=300, is_known=False)) for n in range(20)]
    cast = find_people(
        Scan(tuple(map(FrameDetections, range(20), faces)), (), "drawn", SIZE), second, [(0, 20)], EMBEDDER
    )
    choice = choose_main(cast, second, [(0, 20)], least_px=64, least_score=0.4)
    assert choice.note == ONE_KNOWN
    assert drawn(spans_of(cast, second, choice)) == [(0, 20, 1)]


def test_one_person_is_rendered_wherever_they_are_known(second):
    """Also where they are far smaller than elsewhere in the shot, and where two of their tracks share a sample."""
    near, far = [face("A", "L", n, height=300) for n in range(20)], [face("A", "R", n, height=140) for n in range(40)]
    faces = [*((each,) for each in near[:15]), (near[15], far[15]), *((each,) for each in far[16:])]
    cast = find_people(
        Scan(tuple(map(FrameDetections, range(40), faces)), (), "drawn", SIZE), second, [(0, 40)], EMBEDDER
    )
    assert len(cast.shots[0].tracks) == 2
    one = replace(cast, shots=tuple(replace(shot, people=(1, 1)) for shot in cast.shots), people=cast.people[:1])
    choice = choose_main(one, second, [(0, 40)], least_px=64, least_score=0.4)
    rendered = merge((s.start_frame, s.stop_frame) for s in spans_of(one, second, choice) if s.kind == "face")
    assert rendered == [(0, 40)]


def test_a_person_walking_past_is_not_rendered(second):
    """B hides A for three samples and takes their place; with no one there, such a short gap is filled."""
    away = range(8, 11)
    hidden = [(face("B", "M", n),) if n in away else (face("A", "M", n), face("B", "R", n)) for n in range(20)]
    alone = [() if n in away else (face("A", "M", n),) for n in range(20)]
    for faces, rendered in ((hidden, [(0, 8), (11, 20)]), (alone, [(0, 20)])):
        scan = Scan(tuple(map(FrameDetections, range(20), faces)), (), "drawn", SIZE)
        cast = find_people(scan, second, [(0, 20)], EMBEDDER)
        limits = SpanSettings(min_on_seconds=0, min_off_seconds=0.4)
        person = next(who for track, who in zip(cast.shots[0].tracks, cast.shots[0].people, strict=True) if 0 in track)
        spans = spans_of(cast, second, ChosenPeople((person,)), limits=limits)
        assert [(s.start_frame, s.stop_frame) for s in spans if s.kind == "face"] == rendered


def test_one_person_alone_leaves_nothing_to_say(second):
    cast = cast_of(second, {"M": "A" * 20})
    assert choose_main(cast, second, [(0, 20)], least_px=64, least_score=0.4) == ByPlace(people=(1,))


@pytest.mark.parametrize("choice", [ByPlace(), ByPlace("largest")])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_face_that_takes_another_ones_place_begins_a_span_of_its_own(second, choice, is_known):
    """No path leads from one face to the other, and no mouth at rest is lent."""
    faces = [*(face("A", "L", n, is_known=is_known) for n in range(12)), *(face("B", "R", n) for n in range(12, 20))]
    samples = tuple(FrameDetections(n, (each,)) for n, each in enumerate(faces))
    cast = find_people(Scan(samples, (), "drawn", SIZE), second, [(0, 20)], EMBEDDER)
    one, other = spans_of(cast, second, choice)
    assert (one.start_frame, one.stop_frame, other.start_frame, other.stop_frame) == (0, 12, 12, 20)
    assert one.fades_out
    assert other.fades_in
    for span, place in ((one, "L"), (other, "R")):
        assert {(box.left + box.right) / 2 for box in span.path.boxes} == {PLACES[place]}
    by_file = from_rows([row(0, 20)], cast, [(0, 20)], SpanRule(second, PLAIN, choice))
    assert [span.path for span in by_file] == [one.path, other.path]


def test_a_face_that_was_lost_for_a_while_goes_on_in_its_span(second):
    """After five seconds it is another track, in the same place: still one face."""
    there = [n for n in range(50) if n < 10 or n >= 40]
    samples = tuple(FrameDetections(n, (face("A", "M", n, is_known=False),) * (n in there)) for n in range(50))
    cast = find_people(Scan(samples, (), "drawn", SIZE), second, [(0, 50)], EMBEDDER)
    assert len(cast.shots[0].tracks) == 2
    limits = SpanSettings(min_on_seconds=0, min_off_seconds=60)
    assert drawn(spans_of(cast, second, ByPlace(), limits=limits)) == [(0, 50, None)]


def test_part_of_a_shot_keeps_its_people(second, dialogue):
    assert drawn(spans_of(dialogue, second, Everyone(), [(25, 35), (45, 55)])) == [
        (25, 30, 2),
        (30, 35, 1),
        (30, 35, 2),
        (45, 50, 1),
        (45, 50, 2),
        (50, 55, 3),
    ]


# Rows that a user may correct


def row(start, stop, person=None, kind="face", reason="", line=2):
    return SpanRow(line, start, stop, person, kind, reason)


def spans_from(cast, *rows, choice=None, intervals=((0, 70),)):
    return from_rows(rows, cast, intervals, SpanRule(SECOND, PLAIN, choice or ByPlace()))


@pytest.mark.parametrize("choice", [ChosenPeople((1,)), ChosenPeople((2,)), Everyone(), ByPlace()])
def test_unchanged_rows_give_the_same_spans(second, dialogue, choice):
    spans = spans_of(dialogue, second, choice)
    assert spans_from(dialogue, *to_rows(spans), choice=choice) == spans


def test_rows_do_exactly_what_they_say(dialogue):
    spans = spans_from(dialogue, row(5, 12, 1), row(12, 15, None, "no_face", "coughs"), row(35, 45, 2), row(40, 48, 1))
    assert drawn(spans) == [
        (0, 5, NOT_LISTED),
        (5, 12, 1),
        (12, 15, "coughs"),
        (15, 35, NOT_LISTED),
        (35, 45, 2),
        (40, 48, 1),
        (48, 70, NOT_LISTED),
    ]


def test_a_row_over_a_cut_becomes_a_span_for_each_shot_that_shows_the_face(dialogue):
    assert drawn(spans_from(dialogue, row(15, 35, 1))) == [
        (0, 15, NOT_LISTED),
        (15, 20, 1),
        (20, 30, NOT_SEEN),
        (30, 35, 1),
        (35, 70, NOT_LISTED),
    ]


def test_inside_a_shot_the_box_is_held_where_the_face_was_not_seen(second):
    cast = cast_of(second, {"M": "." * 10 + "A" * 5 + "." * 15})
    (_, span, _) = from_rows([row(2, 25, 1)], cast, [(0, 30)], SpanRule(second, PLAIN, ByPlace()))
    assert (span.start_frame, span.stop_frame) == (2, 25)
    assert span.path.box_at(2) == span.path.box_at(24) == face("A", "M").box


# Properties


@st.composite
def scans(draw):
    """Return a scan of 60 frames: any cuts, three places, each empty or with a person, known or not."""
    cuts = tuple(sorted(draw(st.sets(st.integers(1, 59), max_size=4))))
    frames = sorted(draw(st.sets(st.integers(0, 59), max_size=30)))
    samples = []
    for number in frames:
        there = draw(st.dictionaries(st.sampled_from("LMR"), st.sampled_from("ABC"), max_size=3))
        samples.append(
            FrameDetections(
                number,
                tuple(
                    face(
                        who,
                        place,
                        number,
                        is_known=draw(st.booleans()),
                        height=draw(st.sampled_from([50, 100, 140])),
                        score=draw(st.sampled_from([0.35, 0.5, 0.95])),
                    )
                    for place, who in there.items()
                ),
            )
        )
    return Scan(tuple(samples), cuts, "drawn", SIZE)


CHOICES = st.sampled_from(
    [ByPlace(), ByPlace("largest"), Everyone(), ChosenPeople((1,)), ChosenPeople((2, 3)), ChosenPeople(())]
)


@settings(max_examples=60)
@given(scans(), CHOICES, st.sampled_from([0, 0.3]))
def test_spans_keep_their_promises(second, scan, choice, limit):
    cast = find_people(scan, second, [(0, 60)], EMBEDDER)
    limits = SpanSettings(min_on_seconds=limit, min_off_seconds=limit)
    spans = spans_of(cast, second, choice, [(0, 60)], limits)
    faces = [span for span in spans if span.kind == "face"]
    others = [span for span in spans if span.kind != "face"]
    covered = merge((span.start_frame, span.stop_frame) for span in spans)
    assert covered == [(0, 60)]
    assert all(a.stop_frame <= b.start_frame for a, b in pairwise(others))
    assert complement(merge((s.start_frame, s.stop_frame) for s in faces), 0, 60) == merge(
        (s.start_frame, s.stop_frame) for s in others
    )
    borders = [0, *scan.cuts, 60]
    for span in faces:
        assert any(a <= span.start_frame < span.stop_frame <= b for a, b in pairwise(borders))
        assert any(span.start_frame <= frame < span.stop_frame for frame in span.path.frames)
        assert not isinstance(choice, ChosenPeople) or span.person in choice.people
    if not isinstance(choice, Everyone):
        assert isinstance(choice, ChosenPeople) or all(a.stop_frame <= b.start_frame for a, b in pairwise(faces))
    for a, b in pairwise(faces):
        assert a.person is None or a.person != b.person or a.stop_frame <= b.start_frame


@settings(max_examples=40)
@given(scans())
def test_people_keep_their_promises(second, scan):
    cast = find_people(scan, second, [(0, 60)], EMBEDDER)
    assert cast == find_people(scan, second, [(0, 60)], EMBEDDER)
    assert [person.number for person in cast.people] == list(range(1, len(cast.people) + 1))
    assert all(a.seconds >= b.seconds - 1e-6 for a, b in pairwise(cast.people))
    for shot in cast.shots:
        faces = sum(len(sample.faces) for sample in shot.samples)
        assert sum(len(track) for track in shot.tracks) == faces
        for sample in shot.samples:
            sure = [
                person
                for track, person in zip(shot.tracks, shot.people, strict=True)
                if (seen := track.get(sample.frame)) and seen.score >= 0.5 and person is not None
            ]
            assert len(sure) == len(set(sure))


def test_a_row_without_a_person_means_the_target_or_else_a_face_chosen_by_place(second):
    cast = cast_of(second, {"M": "B" * 30, "R": "A" * 20 + "." * 10}, (20,))
    assert [person.num_shots for person in cast.people] == [2, 1]
    rows = spans_from(cast, row(0, 10), row(20, 30), choice=ChosenPeople((2,)), intervals=[(0, 30)])
    assert drawn(rows) == [(0, 10, 2), (10, 20, NOT_LISTED), (20, 30, 1)]


def test_a_face_that_two_rows_mean_is_drawn_once(second):
    cast = cast_of(second, {"M": "A" * 30})
    assert drawn(spans_from(cast, row(0, 20), row(10, 30, 1), intervals=[(0, 30)])) == [(0, 20, 1), (20, 30, 1)]
    assert drawn(spans_from(cast, row(10, 20), row(0, 30, 1), intervals=[(0, 30)])) == [(0, 30, 1)]


def test_rows_of_everyone_leave_out_faces_that_the_plan_left_out(second):
    """Two unidentified faces, one too small: the small one is rendered only where no other face counts."""
    small = face("B", "L", 0, height=30, is_known=False)
    faces = [(face("A", "M", n, is_known=False), small) if n < 20 else (small,) for n in range(30)]
    cast = find_people(
        Scan(tuple(map(FrameDetections, range(30), faces)), (), "drawn", SIZE), second, [(0, 30)], EMBEDDER
    )
    everyone = Everyone()
    spans = spans_of(cast, second, everyone)
    assert drawn(spans) == [(0, 20, None), (20, 30, "face smaller than 64 px")]
    assert spans_from(cast, *to_rows(spans), choice=everyone, intervals=[(0, 30)]) == spans
    (_, asked) = spans_from(cast, *to_rows(spans)[:1], row(20, 30), choice=everyone, intervals=[(0, 30)])
    assert asked.path.boxes[0].left < 640


@settings(max_examples=40)
@given(scans(), st.sampled_from([ChosenPeople((1,)), ChosenPeople((2,)), ChosenPeople((1, 2))]))
def test_rows_of_people_survive_the_trip(second, scan, choice):
    cast = find_people(scan, second, [(0, 60)], EMBEDDER)
    spans = spans_of(cast, second, choice, [(0, 60)])
    again = from_rows(to_rows(spans), cast, [(0, 60)], SpanRule(second, PLAIN, choice))
    assert again == spans
