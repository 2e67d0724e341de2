"""The filter that steadies boxes: no lag, no look beyond the span, the same wherever reading began."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from segmenter.smoothing import filter_weights, needed_frames, reach_of

WINDOWS = [1, 3, 5, 7, 9]


def steadied(values, start, stop, window, frames=None):
    """Return the filtered values of a span's frames; `values` covers frames from 0 on."""
    found = []
    for frame in range(start, stop) if frames is None else frames:
        needed = needed_frames(frame, start, stop, window)
        found.append(filter_weights(len(needed), frame - needed.start, window) @ values[needed.start : needed.stop])
    return np.array(found)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7, 8, 12, 40])
def test_even_motion_comes_through_exactly(window, length):
    """At the ends of a span, too: there is no lag anywhere."""
    line = 5.0 - 3.25 * np.arange(60)
    assert steadied(line, 10, 10 + length, window) == pytest.approx(line[10 : 10 + length], abs=1e-9)


@pytest.mark.parametrize("window", WINDOWS[1:])
@pytest.mark.parametrize("length", [9, 10, 11, 17, 40])
def test_it_is_savitzky_golay_twice(window, length):
    values = np.random.default_rng(length).normal(size=length)
    length_used = min(window, length - 1 + length % 2)
    expected = savgol_filter(savgol_filter(values, length_used, 1), length_used, 1)
    assert steadied(values, 0, length, window) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("window", WINDOWS)
def test_what_lies_outside_the_span_plays_no_part(window):
    """A cut: the path jumps, and not one frame on either side knows of it."""
    before, after = np.full(20, 100.0), np.full(25, 700.0)
    values = np.concatenate([before, after])
    assert steadied(values, 0, 20, window) == pytest.approx(before)
    assert steadied(values, 20, 45, window) == pytest.approx(after)
    other = np.concatenate([before, np.random.default_rng(1).normal(size=25)])
    assert (steadied(values, 0, 20, window) == steadied(other, 0, 20, window)).all()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_needed_lies_within_reach_and_inside_the_span(data):
    window = data.draw(st.sampled_from(WINDOWS))
    start = data.draw(st.integers(0, 50))
    stop = start + data.draw(st.integers(1, 60))
    frame = data.draw(st.integers(start, stop - 1))
    needed = needed_frames(frame, start, stop, window)
    assert start <= needed.start <= frame < needed.stop <= stop
    assert max(frame - needed.start, needed.stop - 1 - frame) <= reach_of(window)
    assert filter_weights(len(needed), frame - needed.start, window).sum() == pytest.approx(1)


@pytest.mark.parametrize("window", WINDOWS[1:])
def test_the_weights_are_the_same_on_either_side(window):
    """In the middle of a span; so that nothing is moved in time."""
    needed = needed_frames(50, 0, 100, window)
    weights = filter_weights(len(needed), 50 - needed.start, window)
    assert len(needed) == 4 * (window // 2) + 1
    assert weights == pytest.approx(weights[::-1])


def test_trembling_is_taken_away():
    """White noise: its second differences shrink by 37 with Wav2Lip's mean of 5, by far more here, ends included."""
    noise = np.random.default_rng(0).normal(size=2000)

    def jitter(values):
        return np.square(np.diff(values, 2)).mean()

    mean_of_5 = np.convolve(noise, np.ones(5) / 5, "valid")
    assert jitter(noise) / jitter(mean_of_5) == pytest.approx(37.5, rel=0.1)
    assert jitter(noise) / jitter(steadied(noise, 0, 2000, 7)) > 2000
    short = np.concatenate([steadied(noise, at, at + 30, 7) for at in range(0, 1980, 30)])
    within = [np.square(np.diff(short[at : at + 30], 2)).mean() for at in range(0, 1980, 30)]
    assert jitter(noise) / np.mean(within) > 1000
