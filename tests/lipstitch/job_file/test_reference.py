"""docs/job-file.md: made from the descriptions in the job file's model, and never out of date."""

import re

import pytest
from pydantic import BaseModel, Field

from lipstitch.job_file.reference import build_reference, find_undescribed
from media.base.settings import FilePath
from tests.support.commands import ROOT


class Paint(BaseModel):
    """How it is painted."""

    colour: str = "red"
    share: float = Field(default=0.5, ge=0, le=1, description="Part | of the wall.")
    pots: int | None = Field(default=None, gt=0, description="Pots of it.")


class House(BaseModel):
    plan: FilePath = Field(description="The plan.")
    paint: Paint = Paint()
    rooms: tuple[Paint, ...] = Field(default=(), description="One for each room.")


def test_the_reference_in_docs_is_current():
    assert (ROOT / "docs" / "job-file.md").read_text(encoding="utf-8") == build_reference(), "run `make docs`"


def test_every_key_of_the_job_file_is_described():
    assert find_undescribed() == []


def test_a_key_without_a_description_is_found():
    assert find_undescribed(House) == ["paint.colour", "rooms[].colour"]


@pytest.mark.parametrize(
    "row",
    [
        "| `plan` | path | needed | The plan. |",
        "| `paint` | [section](#paint) |  | How it is painted. |",
        "| `rooms` | [list of sections](#rooms) | `[]` | One for each room. |",
        "| `share` | number, 0 to 1 | `0.5` | Part \\| of the wall. |",
        "| `pots` | integer, more than 0 |  | Pots of it. |",
    ],
)
def test_a_row_says_what_a_key_holds(row):
    assert row in build_reference(House).splitlines()


def test_each_link_leads_to_a_heading():
    page = build_reference()
    anchors = {re.sub(r"[^\w-]", "", title.lower()) for title in re.findall(r"^## (.*)", page, re.MULTILINE)}
    links = set(re.findall(r"\(#([^)]*)\)", page))
    assert links == anchors
    assert len(links) > 8
