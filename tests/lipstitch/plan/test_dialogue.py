"""A dialogue, from the job file to the frames: whole jobs with a canned scan of two people and a voice for each."""

import cv2
import numpy as np
import pytest
import soundfile

from lipstitch.job_file.config import load_job
from lipstitch.report.contact_sheet import list_people
from media.base.errors import ConfigError
from media.intervals import merge
from media.packets.scan import scan_packets
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from tests.support import two_people
from tests.support.doubles import Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick
from tests.support.two_people import BOXES, DIALOGUE_TOOLS

RATE = 16_000
LEVELS = {"anna.wav": 0.2, "ben.wav": 0.8, "dub.wav": 0.5}
"""Each voice is a constant, so that a mouth shows which of them it was driven by."""
TURNS = "start,stop,speaker\n0.2,0.8,anna\n1.4,2,Ben\n1.8,2.2,ANNA\n3.4,3.6,ben\n"
CAST = {"anna": {"person": 1, "stem": "anna.wav"}, "ben": {"person": 2, "stem": "ben.wav"}}
FACES = [(5, 20, 1), (35, 50, 2), (45, 55, 1)]
SPOKEN = [
    (0, 5, None, "no turn"),
    (5, 20, 1, ""),
    (20, 35, None, "no turn"),
    (35, 50, 2, ""),
    (45, 55, 1, ""),
    (55, 85, None, "no turn"),
    (85, 90, None, "another speaker's turn"),
    (90, 100, None, "no turn"),
]


@pytest.fixture(autouse=True)
def _levels_are_speech(monkeypatch):
    monkeypatch.setattr("lipstitch.plan.speech.find_speech", two_people.hear_levels)


def write_level(path, level, seconds=4):
    soundfile.write(path, np.full(round(seconds * RATE), level), RATE, subtype="FLOAT")


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speakers")
    make_talk(folder / "talk.mp4")
    for name, level in LEVELS.items():
        write_level(folder / name, level)
    for name in ("faces.pth", "who.onnx", "weights.bin"):
        (folder / name).write_bytes(b"weights")
    for name, shade in (("a.png", 60), ("b.png", 200)):
        cv2.imwrite(str(folder / name), np.full((108, 192, 3), shade, np.uint8))
    (folder / "turns.csv").write_text(TURNS)
    return folder


@pytest.fixture
def work(stock):
    """Return a function that runs a job and returns what it redid, its report, and what it said."""

    def run(
        *,
        turns="turns.csv",
        cast=CAST,
        plan=False,
        table=None,
        timeline=None,
        segmenter=None,
        name="out.mp4",
        **sections,
    ):
        content = {
            "input": {"video": "talk.mp4", "audio": "dub.wav", "speakers": {"turns": turns, "cast": cast}},
            "output": "out.mp4",
            "segmenter": {
                "detector": "retinaface",
                "detector_checkpoint": "faces.pth",
                "embedder": "who.onnx",
                "max_clip_seconds": 0.6,
                **(segmenter or {}),
            },
            "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu", "fade_seconds": 0},
            "stitcher": {"video": {"crf": 5}},
            "execution": {"backend": "serial", "keep": "all", "workspace": "work"},
        }
        for key, value in sections.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        said = Listening()
        job = load_job(write_job(stock, **content))
        files = {"spans": table, "timeline": timeline}
        redone = run_quick(job, said, tools=DIALOGUE_TOOLS, plan_only=plan, force=True, **files)
        return redone, None if plan else load_report(stock / name), said

    return run


def spans_of(report):
    return [(s["start_frame"], s["stop_frame"], s["person"], s["reason"]) for s in report["spans"]]


def faces_of(report):
    return [span[:3] for span in spans_of(report) if not span[3]]


def levels_in(path):
    """Return {who: the brightness of the mouth in each frame, as a share of white}."""
    info = probe(path)
    table = scan_packets(info)
    levels = {who: [] for who in BOXES}
    with FrameReader(SourceVideo(info, table)) as reader:
        for _, frame in reader.read(range(len(table))):
            grey = frame.to_ndarray(format="gray")
            for who, box in BOXES.items():
                x, y = int(box.left + box.right) // 2, int(box.top + 0.75 * box.height)
                levels[who].append(grey[y - 3 : y + 4, x - 6 : x + 7].mean() / 255)
    return levels


def painted(levels, source):
    """Return {(who, level): frames} of the mouths that differ from the source, levels rounded to a tenth."""
    found = {}
    for who in levels:
        for frame, (level, before) in enumerate(zip(levels[who], source[who], strict=True)):
            if abs(level - before) > 0.03:
                found.setdefault((who, round(level, 1)), set()).add(frame)
    return found


def test_each_mouth_follows_its_own_voice_in_its_own_turns(work, stock):
    _, report, said = work()
    assert spans_of(report) == SPOKEN
    source = levels_in(stock / "talk.mp4")
    assert painted(levels_in(stock / "out.mp4"), source) == {
        ("A", 0.2): {*range(5, 20), *range(45, 55)},
        ("B", 0.8): {*range(35, 50)},
    }
    assert said.warned == []


def test_the_report_tells_whose_mouth_moved_in_which_frames(work):
    """A is wholly left of B: so the rectangle outside which nothing changed says who was drawn."""
    _, report, _ = work(segmenter={"max_clip_seconds": 10})
    middle = (BOXES["A"].right + BOXES["B"].left) / 2
    sides = [
        (start, stop, box[0] < middle, box[0] + box[2] > middle)
        for (start, stop), box in zip(report["check"]["spans"], report["check"]["boxes"], strict=True)
    ]
    assert sides == [(5, 20, True, False), (35, 45, False, True), (45, 50, True, True), (50, 55, True, False)]


def test_a_timeline_names_the_speakers_of_each_stretch(work, stock):
    otio = pytest.importorskip("opentimelineio", reason="opentimelineio is an optional extra")
    work(timeline=stock / "talk.otio")
    timeline = otio.adapters.read_from_file(str(stock / "talk.otio"))
    told = [item.metadata["lipstitch"] for item in timeline.tracks[1]]
    faces = [
        (*part["frames"], [(face["person"], face["speaker"]) for face in part["faces"]])
        for part in told
        if part["faces"]
    ]
    anna, ben = (1, "anna"), (2, "ben")
    assert faces == [(5, 20, [anna]), (35, 45, [ben]), (45, 50, [anna, ben]), (50, 55, [anna])]


def test_turns_of_one_speaker_that_overlap_count_as_one(work, stock):
    (stock / "overlapping.csv").write_text(TURNS + "0.3,0.5,anna\n0.2,0.8,ANNA\n1.7,2,ben\n1.9,2.1,anna\n")
    _, report, _ = work(turns="overlapping.csv")
    assert spans_of(report) == SPOKEN
    assert [speaker["turns"] for speaker in report["speakers"]] == [[[0.2, 0.8], [1.8, 2.2]], [[1.4, 2.0], [3.4, 3.6]]]


def test_who_has_no_stem_hears_the_dub(work, stock):
    (stock / "apart.csv").write_text("start,stop,speaker\n0.2,0.8,anna\n1.4,2,ben\n2,2.2,anna\n")
    work(turns="apart.csv", cast={**CAST, "ben": {"person": {"reference": "b.png"}}})
    found = painted(levels_in(stock / "out.mp4"), levels_in(stock / "talk.mp4"))
    assert found == {("A", 0.2): {*range(5, 20), *range(50, 55)}, ("B", 0.5): {*range(35, 50)}}


def test_with_original_each_mouth_stays_as_it_is_while_its_own_voice_pauses(work, stock):
    """Anna pauses from 1.7 to 2.4 s, a tenth of a second less for her speech; Ben speaks on."""
    level = np.full(4 * RATE, LEVELS["anna.wav"])
    level[round(1.7 * RATE) : round(2.4 * RATE)] = 0
    soundfile.write(stock / "pausing.wav", level, RATE, subtype="FLOAT")
    pausing = {**CAST, "anna": {"person": 1, "stem": "pausing.wav"}}
    _, report, _ = work(cast=pausing, renderer={"silence": "original"})
    found = painted(levels_in(stock / "out.mp4"), levels_in(stock / "talk.mp4"))
    assert found == {("A", 0.2): {*range(5, 20)}, ("B", 0.8): {*range(35, 50)}}
    (anna, _) = report["speakers"]
    assert (anna["spoken_seconds"], anna["rendered_seconds"]) == (1.0, 0.6)


def test_a_mouth_in_a_held_frame_stays_as_it_is_while_its_voice_pauses(work, stock, monkeypatch):
    """The last frame, in which both are seen and speak, is held from 4 to 5 s; Anna says nothing from 4.3 to 4.9 s.

    A tenth of a second on either side is left to her speech.
    """
    monkeypatch.setitem(two_people.SEEN, "B", [(30, 80), (90, 100)])
    for name, level in LEVELS.items():
        write_level(stock / f"held_{name}", level, 5)
    samples = np.full(5 * RATE, LEVELS["anna.wav"])
    samples[round(4.3 * RATE) : round(4.9 * RATE)] = 0
    soundfile.write(stock / "held_anna.wav", samples, RATE, subtype="FLOAT")
    (stock / "held.csv").write_text("start,stop,speaker\n4.1,5,anna\n4.1,5,ben\n")
    cast = {"anna": {"person": 1, "stem": "held_anna.wav"}, "ben": {"person": 2, "stem": "held_ben.wav"}}
    sound = {"audio": "held_dub.wav", "length_policy": "freeze", "speakers": {"turns": "held.csv", "cast": cast}}
    work(input=sound, renderer={"silence": "original"}, execution={"workspace": "held"})
    source = {who: [*levels, *levels[-1:] * 25] for who, levels in levels_in(stock / "talk.mp4").items()}
    found = painted(levels_in(stock / "out.mp4"), source)
    margin = {108, 109, 120, 121, 122}
    assert found == {("A", 0.2): {*range(103, 108), 123, 124}, ("A", 0.0): margin, ("B", 0.8): {*range(103, 125)}}


def test_the_report_counts_turns_and_what_is_seen_of_them(work):
    _, report, _ = work()
    assert report["speakers"] == [
        {
            "name": "anna",
            "people": [1],
            "voice": "stem",
            "turns": [[0.2, 0.8], [1.8, 2.2]],
            "spoken_seconds": 1.0,
            "rendered_seconds": 1.0,
        },
        {
            "name": "ben",
            "people": [2],
            "voice": "stem",
            "turns": [[1.4, 2.0], [3.4, 3.6]],
            "spoken_seconds": 0.8,
            "rendered_seconds": 0.6,
        },
    ]


def test_the_plan_says_who_speaks_and_who_is_seen(work):
    cast = {**CAST, "narrator": {}, "ben": {"person": {"at": 1.4, "point": [150, 50]}, "stem": "ben.wav"}}
    _, _, said = work(plan=True, cast=cast)
    assert "  speaker  anna: person 1, own stem; 2 turns, 1.0 s, of which 1.0 s on screen" in said.lines
    assert "  speaker  ben: person 2, own stem; 2 turns, 0.8 s, of which 0.6 s on screen" in said.lines
    assert "  speaker  narrator: not seen, the dub; 0 turns, 0.0 s, of which 0.0 s on screen" in said.lines
    assert any("cast.narrator: " in warning and "no turn of this speaker" in warning for warning in said.warned)


def test_during_a_narrators_turn_no_mouth_moves(work, stock):
    (stock / "told.rttm").write_text(
        "SPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA> <NA>\n"
        "SPEAKER talk 1 0.2 0.4 <NA> <NA> anna <NA> <NA>\nSPEAKER talk 1 0.7 0.1 <NA> <NA> narrator <NA> <NA>\n"
        "SPEAKER talk 1 0.8 0.2 <NA> <NA> anna <NA> <NA>\n"
    )
    _, report, _ = work(turns="told.rttm", cast={**CAST, "narrator": {}})
    assert spans_of(report)[:5] == [
        (0, 5, None, "no turn"),
        (5, 15, 1, ""),
        (15, 18, None, "no turn"),
        (18, 20, None, "another speaker's turn"),
        (20, 25, 1, ""),
    ]


# Outputs that are not the whole video


def test_ranges_keep_the_clock_of_the_dub(work, stock):
    _, report, _ = work(ranges=[{"start": 0.6, "end": 1.6}, {"start": 1.9, "end": 2.1}])
    assert faces_of(report) == [(15, 20, 1), (35, 40, 2), (48, 53, 1), (48, 50, 2)]


def test_extracted_ranges_keep_the_clock_of_the_dub(work, stock):
    """The second range shows part of the first again."""
    ranges = [{"start": 0.4, "end": 1.6}, {"start": 0.6, "end": 2}]
    _, report, _ = work(mode="extract", ranges=ranges, extract={"join": True})
    assert faces_of(report) == [(10, 20, 1), (35, 50, 2), (45, 50, 1)]
    assert merge(map(tuple, report["check"]["spans"])) == [(0, 10), (25, 35), (50, 65)]
    assert report["speakers"][0]["turns"] == [[0, 0.4], [1.2, 1.4], [2.4, 2.6]]


@pytest.mark.parametrize(
    ("policy", "last"),
    [("freeze", 120), ("loop", 120), ("bounce", 119)],  # source frame 79, which is shown last, does not show Anna
)
def test_turns_go_on_where_the_video_is_prolonged(work, stock, policy, last):
    """Ben, who is not in the frames that are shown again, speaks between two turns of Anna."""
    for name, level in LEVELS.items():
        write_level(stock / f"long_{name}", level, 5)
    (stock / "long.csv").write_text("start,stop,speaker\n4.2,4.4,anna\n4.4,4.6,ben\n4.6,4.8,anna\n")
    cast = {"anna": {"person": 1, "stem": "long_anna.wav"}, "ben": {"person": 2, "stem": "long_ben.wav"}}
    sound = {"audio": "long_dub.wav", "length_policy": policy, "speakers": {"turns": "long.csv", "cast": cast}}
    _, report, _ = work(input=sound)
    frames = {frame for start, stop in report["check"]["spans"] for frame in range(start, stop)}
    assert frames == {*range(105, 110), *range(115, last)}


# The span file, the contact sheet


def test_an_unchanged_span_file_changes_nothing(work, stock):
    _, report, _ = work()
    work(plan=True, table=stock / "same.csv")
    redone, again, _ = work(segmenter={"spans": "same.csv"})
    assert spans_of(again) == spans_of(report)
    assert (redone.scanned, redone.clips) == (False, set())


def test_one_of_two_people_may_be_kept_in_some_frames(work, stock):
    """While the other one speaks, and no clip that shows neither of these frames is made again."""
    _, report, _ = work()
    before = [(clip["start_frame"], clip["stop_frame"]) for clip in report["clips"]]
    work(plan=True, table=stock / "rows.csv")
    with (stock / "rows.csv").open("a") as file:
        file.write("1.88,2.08,1,face,keep,,,\n")
    redone, report, _ = work(segmenter={"spans": "rows.csv"})
    touched = {frames for frames in before if frames[0] < 52 and frames[1] > 47}
    assert redone.clips
    assert min(redone.clips)[0] >= min(touched)[0]
    assert max(redone.clips)[1] <= max(touched)[1]
    assert painted(levels_in(stock / "out.mp4"), levels_in(stock / "talk.mp4")) == {
        ("A", 0.2): {*range(5, 20), *range(45, 47), *range(52, 55)},
        ("B", 0.8): {*range(35, 50)},
    }
    assert (50, 52, None, "kept by the user") in spans_of(report)


def test_a_span_of_another_person_is_driven_by_the_dub(work, stock):
    (stock / "more.csv").write_text("start,stop,person,kind\n1.2,3,2,face\n0.4,1,1,face\n")
    _, report, _ = work(segmenter={"spans": "more.csv"}, cast={"anna": CAST["anna"], "ben": {}})
    assert faces_of(report) == [(10, 20, 1), (30, 60, 2), (60, 75, 2)]
    found = painted(levels_in(stock / "out.mp4"), levels_in(stock / "talk.mp4"))
    assert found == {("A", 0.2): {*range(10, 20)}, ("B", 0.5): {*range(30, 75)}}


def test_the_contact_sheet_names_the_speakers(work, stock):
    work(plan=True)
    job = load_job(stock / "job.yaml")
    assert list_people(job, stock / "faces.html", Listening(), force=True, tools=DIALOGUE_TOOLS) == 0
    page = (stock / "faces.html").read_text()
    assert "cast: {anna: {person: 1}, ben: {person: 2}}" in page


# What a change redoes


def test_another_stem_redoes_the_clips_of_its_speaker(work, stock):
    write_level(stock / "other.wav", 0.8)
    cast = {**CAST, "ben": {"person": 2, "stem": "other.wav"}}
    work(cast=cast)
    write_level(stock / "other.wav", 0.7)
    redone, _, _ = work(cast=cast)
    assert (redone.scanned, redone.sound) == (False, False)
    assert redone.clips
    assert all(start < 50 and stop > 35 for start, stop in redone.clips)
    assert work(cast=cast)[0].clips == set()


def test_another_turn_redoes_the_clips_that_it_touches(work, stock):
    work()
    (stock / "moved.csv").write_text(TURNS.replace("0.2,0.8,anna", "0.2,0.84,anna"))
    redone, _, _ = work(turns="moved.csv")
    assert redone.clips
    assert all(stop <= 30 for _, stop in redone.clips)


def test_names_of_speakers_and_files_play_no_part(work, stock):
    work()
    (stock / "renamed.csv").write_text(TURNS.lower().replace("anna", "a").replace("ben", "b"))
    (stock / "a.wav").write_bytes((stock / "anna.wav").read_bytes())
    cast = {"b": CAST["ben"], "a": {"person": {"reference": "a.png"}, "stem": "a.wav"}}
    assert work(turns="renamed.csv", cast=cast)[0].clips == set()


# What is refused


@pytest.mark.parametrize(
    ("turns", "cast", "sections", "expected"),
    [
        ("0,1,carl", CAST, {}, "line 2: speaker 'carl' is not in input.speakers.cast (anna, ben)"),
        ("0,1,anna\n3,5,ben", CAST, {}, "line 3: 3 s to 5 s reaches beyond the end of the dub, 4.000 s"),
        (
            "0,1,anna\n0.9,2,ben",
            {**CAST, "ben": {"person": 2}},
            {},
            "line 3: the turn overlaps that of line 2, and the dub, which holds both voices, would drive ben",
        ),
        ("0,1,anna", {**CAST, "ben": {"person": 1}}, {}, "input.speakers: cast: anna and ben are both person 1"),
        ("0,1,anna", {**CAST, "Anna": {}}, {}, "input.speakers: cast: Anna and anna are the same name"),
        (
            "0,1,anna",
            {**CAST, "ben": {"persn": 1}},
            {},
            "ben.persn (now 1): unknown key; the keys here are person, stem",
        ),
        (
            "0,1,anna",
            {**CAST, "ben": {"person": "all"}},
            {},
            "cast.ben.person (now 'all'): give the number of a person",
        ),
        ("0,1,anna", {}, {}, "line 2: who is 'anna'? There is no input.speakers.cast"),
        ("0,1,person 3", {}, {}, "input.speakers.cast.person 3.person (now 3): there are 2 people"),
        ("0,2,person 1\n1,3,2", {}, {}, "the turn overlaps that of line 2"),
        ("0,1,anna", {"anna": {"person": 3}}, {}, "input.speakers.cast.anna.person (now 3): there are 2 people"),
        (
            "0,1,anna",
            {**CAST, "ben": {"person": {"reference": "a.png"}}},
            {},
            "input.speakers.cast: anna and ben are both person 1 of this video",
        ),
        ("0,1,anna", {"anna": {"person": {"reference": "c.png"}}}, {}, "cast.anna.person.reference: there is no photo"),
        ("0,1,anna", {"anna": {"person": 1, "stem": "short.wav"}}, {}, "input.speakers.cast.anna.stem lasts 3.000 s"),
        ("0,1,anna", CAST, {"segmenter": {"target": 1}}, "leave out segmenter.target"),
        ("0,1,anna", CAST, {"segmenter": {"embedder": "none"}}, "told apart by detector retinaface and an embedder"),
        ("0,1,anna", CAST, {"ranges": [{"start": 1, "end": 2, "audio": "dub.wav"}]}, "leave out the audio of ranges"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(work, stock, turns, cast, sections, expected):
    (stock / "wrong.csv").write_text(f"start,stop,speaker\n{turns}\n")
    write_level(stock / "short.wav", 0.1, 3)
    with pytest.raises(ConfigError) as caught:
        work(turns="wrong.csv", cast=cast, **sections)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
