"""Whose footage is collected, and how a head is held between the frames that the scan sampled."""

from dataclasses import replace

import numpy as np
import pytest

from lipstitch.footage.subjects import Subject, views_of
from media.clips import FaceSpan
from media.faces import Face, FaceBox, FacePath, FaceView, FrameDetections
from media.mesh import NUM_LIGHTS
from segmenter.scan import Scan
from segmenter.spans.turns import _cut

BOX = FaceBox(10.0, 10.0, 60.0, 70.0)


def view(yaw):
    return FaceView((yaw, 0.0, 0.0, 3.0), (100.0,) * NUM_LIGHTS, 0.01)


@pytest.fixture
def scan():
    """Every tenth frame has a view; those that the scan looked at more closely, 11 to 19, have none."""
    samples = [
        FrameDetections(frame, (Face(BOX, 0.9, view=view(float(frame)) if frame % 10 == 0 else None),))
        for frame in [0, 10, *range(11, 20), 20, 30]
    ]
    return Scan(tuple(samples), (), "cascade", (100, 100))


def test_a_turn_between_two_views_is_held_as_the_whole_span_tells(scan):
    frames = tuple(sample.frame for sample in scan.samples)
    span = FaceSpan(0, 31, FacePath(frames, (BOX,) * len(frames)), person=1)
    turn = _cut(span, 13, 16)
    assert len(views_of(turn, scan)) == 0
    subject = Subject((span,))
    pose, light = views_of(subject.whole(replace(turn, drive_index=1)), scan).at([13, 15])
    assert pose[:, 0] == pytest.approx([13, 15])
    assert np.all(light == 100)


def test_a_subject_holds_its_own_spans_alone(scan):
    span = FaceSpan(0, 31, FacePath((0, 30), (BOX, BOX)), person=1)
    assert Subject((span,)).holds(replace(span, start_frame=5))
    assert not Subject((span,)).holds(replace(span, person=2))
    unknown = replace(span, person=None)
    aside = replace(unknown, path=FacePath((0,), (FaceBox(70.0, 10.0, 99.0, 70.0),)))
    assert Subject((unknown,)).holds(replace(unknown, stop_frame=9))
    assert not Subject((unknown,)).holds(aside)
    assert Subject((span,)).whole(aside) is aside
