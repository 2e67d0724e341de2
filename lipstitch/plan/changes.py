"""PURE: whether what the user wants of some frames is possible there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lipstitch.footage.read import Footage
from lipstitch.job_file.config import JobConfig
from media.base.errors import ConfigError
from media.clips import FaceSpan, MouthSource
from media.packets.frame_table import FrameTable
from segmenter.spans.changes import Changes


def check_changes(
    config: JobConfig, spans: Sequence[FaceSpan], changes: Changes, footage: Footage, table: FrameTable
) -> None:
    """Raise ConfigError for the first frames of which something is wanted that cannot be, or would change nothing.

    spans: those that are rendered, as if nothing were changed.
    """
    for span in spans:
        for (start, stop), source in changes.parts(span):
            for problem in _problems(config, span, source, footage) if source else ():
                where = f"frames {start}-{stop - 1} ({float(table.seconds(start)):.3f} s)"
                raise ConfigError(f"In {where}, {problem}.")


def _problems(config: JobConfig, span: FaceSpan, source: MouthSource, footage: Footage) -> Iterator[str]:
    settings = config.renderer
    if source.method == "footage" and span.source.method != "footage":
        number = footage.number_of(span)
        if settings.method == "network":
            yield "method footage has no mouths to show, since renderer.method is network; make that auto"
        elif number is None or not footage.banks[number].num_mouths:
            yield "method footage has no mouths to show, since no footage of this face will do; choose another method"
    if source.quality and source.method == "footage" and settings.with_quality(source.quality).masks == settings.masks:
        yield (
            f"quality {source.quality} changes nothing, since it is for mouths that a network draws, and these are from"
            f" footage; leave it empty, or make the method network"
        )
    if source.strength is not None and source.method == "network" and settings.command:
        yield "strength changes nothing, since a program draws these mouths; leave it empty"
