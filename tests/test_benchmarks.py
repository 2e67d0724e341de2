"""The benchmarks are run by hand; that they fit the rest of the program is seen here."""

import importlib

import pytest
import soundfile

from benchmarks import material, run
from tests.support.commands import ROOT


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_a_benchmark_finds_what_it_measures(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__


def test_each_workload_can_be_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(material, "FOLDER", tmp_path / "build" / "bench")
    monkeypatch.setattr(material, "full_size_checkpoint", lambda: tmp_path / "weights.pth")
    dub = material.dub(1)
    assert soundfile.info(dub).duration == 1
    assert run.write_job("w4.mp4", {"input": {"video": "talk.mp4", "audio": str(dub)}}).is_file()


def test_a_new_table_leaves_the_rest_of_the_results(monkeypatch):
    monkeypatch.setattr(run, "machine", lambda: "a machine.")
    results = run.RESULTS.read_text()
    after = run.with_table(results, [run.Row("W9", "a workload", "1 s", "")])
    assert after.startswith("# Results\n\n`python -m benchmarks.run --write` on a machine.\n\n| | workload |")
    assert "| W9 | a workload | 1 s |  |\n\nWhere the time goes" in after
    assert after.endswith(results[results.index("## Size") :])
    assert "| W4 |" not in after
