"""The arrows of the house: main -> pipeline -> {segmenter, renderer, stitcher} -> media, and nothing else.

The imports are read, not run. Imports inside functions and under TYPE_CHECKING count as well: an arrow is an arrow.
"""

import ast
import sys
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent

ARROWS = {
    "main": ("pipeline", "training", "media.errors"),
    "pipeline": ("segmenter", "renderer", "stitcher", "media"),
    "segmenter": ("media",),
    "renderer": ("media",),
    "stitcher": ("media",),
    "training": ("segmenter", "renderer", "media"),
    "media": (),
}
"""What each package may import of the others. main sees media's errors alone, to turn them into exit codes."""

OURS = {*ARROWS, "evaluation", "studio", "benchmarks", "demo", "tests", "tools"}

HOMES = {
    "av": ("media/*", "stitcher/*"),
    "batch_face": ("segmenter/detector.py",),
    "cv2": ("renderer/compositor.py", "renderer/silence.py", "segmenter/*", "media/picture.py"),
    "distributed": ("pipeline/dask_cluster.py",),
    "joblib": ("pipeline/executor.py", "pipeline/cluster.py", "pipeline/dask_cluster.py"),
    "librosa": ("renderer/mel.py", "media/speech.py"),
    "moviepy": ("pipeline/report.py", "pipeline/reel.py"),
    "PIL": ("pipeline/faces.py", "pipeline/reel.py", "training/pictures.py"),
    "numpy": ("*",),
    "pydantic": ("*/config.py", "pipeline/config_*.py", "media/settings.py"),
    "ray": ("pipeline/ray_cluster.py",),
    "rich": ("main.py", "pipeline/progress.py"),
    "scenedetect": ("segmenter/cuts.py",),
    "safetensors": ("renderer/checkpoint.py", "training/expert.py", "training/weights.py"),
    "torch": ("renderer/*", "segmenter/detector.py", "training/*"),
    "torchmetrics": ("training/measures.py",),
    "typer": ("main.py",),
}
"""Where each third-party library may be imported. One that is not listed may have two homes."""

NUM_FREE_HOMES = 2
CV2_FILES_OF_SEGMENTER = {
    "appearance.py",
    "cuts.py",
    "detector.py",
    "embedder.py",
    "reference.py",
    "scanner.py",
    "tracker.py",
}


def imported_names(source, package):
    """Return the dotted names that a source text imports; `package` is what its relative imports start from."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def find_breaches(path, source):
    """Return a sentence for every import that the file (path relative to the root) must not make."""
    path = PurePosixPath(path)
    room = path.parts[0].removesuffix(".py")
    package = ".".join(path.parts[:-1])
    breaches = []
    for name in sorted(imported_names(source, package)):
        top = name.partition(".")[0]
        if top == room or top in sys.stdlib_module_names:
            continue
        if top in OURS:
            if not any(f"{name}.".startswith(f"{allowed}.") for allowed in ARROWS[room]):
                breaches.append(f"{path} imports {name}: {room} may import {', '.join(ARROWS[room]) or 'nothing'}")
        elif top in HOMES and not any(fnmatch(str(path), home) for home in HOMES[top]):
            breaches.append(f"{path} imports {name}: the home of {top} is {', '.join(HOMES[top])}")
        elif top == "cv2" and room == "segmenter" and path.name not in CV2_FILES_OF_SEGMENTER:
            breaches.append(f"{path} imports cv2: in segmenter only {', '.join(sorted(CV2_FILES_OF_SEGMENTER))} may")
    return breaches


def source_files():
    for room in ARROWS:
        for path in [ROOT / f"{room}.py", *sorted((ROOT / room).rglob("*.py"))]:
            if path.exists():
                yield path.relative_to(ROOT)


@pytest.mark.parametrize("path", list(source_files()), ids=str)
def test_a_file_imports_only_what_its_place_allows(path):
    assert find_breaches(path.as_posix(), (ROOT / path).read_text(encoding="utf-8")) == []


def test_a_library_without_a_listed_home_has_two_at_most():
    homes = defaultdict(set)
    for path in source_files():
        for name in imported_names((ROOT / path).read_text(encoding="utf-8"), ".".join(path.parts[:-1])):
            top = name.partition(".")[0]
            if top not in OURS | set(HOMES) | sys.stdlib_module_names:
                homes[top].add(path.as_posix())
    assert {top: sorted(files) for top, files in homes.items() if len(files) > NUM_FREE_HOMES} == {}


@pytest.mark.parametrize(
    ("path", "source", "culprit"),
    [
        ("segmenter/spans.py", "from renderer.mel import mel_window", "renderer.mel"),
        ("renderer/render.py", "import stitcher", "stitcher"),
        ("stitcher/verify.py", "def f():\n    from pipeline import config", "pipeline.config"),
        ("media/probe.py", "from segmenter import spans", "segmenter.spans"),
        ("training/prepare.py", "from pipeline.progress import Reporter", "pipeline.progress"),
        ("pipeline/job.py", "from training import train", "training.train"),
        ("main.py", "from segmenter.planner import plan_clips", "segmenter.planner"),
        ("main.py", "from media.timeline import Span", "media.timeline"),
        ("pipeline/job.py", "import main", "main"),
        ("pipeline/job.py", "from tests import synthetic", "tests.synthetic"),
        ("pipeline/job.py", "import torch.nn as nn", "torch"),
        ("segmenter/planner.py", "import cv2", "cv2"),
        ("media/timeline.py", "import pydantic", "pydantic"),
        ("renderer/engine.py", "from typer import Option", "typer"),
    ],
)
def test_a_bad_import_is_found(path, source, culprit):
    (breach,) = find_breaches(path, source)
    assert breach.startswith(f"{path} imports {culprit}")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("main.py", "from media.errors import LipstitchError\nfrom pipeline.job import run_job\nimport typer"),
        ("pipeline/config.py", "from segmenter.config import SegmenterConfig\nimport pydantic, yaml"),
        ("segmenter/scanner.py", "from . import spans\nfrom .detector import FaceDetector\nimport cv2"),
        ("media/reader.py", "import av, numpy\nfrom fractions import Fraction"),
    ],
)
def test_a_good_import_passes(path, source):
    assert find_breaches(path, source) == []


def test_relative_imports_are_resolved():
    assert imported_names("from ..mel import window\nfrom . import blend", "renderer.masks") == {
        "renderer.mel.window",
        "renderer.masks.blend",
    }
