"""Where mouths come and go: inside shots, by time, and the same in clips of any length."""

from fractions import Fraction

import pytest

from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.clips import FaceSpan, Fade
from media.faces import Face, FaceBox, FacePath, FrameDetections
from segmenter.people.identities import Identities, Shot
from segmenter.people.targets import ByPlace
from segmenter.planner import ClipSettings, CopyRule, plan_clips
from segmenter.scan import Scan
from segmenter.spans.find import find_spans
from segmenter.spans.presence import SpanRule, SpanSettings
from segmenter.spans.table import SpanRow, from_rows
from tests.support.tables import table_of

SIZE = (1280, 720)
BOX = FaceBox(600, 300, 680, 420)
TABLE = table_of(range(0, 4000, 40))
"""4 s at 25 frames a second."""


def spans_in(pattern, cuts=(), intervals=None):
    """Return the face spans of a scan of every frame: # is a face, . no face."""
    samples = (FrameDetections(i, (Face(BOX, 0.9),) if mark == "#" else ()) for i, mark in enumerate(pattern))
    scan = Scan(tuple(samples), cuts, "drawn", SIZE)
    limits = SpanSettings(min_on_seconds=0, min_off_seconds=0)
    found = find_spans(scan, TABLE, intervals or [(0, len(pattern))], limits)
    return [span for span in found if span.kind == "face"]


def fading(spans):
    return [(span.start_frame, span.fades_in, span.fades_out) for span in spans]


def strengths(spans, *, table=TABLE, timeline=None, driven=((0, 10**6),), seconds=Fraction(16, 100), longest=10):
    """Return {output frame: strength} of the frames in which a mouth is not seen in full, from clips of some length."""
    clips = plan_clips(
        spans,
        table,
        timeline or identity_timeline(table),
        driven=driven,
        copying=CopyRule(),
        settings=ClipSettings(Fraction(longest), seconds),
    )
    fades = [fade for clip in clips for fade in clip.fades]
    assert all(clip.start_frame <= fade.frame < clip.stop_frame for clip in clips for fade in clip.fades)
    assert all(0 < fade.strength < 1 for fade in fades)
    return {fade.frame: fade.strength for fade in fades}


RISING = (0.25, 0.5, 0.75)


def rise(first):
    return {first + at: share for at, share in enumerate(RISING)}


def fall(stop):
    return {stop - 1 - at: share for at, share in enumerate(RISING)}


def span(start, stop, *, fades_in=True, fades_out=True, left=600.0):
    path = FacePath((start,), (FaceBox(left, 300, left + 80, 420),))
    return FaceSpan(start, stop, path, fades_in=fades_in, fades_out=fades_out)


def test_spans_fade_inside_shots_and_not_at_cuts():
    assert fading(spans_in("..####..####", cuts=(8,))) == [(2, True, True), (8, False, True)]
    assert fading(spans_in("..####" + "####..", cuts=(6,))) == [(2, True, False), (6, False, True)]


def test_borders_of_ranges_are_inside_shots():
    assert fading(spans_in("#" * 40, intervals=[(10, 20)])) == [(10, True, True)]


def test_a_mouth_comes_and_goes_by_time():
    assert strengths([span(20, 60)]) == rise(20) | fall(60)
    assert strengths([span(20, 60, fades_in=False)]) == fall(60)
    fast = table_of(range(0, 4000, 20))
    assert strengths([span(20, 60, fades_out=False)], table=fast) == {20 + at: (at + 1) / 8 for at in range(7)}


def test_a_short_stretch_never_reaches_its_full_strength():
    assert strengths([span(20, 24)]) == {20: 0.25, 21: 0.5, 22: 0.5, 23: 0.25}


def test_without_time_there_is_no_fade():
    assert strengths([span(20, 60)], seconds=Fraction(0)) == {}


@pytest.mark.parametrize("longest", [Fraction(1, 25), Fraction(3, 25), Fraction(1, 2), 2])
def test_clips_of_any_length_fade_alike(longest):
    spans = [span(20, 60), span(70, 76)]
    assert strengths(spans, longest=longest) == strengths(spans, longest=100)


def test_where_the_sound_begins_and_ends_a_mouth_comes_and_goes():
    assert strengths([span(0, 100)], driven=((30, 50),)) == rise(30) | fall(50)


def test_at_the_ends_of_the_video_nothing_fades():
    assert strengths([span(0, 100)]) == {}


def test_an_extracted_range_begins_with_its_mouth():
    timeline = concat_ranges(TABLE, [(30, 50), (70, 90)])
    assert strengths([span(30, 50), span(70, 80)], timeline=timeline) == fall(30)


def test_a_video_that_runs_backwards_fades_the_other_way_round():
    timeline = extend_timeline(identity_timeline(TABLE), Fraction(6), "bounce")
    found = strengths([span(80, 95, fades_in=True, fades_out=False)], timeline=timeline)
    assert found == rise(80) | fall(119)  # frames 98, 97, ... follow 99: frame 80 is shown again as 118


def test_each_of_several_faces_fades_by_itself():
    clips = plan_clips(
        [span(20, 60, left=100.0), span(21, 60, fades_in=False, fades_out=False)],
        TABLE,
        identity_timeline(TABLE),
        driven=((0, 100),),
        copying=CopyRule(),
        settings=ClipSettings(fade_seconds=Fraction(2, 25)),
    )
    fades = [fade for clip in clips for fade in clip.fades]
    assert fades == [Fade(20, 0, 0.5), Fade(59, 0, 0.5)]


def test_rows_of_a_span_file_that_touch_do_not_fade_between_them():
    samples = tuple(FrameDetections(i, (Face(BOX, 0.9),)) for i in range(100))
    track = {sample.frame: sample.faces[0] for sample in samples}
    cast = Identities((Shot(0, 100, SIZE, samples, (track,), (None,)),), ())
    rows = [SpanRow(2, 10, 40, None, "face", ""), SpanRow(3, 40, 60, None, "face", "")]
    spans = from_rows(rows, cast, [(0, 100)], SpanRule(TABLE, SpanSettings(), ByPlace()))
    assert strengths(spans) == rise(10) | fall(60)
    assert strengths(spans, driven=((0, 40), (50, 100))) == rise(10) | fall(40) | rise(50) | fall(60)


def looking(openness):
    return Face(BOX, 0.9, openness=openness)


def test_a_mouth_is_closed_where_it_stays_closed_and_neutral_where_it_is_most_closed():
    looks = [1.0] * 10 + [0.42, 0.4, 0.41] + [0.9] * 10 + [0.42] * 20 + [1.1] * 7
    samples = tuple(FrameDetections(i, (looking(value),)) for i, value in enumerate(looks))
    scan = Scan(samples, (), "drawn", SIZE)
    (found,) = find_spans(scan, TABLE, [(0, len(looks))], SpanSettings())
    assert [neutral.frame for neutral in found.neutral_faces] == [11]
    assert found.closed_mouth == ((23, 43),)
    assert [found.closed_mouth_at(frame) for frame in (11, 22, 23, 24, 26, 39, 42, 43)] == [
        0,
        0,
        0.25,
        0.5,
        1,
        1,
        0.25,
        0,
    ]
    assert found.shortened(30, 40, 5).closed_mouth == ((23, 43),)
    assert found.shortened(0, 20, 5).closed_mouth == ()
    assert found.shortened(30, 40, 5).neutral_faces == found.neutral_faces
