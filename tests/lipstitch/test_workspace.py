"""The workspace: files appear whole or not at all, one run at a time, and names that follow from the content."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from lipstitch.job_file.coding import AudioConfig
from lipstitch.workspace import Workspace, fingerprint, require_space
from media.base.content import content_key, hash_bytes
from media.base.errors import WorkspaceError
from media.base.files import atomic_file, disk_errors
from media.packets.frame_table import CleanCuts, FrameTable

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef01234567"


def test_files_that_a_lost_worker_still_moves_are_not_counted(tmp_path, monkeypatch):
    """Half written ones get their name while a new job looks around, and others go."""
    with Workspace(tmp_path / "work") as workspace:
        here, gone = workspace.path("clip", KEY, ".nut"), workspace.path("clip", KEY[::-1], ".nut")
        for path in (here, gone, here.with_name(f"{here.name}.9f02337f.part")):
            path.write_bytes(b"12345")
        listed = [*workspace.folder.iterdir()]
        gone.unlink()
        monkeypatch.setattr(Path, "iterdir", lambda _: iter(listed))
        assert workspace.num_bytes("clip") == 5


# Atomic files


def _fail_halfway(path, error):
    with atomic_file(path) as partial:
        partial.write_text("half")
        raise error


def test_a_file_appears_under_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "clip.mp4"
    with atomic_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_an_error_leaves_nothing_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("old")
    with pytest.raises(KeyError):
        _fail_halfway(path, KeyError("bug"))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_a_full_disk_is_one_sentence_with_a_remedy(tmp_path):
    with pytest.raises(WorkspaceError, match=r"No space left on device.*Make space") as caught:
        _fail_halfway(tmp_path / "clip.mp4", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert str(tmp_path / "clip.mp4") in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(WorkspaceError, match="No such file or directory"):
        _fail_halfway(tmp_path / "none" / "clip.mp4", KeyError("never reached"))


def test_other_errors_pass_unchanged():
    with pytest.raises(ValueError, match="bug"), disk_errors(Path("x")):
        raise ValueError("bug")


# The lock

HOLD = """
import sys, time
from pathlib import Path
from lipstitch.workspace import Workspace
with Workspace(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_while_the_first_lives(tmp_path):
    folder = tmp_path / "new" / "work"
    first = subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(WorkspaceError, match=f"process {first.pid} is working here") as caught, Workspace(folder):
            pass
        assert str(folder) in str(caught.value)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with Workspace(folder):
        assert (folder / "lock").read_text() == f"process {os.getpid()}"


def test_the_lock_is_free_after_leaving_even_by_an_error(tmp_path):
    with pytest.raises(KeyError), Workspace(tmp_path):
        raise KeyError
    with Workspace(tmp_path), pytest.raises(WorkspaceError, match=f"process {os.getpid()}"), Workspace(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"), Workspace(tmp_path / "file" / "work"):
        pass


# What is kept


def _filled(folder):
    """Fill a workspace with files that runs leave, and with foreign files."""
    foreign = ["talk.mp4", "talk.mp4.part", "scan-notes.txt", f"clip-{KEY}", "clip-123.nut"]
    own = [
        f"source-{KEY}.json",
        f"scan-{KEY}.json",
        f"bank-{KEY}.bank",
        f"clip-{KEY}.nut",
        f"clip-{KEY}.json",
        f"sound-{KEY}.mp4",
        f"driving-{KEY}.wav",
    ]
    for name in [*foreign, *own, f"clip-{KEY}.nut.part"]:
        (folder / name).touch()
    return set(foreign), set(own)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("all", {"source", "scan", "bank", "clip", "sound", "driving"}), ("scan", {"source", "scan", "bank"})],
)
def test_what_is_kept_after_success(tmp_path, keep, kept):
    with Workspace(tmp_path) as workspace:
        foreign, own = _filled(tmp_path)
        workspace.clear_partial()
        workspace.tidy(keep)
    stays = {name for name in own if name.split("-")[0] in kept}
    assert set(os.listdir(tmp_path)) == foreign | stays | {"lock"}


def test_nothing_of_ours_is_kept_and_nothing_else_is_touched(tmp_path):
    with Workspace(tmp_path) as workspace:
        foreign, _ = _filled(tmp_path)
        workspace.tidy("none")
    assert set(os.listdir(tmp_path)) == foreign


def test_an_empty_workspace_goes_with_its_content(tmp_path):
    folder = tmp_path / "work"
    with Workspace(folder) as workspace:
        workspace.store(workspace.path("scan", KEY, ".json"), {})
        workspace.tidy("none")
    assert os.listdir(tmp_path) == []


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    with Workspace(tmp_path) as workspace:
        foreign, own = _filled(tmp_path)
        workspace.clear_partial()
        assert set(os.listdir(tmp_path)) == foreign | own | {"lock"}


def test_names_that_the_workspace_gives_are_names_that_it_knows(tmp_path):
    with Workspace(tmp_path) as workspace:
        path = workspace.path("driving", content_key("x"), ".wav")
        path.touch()
        workspace.tidy("scan")
    assert not path.exists()


# Values


@dataclass(frozen=True)
class _Value:
    seconds: Fraction
    frames: range


def test_what_is_stored_is_loaded(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.store(tmp_path / "a.json", {"of": _Value(Fraction(1, 3), range(2, 8)), "path": Path("x"), "text": "ü"})
    assert workspace.load(tmp_path / "a.json") == {
        "of": {"seconds": "1/3", "frames": [2, 8, 1]},
        "path": "x",
        "text": "ü",
    }
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"\xff\xfe", b"nonsense"])
def test_what_is_missing_or_damaged_is_none(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert Workspace(tmp_path).load(path) is None


def test_what_cannot_be_stored_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="no content key for object"):
        Workspace(tmp_path).store(tmp_path / "a.json", object())
    assert os.listdir(tmp_path) == []


# Content keys


def test_a_key_is_the_same_in_every_process():
    code = (
        "from pathlib import Path; from fractions import Fraction; from media.base.content import content_key\n"
        "from lipstitch.job_file.coding import AudioConfig\n"
        "print(content_key('scan', Fraction(1, 3), {'b': 1, 'a': (2, None)}, AudioConfig()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == content_key("scan", Fraction(1, 3), {"a": (2, None), "b": 1}, AudioConfig())


def test_whatever_differs_gives_another_key():
    values = [
        (),
        ("a",),
        ("a", "b"),
        ("ab",),
        (["a", "b"],),
        (1,),
        (1.0,),
        ("1",),
        (True,),
        (None,),
        (Fraction(1, 3),),
        (1 / 3,),
        (range(3),),
        (range(4),),
        (_Value(Fraction(1), range(2)),),
        (_Value(Fraction(1), range(3)),),
        (AudioConfig(),),
        (AudioConfig(bit_rate=64_000),),
        ({"a": 1},),
        ({"b": 1},),
    ]
    assert len({content_key(*value) for value in values}) == len(values)


# Fingerprints


def _table(pts=(0, 1, 2), keyframe=b"\1\0\0"):
    ticks = array("q", pts)
    return FrameTable(
        Fraction(1, 25), ticks, ticks, array("q", [0, 1, 2]), keyframe, CleanCuts(keyframe, b"\1\1\1\1"), 3
    )


def test_a_fingerprint_follows_the_content_alone(tmp_path):
    one, two = tmp_path / "a.mp4", tmp_path / "b.mkv"
    one.write_bytes(b"content" * 1000)
    shutil.copy(one, two)
    os.utime(two, (1, 1))
    known = fingerprint(one, _table())
    assert fingerprint(two, _table()) == known
    assert fingerprint(one, _table(pts=(0, 1, 3))) != known
    assert fingerprint(one, _table(keyframe=b"\1\0\1")) != known
    content = bytearray(one.read_bytes())
    content[3500] ^= 1
    two.write_bytes(content)
    assert fingerprint(two, _table()) != known
    two.write_bytes(one.read_bytes() + b"\0")
    assert fingerprint(two, _table()) != known


def test_bytes_are_hashed_to_the_last(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes((1 << 20) + 1))
    known = hash_bytes(path)
    path.write_bytes(bytes(1 << 20) + b"\1")
    assert hash_bytes(path) != known


def test_space_that_is_not_there_is_said_before_it_is_used(tmp_path):
    require_space(tmp_path, 1)
    with pytest.raises(WorkspaceError, match=r"about \S+ \wB are needed and \S+ \wB are free"):
        require_space(tmp_path, 1 << 60)
