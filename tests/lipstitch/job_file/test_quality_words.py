"""renderer.quality: a word for other keys, and those that are given win."""

import pytest

from lipstitch.job_file.config import load_job
from lipstitch.job_file.renderer import QUALITIES, RendererConfig
from media.base.errors import ConfigError
from tests.support.commands import ROOT
from tests.support.jobs import write_job


def renderer(tmp_path, *overrides, **settings):
    job = write_job(tmp_path, input={"video": "a.mp4"}, output="out.mp4", renderer=settings)
    return load_job(job, overrides).renderer


@pytest.mark.parametrize("word", QUALITIES)
def test_a_word_stands_for_its_keys(tmp_path, word):
    settings = renderer(tmp_path, quality=word)
    for key, value in QUALITIES[word].items():
        found = getattr(settings, key)
        assert found.model_dump(include=value) == value if isinstance(value, dict) else found == value
    others = RendererConfig.model_fields.keys() - {*QUALITIES[word], "quality"}
    plain = renderer(tmp_path)
    assert all(getattr(settings, key) == getattr(plain, key) for key in others)


def test_the_default_is_improved(tmp_path):
    assert renderer(tmp_path) == renderer(tmp_path, quality="improved")


def test_a_key_that_is_given_wins(tmp_path):
    settings = renderer(tmp_path, "renderer.restore=none", quality="enhanced", mask="fixed")
    assert (settings.mask, settings.restore, settings.detect_every_frames) == ("fixed", None, 1)
    assert renderer(tmp_path, "renderer.quality=fast").detect_every_frames == 4


@pytest.mark.parametrize("word", ["best", 3, ["fast"]])
def test_another_word_is_refused(tmp_path, word):
    with pytest.raises(ConfigError, match=r"renderer\.quality"):
        renderer(tmp_path, quality=word)


def test_the_page_tells_what_each_word_stands_for():
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    for word, keys in QUALITIES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{word}` |"))
        assert all(key in row for key in keys)
