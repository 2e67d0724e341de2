"""The values that travel from the source to the plan are whole when they are made, and every decision is made once."""

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import soundfile

import lipstitch.plan
import lipstitch.source
from lipstitch.job_file.config import load_job
from tests.support.jobs import write_job
from tests.support.quick_jobs import make_talk, run_quick

MOST_FIELDS = 10


def values():
    """Return every dataclass of the rooms that make values, by its name."""
    modules = ["lipstitch.job", "lipstitch.opened"]
    for room in (lipstitch.source, lipstitch.plan):
        modules += [module.name for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]
    for module in map(importlib.import_module, modules):
        for name, found in inspect.getmembers(module, inspect.isclass):
            if found.__module__ == module.__name__ and dataclasses.is_dataclass(found):
                yield pytest.param(found, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("value", list(values()))
def test_a_value_is_frozen_and_small(value):
    assert value.__dataclass_params__.frozen
    assert "__slots__" in vars(value)
    assert len(dataclasses.fields(value)) <= MOST_FIELDS


@pytest.mark.parametrize("plan_only", [True, False])
def test_each_decision_is_made_once(tmp_path, monkeypatch, plan_only):
    make_talk(tmp_path / "talk.mp4")
    soundfile.write(tmp_path / "dub.wav", 0.1 * np.sin(np.arange(64_000) / 9), 16_000)
    (tmp_path / "weights.bin").write_bytes(b"weights")
    job = write_job(
        tmp_path,
        input={"video": "talk.mp4", "audio": "dub.wav"},
        output="out.mp4",
        segmenter={"detector": "cascade", "embedder": "none"},
        renderer={"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
        execution={"backend": "serial"},
    )
    called = []

    def counting(place, name):
        module = importlib.import_module(place)
        original = getattr(module, name)

        def call(*arguments, **keys):
            called.append(name)
            return original(*arguments, **keys)

        monkeypatch.setattr(module, name, call)

    counting("lipstitch.plan.soundtrack", "can_copy")
    counting("lipstitch.opened", "open_audio_inputs")
    counting("lipstitch.opened", "plan_outputs")
    counting("lipstitch.opened", "choose_coding")
    run_quick(load_job(job), plan_only=plan_only)
    assert sorted(called) == ["can_copy", "choose_coding", "open_audio_inputs", "plan_outputs"]
