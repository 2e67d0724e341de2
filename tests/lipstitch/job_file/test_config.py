"""The job file: what is taken, what is refused, and that every refusal says where, what and what is allowed."""

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from lipstitch.job_file.config import JobConfig, load_job
from lipstitch.job_file.fields import PointedAt, Reference, parse_time
from media.base.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"input": {"video": "talk.mp4"}, "output": "talk.hi.mp4"}
RANGES = [{"start": 1, "end": 2}]


@pytest.fixture
def job(tmp_path):
    """Return a function that loads a job file with a text, or with the smallest job and some keys more."""

    def load(text=None, *overrides, **keys):
        path = tmp_path / "job.yaml"
        path.write_text(text if text is not None else yaml.safe_dump({**SMALL, **keys}), encoding="utf-8")
        return load_job(path, overrides)

    return load


@pytest.fixture
def refusal(job):
    """Return a function that loads such a file and gives the sentence of the refusal."""

    def load(*args, **keys):
        with pytest.raises(ConfigError) as caught:
            job(*args, **keys)
        return str(caught.value)

    return load


# Times


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("65.2", "65.2"),
        ("0", "0"),
        ("3", "3"),
        ('"01:05.2"', "65.2"),
        ('"00:01:05.200"', "65.2"),
        ('"1:00:00"', "3600"),
        ('"123:59:59.999"', "446399.999"),
        ('"75:30"', "4530"),
        ('" 7.5 "', "7.5"),
        ("01:05", "65"),  # text for YAML: it begins with 0
        ("1:05", "65"),  # a whole number to the base of 60 for YAML
        ("1:10:03", "4203"),
        ("1:08.96", "68.96"),  # a sum of floats for YAML, 68.96000000000001
        ("1:04:16.28", "3856.28"),  # and 3856.2799999999997
        ("0.1", "0.1"),
        ('"00:00:01,500"', "1.5"),
        ("00:01,5", "1.5"),
        ("'7,25'", "7.25"),
        ("1e-05", "0.00001"),
        ("0.00001", "0.00001"),
        ("-0.0", "0"),
        (".5", "0.5"),
        ("'5.'", "5"),
    ],
)
def test_a_time_is_exact_in_every_form(job, given, seconds):
    loaded = job(
        f"input: {{video: a.mp4}}\noutput: b.mp4\nranges:\n- start: 0\n  end: 1000000\n  audio_start: {given}\n"
    )
    assert loaded.ranges[0].audio_start == Fraction(seconds)


@pytest.mark.parametrize(
    "given",
    [
        *("-1", "'1:2:3:4'", "soon", "''", "true", "[1]", ".inf", ".nan", "2024-01-01", "'1:75'", "'1:60:00'", "'1e3'"),
        *("'1e999999999'", "'1e-999999999'", "'1,2,3'", "'1.234,5'", "'0:60:00'", "-1e-9", f"'{'9' * 5000}'"),
    ],
)
def test_what_is_no_time_is_refused(refusal, given):
    said = refusal(f"input: {{video: a.mp4}}\noutput: b.mp4\nranges: [{{start: {given}, end: 1000}}]")
    assert "ranges.0.start" in said
    assert "mm:ss" in said


def test_a_time_survives_being_parsed_again():
    assert parse_time(parse_time("0.1")) == Fraction(1, 10)


# Paths


def test_relative_paths_start_at_the_job_file(tmp_path, job):
    loaded = job(
        input={"video": "in/talk.mp4", "audio": "../dub.wav", "drive_audio": "/abs/voice.wav"},
        ranges=[{"start": 0, "end": 1, "audio": "line.wav"}],
        execution={"workspace": "work", "checkpoints": "./weights"},
    )
    assert loaded.input.video == tmp_path / "in/talk.mp4"
    assert loaded.input.audio == tmp_path.parent / "dub.wav"
    assert loaded.input.drive_audio == Path("/abs/voice.wav")
    assert loaded.output == tmp_path / "talk.hi.mp4"
    assert loaded.ranges[0].audio == tmp_path / "line.wav"
    assert (loaded.execution.workspace, loaded.execution.checkpoints) == (tmp_path / "work", tmp_path / "weights")


def test_a_tilde_is_the_home_folder(job, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert job(output="~/talk.mp4").output == Path("/home/someone/talk.mp4")


def test_the_home_folder_of_an_unknown_user_is_a_name_like_any_other(job, tmp_path):
    assert job(output="~nosuchuser/talk.mp4").output == tmp_path / "~nosuchuser/talk.mp4"


def test_a_checkpoint_is_a_name_or_a_path(job, tmp_path):
    assert job(renderer={"checkpoint": "wav2lip_gan"}).renderer.checkpoint == "wav2lip_gan"
    assert job(renderer={"checkpoint": "mine.pth"}).renderer.checkpoint == str(tmp_path / "mine.pth")
    assert job(renderer={"checkpoint": "w/mine"}).renderer.checkpoint == str(tmp_path / "w/mine")


@pytest.mark.parametrize("path", ["", 3, "a\0b.mp4", ["a.mp4"], "a" * 256, "a/" * 2050])
def test_what_is_no_path_is_refused(refusal, path):
    assert "input.video" in (said := refusal(input={"video": path}))
    assert "give a path" in said
    assert len(said) < 400


@pytest.mark.parametrize("name", ["9" * 3000, "a\0b"])
def test_a_checkpoint_is_no_name_that_nothing_can_have(refusal, name):
    assert "renderer.checkpoint" in (said := refusal(renderer={"checkpoint": name}))
    assert len(said) < 400


# --set


def test_set_overrides_one_key_and_leaves_the_others(job):
    loaded = job(None, "renderer.batch_size=32", "stitcher.video.crf=20", renderer={"precision": "float32"})
    assert (loaded.renderer.batch_size, loaded.renderer.precision) == (32, "float32")
    assert loaded.stitcher.video.crf == 20


def test_the_last_set_of_a_key_wins(job):
    assert job(None, "renderer.batch_size=32", "renderer.batch_size=8").renderer.batch_size == 8


def test_a_set_value_is_yaml_and_may_hold_equals_signs(job, tmp_path):
    loaded = job(None, "renderer.pads=[0, 20, 0, 0]", "output=a=b.mp4", "input.audio=null", input={**SMALL["input"]})
    assert loaded.renderer.pads == (0, 20, 0, 0)
    assert loaded.output == tmp_path / "a=b.mp4"
    assert loaded.input.audio is None


def test_set_fills_a_section_that_the_file_leaves_empty(job):
    text = "input: {video: a.mp4}\noutput: b.mp4\nrenderer:\n"
    assert job(text, "renderer.batch_size=4").renderer.batch_size == 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("renderer.batch_size", "key.path=value"),
        ("=3", "key.path=value"),
        ("output.name=3", "output holds no keys"),
        ("renderer.batch_size=[1", "--set renderer.batch_size=[1"),
        ("renderer.batchsize=3", "renderer.batchsize (now 3): unknown key"),
        ("renderer.batch_size=0", "renderer.batch_size (now 0)"),
    ],
)
def test_a_bad_set_is_refused(refusal, override, expected):
    assert expected in refusal(None, override)


# What is allowed


def test_defaults_are_complete(job):
    loaded = job()
    assert (loaded.mode, loaded.ranges, loaded.input.audio, loaded.input.length_policy) == (
        "patch",
        None,
        None,
        "video",
    )
    assert loaded.segmenter.max_clip_seconds == 10
    assert loaded.execution.keep == "clips"


def test_a_job_cannot_be_changed(job):
    with pytest.raises(ValueError, match="frozen"):
        job().mode = "extract"


def test_a_section_without_lines_is_one_that_is_left_out(job):
    text = "input: {video: a.mp4, audio: }\noutput: b.mp4\nrenderer:\nstitcher:\n  video:\nranges:\n"
    assert job(text) == job("input: {video: a.mp4}\noutput: b.mp4\n")
    assert job(ranges=[{**RANGES[0], "name": None, "audio_start": None}]) == job(ranges=RANGES)


@pytest.mark.parametrize(
    ("keys", "where", "allowed"),
    [
        ({"renderer": {"batchsize": 3}}, "renderer.batchsize (now 3)", "batch_size"),
        ({"outputs": "x"}, "outputs (now 'x')", "output"),
        ({"ranges": [{"start": 1, "end": 2, "nam": "x"}]}, "ranges.0.nam", "audio_start"),
        ({"stitcher": {"audio": {"bitrate": 1}}}, "stitcher.audio.bitrate", "bit_rate"),
        ({"renderer": {"batch_size": "many"}}, "renderer.batch_size (now 'many')", "integer"),
        ({"renderer": {"batch_size": 0}}, "renderer.batch_size (now 0)", "1"),
        ({"renderer": {"pads": [1, 2, 3]}}, "renderer.pads.3", "missing"),
        ({"renderer": 3}, "renderer (now 3)", "batch_size"),
        ({"mode": "both"}, "mode (now 'both')", "'patch' or 'extract'"),
        ({"input": "a.mp4"}, "input (now 'a.mp4')", "video, audio"),
        ({"input": {}}, "input.video", "needed"),
        ({"ranges": {"start": 1}}, "ranges", "list"),
        ({"ranges": [3]}, "ranges.0 (now 3)", "start, end"),
        (
            {"execution": {"workers": 0}},
            "execution.workers (now 0)",
            "greater than or equal to 1, or input should be 'aut",
        ),
        ({"segmenter": {"samples_per_second": float("nan")}}, "segmenter.samples_per_second (now nan)", "60"),
        ({"segmenter": {"onset": 0.4, "offset": 0.6}}, "segmenter", "offset (0.6) must not exceed onset (0.4)"),
        ({"stitcher": {"audio": {"language": "hi"}}}, "stitcher.audio.language (now 'hi')", "a-z"),
    ],
)
def test_a_refusal_names_the_place_the_value_and_what_is_allowed(refusal, keys, where, allowed):
    said = refusal(**keys)
    assert where in said
    assert allowed in said.split(where, 1)[1]
    assert "\n" not in said
    assert "job.yaml" in said


def test_all_faults_are_named_at_once(refusal):
    said = refusal(mode="both", renderer={"batch_size": 0}, outputs="x")
    assert all(key in said for key in ("mode", "renderer.batch_size", "outputs"))


def test_a_missing_key_is_named(refusal):
    assert "output: this key is needed" in refusal("input: {video: a.mp4}")


# Ranges


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"mode": "extract"}, "extract needs ranges"),
        ({"mode": "extract", "ranges": []}, "extract needs ranges"),
        ({"ranges": []}, "ranges is empty"),
        ({"ranges": [{"start": 2, "end": 2}]}, "end (2 s) must lie after start (2 s)"),
        ({"ranges": [{"start": 3, "end": 2}]}, "end (2 s) must lie after start (3 s)"),
        ({"ranges": [{"start": 5, "end": 9}, {"start": 1, "end": 6}]}, "overlap at 5 s"),
        ({"ranges": [{"start": 1, "end": 2, "name": "../x"}]}, "ranges.0.name"),
    ],
)
def test_bad_ranges_are_refused(refusal, keys, expected):
    assert expected in refusal(**keys)


@pytest.mark.parametrize("policy", ["freeze", "loop", "bounce"])
def test_ranges_do_not_go_with_a_prolonged_video(refusal, policy):
    said = refusal(input={"video": "a.mp4", "length_policy": policy}, ranges=RANGES)
    assert f"length_policy {policy}" in said


def test_ranges_may_touch_and_come_in_any_order(job):
    loaded = job(ranges=[{"start": 5, "end": 9}, {"start": 1, "end": 5}])
    assert [part.start for part in loaded.ranges] == [5, 1]


def test_extracted_ranges_may_overlap(job):
    assert len(job(mode="extract", ranges=[{"start": 1, "end": 5}, {"start": 3, "end": 9}]).ranges) == 2


# Whose face


def test_the_target_is_main_where_nothing_is_said(job):
    segmenter = job().segmenter
    assert (segmenter.target, segmenter.embedder, segmenter.spans) == ("main", "auto", None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("main", "main"),
        ("largest", "largest"),
        ("all", "all"),
        ("7", 7),
        ("{at: 1:08.96, point: [640, 300.5]}", PointedAt(Fraction("68.96"), (640.0, 300.5))),
        ('{at: "00:00:12", point: [0, 0]}', PointedAt(Fraction(12), (0.0, 0.0))),
    ],
)
def test_a_target_is_one_of_few_things(job, given, expected):
    assert job(None, f"segmenter.target={given}").segmenter.target == expected


def test_a_photo_and_a_span_file_lie_beside_the_job_file(job, tmp_path):
    loaded = job(segmenter={"target": {"reference": "photo.jpg"}, "spans": "spans.csv", "embedder": "mine.onnx"})
    assert loaded.segmenter.target == Reference(tmp_path / "photo.jpg")
    assert loaded.segmenter.spans == tmp_path / "spans.csv"
    assert loaded.segmenter.embedder == str(tmp_path / "mine.onnx")
    assert loaded.model_dump(mode="json")["segmenter"]["target"] == {"reference": str(tmp_path / "photo.jpg")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("everyone", "segmenter.target (now 'everyone'): give main, largest, all, speaker, the number of a person"),
        ("0", "segmenter.target (now 0): people have numbers from 1 on"),
        ("-3", "people have numbers from 1 on"),
        ("1.5", "give main, largest, all"),
        ("true", "give main, largest, all"),
        ("[1, 2]", "segmenter.target: give main, largest, all"),
        ("{photo: a.jpg}", "segmenter.target: give main, largest, all"),
        ("{reference: a.jpg, at: 3}", "segmenter.target: give main, largest, all"),
        ("{reference: [a]}", "segmenter.target: give a path"),
        ("{at: soon, point: [1, 2]}", "segmenter.target: give seconds or [hh:]mm:ss[.mmm]"),
        ("{at: 3}", "segmenter.target: give main, largest, all"),
        ("{at: 3, point: 5}", "segmenter.target: point is [x, y]"),
        ("{at: 3, point: [1, 2, 3]}", "segmenter.target: point is [x, y]"),
        ("{at: 3, point: [1, -2]}", "not negative"),
        ("{at: 3, point: [.nan, 2]}", "not negative"),
        ("{at: 3, point: [-.inf, 2]}", "not negative"),
    ],
)
def test_what_is_no_target_is_refused(refusal, given, expected):
    assert expected in refusal(None, f"segmenter.target={given}")


@pytest.mark.parametrize("target", [1, {"reference": "photo.jpg"}])
@pytest.mark.parametrize("without", [{"embedder": "none"}, {"detector": "cascade"}])
def test_a_person_cannot_be_the_target_where_people_are_not_recognised(refusal, target, without):
    assert "segmenter: target names a person" in refusal(segmenter={"target": target, **without})


# The file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "key: value"),
        ("- a\n- b\n", "key: value"),
        ("input: [", "line 1"),
        ("input: {video: a.mp4}\noutput: b.mp4\noutput: c.mp4\n", "line 3: output is given twice"),
        ("input: {video: a.mp4, video: b.mp4}\noutput: b.mp4\n", "video is given twice"),
        ("a: &x 1\nb: *x\n", "line 2: aliases are not allowed"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("a: 1\n---\nb: 2\n", "line 2"),
        ("1: 2\ninput: {video: a.mp4}\noutput: b.mp4\n", "1 (now 2): unknown key"),
        ("a\x01: 2\n", "not YAML"),
    ],
)
def test_what_is_no_job_file_is_refused(refusal, text, expected):
    said = refusal(text)
    assert expected in said
    assert "\n" not in said
    assert "job.yaml" in said


def test_a_small_file_that_would_grow_without_bound_is_refused(refusal):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert "aliases are not allowed" in refusal("\n".join(lines))


def test_deep_nesting_is_refused(refusal):
    assert "not YAML" in refusal("a: " + "[" * 5000)


def test_many_keys_are_read_in_no_time(refusal):
    assert "unknown key" in refusal("\n".join(f"k{number}: 1" for number in range(20_000)))[:1000]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xff\xfe\x00", "not a text file"), (b"a" * ((1 << 20) + 1), "larger than 1 MiB"), (None, "No such file")],
)
def test_a_file_that_cannot_be_a_job_is_refused(tmp_path, content, expected):
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_job(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_job_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_job(tmp_path)


# JSON


def write_json(path, content, **options):
    path.write_text(json.dumps(content, **options), encoding="utf-8")
    return path


JSON_JOB = {
    "input": {
        "video": "\U0001f600.mp4",
        "speakers": {"turns": "t.csv", "cast": {"\U0001f600": {}, "no": {}, "1e3": {}}},
    },
    "output": "~out\u2028\x7f.mp4",
    "ranges": [{"start": 1e-05, "end": 1e3}],
}


@pytest.mark.parametrize("name", ["job.json", "job.yaml"])
@pytest.mark.parametrize("options", [{}, {"indent": "\t"}, {"indent": 2}, {"ensure_ascii": False}])
def test_a_job_that_json_wrote_is_read(tmp_path, name, options):
    loaded = load_job(write_json(tmp_path / name, JSON_JOB, **options))
    assert loaded.input.video == tmp_path / "\U0001f600.mp4"
    assert list(loaded.input.speakers.cast) == ["\U0001f600", "no", "1e3"]
    assert loaded.output == tmp_path / "~out\u2028\x7f.mp4"
    assert (loaded.ranges[0].start, loaded.ranges[0].end) == (Fraction("0.00001"), 1000)


def test_what_json_may_write_and_yaml_does_not_know_is_read(tmp_path):
    path = tmp_path / "job.json"
    path.write_bytes(
        b'\xef\xbb\xbf\r\n\t{\t"input":\t{"video":"a\\/\\u00e9.mp4","audio":null},\r\n'
        b'\t"output":"b.mp4",\t"renderer":{"batch_size":16e0,"feather":1E-1}}\r\n'
    )
    loaded = load_job(path)
    assert (loaded.input.video, loaded.input.audio) == (tmp_path / "a/\xe9.mp4", None)
    assert (loaded.renderer.batch_size, loaded.renderer.feather) == (16, 0.1)


def test_a_pair_of_surrogates_is_one_character_in_yaml_too(job, tmp_path):
    escaped = r'"\ud83d\ude00.mp4"'
    assert job(f"input:\n  video: {escaped}  # a face\noutput: b.mp4\n").input.video == tmp_path / "\U0001f600.mp4"
    assert job(None, f"output={escaped}").output == tmp_path / "\U0001f600.mp4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            r'{"input": {"video": "\ud83d.mp4"}, "output": "b.mp4"}',
            r"input.video: '\ud83d.mp4' holds half of a surrogate",
        ),
        (r'{"input": {"video": "\ude00\ud83d"}, "output": "b.mp4"}', "input.video: "),
        (r'input: {video: "\ude00.mp4"}', "input.video: "),
        (r'{"input": {"vid\ud83do": "a.mp4"}}', r"input.vid\ud83do: "),
        (r'{"ranges": [{"name": "\ud83d"}]}', "ranges.0.name: "),
        ('{"input": {"video": "a.mp4"},\n\t"output": "b.mp4",\n\t"output": "c.mp4"}', "line 3: output is given twice"),
        ('{\n"input":\t{"video": "a.mp4",\t"video":\t"b.mp4"}}', "line 2: video is given twice"),
        ('{"' + "k" * 2000 + '": 1, "k": 1, "k": 2}', "job.yaml: "),
        ('{"input": {"video": "a.mp4"}\n\t"output": "b.mp4"}', "line 2: "),
        ('{"input": {"video": "a.mp4"},\n"output": "b.mp4"', "line 2: "),
        ('{"' + "k" * 2000 + '": 1}', "unknown key"),
        ('{"input": ' + "[" * 5000, "not YAML"),
        ('{"input": ' * 400 + "1" + "}" * 400, "job.yaml: "),
        ('{"input": ' * 700 + "1" + "}" * 700, "job.yaml: "),
        ('{"a": ' + "9" * 5000 + "}", "not YAML"),
        ('["input"]', "key: value"),
        (
            r'{"cast": {"\ud83d\ude00": 1, "😀": 2}}'.replace("cast", "input"),
            "given twice",
        ),
    ],
)
def test_what_json_must_not_hold_is_refused(refusal, text, expected):
    said = refusal(text)
    assert expected in said
    assert "\n" not in said
    assert len(said) < 500


def test_a_name_that_is_not_utf_8_is_read_from_json(tmp_path):
    name = os.fsdecode(b"latin-\xfc.mp4")
    content = {"input": {"video": name}, "output": "b.mp4"}
    assert os.fsencode(load_job(write_json(tmp_path / "job.json", content)).input.video.name) == b"latin-\xfc.mp4"


def test_a_job_file_may_be_utf_16(tmp_path):
    """As the older PowerShell writes it."""
    path = tmp_path / "job.yaml"
    path.write_bytes("input: {video: é.mp4}\r\noutput: b.mp4\r\n".encode("utf-16"))
    assert load_job(path).input.video == tmp_path / "é.mp4"


def test_names_of_speakers_are_text(job):
    cast = "{no: {}, 01: {}, 010: {}, 8: {}, 1e3: {}, 2024-01-01: {}, ~: {}, narrator: }"
    loaded = job(f"input: {{video: a.mp4, speakers: {{turns: t.csv, cast: {cast}}}}}\noutput: b.mp4\n")
    names = ["no", "01", "010", "8", "1e3", "2024-01-01", "~", "narrator"]
    assert list(loaded.input.speakers.cast) == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ranges: [{start: 1,5, end: 2}]", "ranges.0.5: unknown key"),
        ("segmenter: {target: {at: 1,5, point: [3, 4]}}", "segmenter.target: give main"),
        ("segmenter: {min_light: 0,1}", "segmenter.1: unknown key"),
    ],
)
def test_a_decimal_comma_without_quotes_is_no_key_without_a_value(refusal, text, expected):
    assert expected in refusal(f"input: {{video: a.mp4}}\noutput: b.mp4\n{text}\n")


# What ships


def test_there_are_example_jobs():
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} >= {"demo", "full_dub", "ranges", "extract"}


EXAMPLE_JOBS = [path for path in sorted((ROOT / "configs").glob("*.yaml")) if not path.stem.startswith("train_")]


@pytest.mark.parametrize("path", EXAMPLE_JOBS, ids=lambda path: path.stem)
def test_every_example_job_loads(path):
    assert load_job(path).output.is_absolute()


def _fields(model, prefix=""):
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            yield from _fields(field.annotation, f"{prefix}{name}.")


@pytest.mark.parametrize(
    ("key", "field"), [*_fields(JobConfig)], ids=lambda part: part if isinstance(part, str) else ""
)
def test_every_key_has_a_description(key, field):
    is_section = isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields")
    assert field.description or (is_section and field.annotation.__doc__)
