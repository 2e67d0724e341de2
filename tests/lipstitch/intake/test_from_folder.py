"""Folders as dubbing programs leave them: small ones, with the names of files that these programs give."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from lipstitch.cli import app
from lipstitch.commands import exits
from lipstitch.intake.from_folder import layouts, write_jobs
from lipstitch.intake.job_list import load_jobs
from media.base.errors import ConfigError
from tests.support.commands import ROOT, run_command
from tests.support.doubles import Listening
from tests.support.jobs import NoSignals
from tests.support.quick_jobs import make_talk
from tests.support.synthetic import stamps


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder with a video with sound, one without, and sounds."""
    folder = tmp_path_factory.mktemp("stock")
    make_talk(folder / "talk.mp4")
    make_talk(folder / "mute.mp4", has_sound=False)
    for name, seconds in (("dub.wav", 4.0), ("early.wav", 3.0)):
        soundfile.write(folder / name, 0.5 * np.sin(np.arange(int(seconds * 16000)) / 9), 16000)
    return folder


@pytest.fixture
def left(stock, tmp_path):
    """Return a function that leaves files in a folder: {path: one of the stock, or a text}."""

    def leave(files):
        for name, content in files.items():
            path = tmp_path / "left" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content in ("talk.mp4", "mute.mp4", "dub.wav", "early.wav"):
                shutil.copy(stock / content, path)
            else:
                path.write_text(content)
        return tmp_path / "left"

    return leave


OPEN_DUBBING = {
    "talk_video.mp4": "mute.mp4",
    "talk_audio.mp3": "dub.wav",
    "dubbed_video_cat.mp4": "talk.mp4",
    "dubbed_video_fra.mp4": "talk.mp4",
    "utterance_metadata_cat.json": "{}",
    "htdemucs/talk_audio/vocals.mp3": "dub.wav",
}
VIDEOLINGO = {
    "output/My talk.mp4": "talk.mp4",
    "output/My talk.jpg": "",
    "output/dub.mp3": "dub.wav",
    "output/dub.srt": "",
    "output/normalized_dub.wav": "dub.wav",
    "output/output_sub.mp4": "talk.mp4",
    "output/output_dub.mp4": "talk.mp4",
    "output/audio/background.mp3": "dub.wav",
    "output/log/terminology.json": "{}",
}
KRILLINAI = {
    "tasks/abc_X1y2/origin_video.mp4": "talk.mp4",
    "tasks/abc_X1y2/origin_audio.mp3": "dub.wav",
    "tasks/abc_X1y2/tts_final_audio.wav": "dub.wav",
    "tasks/abc_X1y2/video_with_tts.mp4": "talk.mp4",
    "tasks/abc_X1y2/target_language_srt.srt": "",
    "tasks/abc_X1y2/output/horizontal_embed.mp4": "talk.mp4",
    "tasks/local_Z3w4/tts_final_audio.wav": "dub.wav",
    "tasks/local_Z3w4/video_with_tts.mp4": "talk.mp4",
}
LINLY = {
    "videos/author/20240805 title/download.mp4": "talk.mp4",
    "videos/author/20240805 title/audio.wav": "dub.wav",
    "videos/author/20240805 title/audio_vocals.wav": "dub.wav",
    "videos/author/20240805 title/audio_instruments.wav": "dub.wav",
    "videos/author/20240805 title/audio_combined.wav": "dub.wav",
    "videos/author/20240805 title/audio_tts.wav": "early.wav",
    "videos/author/20240805 title/translation.json": "[]",
    "videos/author/20240805 title/video.mp4": "talk.mp4",
    "videos/author/20240806 other/download.mp4": "talk.mp4",
    "videos/author/20240806 other/audio_combined.wav": "dub.wav",
    "videos/author/20240806 other/audio_tts.wav": "dub.wav",
    "videos/author/20240807 not dubbed/download.mp4": "talk.mp4",
}
PYVIDEOTRANS = {
    "_video_out/talk-mp4/talk.mp4": "talk.mp4",
    "_video_out/talk-mp4/en.m4a": "dub.wav",
    "_video_out/talk-mp4/zh-cn.m4a": "dub.wav",
    "_video_out/talk-mp4/en.srt": "",
    "_video_out/talk-mp4/zh-cn.srt": "",
    "_video_out/talk-mp4/vocal.wav": "dub.wav",
    "_video_out/talk-mp4/instrument.wav": "dub.wav",
    "talk.mp4": "talk.mp4",
}


def written(folder, out=None, **options):
    """Write job files; return {name: content} of them."""
    place = write_jobs(folder, out, Listening(), force=False, **options)
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(place.iterdir())}


@pytest.mark.parametrize(
    ("files", "jobs"),
    [
        (
            OPEN_DUBBING,
            {
                f"dubbed_video_{language}.yaml": ({"video": f"../dubbed_video_{language}.mp4"}, ".mp4")
                for language in ("cat", "fra")
            },
        ),
        (
            VIDEOLINGO,
            {
                "My talk.yaml": (
                    {
                        "video": "../output/My talk.mp4",
                        "audio": "../output/output_dub.mp4",
                        "drive_audio": "../output/dub.mp3",
                    },
                    ".mp4",
                )
            },
        ),
        (
            KRILLINAI,
            {
                "origin_video.yaml": (
                    {
                        "video": "../tasks/abc_X1y2/origin_video.mp4",
                        "audio": "../tasks/abc_X1y2/tts_final_audio.wav",
                    },
                    ".mp4",
                ),
                "video_with_tts.yaml": ({"video": "../tasks/local_Z3w4/video_with_tts.mp4"}, ".mp4"),
            },
        ),
        (
            LINLY,
            {
                "videos.author.20240805 title.download.yaml": (
                    {
                        "video": "../videos/author/20240805 title/download.mp4",
                        "audio": "../videos/author/20240805 title/audio_combined.wav",
                    },
                    ".mp4",
                ),
                "videos.author.20240806 other.download.yaml": (
                    {
                        "video": "../videos/author/20240806 other/download.mp4",
                        "audio": "../videos/author/20240806 other/audio_combined.wav",
                        "drive_audio": "../videos/author/20240806 other/audio_tts.wav",
                    },
                    ".mp4",
                ),
            },
        ),
        (PYVIDEOTRANS, {"talk.yaml": ({"video": "../_video_out/talk-mp4/talk.mp4"}, ".mp4")}),
    ],
    ids=["open-dubbing", "VideoLingo", "KrillinAI", "Linly-Dubbing", "pyvideotrans"],
)
def test_each_dub_gets_a_job_file(left, files, jobs):
    folder = left(files)
    assert written(folder) == {
        name: {"input": given, "output": f"{name.removesuffix('.yaml')}{ending}"}
        for name, (given, ending) in jobs.items()
    }
    for listed in load_jobs(folder / "lipstitch"):  # all of them are accepted, and their files are there
        assert listed.job.input.video.is_file()
        assert listed.job.input.audio is None or listed.job.input.audio.is_file()


def test_the_folder_itself_may_be_the_one_with_the_files(left, tmp_path):
    folder = left(VIDEOLINGO) / "output"
    (content,) = written(folder, tmp_path / "jobs").values()
    assert content["input"]["video"] == "../left/output/My talk.mp4"


def test_videolingo_without_a_finished_video_leaves_the_voice(left):
    files = {name: content for name, content in VIDEOLINGO.items() if "output_dub" not in name}
    for more in ({}, {"output/output_dub.mp4": "mute.mp4"}):  # where it burns no subtitles in, that one has no sound
        folder = left({**files, **more})
        (content,) = written(folder, folder / "jobs" / str(len(more))).values()
        assert content["input"] == {"video": "../../output/My talk.mp4", "audio": "../../output/dub.mp3"}


def test_videolingo_says_which_of_several_videos_was_dubbed(left):
    more = {"output/a second.mp4": "talk.mp4"}
    told = Listening()
    with pytest.raises(ConfigError, match="no finished dub was found"):
        write_jobs(left({**VIDEOLINGO, **more}), None, told, force=False)
    assert "output (VideoLingo): 2 videos could be the source of its dub" in told.warned[0]
    manifest = {"output/input_manifest.json": json.dumps({"path": "output\\My talk.mp4", "type": "video"})}
    (content,) = written(left({**VIDEOLINGO, **more, **manifest})).values()
    assert content["input"]["video"] == "../output/My talk.mp4"


@pytest.mark.parametrize("name", ["talk", "talk-mp4", "My-talk-mp4"])
def test_folders_of_pyvideotrans_are_named_in_several_ways(left, name):
    video = "My talk" if name.startswith("My") else "talk"
    files = {f"{name}/{video}.mp4": "talk.mp4", f"{name}/de.m4a": "dub.wav", f"{name}/de.srt": "", f"{name}/x.mp4": ""}
    (content,) = written(left(files)).values()
    assert content["input"]["video"] == f"../{name}/{video}.mp4"


def test_several_programs_under_one_root_and_a_second_call_finds_no_more(left):
    folder = left({f"one/{name}": content for name, content in OPEN_DUBBING.items()} | KRILLINAI)
    assert len(written(folder)) == 4
    shutil.copy(folder / "one" / "dubbed_video_cat.mp4", folder / "lipstitch" / "dubbed_video_cat.mp4")  # as an output
    with pytest.raises(ConfigError, match=r"dubbed_video_cat\.yaml exists\. Use --force"):
        write_jobs(folder, None, Listening(), force=False)
    assert write_jobs(folder, None, Listening(), force=True) == folder / "lipstitch"
    assert len([*(folder / "lipstitch").glob("*.yaml")]) == 4


def test_a_folder_without_a_dub_is_one_sentence(left, monkeypatch):
    monkeypatch.setattr(exits, "StopSignals", NoSignals)
    folder = left({"talk.mp4": "talk.mp4", "notes.txt": ""})
    for place, expected in ((folder, "no finished dub was found of KrillinAI"), (folder / "talk.mp4", "not a folder")):
        result = CliRunner().invoke(app, ["from", str(place)])
        assert result.exit_code == 2
        assert expected in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (folder / "lipstitch").exists()


def test_what_is_written_can_be_done_at_once(left):
    folder = left(KRILLINAI)
    done = run_command("from", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"To do them all: lipstitch --jobs {folder}/lipstitch"
    keys = ["segmenter.detector=cascade", "renderer.checkpoint=weights.bin", "execution.backend=serial"]
    (folder / "lipstitch" / "weights.bin").write_bytes(b"weights")
    settings = [part for key in keys for part in ("--set", key)]
    done = run_command("--jobs", folder / "lipstitch", *settings, quick=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("origin_video.mp4", "video_with_tts.mp4"):
        assert stamps(folder / "lipstitch" / name) == list(range(100))


def test_the_docs_name_each_program_and_what_its_layout_was_read_from():
    page = Path(ROOT / "docs" / "dubbing-programs.md").read_text(encoding="utf-8")
    for layout in layouts():
        assert layout.title in page
        assert layout.read_from in page
