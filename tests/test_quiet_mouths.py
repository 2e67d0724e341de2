"""A real face, a dub that pauses: mouths are still in the pauses, although the one in the source talks on."""

import pytest

from benchmarks import silence
from media.timeline import contains
from segmenter.detector import RetinaFaceDetector
from tests.jobs import load_report, run_job, write_job

CLIP, SECONDS, RATE = "head_08_512.mp4", 5.2, 25
PAUSE = silence.PAUSES[0]


@pytest.fixture(scope="module")
def quiet(shared, tmp_path_factory):
    """Return a function that dubs the first seconds of a clip with a dub that pauses, with some settings."""
    folder = tmp_path_factory.mktemp("quiet")
    dub = folder / "dub.wav"
    silence.write_dub(dub, shared / "clips" / "dub_english_60s.wav", SECONDS)
    weights = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"

    def dubbed(**renderer):
        output = folder / f"{renderer['silence']}.mp4"
        job = write_job(
            folder,
            input={"video": shared / "clips" / CLIP, "audio": dub},
            output=output,
            mode="extract",
            extract={"join": True},
            ranges=[{"start": 0, "end": SECONDS}],
            segmenter={"detector": "retinaface", "detector_checkpoint": weights, "embedder": "none"},
            renderer=renderer,
            execution={"workspace": folder / "work", "keep": "all"},
        )
        run_job(job)
        return output, load_report(output)

    return dubbed


def test_a_mouth_moves_in_pauses_a_fifth_of_what_it_moves_in_speech(quiet, shared):
    output, report = quiet(silence="close")
    assert report["silence"].startswith("mouths are drawn shut while nobody speaks")
    detector = RetinaFaceDetector(shared / "checkpoints" / "retinaface_mobilenet0.25.pth")
    boxes = silence.find_boxes(shared / "clips" / CLIP, detector, int(SECONDS * RATE))
    motion = silence.measure(silence.load_faces(output, boxes), RATE)
    assert motion.speech > 0.1
    assert motion.ratio <= silence.MOST


def test_the_sources_own_mouth_stays_in_pauses_if_so_asked(quiet):
    _, report = quiet(silence="original")
    rendered = [part for clip in report["clips"] for part in clip["rendered"]]
    start, stop = (round(second * RATE) for second in PAUSE)
    assert not any(contains(rendered, frame) for frame in range(start + 4, stop - 4))
    assert all(contains(rendered, frame) for frame in (*range(start), *range(stop, report["output"]["num_frames"])))
