"""From the plan to the finished file: render the clips, make the sound, assemble, verify, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from lipstitch.execution.choose_mouths import choose_mouths
from lipstitch.execution.clips import Mouths, finish_clips
from lipstitch.execution.drawn_shapes import DrawingNetwork
from lipstitch.execution.sign import place_of
from lipstitch.execution.sound import make_drive_audio, make_soundtrack
from lipstitch.execution.worker import HashedFile, NetworkFile, WorkerSetup
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.plan import Plan
from lipstitch.programs.draw import draw_by_program
from lipstitch.programs.program import Program
from lipstitch.progress import Reporter, Timings, stage
from lipstitch.report.build_report import Made, build_report, program_version, written_codec
from lipstitch.report.disclosed import decide_disclosure
from lipstitch.report.records import Hashes
from lipstitch.report.report import Report, page_path, report_path, write_report
from lipstitch.report.verify import describe_checks, quality_allowance_db, verify_output
from lipstitch.source.scan import Scanned
from lipstitch.source.weights import Weights
from lipstitch.tools import Tools
from lipstitch.workspace import Workspace, job_key
from media.audio.reader import sound_length
from media.base.errors import ContractBroken
from media.base.files import atomic_file
from media.base.machine import num_cores
from media.base.onnx_network import choose_provider
from media.base.text import size_text
from media.clips import RenderedClip
from renderer.checkpoints import hash_file
from renderer.drawn_video import PROGRAM_SPEC
from renderer.engine import choose_device
from renderer.enhance import EnhancerFile, load_enhancer
from renderer.masks.maskers import MaskerFile, load_masker
from renderer.restoration.restorers import RestorerFile, load_restorer
from renderer.weight_files import is_onnx
from stitcher.assemble import NewTags, assemble
from stitcher.audio.soundtrack import Soundtrack
from stitcher.packet_sources import OutputVideo
from stitcher.verify.contract import Check, Contract, verify_packets
from stitcher.verify.provenance import FrameProvenance
from stitcher.verify.sampling import Sampling


@dataclass(frozen=True, slots=True)
class WrittenOutput:
    """An output that is complete under its name."""

    path: Path
    clips: tuple[RenderedClip, ...]
    report: Report
    """Also a file beside it, unless the job wants none."""


def check_renderer(config: JobConfig, weights: Weights, tools: Tools) -> None:
    """Raise CheckpointError or ConfigError if a network cannot be loaded, or device or cluster are not there."""
    config.execution.place.check_address(config.execution.address)
    choose_device(config.renderer.device)
    if config.renderer.command:
        Program(config.renderer.command).check()
    else:
        tools.check_network(weights.network, config.renderer)
    for quality in (None, *weights.others):
        if restorer := _restorer(config.with_quality(quality), weights.of(quality)):
            load_restorer(restorer)
        for masker in _maskers(config, weights.of(quality)):
            load_masker(masker)
    if enhancer := _enhancer(config, weights):
        load_enhancer(enhancer)


def write_output(
    config: JobConfig,
    scanned: Scanned,
    plan: Plan,
    weights: Weights,
    workspace: Workspace,
    reporter: Reporter,
    timings: Timings,
) -> WrittenOutput:
    """Make one output, from its plan to its final name."""
    source, spec, coding = scanned.source, plan.spec, plan.streams.coding
    with ThreadPoolExecutor(1, "sound") as beside:  # rendering leaves the cores gaps to make it in
        making = beside.submit(make_soundtrack, spec, plan.sound, source.info, workspace, reporter)
        with timings.measure("render"):
            driving = make_drive_audio(spec, plan.mouths.hearing.pauses, workspace)
            network = None
            if config.renderer.shape == "network":
                network = DrawingNetwork(weights.network, config.renderer, scanned.finder, tuple(driving), reporter)
            strength = config.renderer.strength
            chosen = choose_mouths(
                plan, scanned, driving, weights.sound_shape, workspace, strength=strength, network=network
            )
            setups = {
                quality: _worker_setup(config.with_quality(quality), scanned, plan, weights.of(quality), driving)
                for quality in (None, *weights.others)
            }
            drawn = None
            if config.renderer.command:
                drawn = draw_by_program(config.renderer.command, plan, source, driving, workspace, reporter)
            clips = finish_clips(config, source, plan, Mouths(chosen, drawn), setups, workspace, reporter)
        with stage(reporter, "sound", 1, "tracks", timings):
            soundtrack = making.result()
            reporter.advance(1)
    enhanced = (0, 0, source.video.width, source.video.height) if plan.enhancer else None
    disclosed = decide_disclosure(config, source, spec, FrameProvenance.of(clips, enhanced), program_version())
    tags = NewTags(config.stitcher.audio.language, bool(spec.patched_seconds), disclosed.statement)
    with atomic_file(spec.output) as partial:
        with (
            stage(reporter, "assemble", len(spec.timeline), "frames", timings),
            place_of(config, disclosed, spec, partial) as target,
        ):
            assembled = assemble(
                OutputVideo(source, spec.timeline, clips, is_new=coding.is_new),
                soundtrack,
                target,
                muxer=spec.muxer,
                tags=tags,
                on_progress=reporter.advance,
            )
        made = Made(config.input.video_file, clips, soundtrack, assembled, partial.stat().st_size, enhanced, disclosed)
        checks: tuple[Check, ...] = ()
        if config.stitcher.verify != "none":
            with timings.measure("verify"):
                checks = _verify(config, scanned, plan, made, partial, reporter)
        hashes = Hashes(source=source.fingerprint, checkpoint=hash_file(weights.network), job=job_key(config))
        report = build_report(scanned, plan, made, checks, timings, hashes)
        if not weights.maskers:  # those of the word `parsing` may be missing
            report = report.model_copy(update={"masks": ()})
        # Before the output gets its name, so that an output is never there without its report, nor with another's.
        page_path(spec.output).unlink(missing_ok=True)
        if config.stitcher.report == "none":
            report_path(spec.output).unlink(missing_ok=True)
        else:
            write_report(report, report_path(spec.output))
        workspace.note_output(spec.output, partial, job_key(config))
    if disclosed.is_missing:
        reporter.warning(f"{spec.output}: {disclosed.note}.")
    if plan.whole_reason:
        (reporter.warning if coding.is_new else reporter.info)(f"{spec.output}: {plan.whole_reason}.")
    for loss in assembled.losses:
        reporter.warning(f"{spec.output} lacks {loss.describe()}.")
    if report.damaged_frames:
        listed = "" if config.stitcher.report == "none" else "; the report lists them"
        reporter.warning(f"{len(report.damaged_frames)} frames of the source are damaged{listed}.")
    if not any(span.kind == "face" for span in plan.spans):
        reporter.info("There was no face to render, so no lips were changed.")
    elif not plan.mouths.hearing.has_speech:
        advice = "If someone does speak in it, set renderer.silence: render"
        reporter.warning(f"{spec.output}: {plan.mouths.describe_silence()}. {advice}.")
    elif plan.mouths.hearing.foreign:
        reporter.info(f"{spec.output}: {plan.mouths.describe_foreign()}.")
    choice = plan.target.choice
    if choice.note:
        (reporter.info if choice.is_made else reporter.warning)(f"{spec.output}: {choice.note}.")
    sizes = f"{size_text(made.size_bytes)}, the source has {size_text(source.info.size_bytes)}"
    where = "" if config.stitcher.report == "none" else f" Report: {report_path(spec.output)}"
    reporter.info(f"{spec.output}: {_summary(clips)}; {sizes}.{where}")
    return WrittenOutput(spec.output, tuple(clips), report)


def _verify(
    config: JobConfig, scanned: Scanned, plan: Plan, made: Made, written: Path, reporter: Reporter
) -> tuple[Check, ...]:
    """Check the file that was written, as thoroughly as the job asks for; raise ContractBroken."""
    source, spec = scanned.source, plan.spec
    seconds = _sound_seconds(spec, made.soundtrack)
    codec = written_codec(scanned, plan, made.clips)
    promised = Contract(
        source,
        spec.timeline,
        spec.soundtrack,
        FrameProvenance.of(made.clips, made.enhanced),
        made.assembled.dropped_streams,
        codec,
        quality_allowance_db(config, codec),
        made.disclosed.statement,
    )
    if config.stitcher.verify == "packets":
        sampling = Sampling(_seams(made.clips), source.fingerprint)
        return verify_packets(written, promised, made.assembled, seconds, sampling)
    checks = verify_packets(written, promised, made.assembled, seconds)
    found = verify_output(written, promised, reporter)
    reporter.info(describe_checks(spec.output, found))
    if broken := [check for check in found if not check.is_kept]:
        raise ContractBroken(f"{spec.output}: {broken[0].found}")
    return checks + found


def _seams(clips: Sequence[RenderedClip]) -> tuple[int, ...]:
    """Return the output frames with which a clip begins that is re-encoded, or follows one that is."""
    return tuple(b.clip.start_frame for a, b in pairwise(clips) if a.path or b.path)


def _sound_seconds(spec: OutputSpec, soundtrack: Soundtrack | None) -> Fraction | None:
    """Return how long the output's sound must be; None where it is a file's own, as long as that is.

    A spliced one begins and ends where the source's does, which need not be with the picture.
    """
    if spec.soundtrack is None or soundtrack is None or soundtrack.kind == "copied":
        return None
    is_spliced = soundtrack.kind == "spliced"
    return sound_length(soundtrack.path, soundtrack.stream_index) if is_spliced else spec.soundtrack.duration


def _summary(clips: Sequence[RenderedClip]) -> str:
    names = {"rendered": "rendered", "copied": "copied", "reencoded": "re-encoded", "fell_back": "fell back"}
    counts = Counter(clip.outcome for clip in clips)
    return "clips " + ", ".join(f"{count} {names[outcome]}" for outcome, count in sorted(counts.items()))


def _worker_setup(
    config: JobConfig, scanned: Scanned, plan: Plan, weights: Weights, driving: Sequence[Path]
) -> WorkerSetup:
    source, settings, checkpoint = scanned.source, config.renderer, weights.network
    spec = PROGRAM_SPEC if settings.command else scanned.finder.tools.read_spec(checkpoint, settings)
    return WorkerSetup(
        video=HashedFile(source.info.path, source.fingerprint),
        network=NetworkFile(
            path=str(checkpoint),
            hash=hash_file(checkpoint),
            spec=spec,
            restorer=_restorer(config, weights),
            maskers=_maskers(config, weights),
            enhancer=_enhancer(config, weights),
        ),
        finder=scanned.finder,
        stages=scanned.finder.tools.face_stages,
        driving=tuple(str(path) for path in driving),
        renderer=settings,
        coding=plan.streams.coding.frames,
        banks=tuple(HashedFile(str(bank.path), bank.hash) for bank in plan.mouths.footage.banks)
        if plan.shows_footage
        else (),
        num_threads=num_cores(),
        drawing_threads=None,
    )


def _maskers(config: JobConfig, weights: Weights) -> tuple[MaskerFile, ...]:
    """Return what tells which pixels may change. Raises ConfigError for a provider that is missing."""
    settings = config.renderer
    return tuple(
        MaskerFile(
            path=str(path),
            hash=hash_file(path),
            device=settings.device,
            provider=choose_provider(settings.onnx.provider) if is_onnx(path) else "cpu",
        )
        for path in weights.maskers
    )


def _restorer(config: JobConfig, weights: Weights) -> RestorerFile | None:
    """Return the restorer of a job; None if it has none. Raises ConfigError for a provider that is missing."""
    settings, path = config.renderer, weights.restorer
    if settings.restore is None or path is None:
        return None
    return RestorerFile(
        path=str(path),
        hash=hash_file(path),
        strength=settings.restore.strength,
        fidelity=settings.restore.fidelity,
        device=settings.device,
        provider=choose_provider(settings.onnx.provider) if is_onnx(path) else "cpu",
        area=settings.restore.area,
    )


def _enhancer(config: JobConfig, weights: Weights) -> EnhancerFile | None:
    """Return what enhances whole frames; None where the job does not. Raises ConfigError for a missing provider."""
    settings, path = config.stitcher.enhance, weights.enhancer
    if settings is None or path is None:
        return None
    return EnhancerFile(
        path=str(path),
        hash=hash_file(path),
        strength=settings.strength,
        device=config.renderer.device,
        provider=choose_provider(config.renderer.onnx.provider) if is_onnx(path) else "cpu",
    )
