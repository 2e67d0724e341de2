"""The contract of a finished output, checked at any time from the job file, the source and the report beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from base.errors import ConfigError, ContractBroken
from lipstitch.job_file.coding import VideoConfig
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.audio.inputs import open_audio_inputs
from lipstitch.plan.outputs.plan_outputs import plan_outputs
from lipstitch.progress import Reporter, stage
from lipstitch.report.report import load_provenance, lost_streams, report_path
from lipstitch.workspace import fingerprint
from media.source_video import scan_video
from stitcher.verify.contract import Check, Contract, verify_full


def verify_job(config: JobConfig, reporter: Reporter) -> int:
    """Check every output of a job, print the contract as tables, and return 0.

    Raises ContractBroken, naming the promise, if one is broken; ConfigError if a report is missing or another video's;
    MediaError if a file cannot be read.
    """
    source = scan_video(config.input.video)
    source_hash = fingerprint(Path(source.info.path), source.table)
    broken: list[str] = []
    for spec in plan_outputs(config, source, open_audio_inputs(config, source)):
        report = _load_report(spec.output, source_hash)
        promised = Contract(
            source,
            spec.timeline,
            spec.soundtrack,
            load_provenance(report["check"]),
            lost_streams(report["output"]),
            codec := report.get("video", {}).get("codec", ""),
            quality_allowance_db(config, codec or source.video.codec),
        )
        checks = verify_output(spec.output, promised, reporter)
        reporter.info(describe_checks(spec.output, checks))
        broken += [f"{spec.output}: {check.found}" for check in checks if not check.is_kept]
    if broken:
        raise ContractBroken(broken[0])
    return 0


def quality_allowance_db(config: JobConfig, codec: str) -> float:
    """Return by how many dB the job asks for a lower quality of rendered frames than the default.

    Six steps of the rate factor double the quantiser, and so the error (6 dB). Other codecs have none; they are coded
    at a fixed quality.
    """
    default: int = VideoConfig.model_fields["crf"].default
    return float(max(config.stitcher.video.crf - default, 0)) if codec in ("h264", "hevc") else 0.0


def verify_output(written: Path, promised: Contract, reporter: Reporter) -> tuple[Check, ...]:
    """Check one finished file in full, with progress; return every promise, kept or broken."""
    with stage(reporter, "verify", len(promised.timeline), "frames"):
        return verify_full(written, promised, reporter.advance)


def describe_checks(output: Path, checks: tuple[Check, ...]) -> str:
    """Return the contract as lines of a table."""
    lines = [f"Contract of {output}"]
    lines += [f"  {'kept' if check.is_kept else 'BROKEN':8}{check.promise:20}{check.found}" for check in checks]
    return "\n".join(lines)


def _load_report(output: Path, source_hash: str) -> dict[str, Any]:
    path = report_path(output)
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        is_own = report["hashes"]["source"] == source_hash
        load_provenance(report["check"])
        lost_streams(report["output"])
    except FileNotFoundError as exc:
        raise ConfigError(f"output: there is no report {path}. Run the job first.") from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"output: {path} is not the report of a job. Run the job again with --force.") from exc
    if not is_own:
        raise ConfigError(f"input.video: {output} was made from another video. Give that one.")
    return report
