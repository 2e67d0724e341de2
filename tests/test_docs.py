"""README and docs: links lead somewhere, commands and job files are accepted as written."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lipstitch.cli import app
from lipstitch.job_file.config import load_job
from tests.support.commands import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "demo" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("checkpoints/*.md")),
    *sorted(ROOT.glob("configs/*.yaml")),
]
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
PROGRAM = r"(?:lipstitch|python main\.py)"
LINE = re.compile(rf"^(?:    |#     ){PROGRAM} (.*)$", re.MULTILINE)
INLINE = re.compile(rf"`{PROGRAM} ([^`…]*)`")
MAKE = re.compile(r"\bmake ([a-z]+)\b")


def job_blocks():
    """Yield (page, text) for each job file on a page: a yaml block with an output."""
    for page in PAGES:
        for text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if re.search(r"^output:", text, re.MULTILINE):
                yield pytest.param(text, id=f"{page.name}:{text.split()[2]}")


def commands():
    """Yield (page, arguments) for each line that starts the program."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", "")
        for arguments in [*LINE.findall(text), *INLINE.findall(text)]:
            words = shlex.split(re.sub(r"\s{3,}.*", "", arguments))  # an explanation stands three spaces apart
            yield pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")


def anchors(page):
    titles = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            assert anchor[1:] in anchors(file), f"{target}{anchor}"


@pytest.mark.parametrize("text", list(job_blocks()))
def test_a_job_file_on_a_page_is_accepted(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    load_job(path)


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.name)
def test_a_job_file_to_start_from_is_accepted(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not {"data", "labels"} & content.keys():  # which are training files
        load_job(path)


@pytest.mark.parametrize("arguments", list(commands()))
def test_the_options_of_a_command_on_a_page_exist(arguments):
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    assert not result.stderr


def test_commands_and_job_files_are_found():
    assert len(list(commands())) >= 20
    assert len(list(job_blocks())) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_has_what_pages_call(page):
    targets = set(re.findall(r"^([a-z]+):", Path(ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = re.findall(r"`make [a-z]+`|^    make [a-z]+", page.read_text(encoding="utf-8"), re.MULTILINE)
    called = {name for line in lines for name in MAKE.findall(line)}
    assert called <= targets
