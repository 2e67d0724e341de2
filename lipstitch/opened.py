"""A job whose files were opened and checked: all that can be said of it before the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from lipstitch.interchange.read import with_ranges
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.span_file import read_spans
from lipstitch.plan.audio.inputs import AudioInputs, open_audio_inputs, turns_start
from lipstitch.plan.audio.notes import SoundNote
from lipstitch.plan.outputs.dialogue import Dialogue, open_dialogue
from lipstitch.plan.outputs.plan_outputs import plan_outputs
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.streams import StreamPlan, check_outputs
from lipstitch.progress import Reporter
from lipstitch.redo import NOTHING_REDONE, Redone
from lipstitch.source.checks import (
    check_output_name,
    check_provenance,
    check_sounds_complete,
)
from lipstitch.source.fetch import fetch_inputs, local_inputs
from lipstitch.source.judge import require_own_sound
from lipstitch.source.offset import SoundOffset, given_offset
from lipstitch.source.scan import check_photos
from lipstitch.source.source import (
    OpenedVideo,
    choose_coding,
    open_further,
    open_source,
)
from lipstitch.source.weights import Weights, find_rendering_weights
from lipstitch.workspace import workspace_folder
from media.audio.speech_network import find_speech_weights
from media.intervals import Interval, merge
from segmenter.spans.changes import Change
from segmenter.spans.table import SpanRow


@dataclass(frozen=True, slots=True)
class OpenedJob:
    """A job whose files were all opened and checked."""

    config: JobConfig
    video: OpenedVideo
    specs: tuple[OutputSpec, ...]
    streams: tuple[StreamPlan, ...]
    """Of each output, what becomes of the source's own streams."""
    rows: tuple[SpanRow, ...] | None
    """What the job's span file says; None if it has none."""
    further: tuple[OpenedVideo, ...]
    """Further videos of the job's people."""
    inputs: AudioInputs
    """The sounds, where they lie before they are moved."""
    dialogue: Dialogue | None
    offset: SoundOffset
    """By how much sounds are moved against the picture."""
    redone: Redone = NOTHING_REDONE
    """What of a finished output is made again."""

    @property
    def turns_start(self) -> Fraction:
        """Return where second 0 of the turns lies on the clock of the video."""
        return turns_start(self.config, self.inputs.later(self.offset.seconds).heard)[0]

    @property
    def wanted(self) -> list[SpanRow | Change]:
        """Return all that is said about how mouths of some frames are made."""
        rows = self.rows or ()
        return [*rows, *(change for row in rows for change in row.changes), *self.redone.changes]

    @property
    def shown_frames(self) -> list[Interval]:
        """Return the source frames in which the outputs may show a new mouth."""
        return merge(part for spec in self.specs for part in spec.scanned_frames)


def open_job(config: JobConfig, reporter: Reporter, *, force: bool) -> OpenedJob:
    """Open the files of a job and check all that can be checked before the work, cheapest first.

    force: existing outputs may be replaced. Raises ConfigError or MediaError, or CheckpointNotFound without silero-vad.
    """
    folder = workspace_folder(config)
    # An existing output may be this job's own, which is known by its ranges, too.
    check_output_name(local_inputs(config, folder), force=force or config.ranges_from is not None)
    check_provenance(config)
    config = fetch_inputs(config, folder, reporter)
    check_sounds_complete(config)
    find_speech_weights()  # which the plan needs, after the scan
    video = open_source(config)
    config = with_ranges(config, video)
    further = open_further(config, video)
    coding = choose_coding(config, video)
    require_own_sound(config, video.info)
    inputs = open_audio_inputs(config, video)
    dialogue = open_dialogue(config, video, inputs)
    offset = given_offset(config)
    specs = plan_outputs(config, video, inputs, dialogue, offset)
    _warn_of_sounds(config, specs, dialogue, reporter)
    streams = check_outputs(config, video, specs, coding, force=force)
    check_photos(config)
    rows = read_spans(config.segmenter.spans, video.table) if config.segmenter.spans else None
    return OpenedJob(config, video, specs, streams, rows, further, inputs, dialogue, offset)


def find_job_weights(job: OpenedJob, reporter: Reporter) -> Weights:
    """Return the weights that a job's new mouths are made with. Raises CheckpointError or ConfigError."""
    qualities = {part.quality for part in job.wanted if part.quality}
    may_draw = any(part.method == "network" for part in job.wanted)
    return find_rendering_weights(job.config, reporter, qualities, may_draw=may_draw)


def open_preview(job: OpenedJob, config: JobConfig) -> OpenedJob:
    """Return the preview of a job as an opened job of its own, on the same video. config: from build_preview."""
    coding = choose_coding(config, job.video)
    inputs = open_audio_inputs(config, job.video)
    specs = plan_outputs(config, job.video, inputs, open_dialogue(config, job.video, inputs), job.offset)
    streams = check_outputs(config, job.video, specs, coding, force=True)
    return replace(job, config=config, specs=specs, streams=streams)


def _warn_of_sounds(
    config: JobConfig, specs: Sequence[OutputSpec], dialogue: Dialogue | None, reporter: Reporter
) -> None:
    for speaker in dialogue.speakers if dialogue else ():
        if not speaker.stretches:
            assert config.input.speakers is not None
            reporter.warning(
                f"input.speakers.cast.{speaker.name}: {config.input.speakers.turns} holds no turn of this speaker."
            )
    for note in _sound_notes(specs):
        if note.is_warning:
            reporter.warning(f"{note.text}.")


def mention_sounds(specs: Sequence[OutputSpec], reporter: Reporter) -> None:
    """Say what is worth knowing of the sounds; a plan holds it anyway."""
    for note in _sound_notes(specs):
        if not note.is_warning:
            reporter.info(f"Sound: {note.text}.")


def _sound_notes(specs: Sequence[OutputSpec]) -> dict[SoundNote, None]:
    """Return each note once, in order: outputs of one job share their sounds."""
    return dict.fromkeys(note for spec in specs for note in spec.sound_notes)
