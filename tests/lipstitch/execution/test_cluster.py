"""Clips on a real Dask or Ray cluster, on this machine: the same frames, and one clear error when it breaks."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

import lipstitch.backends.dask
import lipstitch.execution.clips
import lipstitch.execution.cluster
import lipstitch.job_file.execution
from demo.make_material import make_material
from lipstitch.backends.base import Request
from lipstitch.backends.dask import open_dask
from lipstitch.execution.cluster import ClipTask, answer_with_clip, code_version, receive_clip, run_clip_on_worker
from lipstitch.execution.executor import collect
from lipstitch.execution.write_output import check_renderer
from lipstitch.job_file.config import load_job
from lipstitch.job_file.execution import ExecutionConfig
from lipstitch.progress import Silent
from lipstitch.source.weights import Weights
from media.base.errors import ConfigError, RenderError, WorkspaceError
from tests.lipstitch.execution.test_crash import ENDED_SECONDS, finished_clips, job_of, pictures
from tests.support.commands import ROOT, start_command
from tests.support.doubles import QUICK_TOOLS
from tests.support.jobs import start_job, write_job
from tests.support.quick_jobs import make_talk
from tests.support.quick_jobs import run_quick as run_quick_job

needs_dask = pytest.mark.skipif(not find_spec("distributed"), reason="needs distributed: pip install 'lipstitch[dask]'")
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="needs ray: pip install 'lipstitch[ray]'")

GO_ON = "Finished clips are kept: start the job again when that is mended."


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def process(*command, **environment):
    """Run a command in a session of its own; nothing of it is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    """Kill a command with its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check_address(backend, address):
    ExecutionConfig(backend=backend, address=address).place.check_address(address)


def await_answer(backend, address):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(ConfigError):
            return check_address(backend, address)
        time.sleep(0.05)
    pytest.fail(f"{backend} did not start")


class Dask:
    """A scheduler and its workers, each started by its own command."""

    def __init__(self, stack, folder):
        self.stack, self.folder = stack, folder
        self.address, self.scheduler, self.workers = "", None, []

    def mend(self, num_workers):
        """Start what is not running."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.address = f"127.0.0.1:{free_port()}"
            place = ("--host", "127.0.0.1", "--port", self.address.partition(":")[2])
            self.scheduler = self._start("scheduler", *place)
            self.workers = []
            await_answer("dask", self.address)
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < num_workers:
            place = ("--host", "127.0.0.1", "--local-directory", str(self.folder))
            kind = ("--nthreads", "1", "--no-nanny", "--preload", "tests.support.cluster_worker")
            self.workers.append(self._start("worker", self.address, *place, *kind))
        return self

    def _start(self, command, *arguments):
        """Start what `dask scheduler` and `dask worker` start."""
        return self.stack.enter_context(process("-m", "dask", command, *arguments, "--no-dashboard"))


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    with ExitStack() as stack:
        yield Dask(stack, tmp_path_factory.mktemp("dask"))


@pytest.fixture
def dask(clusters):
    """Return a Dask cluster of two workers; a test may break it."""
    from distributed import Client

    clusters.mend(num_workers=2)
    with Client(clusters.address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)  # importing torch takes its time where much else runs
    return clusters


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """Return (the video, the folder of a serial run's result), which every cluster must give, too."""
    folder = tmp_path_factory.mktemp("serial")
    talk = make_talk(folder / "talk.mp4")
    run_quick(quick_job(folder, talk, backend="serial"))
    return talk, folder


def quick_job(folder, talk, **execution):
    (folder / "weights.bin").write_bytes(b"weights")
    return write_job(
        folder,
        input={"video": talk},
        output=folder / "out.mp4",
        segmenter={"detector": "cascade", "max_clip_seconds": 0.2},
        renderer={"method": "network", "checkpoint": folder / "weights.bin", "device": "cpu", "frame_hashes": True},
        execution={"keep": "all", **execution},
    )


class Counting(Silent):
    def __init__(self):
        self.steps = []

    def begin(self, stage, total, unit):
        self.stage = stage

    def advance(self, done, note=""):
        if self.stage == "render":
            self.steps.append(done)


def run_quick(job):
    """Run a quick job in this process; return what it reported while it rendered."""
    reporter = Counting()
    run_quick_job(load_job(job), reporter)
    return reporter.steps


def start_quick(job):
    """Start a job without a network, whose Dask workers load tests/support/cluster_worker.py."""
    return start_command("--config", job, "--quiet", quick=True)


def finish(process, seconds=60):
    """Wait for the end of a command; return (exit code, stdout, stderr)."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for_clips(folder, number, seconds=120):
    deadline = time.monotonic() + seconds
    while len(finished := finished_clips(folder / "out.mp4.lipstitch")) < number:
        assert time.monotonic() < deadline, "no clip was finished"
        time.sleep(0.01)
    return finished


@contextmanager
def meanwhile(action):
    """Do something in a thread while the context lasts."""
    failed = []

    def run():
        try:
            action()
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(10)
    assert not failed, failed


def frame_hashes(folder):
    report = json.loads((folder / "out.mp4.report.json").read_text())
    return [(clip["start_frame"], clip.get("frame_hashes")) for clip in report["clips"]]


def assert_same(folder, reference):
    assert frame_hashes(folder) == frame_hashes(reference)
    assert pictures(folder / "out.mp4") == pictures(reference / "out.mp4")


def assert_kept(folder, finished):
    """Check that no clip that was finished was made again."""
    now = finished_clips(folder / "out.mp4.lipstitch")
    assert {name: now.get(name) for name in finished} == finished
    return len(now)


# Dask


@needs_dask
def test_dask_gives_the_frames_of_a_serial_run(dask, serial, tmp_path, monkeypatch):
    talk, reference = serial
    job = quick_job(tmp_path, os.path.relpath(talk, tmp_path), backend="dask", address=f"tcp://{dask.address}")
    monkeypatch.chdir(tmp_path)  # its workers work elsewhere
    steps = run_quick(Path(job.name))
    assert_same(tmp_path, reference)
    assert len(steps) > 10
    assert steps == sorted(steps)


@needs_dask
def test_a_killed_worker_costs_the_clip_that_it_was_on(dask, serial, tmp_path):
    talk, reference = serial
    finished = {}

    def kill_one():
        finished.update(wait_for_clips(tmp_path, 3))
        kill(dask.workers[0])

    with meanwhile(kill_one):
        run_quick(quick_job(tmp_path, talk, backend="dask", address=dask.address))
    assert_same(tmp_path, reference)
    assert assert_kept(tmp_path, finished) > len(finished) + 3


@needs_dask
def test_a_clip_that_kills_its_workers_ends_the_run(dask, serial, tmp_path):
    """Dask gives up a clip that killed too many workers, and the run ends instead of waiting."""
    from distributed import Client

    talk, reference = serial
    with Client(dask.address, set_as_default=False) as client:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))

        def kill_one():
            wait_for_clips(tmp_path, 3)
            kill(dask.workers[0])

        job = quick_job(tmp_path, talk, backend="dask", address=dask.address)
        with pytest.raises(RenderError, match="killed every worker"), meanwhile(kill_one):
            run_quick(job)
        run_quick(job)
        assert_same(tmp_path, reference)
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 3))


@needs_dask
def test_a_stopped_job_takes_its_clips_back(dask, serial, tmp_path):
    from distributed import Client

    talk, _ = serial
    process = start_quick(quick_job(tmp_path, talk, backend="dask", address=dask.address))
    wait_for_clips(tmp_path, 3)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert time.monotonic() - begun < ENDED_SECONDS
    assert (code, out, err.count("\n")) == (130, "", 1)
    assert err.startswith("Error: stopped. Finished clips are kept; to continue, run: ")
    with Client(dask.address, set_as_default=False) as client:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            left = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
            if not left:
                break
    assert left == 0


@needs_dask
def test_a_scheduler_that_is_gone_is_one_sentence_and_the_job_goes_on_elsewhere(dask, serial, tmp_path):
    talk, reference = serial
    process = start_quick(quick_job(tmp_path, talk, backend="dask", address=dask.address))
    wait_for_clips(tmp_path, 3)
    kill(dask.scheduler)
    begun = time.monotonic()
    answer = finish(process)
    assert time.monotonic() - begun < 30  # one or two on a machine with nothing else to do
    assert answer == (5, "", f"Error: The Dask scheduler at {dask.address} is gone. {GO_ON}\n")
    assert not (tmp_path / "out.mp4").exists()
    finished = finished_clips(tmp_path / "out.mp4.lipstitch")
    run_quick(quick_job(tmp_path, talk, backend="serial"))
    assert_same(tmp_path, reference)
    assert_kept(tmp_path, finished)


@needs_dask
def test_a_scheduler_without_workers(serial, tmp_path, monkeypatch):
    talk, _ = serial
    monkeypatch.setattr(lipstitch.backends.dask, "PATIENCE_SECONDS", 0.5)
    with ExitStack() as stack:
        alone = Dask(stack, tmp_path).mend(num_workers=0)
        with pytest.raises(RenderError, match=rf"has had no workers for 0.5 seconds. .+ `dask worker {alone.address}`"):
            run_quick(quick_job(tmp_path, talk, backend="dask", address=alone.address))


@needs_dask
def test_nothing_answers_at_the_address(serial, tmp_path, monkeypatch):
    talk, _ = serial
    said = r"^execution\.address \(now '{}'\): no Dask scheduler answers there\. Start one with `dask scheduler`"
    address = f"127.0.0.1:{free_port()}"
    job = load_job(quick_job(tmp_path, talk, backend="dask", address=address))
    with pytest.raises(ConfigError, match=said.format(address)):
        check_renderer(job, Weights(Path("weights.bin"), None, None, ()), QUICK_TOOLS)  # before the workspace is made
    monkeypatch.setattr(lipstitch.backends.dask, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # it takes connections and says nothing
        address = f"127.0.0.1:{server.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(ConfigError, match=said.format(address)):
            run_quick(quick_job(tmp_path, talk, backend="dask", address=address))
        assert time.monotonic() - begun < 30


@needs_dask
def test_a_worker_that_cannot_load_the_program_asks_for_the_same_version(dask, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def render(): return 1")
    monkeypatch.syspath_prepend(tmp_path)
    from only_here import render

    request = Request(workers="auto", num_workers=0, address=dask.address, needs_gpu=False)
    said = r"cannot load this version of lipstitch \(No module named 'only_here'\)\. Install the same one"
    with pytest.raises(RenderError, match=said), open_dask(request) as pool:
        list(collect(pool, iter([(render,)]), in_order=False))


# What a worker checks


@pytest.fixture
def task(serial, tmp_path, monkeypatch):
    """Return (setup, job, target) of the first clip of a quick job."""
    talk, _ = serial
    asked = []

    def take(setup, jobs, _config, on_wait):
        asked.append((setup, *jobs[0]))
        raise RenderError("taken")
        yield

    monkeypatch.setattr(lipstitch.execution.clips, "run_clips", take)
    with pytest.raises(RenderError, match="taken"):
        run_quick(quick_job(tmp_path, talk, backend="serial"))
    setup, job, target = asked[0]
    return ClipTask(setup, job, str(target), ((setup.video.path, os.stat(setup.video.path).st_size),))


def test_a_clip_that_another_worker_finished_is_not_made_again(task):
    made = run_clip_on_worker(code_version(), task)
    written = os.stat(task.target).st_mtime_ns
    again = run_clip_on_worker(code_version(), task)
    assert (made.reused, again.reused) == (False, True)
    assert again.frame_hashes == made.frame_hashes
    assert os.stat(task.target).st_mtime_ns == written


def test_another_version_is_refused(task):
    with pytest.raises(RenderError, match=r"^worker .+ has version .+, this job version 0\.0\.0\. Install"):
        run_clip_on_worker("0.0.0", task)


def test_what_a_clip_raises_is_not_taken_for_an_error_of_the_cluster(task):
    answer = answer_with_clip("0.0.0", task)
    with pytest.raises(RenderError, match="this job version 0") as raised:
        receive_clip(answer)
    assert "run_clip_on_worker" in str(raised.value.__cause__)


def test_a_worker_without_the_shared_folder_says_so(task, tmp_path):
    elsewhere = ClipTask(task.setup, task.job, str(tmp_path / "nowhere" / "clip.nut"), task.sizes)
    with pytest.raises(WorkspaceError, match=r"nowhere is not there on worker .+ same path on every machine"):
        run_clip_on_worker(code_version(), elsewhere)
    missing = ClipTask(task.setup, task.job, task.target, ((str(tmp_path / "talk.mp4"), 5),))
    with pytest.raises(WorkspaceError, match=r"talk\.mp4 is not there on worker"):
        run_clip_on_worker(code_version(), missing)
    (tmp_path / "talk.mp4").write_bytes(b"four")
    with pytest.raises(WorkspaceError, match=r"talk\.mp4 is another file on worker .+ \(4 bytes, 5 where"):
        run_clip_on_worker(code_version(), missing)


def test_a_clip_that_never_arrives_is_an_error(task, monkeypatch):
    monkeypatch.setattr(lipstitch.execution.cluster, "ARRIVAL_SECONDS", 0.3)
    made = run_clip_on_worker(code_version(), task)
    lipstitch.execution.cluster._await_arrival(made)
    os.unlink(task.target)
    with pytest.raises(WorkspaceError, match="was made by a worker and is not there on this machine"):
        lipstitch.execution.cluster._await_arrival(made)


@needs_dask
def test_a_cluster_takes_no_workers_of_this_machine():
    assert ExecutionConfig(backend="dask", address="head:8786").place.choose_workers("auto", 9) == 0
    assert ExecutionConfig(backend="serial").place.choose_workers("auto", 9) == 1
    assert ExecutionConfig().place.choose_workers(4, 3) == 3


# The job file


@pytest.mark.parametrize(
    ("execution", "said"),
    [
        ({"backend": "dask"}, "execution: backend dask needs address, the host:port of its cluster."),
        ({"address": "a:1"}, "execution: address is for a cluster; backend threads works on this machine."),
        ({"backend": "dask", "address": "head"}, "execution: address (now 'head'): write it as host:port."),
        ({"backend": "dask", "address": "head:65536"}, "execution: address (now 'head:65536'): write it as host:port."),
        ({"backend": "dask", "address": "http://head:1"}, "address (now 'http://head:1'): write it as host:port."),
        (
            {"backend": "ray", "address": "tls://head:1"},
            "'tls://head:1'): backend ray takes host:port alone.",
        ),
        ({"backend": "spark", "address": "head:1"}, "execution.backend (now 'spark'): give dask, processes, "),
    ],
)
def test_bad_addresses_are_refused(tmp_path, execution, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_job(quick_job(tmp_path, "talk.mp4", **execution))


@needs_dask
@pytest.mark.parametrize("address", ["head:8786", "tcp://10.0.0.1:8786", "tls://head.example:1", "[::1]:8786"])
def test_good_addresses(tmp_path, address):
    assert load_job(quick_job(tmp_path, "talk.mp4", backend="dask", address=address)).execution.address == address


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_library_that_is_not_installed_is_named(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(lipstitch.job_file.execution, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=rf"backend {backend} needs `pip install 'lipstitch\[{backend}\]'`\.$"):
        load_job(quick_job(tmp_path, "talk.mp4", backend=backend, address="head:1"))


# Ray


class Ray:
    """A head, started by its own command, with two workers that have the real network."""

    def __init__(self, stack, folder):
        self.address = f"127.0.0.1:{free_port()}"
        place = ("--port", self.address.partition(":")[2], "--node-ip-address", "127.0.0.1", "--temp-dir", str(folder))
        size = ("--num-cpus", "2", "--object-store-memory", "100000000", "--include-dashboard", "false")
        command = ("-m", "ray.scripts.scripts", "start", "--head", "--block", *place, *size, "--disable-usage-stats")
        self.head = stack.enter_context(process(*command, RAY_AUTH_MODE="disabled"))  # else it may ask for a token
        await_answer("ray", self.address)

    def pids(self, name):
        """Return the processes of the cluster whose command line has a name in it."""
        listed = subprocess.run(["ps", "--no-headers", "-o", "pid,args", "-s", str(self.head.pid)], capture_output=True)
        return [int(line.split()[0]) for line in listed.stdout.decode().splitlines() if name in line]


@pytest.fixture
def ray():
    folder = Path("/tmp") / f"ls-{os.getpid()}"  # short, for names of sockets
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Ray(stack, folder)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Return two seconds of the demonstration's video."""
    return make_material(tmp_path_factory.mktemp("material"), seconds_scale=0.06, size_px=(640, 360))


@needs_ray
@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps")
def test_ray_gives_the_frames_of_a_serial_run_though_a_worker_is_killed_and_survives_its_head(ray, material, tmp_path):
    folders = [tmp_path / name for name in ("serial", "ray", "broken")]
    for folder in folders:
        folder.mkdir()
    hashes = {"renderer": {"frame_hashes": True, "device": "cpu"}}
    answer = finish(start_job(job_of(folders[0], material, **hashes), "--quiet"), seconds=120)
    assert answer == (0, "", "")
    execution = {"backend": "ray", "address": ray.address, "keep": "all"}
    jobs = [job_of(folder, material, execution=execution, **hashes) for folder in folders[1:]]

    process = start_job(jobs[0], "--quiet")
    finished = wait_for_clips(folders[1], 2)
    os.kill(ray.pids("ray::ClipWorker")[0], signal.SIGKILL)
    assert finish(process, seconds=120) == (0, "", "")
    assert_same(folders[1], folders[0])
    assert assert_kept(folders[1], finished) > len(finished)

    process = start_job(jobs[1], "--quiet")
    finished = wait_for_clips(folders[2], 2)
    kill(ray.head)
    assert finish(process, seconds=60) == (5, "", f"Error: The Ray cluster at {ray.address} is gone. {GO_ON}\n")
    answer = finish(start_job(job_of(folders[2], material, **hashes), "--quiet"), seconds=120)
    assert answer == (0, "", "")
    assert_same(folders[2], folders[0])
    assert_kept(folders[2], finished)


@needs_ray
def test_nothing_answers_at_the_address_of_ray(monkeypatch):
    with pytest.raises(ConfigError, match=r"no Ray cluster answers there\. Start one with `ray start --head`"):
        check_address("ray", f"127.0.0.1:{free_port()}")
