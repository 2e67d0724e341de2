"""The arrows of the house: main -> lipstitch -> {segmenter, renderer, stitcher} -> media -> media/base, no others.

The imports are read, not run. Imports inside functions and under TYPE_CHECKING count as well: an arrow is an arrow.
"""

import ast
import sys
from collections import defaultdict
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent

ARROWS = {
    "main": ("lipstitch.cli",),
    "inference": ("lipstitch.commands.wav2lip",),
    "lipstitch": ("segmenter", "renderer", "stitcher", "media"),
    "segmenter": ("media",),
    "renderer": ("media",),
    "stitcher": ("media",),
    "media": (),
    "media/base": (),
}
"""What each package may import of the others."""

OURS = {*ARROWS, "benchmarks", "demo", "tests", "tools"}

HOMES = {
    "av": ("media/*", "stitcher/*"),
    "c2pa": ("stitcher/disclosure/manifest.py",),
    "cv2": (
        "media/affine.py",
        "renderer/compositor.py",
        "renderer/enhance.py",
        "renderer/face_stages/*",
        "renderer/footage/*",
        "renderer/masks/*",
        "lipstitch/training/mesh/*",
        "lipstitch/evaluation/*",
        "renderer/silence.py",
        "segmenter/*",
        "media/picture.py",
    ),
    "distributed": ("lipstitch/backends/dask.py",),
    "gradio": ("lipstitch/studio/*",),
    "loky": ("lipstitch/backends/processes.py",),
    "moviepy": ("lipstitch/report/comparison_video.py",),
    "PIL": (
        "lipstitch/report/*",
        "lipstitch/studio/page.py",
        "lipstitch/training/evaluation/pictures.py",
        "media/stills/picture_file.py",  # it knows Exif, ICC profiles and transparency
        "renderer/strip.py",
    ),
    # What requests pass through before an application sees them.
    "starlette": ("lipstitch/service/api/*", "lipstitch/studio/sent.py"),
    "fastapi": ("lipstitch/service/api/*", "lipstitch/service/serve.py", "lipstitch/studio/app.py"),
    "opentimelineio": ("lipstitch/interchange/clock.py",),
    "numpy": ("*",),
    "onnxruntime": ("media/base/onnx_network.py",),
    "pydantic": (
        "lipstitch/job_file/*",
        "lipstitch/training/*config.py",
        "media/base/settings.py",
        "lipstitch/report/*",
        "lipstitch/service/*",
        "lipstitch/studio/*",
    ),
    "ray": ("lipstitch/backends/ray.py",),
    "rich": ("lipstitch/progress.py",),
    "scenedetect": ("segmenter/cuts.py",),
    "safetensors": ("renderer/weight_files.py", "lipstitch/training/expert.py", "lipstitch/training/weights.py"),
    "soundfile": (
        "renderer/mel.py",
        "renderer/footage/log_mel.py",
        "lipstitch/training/preparation/footage.py",
        "lipstitch/evaluation/sound.py",
    ),
    "torch": (
        "renderer/*",
        "segmenter/detectors/*",
        "segmenter/speaking/network.py",
        "lipstitch/training/*",
        "lipstitch/evaluation/*",
    ),
    "torchmetrics": ("lipstitch/training/evaluation/measures.py",),
    "typer": ("lipstitch/cli.py", "lipstitch/commands/*"),
    "xxhash": ("media/base/content.py",),
}
"""Where each third-party library may be imported. One that is not listed may have two homes."""

NUM_FREE_HOMES = 2
CV2_FILES_OF_SEGMENTER = {
    "cascade.py",
    "crops.py",
    "cuts.py",
    "embedder.py",
    "face_quality.py",
    "reference.py",
    "retinaface.py",
    "scanner.py",
    "tracker.py",
}
MAX_FILES = 14
"""In a folder, beside __init__.py."""


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
    room = next(part for part in ("/".join(path.parts[:2]), path.parts[0].removesuffix(".py")) if part in ARROWS)
    package = ".".join(path.parts[:-1])
    breaches = []
    for name in sorted(imported_names(source, package)):
        top = name.partition(".")[0]
        if f"{name}.".startswith(f"{room.replace('/', '.')}.") or top in sys.stdlib_module_names:
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
    for room in (room for room in ARROWS if "/" not in room):
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


def imported_files(path):
    """Return the files of ours that a file imports, relative to the root."""
    files = set()
    for name in imported_names((ROOT / path).read_text(encoding="utf-8"), ".".join(path.parts[:-1])):
        for module in (name, name.rpartition(".")[0]):
            target = Path(f"{module.replace('.', '/')}.py")
            if module.partition(".")[0] in ARROWS and (ROOT / target).exists():
                files.add(target)
                break
    return files


def find_circles(imports):
    """Return a sentence for each folder whose files and folders import one another in a circle.

    imports: {file: files that it imports}. Inside a folder a subfolder counts as one node, and so a circle of files is
    one of their deepest common folder.
    """
    arrows = defaultdict(lambda: defaultdict(set))
    for source, targets in imports.items():
        for target in targets - {source}:
            common = next(at for at, (a, b) in enumerate(zip(source.parts, target.parts, strict=False)) if a != b)
            arrows[source.parts[:common]][source.parts[common]].add(target.parts[common])
    circles = []
    for folder, graph in sorted(arrows.items()):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circles.append(f"{'/'.join(folder) or '.'}: {' <- '.join(error.args[1])}")
    return circles


def test_neither_files_nor_folders_import_in_a_circle():
    assert find_circles({path: imported_files(path) for path in source_files()}) == []


@pytest.mark.parametrize(
    ("imports", "num_circles"),
    [
        ({"media/probe.py": {"media/info.py"}, "media/info.py": {"media/probe.py"}}, 1),
        ({"a/x/one.py": {"a/y/two.py"}, "a/y/other.py": {"a/x/more.py"}}, 1),
        ({"a/x/one.py": {"a/y/two.py"}, "a/y/other.py": {"a/z/more.py"}, "a/z/more.py": {"a/x/last.py"}}, 1),
        ({"a/x/one.py": {"a/y/two.py"}, "a/y/other.py": {"a/z.py"}}, 0),
    ],
)
def test_a_circle_is_found(imports, num_circles):
    graph = {Path(source): {Path(target) for target in targets} for source, targets in imports.items()}
    assert len(find_circles(graph)) == num_circles


def test_no_folder_holds_more_than_about_a_dozen_files():
    folders = defaultdict(list)
    for path in source_files():
        if path.name != "__init__.py":
            folders[path.parent.as_posix()].append(path.name)
    assert {folder: len(files) for folder, files in folders.items() if len(files) > MAX_FILES} == {}


@pytest.mark.parametrize(
    ("path", "source", "culprit"),
    [
        ("segmenter/planner.py", "from renderer.mel import mel_window", "renderer.mel"),
        ("renderer/render.py", "import stitcher", "stitcher"),
        ("stitcher/verify/contract.py", "def f():\n    from lipstitch import job", "lipstitch.job"),
        ("media/probe.py", "from segmenter.spans import find", "segmenter.spans"),
        ("media/base/files.py", "from media.probe import probe", "media.probe"),
        ("main.py", "from segmenter.planner import plan_clips", "segmenter.planner"),
        ("main.py", "from lipstitch.job import run_job", "lipstitch.job"),
        ("lipstitch/job.py", "import main", "main"),
        ("lipstitch/job.py", "from tests.support import synthetic", "tests.support"),
        ("lipstitch/job.py", "import torch.nn as nn", "torch"),
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
        ("main.py", "from lipstitch.cli import app"),
        ("lipstitch/job_file/config.py", "from segmenter.spans.presence import SpanSettings\nimport pydantic, yaml"),
        ("segmenter/scanner.py", "from . import planner\nfrom .detectors.base import FaceDetector\nimport cv2"),
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
