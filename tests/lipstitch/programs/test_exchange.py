"""The files that a program is given, and which of those that come back will do."""

import subprocess
import sys
import time
import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipstitch.job_file.config import load_job
from lipstitch.job_file.program import CommandConfig
from lipstitch.programs.exchange import Exchange, find_fit, sound_of, write_sound
from lipstitch.programs.pieces import Piece
from lipstitch.programs.program import Given, Program
from media.audio.driving import DRIVING_RATE
from media.base.errors import ConfigError, RenderError
from media.clips import FaceSpan
from media.faces import FaceBox, FacePath
from media.orientation import UPRIGHT, Orientation
from media.picture import PictureConverter, plane_views
from media.reader import FrameReader
from media.source_video import scan_video
from renderer.drawn_video import DrawnFaces, DrawnPiece
from tests.support import lip_program
from tests.support.commands import ROOT
from tests.support.jobs import write_job
from tests.support.synthetic import make_video

NUM_FRAMES, RATE = 40, Fraction(30)
BOX = FaceBox(100, 50, 160, 120)
REGION = (60, 20, 202, 142)


def make_piece(region=REGION):
    seconds = tuple(number / RATE for number in range(NUM_FRAMES + 1))
    span = FaceSpan(0, NUM_FRAMES, FacePath((0,), (BOX,)))
    return Piece(span, (0, NUM_FRAMES), tuple(range(NUM_FRAMES)), seconds, region, BOX)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Return (exchange, piece, files) of a program that was not run yet."""
    folder = tmp_path_factory.mktemp("given")
    source = scan_video(make_video(folder / "source.mp4", NUM_FRAMES, rate=RATE, size=(256, 160), color=(1, 1, 1)))
    exchange = Exchange(source, RATE)
    piece = exchange.aligned(make_piece())
    files = Given.within(folder, str(RATE))
    exchange.write_video(piece, files.video)
    samples = (8000 * np.sin(np.arange(int(DRIVING_RATE * NUM_FRAMES / RATE)) / 9)).astype(np.int16)
    write_sound(samples, files.audio)
    return exchange, piece, files


def run(mode, files, tmp_path):
    output = tmp_path / "output.mp4"
    words = [sys.executable, lip_program.__file__, mode, str(files.video), str(files.audio), str(output)]
    subprocess.run(words, check=True)
    return output


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
@pytest.mark.parametrize("orientation", [UPRIGHT, Orientation(90), Orientation(180, is_mirrored=True)])
def test_a_program_sees_the_region_upright_and_hears_its_sound(tmp_path, orientation, pixel_format):
    path = make_video(
        tmp_path / "source.mkv",
        NUM_FRAMES,
        rate=RATE,
        size=(256, 160),
        orientation=orientation,
        crf=4,
        pixel_format=pixel_format,
        color=(1, 1, 1),
    )
    exchange = Exchange(scan_video(path), RATE)
    piece = exchange.aligned(make_piece((41, 21, 121, 141)))
    left, top, right, bottom = piece.region
    assert left <= 41 < 121 <= right
    exchange.write_video(piece, tmp_path / "video.mp4")
    shown = scan_video(tmp_path / "video.mp4")
    assert len(shown.table) == NUM_FRAMES
    assert shown.frame_rate == RATE
    with FrameReader(exchange.source) as own, FrameReader(shown) as made:
        to_picture = PictureConverter(orientation)
        for (_, one), (_, two) in zip(own.read(range(NUM_FRAMES)), made.read(range(NUM_FRAMES)), strict=True):
            wanted = to_picture.upright_bgr(one)[top:bottom, left:right].astype(int)
            seen = PictureConverter(UPRIGHT).upright_bgr(two)
            assert seen.shape == wanted.shape
            assert np.median(np.abs(seen - wanted)) <= 2  # two matrices, each rounded to 8 bits; soft chroma


def test_samples_in_bt_601_are_given_as_they_are(tmp_path):
    exchange = Exchange(
        scan_video(make_video(tmp_path / "a.mp4", 8, rate=RATE, size=(256, 160), color=(6, 6, 6))), RATE
    )
    whole = replace(make_piece((0, 0, 256, 160)), frames=(0, 8), source_frames=tuple(range(8)))
    whole = replace(whole, seconds=whole.seconds[:9])
    exchange.write_video(whole, tmp_path / "video.mp4")
    with FrameReader(exchange.source) as own, FrameReader(scan_video(tmp_path / "video.mp4")) as made:
        for (_, one), (_, two) in zip(own.read(range(8)), made.read(range(8)), strict=True):
            assert all(np.array_equal(*pair) for pair in zip(plane_views(one), plane_views(two), strict=True))


def test_the_sound_is_that_of_the_frames(tmp_path):
    ramp = np.arange(3 * DRIVING_RATE, dtype="<i2")
    with wave.open(str(tmp_path / "driving.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(DRIVING_RATE)
        file.writeframes(ramp.tobytes())
    seconds = tuple(1 + number / RATE for number in range(NUM_FRAMES + 1))
    sound = sound_of(replace(make_piece(), seconds=seconds), tmp_path / "driving.wav")
    assert len(sound) == round(NUM_FRAMES / RATE * DRIVING_RATE)
    assert np.abs(sound.astype(int) - ramp[DRIVING_RATE : DRIVING_RATE + len(sound)]).max() <= 1


@pytest.mark.parametrize(
    ("mode", "shift", "size"),
    [("paint", 0, 1), ("drop", 0, 1), ("25", 0, 1), ("moved", 1, 1), ("large", 0, 2)],
)
def test_what_programs_do_to_a_video_is_undone(given, tmp_path, mode, shift, size):
    _, piece, files = given
    fit = find_fit(piece, files.video, run(mode, files, tmp_path))
    width, height = piece.region[2] - piece.region[0], piece.region[3] - piece.region[1]
    assert fit.size == (size * width, size * height)
    assert fit.shift == pytest.approx((shift, 0), abs=0.3)
    assert max(map(abs, fit.offset)) < 6


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("half", r"lasts 0\.6\d s, and 1\.33 s"),
        ("black", "dark where the face is"),
        ("other", "differ around the face"),
        ("wide", "212x122 pixels, another shape than 142x122"),
    ],
)
def test_what_will_not_do_is_refused(given, tmp_path, mode, reason):
    _, piece, files = given
    with pytest.raises(RenderError, match=reason):
        find_fit(piece, files.video, run(mode, files, tmp_path))


def test_pictures_as_they_were_given_are_no_mouths(given, tmp_path):
    """A program that finds no face writes what it was given; in a pause that may be right."""
    _, piece, files = given
    written = run("same", files, tmp_path)
    find_fit(piece, files.video, written)
    with pytest.raises(RenderError, match="has drawn no mouth"):
        find_fit(piece, files.video, written, is_heard=True)
    find_fit(piece, files.video, run("paint", files, tmp_path), is_heard=True)


def test_no_video_is_refused(given, tmp_path):
    _, piece, files = given
    (tmp_path / "output.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(RenderError, match="no video that can be read"):
        find_fit(piece, files.video, tmp_path / "output.mp4")


def test_two_pieces_pass_into_each_other(given, tmp_path):
    """A frame of each comes from its own place and time; a program's rate and its size play no part."""
    _, piece, files = given
    half = NUM_FRAMES // 2
    made = {}
    for mode in ("25", "large"):
        output = run(mode, files, tmp_path)
        made[mode] = output.rename(tmp_path / f"{mode}.mp4")
    pieces = [
        DrawnPiece(
            frames, piece.seconds[0], piece.region, str(made[mode]), mode, find_fit(piece, files.video, made[mode])
        )
        for frames, mode in (((0, half + 6), "25"), ((half, NUM_FRAMES), "large"))
    ]
    crop = np.array([[0.5, 0, 100], [0, 0.5, 60]])
    exchange = given[0]
    with DrawnFaces([pieces]) as faces, FrameReader(exchange.source) as reader:
        for number, frame in reader.read(range(NUM_FRAMES)):
            seen = faces.face(0, number, piece.seconds[number], crop, (40, 20)).astype(int)
            wanted = PictureConverter(UPRIGHT).upright_bgr(frame)[60:70, 100:120].repeat(2, 0).repeat(2, 1)
            assert np.abs(seen - wanted).mean() < 12, number
    with pytest.raises(RenderError, match="broke"):
        DrawnFaces([[replace(pieces[0], path="", fit=None, failure="broke")]])


# Calling it


def program(run, **settings):
    return Program(CommandConfig(run=run, **settings))


PARTS = "{video} {audio} {output}"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("exit", r"exit code 1: no CUDA device was found"),
        ("hang", r"was ended after 0\.5 s"),
        ("nothing", r"ended well but wrote no output\.mp4"),
    ],
)
def test_a_program_that_fails_says_why(given, words, reason):
    _, _, files = given
    files.output.unlink(missing_ok=True)
    own = program(
        f"{sys.executable} {lip_program.__file__} {words} {PARTS}", timeout_seconds=0.5 if words == "hang" else 60
    )
    with pytest.raises(RenderError, match=reason):
        own.run(files, lambda: False)


def is_running(number):
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("ending", ["stopped", "failed", "killed"])
def test_nothing_that_a_program_has_started_outlives_it(given, tmp_path, ending):
    """Not if the run is stopped, nor if the program fails by itself, nor if the run is killed."""
    _, _, files = given
    note = tmp_path / "numbers"
    script = tmp_path / "draw.sh"
    last = "exit 1" if ending == "failed" else "sleep 600"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! $$ > {note}.part\nmv {note}.part {note}\n{last}\n")
    script.chmod(0o755)
    own = f"{script} {PARTS}"
    if ending == "killed":
        code = (
            "from pathlib import Path; from lipstitch.programs.program import Given, Program;"
            "from lipstitch.job_file.program import CommandConfig;"
            f"files = Given.within(Path({str(tmp_path)!r}), '25');"
            f"Program(CommandConfig(run={own!r})).run(files, lambda: False)"
        )
        asking = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        assert wait_for(note.exists)
        asking.kill()
        asking.wait()
    else:
        with pytest.raises(RenderError):
            program(own).run(files, note.exists if ending == "stopped" else lambda: False)
    numbers = [int(number) for number in note.read_text().split()]
    assert wait_for(lambda: not any(map(is_running, numbers)))


def test_no_shell_takes_part(given, tmp_path):
    _, _, files = given
    script = tmp_path / "words.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[3]).write_text(repr(sys.argv[4:]))")
    own = program(f"{sys.executable} {script} {PARTS} 'a b' $HOME ';' {{fps}} x={{fps}}")
    own.run(files, lambda: False)
    assert files.output.read_text() == "['a b', '$HOME', ';', '30', 'x=30']"
    files.output.unlink()


def test_a_program_that_is_not_there_is_told_before_the_work(tmp_path):
    with pytest.raises(ConfigError, match=r"renderer\.command\.run: no-such-program is not found"):
        program(f"no-such-program {PARTS}").check()
    with pytest.raises(ConfigError, match=r"renderer\.command\.folder: .* is not a folder"):
        program(f"{sys.executable} {PARTS}", folder=tmp_path / "none").check()
    (tmp_path / "draw.sh").write_text("#!/bin/sh\n")
    with pytest.raises(ConfigError, match="may not be executed"):
        program(f"./draw.sh {PARTS}", folder=tmp_path).check()
    (tmp_path / "draw.sh").chmod(0o755)
    with pytest.raises(ConfigError, match="is not found"):  # a folder's own path begins in it
        program(f"{tmp_path.name}/draw.sh {PARTS}", folder=tmp_path).check()
    program(f"./draw.sh {PARTS}", folder=tmp_path).check()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("draw {video} {audio}", r"\{output\} is missing"),
        ("draw {video} {audio} {output} {frames}", r"\{frames\} is unknown; there are \{video\}"),
        ("draw {video} {audio} {output} {", "no command line"),
        ("draw '{video} {audio} {output}", "no command line"),
        ({"run": "draw {video} {audio} {output}", "at_once": 0}, "at_once"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_refused(tmp_path, command, reason):
    job = write_job(tmp_path, input={"video": "a.mp4"}, output="out.mp4", renderer={"command": command})
    with pytest.raises(ConfigError, match=reason):
        load_job(job)


def test_with_a_program_all_mouths_are_its_own_unless_said(tmp_path):
    given = {"input": {"video": "a.mp4"}, "output": "out.mp4"}
    command = "draw {video} {audio} {output}"
    assert load_job(write_job(tmp_path, **given, renderer={"command": command})).renderer.method == "network"
    settings = load_job(write_job(tmp_path, **given, renderer={"command": command, "method": "auto"})).renderer
    assert settings.method == "auto"
    assert not settings.keeps_without_footage
    with pytest.raises(ConfigError, match="leave out command"):
        load_job(write_job(tmp_path, **given, renderer={"command": command, "shape": "network"}))
