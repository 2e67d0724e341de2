"""The right face among real ones: found again after cuts, beside others, mirrored, small, and after it was away."""

import json
from dataclasses import replace

import pytest

import lipstitch.source.parallel_scan
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent, Timings
from lipstitch.report.contact_sheet import list_people
from lipstitch.side_files import SideFiles
from lipstitch.source.weights import FaceFinder
from media.source_video import scan_video
from segmenter import scanner
from segmenter.scan import Scan, ScanSettings
from tests.support.crowd import (
    Place,
    crossing,
    make_crowd,
    precision_and_recall,
    still,
    touching_others,
    watching_changes,
    write_photo,
)
from tests.support.jobs import load_report, write_job

TARGET, OTHERS = "head_01_512", ("head_03_512", "head_06_512", "head_09_512", "head_12_512")
PHOTO_FRAME = 330
"""Of the target's clip; the video shows those before it."""
ONE, TWO, THREE, FOUR = OTHERS
SCENES = [
    (50, still(Place(TARGET, 0, 20, 320), Place(ONE, 320, 20, 320))),
    # Cut every second.
    (25, still(Place(TWO, 160, 20, 320))),
    (25, still(Place(TARGET, 160, 20, 320))),
    (25, still(Place(THREE, 160, 20, 320))),
    (25, still(Place(TARGET, 100, 40, 300, is_mirrored=True))),
    (25, still(Place(ONE, 160, 20, 320))),
    # One among three others.
    (40, still(*(Place(who, 160 * at, 100, 160) for at, who in enumerate([ONE, TWO, TARGET, THREE])))),
    # Leaves, and comes back.
    (75, crossing(TARGET, 75, away=20)),
    (40, still(Place(TARGET, 220, 80, 200, is_mirrored=True))),
    (30, still(Place(FOUR, 160, 20, 320))),
    (30, still(Place(TWO, 0, 20, 320), Place(TARGET, 320, 20, 320))),
]


@pytest.fixture(scope="module")
def folder(shared, tmp_path_factory):
    return tmp_path_factory.mktemp("people")


@pytest.fixture(scope="module")
def crowd(shared, folder):
    write_photo(folder / "photo.jpg", shared / "clips", TARGET, PHOTO_FRAME)
    return make_crowd(folder / "talk.mp4", shared / "clips", SCENES)


@pytest.fixture(scope="module")
def work(shared, folder, crowd):
    """Return a function that runs a job on the crowd in this process and returns its report, or the spans of a plan."""

    def load(segmenter, **sections):
        content = {
            "input": {"video": "talk.mp4", "audio": shared / "clips" / "dub_english_60s.wav", "length_policy": "cut"},
            "output": "out.mp4",
            "segmenter": {
                "detector": "retinaface",
                "detector_checkpoint": shared / "checkpoints" / "retinaface_mobilenet0.25.pth",
                "embedder": shared / "checkpoints" / "mobilefacenet.onnx",
                **segmenter,
            },
            "renderer": {"frame_hashes": True},
            "execution": {"backend": "serial", "workspace": "work"},
            **sections,
        }
        return load_job(write_job(folder, **content))

    return load


@pytest.fixture(scope="module")
def planned(work, folder):
    """Return a function that plans a job and returns the face spans (start, stop, person) of its span file."""

    def plan(**segmenter):
        table = folder / "plan.csv"
        assert (
            run_job(work(segmenter), Silent(), plan_only=True, force=True, beside=SideFiles(spans=table)).exit_code == 0
        )
        rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
        return [
            (round(float(start) * 25), round(float(stop) * 25), int(person) if person else None)
            for start, stop, person, kind, *_ in rows
            if kind == "face"
        ]

    return plan


def frames_of(spans):
    return {frame for start, stop, *_ in spans for frame in range(start, stop)}


def assert_found(rendered, crowd, person):
    assert min(precision_and_recall(rendered, crowd, person)) >= 0.98


# A reference photo, to the pixels given to the encoder


@pytest.fixture(scope="module")
def changed(crowd):
    """Return what the encoder is given, against the source: for each frame that differs the rectangle that does."""
    with watching_changes(crowd.path) as found:
        yield found


@pytest.fixture(scope="module")
def rendered(work, folder, changed):
    """Return the report of a job with a reference photo, and the rectangles that it changed."""
    changed.clear()
    assert run_job(work({"target": {"reference": "photo.jpg"}}), Silent(), force=True).exit_code == 0
    return load_report(folder / "out.mp4"), {frame: box for (frame, _), box in changed.items()}


def test_a_reference_photo_finds_the_target_wherever_it_is(rendered, crowd):
    assert_found(frames_of(rendered[0]["check"]["spans"]), crowd, TARGET)
    assert set(rendered[1]) == frames_of(rendered[0]["check"]["spans"])


def test_no_pixel_of_another_person_changes(rendered, crowd):
    """Nor any of a frame without the target; the ground around the target's own picture belongs to no one."""
    assert touching_others(rendered[1], crowd, TARGET) == []
    assert sum(len(crowd.frames[frame]) > 1 for frame in rendered[1]) > 100


def test_the_reasons_say_who_was_left_alone(rendered):
    reasons = {span["reason"] for span in rendered[0]["spans"] if span["kind"] == "no_face"}
    assert reasons <= {"no face like the reference", "no face", "mouth outside the picture"}
    assert "no face like the reference" in reasons


# Everything else of the plan, from the same scan


def test_main_is_the_one_who_is_seen_most(planned, crowd):
    spans = planned(target="main")
    assert_found(frames_of(spans), crowd, TARGET)
    assert {person for *_, person in spans} == {1}


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_number_means_the_same_person_everywhere(planned, crowd, number):
    found = frames_of(planned(target=number))
    person = max(OTHERS, key=lambda who: len(found & crowd.part_of(who)))
    assert_found(found, crowd, person)


def test_a_point_at_a_moment_means_the_person_there(planned, crowd):
    assert_found(frames_of(planned(target={"at": 1, "point": [480, 180]})), crowd, ONE)


def test_all_are_found_and_each_is_told_from_the_others(planned, crowd):
    spans = planned(target="all")
    numbers = {person for *_, person in spans}
    assert numbers == {1, 2, 3, 4, 5}
    for number in numbers:
        found = frames_of(span for span in spans if span[2] == number)
        person = max((TARGET, *OTHERS), key=lambda who: len(found & crowd.part_of(who)))
        assert_found(found, crowd, person)


def test_the_contact_sheet_lists_five_people(work, folder, crowd):
    assert list_people(work({}), folder / "faces.html", Silent(), force=True) == 0
    people = json.loads((folder / "faces.json").read_text())["people"]
    assert len(people) == 5
    assert people[0]["seconds"] == pytest.approx(len(crowd.part_of(TARGET)) / 25, rel=0.06)
    assert (folder / "faces.html").read_text().count("data:image/jpeg") == 5


# All in one pass


def test_two_faces_of_a_shot_are_rendered_in_one_pass(work, folder, changed, crowd):
    changed.clear()
    ranges = [{"start": 0.4, "end": 1.2}]
    job = work({"target": "all"}, ranges=ranges, output="both.mp4", execution={"backend": "serial"})
    assert run_job(job, Silent(), force=True).exit_code == 0
    report = load_report(folder / "both.mp4")
    assert report["num_rendered_frames"] == 20
    assert {frame for frame, _ in changed} == set(range(10, 30))
    for left, _, right, _ in changed.values():
        assert left < 300
        assert right > 340


# The scan


def test_parts_and_cores_give_the_same_scan_and_an_embedder_changes_no_sample(work, crowd, shared, monkeypatch):
    source = scan_video(crowd.path)
    monkeypatch.setattr(scanner, "PART_SECONDS", 2)
    checkpoints = shared / "checkpoints"
    plain_finder = FaceFinder("retinaface", checkpoints / "retinaface_mobilenet0.25.pth")
    finder = replace(plain_finder, embedder=checkpoints / "mobilefacenet.onnx")

    def scan(cores, finder):
        monkeypatch.setattr(lipstitch.source.parallel_scan, "num_cores", lambda: cores)
        intervals, settings = [(0, 150)], ScanSettings()
        return lipstitch.source.parallel_scan.scan_in_parts(source, intervals, finder, settings, Silent(), Timings())

    one, three, plain = scan(1, finder), scan(3, finder), scan(2, plain_finder)
    assert one == three
    assert sum(bool(face.embedding) for sample in one.samples for face in sample.faces) > 5
    bare = [
        replace(sample, faces=tuple(replace(face, embedding=b"") for face in sample.faces)) for sample in one.samples
    ]
    assert tuple(bare) == plain.samples
    assert Scan.from_json(one.to_json()) == one
