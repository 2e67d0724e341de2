"""The command line in processes of its own that need not import the libraries again.

Each start of `python main.py` takes seconds to import torch. These commands are forked from a server,
multiprocessing's own, that has imported them once: the same code in a process with its own pid, signals, exit code,
working folder, environment and output. `start_python` starts main.py as a user does: for tests of the start
itself and of whole process groups, and for jobs whose workers are processes, which loky ends where an interpreter ends.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = [
    "lipstitch.cli",
    "lipstitch.job",
    "lipstitch.execution.write_output",
    "lipstitch.report.contact_sheet",
    "lipstitch.report.verify",
    "segmenter.detectors._retinaface_network",
    "tests.support.light",
    "tests.support.quick_jobs",
]


@cache
def _server():
    """Return the context of the server, which runs as long as this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()
    return context


class ForkedCommand:
    """main.py with arguments, used as the subprocess.Popen of a command with text pipes is."""

    def __init__(self, arguments, *, quick=False, start_new_session=False):
        """quick: jobs are those of tests.support.quick_jobs, without a network."""
        self.args = [str(part) for part in arguments]
        (out, write_out), (err, write_err) = (_server().Pipe(duplex=False) for _ in range(2))
        options = (quick, start_new_session, dict(os.environ))
        self._process = _server().Process(target=_run, args=(self.args, options, write_out, write_err))
        self._process.start()
        self.pid = self._process.pid
        for end in (write_out, write_err):
            end.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end in (out, err))

    @property
    def returncode(self):
        """The exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        with ThreadPoolExecutor(2) as threads:
            reading = [threads.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return tuple(said.result() for said in reading)

    def send_signal(self, number):
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _run(arguments, options, out, err):
    """Be main.py, in a process that was forked from the server."""
    quick, start_new_session, environment = options
    if start_new_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for number, end in ((1, out), (2, err)):
        os.dup2(end.fileno(), number)
        end.close()
    # Those of the server may be files, at a place in them.
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1, errors="backslashreplace")
    sys.argv = [str(ROOT / "main.py"), *arguments]
    # Imported here, in the child: the tests' own process may never need them.
    from lipstitch.cli import app
    from tests.support.light import light_network
    from tests.support.quick_jobs import quick_commands

    with light_network(), quick_commands() if quick else nullcontext():
        app()


def start_command(*arguments, **options):
    """Start main.py with arguments; options: of ForkedCommand."""
    return ForkedCommand(arguments, **options)


def run_command(*arguments, timeout=900, quick=False):
    """Run main.py with arguments to its end, as subprocess.run does."""
    process = ForkedCommand(arguments, quick=quick)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start_python(*arguments, **popen):
    """Start main.py with arguments in an interpreter of its own."""
    command = [sys.executable, ROOT / "main.py", *arguments]
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )
