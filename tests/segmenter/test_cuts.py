import cv2
import numpy as np
import pytest

from segmenter.cuts import CutDetector

SIZE = (128, 72)
HEADS = ["head_01_512.mp4", "head_05_512.mp4", "head_10_512.mp4", "speaker_b_1080x1920_hevc.mp4", "vlog_512_30fps.mp4"]


def find_cuts(pictures, start=0):
    detector = CutDetector()
    cuts = [cut for frame, picture in enumerate(pictures, start) for cut in detector.push(frame, picture)]
    return cuts + list(detector.finish())


def joined(scenery, *lengths):
    pictures = []
    for seed, length in enumerate(lengths):
        pictures += scenery(length, SIZE, seed)
    return pictures


@pytest.mark.parametrize("lengths", [(20, 30, 25), (1, 20), (2, 20), (20, 1), (20, 2), (30, 3, 30), (4, 3, 3, 20)])
@pytest.mark.parametrize("start", [0, 1000])
def test_hard_cuts_are_found_to_the_frame(scenery, lengths, start):
    truth = [start + int(cut) for cut in np.cumsum(lengths)[:-1]]
    assert find_cuts(joined(scenery, *lengths), start) == truth


def test_a_cut_is_known_two_frames_later(scenery):
    detector = CutDetector()
    known = {}
    for frame, picture in enumerate(joined(scenery, 10, 10)):
        known |= dict.fromkeys(detector.push(frame, picture), frame)
    assert known == {10: 10 + detector.LAG_FRAMES}


def test_stills_panning_and_shaking_are_no_cuts(scenery):
    still = [next(scenery(1, SIZE, 0))] * 20
    wide = next(scenery(1, (8 * SIZE[0], SIZE[1]), 1))
    fast_pan = [wide[:, 6 * x : 6 * x + SIZE[0]] for x in range(60)]  # the width of the picture in under a second
    shaking = [wide[:, 40 + x : 40 + x + SIZE[0]] for x in np.random.default_rng(0).integers(0, 9, 40)]
    for pictures in (still, fast_pan, shaking):
        assert find_cuts(np.ascontiguousarray(picture) for picture in pictures) == []


def test_nothing_pushed_nothing_found():
    assert find_cuts([]) == []


@pytest.fixture(scope="module")
def heads(clip_pictures):
    return [list(clip_pictures(name, range(75), SIZE)) for name in HEADS]


def test_talking_heads_have_no_cuts(heads):
    assert [find_cuts(pictures) for pictures in heads] == [[]] * len(heads)


def test_cuts_between_talking_heads_are_found(heads):
    pictures, truth = [], []
    for head in heads:
        truth.append(len(pictures))
        pictures += head[:40]
    assert find_cuts(pictures) == truth[1:]


def test_a_cut_between_two_sizes_of_one_head_is_found(heads):
    def closer(picture):
        return cv2.resize(picture[10:50, 40:90], SIZE)

    assert find_cuts([*heads[4][:30], *map(closer, heads[4][30:60])]) == [30]
