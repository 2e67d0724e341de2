"""A real face, a dub that pauses: mouths are still in the pauses, although the one in the source talks on."""

import pytest

from benchmarks import silence
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from segmenter.detectors.retinaface import RetinaFaceDetector
from tests.support.jobs import load_report, write_job

CLIP, SECONDS, RATE = "head_08_512.mp4", 5.2, 25


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "checkpoints" / "retinaface_mobilenet0.25.pth"


@pytest.fixture(scope="module")
def folder(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quiet")
    silence.write_dub(folder / "dub.wav", shared / "clips" / "dub_english_60s.wav", SECONDS)
    return folder


@pytest.fixture(scope="module")
def boxes(shared, weights):
    return silence.find_boxes(shared / "clips" / CLIP, RetinaFaceDetector(weights), int(SECONDS * RATE))


@pytest.mark.parametrize("method", ["footage", "network"])
def test_a_mouth_moves_in_pauses_a_fifth_of_what_it_moves_in_speech(shared, weights, folder, boxes, method):
    output = folder / f"{method}.mp4"
    job = write_job(
        folder,
        input={"video": shared / "clips" / CLIP, "audio": "dub.wav"},
        output=output,
        mode="extract",
        extract={"join": True},
        ranges=[{"start": 0, "end": SECONDS}],
        segmenter={"detector": "retinaface", "detector_checkpoint": weights, "embedder": "none"},
        renderer={"method": method},
        execution={"backend": "serial", "workspace": "work"},
    )
    assert run_job(load_job(job), Silent()).exit_code == 0
    assert load_report(output)["silence"].startswith("mouths are drawn shut while no one speaks")
    motion = silence.measure(silence.load_faces(output, boxes), RATE)
    assert motion.speech > 0.1
    assert motion.ratio <= silence.MOST
