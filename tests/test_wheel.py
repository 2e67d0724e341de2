"""The wheel, in a virtual environment that holds nothing else of ours: command, Python call, files that ship."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.quick_jobs import make_talk


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the bin folder of an environment with the wheel; other packages are those of the tests' own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # Not a site folder: the .pth file in there, which leads to this checkout, is not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def run(*command, folder, **options):
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_packages_and_what_ships_and_nothing_else(installed):
    (site,) = (installed.parent / "lib").glob("python*/site-packages")
    ours = {path.name for path in site.iterdir()} - {"__pycache__", "dependencies.pth"}
    assert {name for name in ours if not name.endswith(".dist-info")} == {
        "lipstitch",
        "media",
        "renderer",
        "segmenter",
        "stitcher",
    }
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    if not tracked:
        pytest.skip("not a checkout of Git")
    expected = {name for name in tracked if name.partition("/")[0] in ours}
    expected |= {f"lipstitch/{name}" for name in tracked if name.startswith(("checkpoints/", "configs/"))}
    found = {path.relative_to(site).as_posix() for name in ours for path in (site / name).rglob("*") if path.is_file()}
    found = {name for name in found if "__pycache__" not in name and ".dist-info" not in name}
    assert found == expected


def test_the_command_does_a_job_with_what_ships(installed, tmp_path):
    make_talk(tmp_path / "talk.mp4")
    run(installed / "lipstitch", "init", "talk.mp4", folder=tmp_path)
    said = run(installed / "lipstitch", "--config", "talk.yaml", "--set", "segmenter.detector=cascade", folder=tmp_path)
    assert "There was no face to render" in said
    assert json.loads((tmp_path / "talk.synced.mp4.report.json").read_text())["lipstitch"] != "not installed"
    assert (tmp_path / "talk.synced.mp4.report.html").is_file()


def test_the_python_call_and_where_weights_go(installed, tmp_path):
    make_talk(tmp_path / "talk.mp4")
    code = """if True:
        import lipstitch, sys
        print("torch" in sys.modules)
        settings = {"segmenter.detector": "cascade"}
        print(lipstitch.sync("talk.mp4", None, "out.mp4", settings=settings).report.output.path)
        from renderer.checkpoints import download_folder, load_registry
        print(download_folder(), "compact" in load_registry())
    """
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""}
    lines = run(installed / "python", "-c", code, folder=tmp_path, env=env).splitlines()
    assert lines == ["False", str(tmp_path / "out.mp4"), f"{tmp_path / 'cache' / 'lipstitch'} True"]
    assert Path(lines[1]).is_file()
