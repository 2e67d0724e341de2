"""The container files, as far as they can be checked without a container engine: what they copy, start and mount."""

import re
import tomllib

import pytest
import yaml
from typer.main import get_command

from lipstitch.cli import app
from tests.support.commands import ROOT

DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs(name):
    text = (ROOT / name).read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]}
    assert [path for path in copied if not (ROOT / path).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {folder.strip("/") for folder in project["tool"]["hatch"]["build"]["include"]}
    assert needed | {"pyproject.toml", project["project"]["readme"], "LICENSE"} == copied
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {f"!{path}" for path in copied} <= {*ignored}
    extras = re.search(r"'\.\[(.*)\]'", text)[1].split(",")
    assert {*extras} <= {*project["project"]["optional-dependencies"]}
    assert "\nUSER lipstitch\n" in text


def test_the_two_files_differ_in_torch_alone():
    cpu, cuda = (
        [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")] for name in DOCKERFILES
    )
    changed = {*cpu} ^ {*cuda}
    assert all("TORCH" in line or "NVIDIA" in line or "XDG_CACHE_HOME" in line for line in changed), changed


def test_compose_starts_commands_that_exist_and_mounts_what_they_use():
    content = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(content["services"]) == {"redis", "server", "worker"}
    commands = get_command(app).commands
    for name in ("server", "worker"):
        service = content["services"][name]
        command, *options = service["command"]
        known = {option for parameter in commands[command].params for option in parameter.opts}
        assert {option for option in options if option.startswith("--")} <= known
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= {*content["volumes"]}
        assert service["build"] == "."
    assert "service:/service" in content["services"]["worker"]["volumes"]
