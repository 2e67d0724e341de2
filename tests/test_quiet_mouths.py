"""A real face, a dub that pauses: mouths are still in the pauses, although the one in the source talks on."""

import pytest

from benchmarks import silence
from segmenter.detectors.retinaface import RetinaFaceDetector
from tests.support.jobs import load_report, run_job, write_job

CLIP, SECONDS, RATE = "head_08_512.mp4", 5.2, 25


@pytest.mark.parametrize("method", ["footage", "network"])
def test_a_mouth_moves_in_pauses_a_fifth_of_what_it_moves_in_speech(shared, tmp_path, method):
    dub, output = tmp_path / "dub.wav", tmp_path / "out.mp4"
    silence.write_dub(dub, shared / "clips" / "dub_english_60s.wav", SECONDS)
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    job = write_job(
        tmp_path,
        input={"video": shared / "clips" / CLIP, "audio": dub},
        output=output,
        mode="extract",
        extract={"join": True},
        ranges=[{"start": 0, "end": SECONDS}],
        segmenter={"detector": "retinaface", "detector_checkpoint": weights, "embedder": "none"},
        renderer={"method": method},
    )
    run_job(job)
    assert load_report(output)["silence"].startswith("mouths are drawn shut while no one speaks")
    detector = RetinaFaceDetector(weights)
    boxes = silence.find_boxes(shared / "clips" / CLIP, detector, int(SECONDS * RATE))
    motion = silence.measure(silence.load_faces(output, boxes), RATE)
    assert motion.speech > 0.1
    assert motion.ratio <= silence.MOST
