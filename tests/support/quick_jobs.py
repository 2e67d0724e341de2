"""Whole jobs in this process within a second: a canned scan, no network, and mouths that only become darker."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import lipstitch.batch
import lipstitch.job
import lipstitch.report.contact_sheet
from lipstitch.progress import Silent
from lipstitch.side_files import SideFiles
from lipstitch.workspace import workspace_folder
from tests.support.doubles import QUICK_TOOLS, SIZE
from tests.support.jobs import load_report
from tests.support.synthetic import Sound, make_video

NUM_FRAMES = 100
FIRST, SECOND = {(7, 21), (21, 35), (35, 48)}, {(60, 78), (78, 96)}
"""Clips of up to 0.8 s that hold the first and the second span of the canned scan."""


def make_talk(path, *, has_sound=True, **options):
    """Write the video that the canned scan belongs to; packets can be copied again from every twelfth frame on."""
    return make_video(path, NUM_FRAMES, size=SIZE, gop=12, sounds=[Sound()] if has_sound else [], **options)


@dataclass(frozen=True)
class Redone:
    """What a run made, and did not find in its workspace."""

    scanned: bool
    clips: set
    """(first frame, frame behind the last) of each."""
    driving: bool
    sound: bool


def run_quick(config, reporter=None, *, tools=QUICK_TOOLS, **options):
    """Run a job to its end; return what it made if it keeps all that it makes. options: of run_job, and SideFiles."""
    before = written(config)
    named = {key: options.pop(key) for key in SideFiles.__dataclass_fields__ if key in options}
    done = lipstitch.job.run_job(config, reporter or Silent(), tools=tools, beside=SideFiles(**named), **options)
    assert done.exit_code == 0
    if config.execution.keep != "all":
        return None
    stages = {name.partition("-")[0] for name, file in written(config).items() if file != before.get(name)}
    clips = set()
    if "clip" in stages:
        made = [clip for clip in load_report(config.output)["clips"] if not clip["reused"]]
        clips = {(clip["start_frame"], clip["stop_frame"]) for clip in made if clip["outcome"] != "copied"}
    return Redone("scan" in stages, clips, "driving" in stages, "sound" in stages)


def written(config):
    """Return {name: (inode, time of writing)} of the files in a job's workspace."""
    folder = workspace_folder(config)
    statuses = {path.name: path.stat() for path in folder.iterdir()} if folder.is_dir() else {}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in statuses.items()}


@contextmanager
def quick_commands(tools=QUICK_TOOLS):
    """Let the command line, in this process, run quick jobs while the context lasts."""
    with (
        patch("lipstitch.batch.run_jobs", partial(lipstitch.batch.run_jobs, tools=tools)),
        patch("lipstitch.job.run_job", partial(lipstitch.job.run_job, tools=tools)),
        patch(
            "lipstitch.report.contact_sheet.list_people",
            partial(lipstitch.report.contact_sheet.list_people, tools=tools),
        ),
    ):
        yield
