"""An output is written, and signed if the job asks for it, before it gets its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.report.disclosed import Disclosed
from lipstitch.source.checks import signing_of
from media.base.files import scratch_file
from stitcher.disclosure.manifest import Claim, sign_file


@contextmanager
def place_of(config: JobConfig, disclosed: Disclosed, spec: OutputSpec, partial: Path) -> Iterator[Path]:
    """Yield where an output is to be written: to `partial`, or, if it is to be signed, beside it.

    What is written beside it is signed into `partial` in the end. Raises StitchError where that fails.
    """
    signing = signing_of(config)
    if disclosed.statement is None or signing is None:
        yield partial
        return
    with scratch_file(spec.output) as unsigned:
        yield unsigned
        claim = Claim(disclosed.statement, spec.output.name, config.input.video_file)
        sign_file(unsigned, partial, signing, claim)
