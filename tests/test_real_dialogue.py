"""Two real people side by side, a stem for each: each mouth follows its own voice, and rests in the other's turns."""

import pytest

from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from media.intervals import merge
from tests.support.crowd import watching_changes
from tests.support.dialogue import HALVES, SIDE, differences, make_dialogue
from tests.support.jobs import load_report, write_job

SECONDS = 5
TIMES = {"anna": [(0.2, 4), (4.6, 4.8)], "ben": [(0.6, 4.6)]}


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "checkpoints" / "retinaface_mobilenet0.25.pth"


@pytest.fixture(scope="module")
def dialogue(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dialogue")
    return make_dialogue(folder, shared / "clips", ("head_06_512", "head_12_512"), TIMES, SECONDS)


def write(shared, weights, dialogue, name, inputs, **segmenter):
    return write_job(
        dialogue.video.parent,
        input={"video": dialogue.video, **inputs},
        output=name,
        segmenter={
            "detector": "retinaface",
            "detector_checkpoint": weights,
            "embedder": shared / "checkpoints" / "mobilefacenet.onnx",
            **segmenter,
        },
        execution={"backend": "serial", "workspace": "work"},
    )


@pytest.fixture(scope="module")
def finished(shared, weights, dialogue):
    """Return the output and, for each speaker, the frames in which their half of what is coded is not the source's."""
    job = write(shared, weights, dialogue, "out.mp4", {"audio": dialogue.dub, "speakers": dialogue.speakers()})
    halves = {who: (left, left + SIDE) for who, left in HALVES.items()}
    with watching_changes(dialogue.video, halves) as found:
        assert run_job(load_job(job), Silent()).exit_code == 0
        changed = {who: {frame for frame, half in found if half == who} for who in HALVES}
    return dialogue.video.parent / "out.mp4", changed


@pytest.fixture(scope="module")
def alone(shared, weights, dialogue):
    """Return the same video by voice, both mouths drawn for this voice."""
    for voice, stem in dialogue.stems.items():
        job = write(shared, weights, dialogue, f"{voice}.mp4", {"audio": stem}, target="all")
        assert run_job(load_job(job), Silent()).exit_code == 0
    return {voice: dialogue.video.parent / f"{voice}.mp4" for voice in dialogue.stems}


def test_each_mouth_follows_its_own_voice(finished, alone, dialogue, weights):
    for own, other in differences(dialogue, finished[0], alone, weights).values():
        assert own < other / 3, "levels"
        assert other > 2


def test_no_mouth_moves_outside_its_turns(finished, dialogue):
    """To the pixel, in the planes given to the encoder."""
    for who in HALVES:
        assert finished[1][who] == dialogue.spoken(who)


def test_both_are_drawn_in_one_pass(finished, dialogue):
    report = load_report(finished[0])
    spoken = [(frame, frame + 1) for who in HALVES for frame in dialogue.spoken(who)]
    assert report["num_rendered_frames"] == sum(stop - start for start, stop in merge(spoken))
    assert [speaker["rendered_seconds"] for speaker in report["speakers"]] == pytest.approx([4.0, 4.0])
