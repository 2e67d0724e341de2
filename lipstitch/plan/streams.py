"""What becomes of the source's own streams in each output, and whether its file can be written at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.source.checks import check_output
from lipstitch.source.weights import describe_enhancer
from media.coding.output_codec import StreamCoding
from media.source_video import SourceVideo
from stitcher.container import check_container
from stitcher.losses import Loss


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How the video is coded in an output, and what its container cannot hold."""

    coding: StreamCoding
    losses: tuple[Loss, ...]
    """What of the source is lost."""
    enhancer: str = ""
    """What enhances whole frames before they are coded, in one line; empty if nothing does."""


def check_outputs(
    config: JobConfig, video: SourceVideo, specs: Sequence[OutputSpec], coding: StreamCoding, *, force: bool
) -> tuple[StreamPlan, ...]:
    """Return for each output what becomes of the source's streams.

    force: existing outputs may be replaced. Raises ConfigError for an output that cannot be written, or exists,
    UnsupportedMedia where its container would lose too much.
    """
    plans = []
    for spec in specs:
        losses = check_container(
            video,
            spec.timeline,
            spec.muxer,
            replaces_sound=spec.soundtrack is not None,
            coding=coding,
        )
        check_output(config, spec.output, force=force)
        plans.append(StreamPlan(coding, tuple(losses), describe_enhancer(config)))
    return tuple(plans)
