"""Checks the contract of a finished output, from the job file, the source and the report beside the output."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from lipstitch.interchange.read import with_ranges
from lipstitch.job_file.coding import ORDINARY_CRF
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.audio.inputs import open_audio_inputs
from lipstitch.plan.outputs.plan_outputs import plan_outputs
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.progress import Reporter, stage
from lipstitch.report.disclosed import recorded_disclosure
from lipstitch.report.report import Report, load_report, report_path
from lipstitch.source.fetch import fetch_inputs
from lipstitch.source.offset import SoundOffset, given_offset
from lipstitch.source.still import find_video
from lipstitch.workspace import fingerprint, workspace_folder
from media.base.errors import ConfigError, ContractBroken
from media.coding.encoder_options import CODED_PSNR
from media.source_video import SourceVideo, scan_video
from stitcher.verify.contract import Check, Contract, verify_full


def verify_job(config: JobConfig, reporter: Reporter) -> int:
    """Check every output of a job, print the contract as tables, and return 0.

    Raises ContractBroken, naming the promise, if one is broken; ConfigError if a report is missing or belongs to
    another video; MediaError if a file cannot be read.
    """
    folder = workspace_folder(config)
    config = fetch_inputs(config, folder, reporter)
    source = scan_video(find_video(config, folder))
    config = with_ranges(config, source)
    broken: list[str] = []
    for spec, report in load_finished(config, source):
        codec = report.video.codec if report.video else ""
        promised = Contract(
            source,
            spec.timeline,
            spec.soundtrack,
            report.check.provenance(),
            report.output.lost_streams,
            codec,
            quality_allowance_db(config, codec or source.video.codec),
            recorded_disclosure(report, source, spec.timeline),
        )
        checks = verify_output(spec.output, promised, reporter)
        reporter.info(describe_checks(spec.output, checks))
        broken += [f"{spec.output}: {check.found}" for check in checks if not check.is_kept]
    if broken:
        raise ContractBroken(broken[0])
    return 0


def quality_allowance_db(config: JobConfig, codec: str) -> float:
    """Return how many dB below the default the job allows the quality of rendered frames to be.

    Six steps of the rate factor double the quantiser, and so the error (6 dB). Codecs without a rate factor are encoded
    as finely as is needed.
    """
    video = config.stitcher.video
    if video.crf == "auto":
        return max(CODED_PSNR - video.psnr, 0.0)
    return float(max(video.crf - ORDINARY_CRF, 0)) if codec in ("h264", "hevc") else 0.0


def verify_output(written: Path, promised: Contract, reporter: Reporter) -> tuple[Check, ...]:
    """Check one finished file in full and report progress; return every promise, kept or broken."""
    with stage(reporter, "verify", len(promised.timeline), "frames"):
        return verify_full(written, promised, reporter.advance)


def describe_checks(output: Path, checks: tuple[Check, ...]) -> str:
    """Return the contract as a table, one promise a line."""
    lines = [f"Contract of {output}"]
    lines += [f"  {'kept' if check.is_kept else 'BROKEN':8}{check.promise:20}{check.found}" for check in checks]
    return "\n".join(lines)


def load_finished(config: JobConfig, source: SourceVideo) -> list[tuple[OutputSpec, Report]]:
    """Return every output of a finished job, its sounds where they were put, with its report.

    Raises ConfigError if a report is missing or belongs to another video; what plan_outputs raises.
    """
    source_hash, inputs = fingerprint(Path(source.info.path), source.table), open_audio_inputs(config, source)
    specs = plan_outputs(config, source, inputs, offset=given_offset(config))
    reports = [load_finished_report(spec.output, source_hash) for spec in specs]
    if config.input.audio_offset == "auto" and (found := reports[0].audio_offset):
        specs = plan_outputs(config, source, inputs, offset=SoundOffset(Fraction(str(found.moved_ms)) / 1000))
    return list(zip(specs, reports, strict=True))


def load_finished_report(output: Path, source_hash: str) -> Report:
    """Read the report of a finished output.

    source_hash: of the job's video. Raises ConfigError if the report is missing or belongs to another video.
    """
    path = report_path(output)
    try:
        report = load_report(path)
    except FileNotFoundError as exc:
        raise ConfigError(
            f"output: there is no report {path}. Run the job first, with stitcher.report: html or json."
        ) from exc
    except (OSError, ValueError) as exc:
        raise ConfigError(f"output: {path} is not the report of a job. Run the job again with --force.") from exc
    if report.hashes.source != source_hash:
        raise ConfigError(f"input.video: {output} was made from another video. Give that one.")
    return report
