"""What a process loads once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from media.base.once import once_a_file


@pytest.fixture
def reader():
    """Return a function that reads a file once, and the list of what it has read."""
    read = []

    @once_a_file
    def load(path, ending=""):
        read.append(path.read_text() + ending)
        return read[-1]

    return load, read


def test_a_file_is_loaded_once_until_it_changes(reader, tmp_path):
    load, read = reader
    path = tmp_path / "weights"
    path.write_text("one")
    assert [load(path), load(path)] == ["one", "one"]
    path.write_text("other")
    assert load(path) == "other"
    assert read == ["one", "other"]


def test_another_argument_is_another_value_and_only_the_latest_is_kept(reader, tmp_path):
    load, read = reader
    path = tmp_path / "weights"
    path.write_text("one")
    assert [load(path), load(path, "!"), load(path, "!"), load(path)] == ["one", "one!", "one!", "one"]
    assert read == ["one", "one!", "one"]


def test_threads_that_ask_at_once_get_the_same_value(tmp_path):
    (tmp_path / "weights").touch()
    together = threading.Barrier(4)

    @once_a_file
    def load(path):
        return object()

    def ask(_):
        together.wait()
        return load(tmp_path / "weights")

    with ThreadPoolExecutor(4) as pool:
        assert len({id(value) for value in pool.map(ask, range(4))}) == 1


def test_an_error_is_not_kept_and_a_missing_file_is_left_to_the_function(reader, tmp_path):
    load, _ = reader
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "weights")
    (tmp_path / "weights").write_text("now")
    assert load(tmp_path / "weights") == "now"
