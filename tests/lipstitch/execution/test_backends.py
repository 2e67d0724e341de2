"""What every backend promises: bounded, in order, the first error at once, and nothing left when it is closed."""

import os
import signal
import sys
import time
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import replace

import pytest

from lipstitch import backends
from lipstitch.backends import processes
from lipstitch.backends.base import Pool, Request
from lipstitch.backends.serial import SerialExecutor
from lipstitch.execution.executor import collect
from lipstitch.job_file.config import load_job
from media.base.errors import ConfigError, RenderError
from tests.support.jobs import load_report, rendered_hashes, write_job
from tests.support.quick_jobs import make_talk, run_quick

# A backend from outside

OUTSIDE = """
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from lipstitch.backends.base import Backend, Pool

submitted = []


class Noting(ThreadPoolExecutor):
    def submit(self, *call):
        submitted.append(call)
        return super().submit(*call)


@contextmanager
def open_pool(request):
    with Noting(2) as executor:
        yield Pool(executor, num_workers=2, num_cores=2, num_ahead=3)


BACKEND = Backend(open_pool, shares_process=True)
"""


def quick_job(folder, talk, backend):
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    job = write_job(
        folder,
        input={"video": talk},
        output=folder / "out.mp4",
        segmenter={"detector": "cascade", "max_clip_seconds": 0.2},
        renderer={"method": "network", "checkpoint": folder / "weights.bin", "device": "cpu", "frame_hashes": True},
        execution={"backend": backend},
    )
    run_quick(load_job(job))
    return rendered_hashes(load_report(folder / "out.mp4"))


def test_a_backend_is_one_file(tmp_path, monkeypatch):
    talk, name = make_talk(tmp_path / "talk.mp4"), f"{backends.__name__}.outside"
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "outside.py").write_text(OUTSIDE)
    with pytest.raises(ConfigError, match=r"execution\.backend \(now 'outside'\): give dask, "):
        quick_job(tmp_path / "unknown", talk, "outside")
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path / "plugins")])
    try:
        hashes = quick_job(tmp_path / "outside", talk, "outside")
        assert len(sys.modules[name].submitted) > 10
    finally:
        sys.modules.pop(name, None)
    assert hashes == quick_job(tmp_path / "serial", talk, "serial")


# The loop


class LastFirst(Executor):
    """Finishes nothing until it is looked after, and then the latest call."""

    def __init__(self):
        self.waiting, self.most = [], 0

    def submit(self, fn, /, *args):
        future = Future()
        self.waiting.append((future, fn, args))
        self.most = max(self.most, len(self.waiting))
        return future

    def check(self):
        future, fn, args = self.waiting.pop()
        try:
            future.set_result(fn(*args))
        except Exception as exc:
            future.set_exception(exc)


@pytest.fixture
def last_first(monkeypatch):
    """Return a pool of a LastFirst executor that wants three calls at a time."""
    monkeypatch.setattr("lipstitch.execution.executor.CHECK_SECONDS", 0.01)
    executor = LastFirst()
    return Pool(executor, num_workers=2, num_cores=2, num_ahead=3, check=executor.check)


@pytest.mark.parametrize("in_order", [True, False])
def test_clips_come_in_order_where_they_should_and_no_more_are_given_out_than_the_pool_wants(last_first, in_order):
    found = list(collect(last_first, ((int, number) for number in range(10)), in_order=in_order))
    assert sorted(found) == [*range(10)]
    assert (found == [*range(10)]) == in_order
    assert last_first.executor.most == 3


def test_the_first_error_is_raised_at_once(last_first):
    calls = [(int, "0"), (int, "1"), (int, "two"), *[(int, "3")] * 7]
    with pytest.raises(ValueError, match="'two'"):
        next(collect(last_first, iter(calls), in_order=True))  # the results before it are still to come


def test_workers_that_are_lost_end_the_run(last_first):
    def check():
        raise RenderError("lost")

    with pytest.raises(RenderError, match="lost"):
        next(collect(replace(last_first, check=check), iter([(int, "1")]), in_order=True))


def test_serial_work_hears_ctrl_c_at_once():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SerialExecutor().submit(interrupt)
    assert isinstance(SerialExecutor().submit(int, "x").exception(), ValueError)


# Processes


def open_processes():
    return processes.open_processes(Request(workers=2, num_workers=2, address=None, needs_gpu=False))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_worker_processes_share_the_cores_and_do_not_hear_ctrl_c(monkeypatch):
    monkeypatch.setattr(processes, "num_cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with open_processes() as pool:
        assert pool.executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"
        assert signal.SIGINT in pool.executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert "resource_tracker" not in os.environ.get("PYTHONWARNINGS", "")


def test_a_worker_process_that_is_killed_is_one_sentence():
    calls = [(time.sleep, 0.1), (os._exit, 1), (time.sleep, 0.1)]
    said = r"^A worker process was killed, .+ Lower execution\.workers"
    with pytest.raises(RenderError, match=said), open_processes() as pool:
        list(collect(pool, iter(calls), in_order=True))
    with open_processes() as pool:  # the next one is whole
        assert list(collect(pool, iter([(int, "1")]), in_order=True)) == [1]


def test_worker_processes_stay_for_the_next_output_and_end_with_a_pool_that_is_closed_early():
    with open_processes() as pool:
        first = {pool.executor.submit(os.getpid).result() for _ in range(9)}
    with open_processes() as pool:
        again = {pool.executor.submit(os.getpid).result() for _ in range(9)}
    assert first & again
    with suppress(ZeroDivisionError), open_processes() as pool:
        pool.executor.submit(time.sleep, 60)
        raise ZeroDivisionError
    deadline = time.monotonic() + 10
    while any(map(is_running, again)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, again))
