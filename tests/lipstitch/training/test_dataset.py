"""Datasets in memory: the right rows, whole people held out, damage refused."""

import numpy as np
import pytest

from lipstitch.training.dataset.dataset import FaceData, is_named, split_by_time
from lipstitch.training.dataset.facts import VideoFacts
from media.base.errors import ConfigError, TrainingError
from media.base.files import write_json
from tests.lipstitch.training.conftest import NUM_ROWS, PEOPLE, draw_talker, write_talker


def test_rows_are_those_of_the_files(talking_data):
    rows = np.array([[3, 99], [NUM_ROWS, 3 * NUM_ROWS + 7]])
    crops, mels = talking_data.crops_at(rows), talking_data.mels_at(rows)
    assert crops.shape == (2, 2, 3, 112, 112)
    assert mels.shape == (2, 2, 1, 80, 16)
    for place, row in np.ndenumerate(rows):
        known, columns, mel = draw_talker(int(row) // NUM_ROWS)
        start = columns[row % NUM_ROWS]
        assert np.array_equal(crops[place].permute(1, 2, 0), known[row % NUM_ROWS])
        assert np.array_equal(mels[place][0], mel[start : start + 16].T)


def test_what_does_not_fit_into_memory_stays_on_the_disk(talkers, talking_data):
    num_bytes = talking_data.num_rows * 112 * 112 * 3
    mapped = FaceData(talkers, most_bytes=num_bytes - 1)
    assert not mapped.is_in_memory
    assert FaceData(talkers, most_bytes=num_bytes).is_in_memory
    rows = np.array([5, 250, 0, 399])
    assert mapped.crops_at(rows).equal(talking_data.crops_at(rows))


def test_whole_people_are_held_out(talkers):
    data = FaceData(talkers)
    split = data.split(["bert"])
    assert {track.person for track in split.held} == {"bert_1", "bert_2"}
    assert {track.person for track in split.tracks} == {"anna", "carl"}
    named = FaceData(talkers, people={"bert": "bert", "bert_2": "ben"})
    assert [track.person for track in named.tracks] == ["anna", "bert", "ben", "carl"]
    assert named.key != data.key


def test_a_name_means_a_person_and_its_continuation():
    assert is_named("head_13", "head_13")
    assert is_named("head_13_512", "head_13")
    assert not is_named("head_131", "head_13")


def test_a_misspelt_name_and_holding_out_everyone_are_refused(talking_data):
    with pytest.raises(ConfigError, match=r"no one in the data is called 'ana'.*anna, bert_1"):
        talking_data.split(["ana"])
    with pytest.raises(ConfigError, match="no one is left"):
        talking_data.split(PEOPLE)


def test_footage_is_split_by_time_with_a_gap(talkers):
    split = split_by_time(FaceData(talkers, names=PEOPLE[:2]), 0.25, 10)
    assert [(track.start, track.stop) for track in split.tracks] == [(0, 65), (100, 165)]
    assert [(track.start, track.stop) for track in split.held] == [(75, 100), (175, 200)]
    for track in [*split.tracks, *split.held]:
        assert track.windows.min() == track.start
        assert track.windows.max() == track.stop - 5


def test_a_video_of_several_tracks_is_split_by_time(tmp_path):
    write_talker(tmp_path, "a", 1)
    VideoFacts("a", "k", ((0, 40), (40, 70), (70, 100)), len(draw_talker(1)[2])).store(tmp_path / "a")
    split = split_by_time(FaceData(tmp_path), 0.5, 10)
    assert [(track.start, track.stop) for track in split.tracks] == [(0, 40)]
    assert [(track.start, track.stop) for track in split.held] == [(50, 70), (70, 100)]


def test_windows_that_an_expert_rejected_are_not_drawn(tmp_path):
    write_talker(tmp_path, "a", 1)
    whole = FaceData(tmp_path)
    write_json(tmp_path / "a" / "kept.json", {"key": "key-1", "rejected_rows": [[10, 20]]})
    kept = FaceData(tmp_path)
    assert kept.key != whole.key
    assert sorted(set(whole.tracks[0].windows) - set(kept.tracks[0].windows)) == list(range(6, 20))
    write_json(tmp_path / "a" / "kept.json", {"key": "of another version", "rejected_rows": [[10, 20]]})
    assert FaceData(tmp_path).key == whole.key


@pytest.mark.parametrize("damage", ["cut", "missing", "other shape", "pickle", "columns"])
def test_damaged_arrays_are_refused(tmp_path, damage):
    write_talker(tmp_path, "a", 1)
    crops, columns = tmp_path / "a" / "crops.npy", tmp_path / "a" / "columns.npy"
    if damage == "cut":
        crops.write_bytes(crops.read_bytes()[:5000])
    elif damage == "missing":
        crops.unlink()
    elif damage == "other shape":
        np.save(crops, np.zeros((NUM_ROWS, 96, 96, 3), np.uint8))
    elif damage == "pickle":
        np.save(crops, np.array([print], dtype=object), allow_pickle=True)
    else:
        np.save(columns, np.full(NUM_ROWS, 10**6, np.int32))
    with pytest.raises(TrainingError, match="Remove the folder and run `train prepare`"):
        FaceData(tmp_path)


def test_a_folder_without_faces_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no prepared faces"):
        FaceData(tmp_path)
