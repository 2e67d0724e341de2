"""The bank of a speaker's mouths: what goes in comes out, unusable mouths do not, and memory stays flat."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from av import VideoFrame

from media.base.errors import WorkspaceError
from media.mesh import FoundMesh
from media.orientation import ORIENTATIONS, UPRIGHT
from media.picture import PictureConverter, plane_views
from renderer.footage.bank import Bank
from renderer.footage.bank_writer import BankWriter, MouthCutter
from renderer.footage.drawing.draw import Part, draw
from renderer.footage.drawing.mask import Pose
from renderer.footage.lip_shape import upright
from tests.support.heads import picture, seen, talking

OPENINGS = 0.1 + 0.1 * np.sin(np.arange(140) / 2)
SURE = (0.01, 0.01, 0.01)


def stored_frame(pixels, orientation=UPRIGHT, pixel_format="yuv420p"):
    return VideoFrame.from_ndarray(orientation.turn_back(pixels), format="bgr24").reformat(format=pixel_format)


def mesh_at(number):
    return seen(talking(OPENINGS[number]), yaw=4 * np.sin(number / 20))


def write_bank(path, numbers, *, orientation=UPRIGHT, pixel_format="yuv420p", spoil=None):
    """Write a bank of some frames. spoil: changes (pixels, doubts) of a frame by its number."""
    _, reference = upright(np.stack([mesh_at(number) for number in numbers]))
    cutter = MouthCutter(PictureConverter(orientation), reference)
    with BankWriter(path, reference) as writer:
        for number in numbers:
            pixels, doubts = picture(mesh_at(number)), SURE
            if spoil:
                pixels, doubts = spoil(number, pixels, doubts)
            frame = stored_frame(pixels, orientation, pixel_format)
            writer.add(cutter.cut(number, frame, FoundMesh(mesh_at(number), doubts)))
        writer.finish()
    return path


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le"])
def test_mouths_come_out_as_they_went_in(tmp_path, pixel_format):
    numbers = [*range(20), *range(30, 40)]
    bank = Bank(write_bank(tmp_path / "bank", numbers, pixel_format=pixel_format))
    assert (len(bank), bank.num_seen) == (30, 30)
    candidates = bank.candidates
    assert candidates.frames.tolist() == numbers
    assert np.flatnonzero(~candidates.follows).tolist() == [0, 20]
    assert np.corrcoef(candidates.shapes[:, 0], OPENINGS[numbers])[0, 1] > 0.99
    assert candidates.shapes.std(axis=0)[0] == pytest.approx(1, abs=1e-3)
    for number in (0, 25):
        mouth = bank.mouth(number, UPRIGHT)
        whole = plane_views(stored_frame(picture(mesh_at(numbers[number])), pixel_format=pixel_format))
        left, top = mouth.corner
        for part, plane in zip(mouth.planes, whole, strict=True):
            step = 320 // plane.shape[0]
            y, x = top // step, left // step
            assert np.array_equal(part, plane[y : y + part.shape[0], x : x + part.shape[1]])
        assert mouth.mesh == pytest.approx(mesh_at(numbers[number]), abs=1e-4)
    del mouth, part


@pytest.mark.parametrize("more", [0, 60])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_however_a_picture_is_stored_the_same_mouth_is_drawn(tmp_path, orientation, more):
    """4:4:4, since chroma samples of other formats lie elsewhere once a picture is turned.

    more: pixels by which the footage's pictures are larger than those drawn into, as a further video's may be.
    """
    target = seen(talking(0.0), yaw=5)

    def larger(number, pixels, doubts):
        return np.pad(pixels, ((0, more), (0, more // 2), (0, 0)), "edge"), doubts

    def drawn(way):
        path = tmp_path / f"bank{way}".replace(" ", "_")
        write_bank(path, [7, 8], orientation=way, pixel_format="yuv444p", spoil=larger)
        frame = stored_frame(picture(target), way, "yuv444p")
        mesh = way.points_to_stored(target, frame.width, frame.height)
        bank = Bank(path)
        part = Part(bank.mouth(0, way))
        draw(plane_views(frame), Pose(mesh, mesh), [part], full_scale=255)
        return [way.turn(plane.copy()) for plane in plane_views(frame)]

    for straight, turned in zip(drawn(UPRIGHT), drawn(orientation), strict=True):
        off = np.abs(straight.astype(int) - turned)
        assert off.mean() < 0.2
        assert np.percentile(off, 99.5) <= 6


def test_mouths_that_are_blurred_dark_unsure_or_covered_are_left_out(tmp_path):
    def spoil(number, pixels, doubts):
        if number == 5:
            return cv2.GaussianBlur(pixels, (0, 0), 6), doubts
        if number == 6:
            return pixels // 20, doubts
        if number == 7:
            return pixels, (0.2, 0.01, 0.1)
        if number == 8:  # a hand before the mouth
            return pixels, (0.02, 0.02, 0.02)
        return pixels, doubts

    bank = Bank(write_bank(tmp_path / "bank", range(12), spoil=spoil))
    assert bank.candidates.frames.tolist() == [0, 1, 2, 3, 4, 9, 10, 11]
    assert bank.num_seen == 12


def test_a_bank_may_be_empty(tmp_path):
    with BankWriter(tmp_path / "none", upright(mesh_at(0)[None])[1]) as writer:
        writer.finish()
    bank = Bank(tmp_path / "none")
    assert len(bank) == 0


def test_a_face_beyond_the_picture_is_no_mouth():
    cutter = MouthCutter(PictureConverter(UPRIGHT), upright(mesh_at(0)[None])[1])
    beyond = mesh_at(0) + np.array([900, 0, 0], np.float32)
    assert cutter.cut(0, stored_frame(picture(mesh_at(0))), FoundMesh(beyond, SURE)) is None


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"", lambda data: data[:-8] + b"nothing\n"])
def test_a_file_that_was_not_finished_is_refused(tmp_path, damage):
    path = write_bank(tmp_path / "bank", range(3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WorkspaceError, match="no finished bank of mouths"):
        Bank(path)
    with pytest.raises(WorkspaceError, match="no finished bank"):
        Bank(tmp_path / "gone")


def mapped_bytes(path):
    """Return how much of a file this process has mapped into its memory."""
    ranges = (line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path)))
    return sum(int(stop, 16) - int(start, 16) for start, stop in (each.split("-") for each in ranges))


def test_samples_stay_on_the_disk(tmp_path):
    path = write_bank(tmp_path / "bank", range(60))
    size = path.stat().st_size
    tracemalloc.start()
    bank = Bank(path)
    for number in range(60):
        bank.mouth(number, UPRIGHT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 4
    assert mapped_bytes(path) == 0  # pages of mapped files count as a process's own, too
