"""Words that the project has replaced: private names, and unidiomatic English, do not come back."""

import re

import pytest

from tests.support.commands import ROOT

NAMES = {
    r"coded[ _]again|codes? it again|coding again": "re-encoded",
    r"\bCasting\b|\bcasting\b|choose_cast|cast_spans": "TargetSelection, select_targets",
    r"class Cast\b|\bCast\(|[:>] Cast\b|import Cast\b": "Identities",
    r"class Edit\b|\bEdit\(|[:>\[] ?Edit\b|import Edit\b|plan_edits?\b": "OutputSpec, plan_outputs",
    r"DrivingStretch": "DriveSegment",
    r"lay_out_\w+": "identity_timeline, concat_ranges",
    r"PortraitTaker|cut_portraits|[Pp]ortraits_of": "EmbeddingSampler, crop_thumbnails",
    r"span_rows|rows_of\b|spans_of_rows": "SpanTable, to_rows, from_rows",
    r"sound_blocks": "audio decoder",
    r"\bFaceSample\b|\bsamples_of\b": "FrameDetections",
    r"with_looks|\bglance\b": "with_quality",
    r"\bclass Voice\b|\b_Voice\b|\bVoice\(": "AudioInput",
    r"class Rest\b|\bRest\(|\bshut_at\b": "NeutralFace, closed_mouth",
    r"\b_Shot\b": "_FrameInFlight",
    r"MouthEngine|draw_mouths": "LipSyncEngine, generate_lips",
    r"class Marks\b|\bMarks\(|\bPromised\b|asked_lower": "FrameProvenance, Contract, quality_allowance_db",
    r"\bLosable\b": "AbortableBackend",
    r"\b[Ee]rrands?\b": "ClipTask",
    r"\bhush\w*": "silence_loggers",
    r"\bknock\w*": "check_reachable",
    r"\bno_code\b": "version_mismatch_error",
    r"\bwork_there\b": "run_clip_on_worker",
    r"\.say\(|def say\b": "info",
    r"main\.py (faces|prepare|finetune|assess)\b|assess[-_]network\b": "people, train prepare | finetune | evaluate",
}
"""Patterns of names that were replaced, with what stands there now."""

ENGLISH = {
    r"\bnobody\b|\bnone of whom\b": "no one, or say it of the thing",
    r"\bsomebody\b|\beverybody\b": "someone, everyone, or the person",
    r"\bwhom\b|\bwhomever\b": "who, or another sentence",
    r"\bwhoever\b(?! it is\b)": "anyone who",
    r"\bkeeps? (its|their) (own )?mouths?\b": "falls back to the original frames",
    r"\b(there|that|which|it|this|they) (is|are) (?-i:none)\b|\bis (?-i:none)\b": "there is no ..., not a ..., invalid",
    r"\bis no (error|regular|text|UTF|CSV|video|name|span|folder|job|number|Wav2Lip)\b": "is not a ...",
    r"\bare no (numbers|weights|videos|names)\b": "are not ...",
    r"\bto be had\b|\bcan(not)? be had\b": "available, or cannot be downloaded",
    r"\bNeeded are\b": "Requires",
    r"\bdrawn anew\b": "redrawn, regenerated",
    r"\b(its|their) own affair\b|\bmarvels?\b": "belongs to, warns about",
    r"\ball there\b": "complete",
    r"\btrembl\w+": "jitter",
    r"\bby its place\b": "by its position",
    r"\bgoes on doing so\b": "keeps ...",
    r"\bthe one who comes first\b": "the first caller",
}
"""Patterns of English that was replaced, in upper and lower case, with better words."""

ALLOWED = {
    ("lipstitch/report/records.py", "coded_again"): "the name of an outcome in reports, which programs read",
    ("docs/output.md", "coded_again"): "the name of an outcome in reports",
    ("tests/lipstitch/report/test_report.py", "coded_again"): "asserts the names of outcomes that the schema lists",
    ("lipstitch/cli.py", "assess-network"): "a former name of a command, which still works",
    ("tests/lipstitch/test_cli.py", "assess-network"): "tests that the former name works",
    ("CHANGELOG.md", "assess-network"): "says what the command was called",
}
"""(file, what is found) that stays, and why."""

ROOMS = {
    "texts": ("*.md", "*.toml", "docs/*.md", "configs/*.yaml", "checkpoints/*.*"),
    **{
        room: (f"{room}/**/*.py",)
        for room in ("media", "segmenter", "renderer", "stitcher", "demo", "tools", "benchmarks")
    },
    "lipstitch": ("*.py", "lipstitch/*.py", "lipstitch/commands/*.py"),
    **{
        f"lipstitch/{room}": (f"lipstitch/{room}/**/*.py",)
        for room in (
            "evaluation",
            "execution",
            "intake",
            "interchange",
            "job_file",
            "plan",
            "report",
            "service",
            "source",
            "studio",
            "training",
        )
    },
    "tests": ("tests/**/*.py",),
}
"""Files of each part of the project."""

TEXT_SUFFIXES = {".py", ".md", ".yaml", ".toml"}


def find_words(name, text):
    """Return a line for each replaced word in a text; name: of its file, relative to the root."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in {**NAMES, **ENGLISH}.items():
            for match in re.finditer(pattern, line, re.IGNORECASE if pattern in ENGLISH else 0):
                if (name, match[0]) not in ALLOWED:
                    found.append(f"{name}:{number}: {match[0]!r}; now: {instead}")
    return found


def files_of(room):
    paths = {path for pattern in ROOMS[room] for path in ROOT.glob(pattern)}
    return sorted(path for path in paths if path.suffix in TEXT_SUFFIXES and path.name != "test_words.py")


@pytest.mark.parametrize("room", ROOMS)
def test_replaced_words_do_not_come_back(room):
    files = files_of(room)
    assert files
    found = [
        hit for path in files for hit in find_words(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("frames that are coded again", "coded again"),
        ("selection: Cast | None", ": Cast"),
        ("a clip keeps its mouths", "keeps its mouths"),
        ("this is no regular file", "is no regular"),
        ("if there is none", "there is none"),
        ("tells nobody apart", "nobody"),
        ("Nobody is told apart", "Nobody"),
        ("the person whom it means", "whom"),
        ("weights that are not to be had", "to be had"),
    ],
)
def test_a_replaced_word_is_found(line, word):
    (found,) = find_words("x.py", line)
    assert found.startswith(f"x.py:1: {word!r}")


@pytest.mark.parametrize(
    "line", ["from typing import cast", "person: whoever it is", "renderer.embedder: none", "cast: dict[str, Speaker]"]
)
def test_good_words_pass(line):
    assert find_words("x.py", line) == []


def test_each_exception_is_still_needed():
    assert [
        exception for exception in ALLOWED if exception[1] not in (ROOT / exception[0]).read_text(encoding="utf-8")
    ] == []
