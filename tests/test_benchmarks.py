"""The benchmarks are run by hand; that they fit the rest of the program is seen here."""

import importlib

import pytest

from tests.support.commands import ROOT


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_a_benchmark_finds_what_it_measures(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__
