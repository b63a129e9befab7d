"""Nothing outlives its dispatcher, however it ends: cancelled, interrupted, killed; whatever its workers do.

Every test runs with workers in fresh interpreters and with workers forked from a template.
"""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nsl_resources.admission import processes
from nsl_resources.dispatch import LocalPool, WorkerJob, WorkerResult
from nsl_resources.dispatch.process import Start, Supervisor, WorkerProcess
from nsl_resources.gpu import HostBudget, HostProbe, Ledger

SLEEPER = "import os, time; print(os.getpid(), file=open(FILE, 'a'), flush=True); time.sleep(60)"
STUBBORN = "import signal; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)]; " + SLEEPER
FAMILY = f"""
import os
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:   # its parent ends: a daemon in another session
            {STUBBORN}
        os._exit(0)
{SLEEPER}
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(HostProbe(HostBudget(1_000, 4)), tmp_path / "ledger.sqlite")


@pytest.fixture
def pool(ledger: Ledger) -> LocalPool:
    return LocalPool(ledger, grace_s=0.2)


MakeJob = Callable[[str, str, Path], WorkerJob]
StartDispatcher = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def job(python_job: Callable[[str, str], WorkerJob]) -> MakeJob:
    """Makes a worker that writes the ids of its processes into a file."""

    def make(label: str, code: str, pids: Path) -> WorkerJob:
        pids.touch()
        return python_job(label, code.replace("FILE", repr(str(pids))))

    return make


def wait_for_pids(file: Path, n: int) -> list[int]:
    give_up_s = time.monotonic() + 60
    while len(pids := [int(line) for line in file.read_text().split()]) < n:
        assert time.monotonic() < give_up_s, f"{len(pids)} of {n} processes started"
        time.sleep(0.02)
    return pids


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if processes.find(pid) is not None]


def children(pid: int) -> list[int]:
    return [process.pid for process in processes.snapshot().values() if process.parent == pid]


def assert_all_end(pids: list[int], within_s: float = 30.0) -> None:
    give_up_s = time.monotonic() + within_s
    while left := running(pids):
        assert time.monotonic() < give_up_s, f"still running: {left}"
        time.sleep(0.02)


def start_until(pool: LocalPool, jobs: list[WorkerJob], pids: Path, n: int) -> Iterator[WorkerResult]:
    """A run of these jobs whose first result has been taken, with `n` other processes running."""
    first = WorkerJob("first", ["/bin/sh", "-c", f"while [ $(wc -l < {pids}) -lt {n} ]; do sleep 0.02; done"], 1)
    results = pool.run([*jobs, first])
    assert next(results).label == "first"
    return results


def test_a_caller_that_stops_iterating_stops_its_workers(pool: LocalPool, tmp_path: Path, job: MakeJob) -> None:
    pids = tmp_path / "pids"
    results = start_until(pool, [job("a", SLEEPER, pids), job("b", SLEEPER, pids)], pids, 2)
    started = wait_for_pids(pids, 2)
    assert len(running(started)) == 2
    results.close()  # type: ignore[attr-defined]
    assert running(started) == []


def test_an_exception_or_interrupt_of_the_caller_stops_its_workers(
    pool: LocalPool, tmp_path: Path, job: MakeJob
) -> None:
    pids, seen = tmp_path / "pids", []
    jobs = [job("a", SLEEPER, pids), WorkerJob("fast", ["/bin/true"], 1)]
    with pytest.raises(KeyboardInterrupt), closing(pool.run(jobs, on_result=seen.append)) as results:  # type: ignore[type-var]
        for _ in results:
            raise KeyboardInterrupt
    assert {result.label: result.reason for result in seen} == {"fast": "succeeded", "a": "cancelled"}
    assert running([int(pid) for pid in pids.read_text().split()]) == []


def test_a_stopped_worker_may_first_put_things_in_order(ledger: Ledger, tmp_path: Path, job: MakeJob) -> None:
    pool = LocalPool(ledger, grace_s=60)  # on a busy machine a worker may need seconds to be interrupted
    pids, note = tmp_path / "pids", tmp_path / "note"
    code = f"""
try:
    {SLEEPER}
except KeyboardInterrupt:
    open({str(note)!r}, "w").write("saved")
"""
    start_until(pool, [job("a", code, pids)], pids, 1).close()  # type: ignore[attr-defined]
    assert note.read_text() == "saved"


def test_a_worker_that_ignores_signals_is_killed(pool: LocalPool, tmp_path: Path, job: MakeJob) -> None:
    pids, seen = tmp_path / "pids", []
    first = WorkerJob("first", ["/bin/sh", "-c", f"while [ ! -s {pids} ]; do sleep 0.02; done"], 1)
    with closing(pool.run([job("a", STUBBORN, pids), first], on_result=seen.append)) as results:  # type: ignore[type-var]
        next(results)
    assert [(r.label, r.reason, r.returncode) for r in seen][1:] == [("a", "cancelled", -signal.SIGKILL)]


def test_descendants_in_other_sessions_are_killed_too(pool: LocalPool, tmp_path: Path, job: MakeJob) -> None:
    pids = tmp_path / "pids"
    results = start_until(pool, [job("family", FAMILY, pids)], pids, 3)
    family = wait_for_pids(pids, 3)
    results.close()  # type: ignore[attr-defined]
    assert running(family) == []


def test_what_a_worker_leaves_running_ends_with_it(pool: LocalPool, tmp_path: Path, job: MakeJob) -> None:
    pids = tmp_path / "pids"
    waits = f"import time\nwhile len(open({str(pids)!r}).readlines()) < 2: time.sleep(0.02)\n"
    code = FAMILY.removesuffix(SLEEPER + "\n") + waits
    (result,) = pool.run([job("family", code, pids)])
    assert result.reason == "succeeded", result.stderr_tail
    assert running(wait_for_pids(pids, 2)) == []


def test_a_killed_supervisor_takes_its_worker_along(
    ledger: Ledger, pool: LocalPool, tmp_path: Path, job: MakeJob
) -> None:
    pids = tmp_path / "pids"
    results = start_until(pool, [job("a", STUBBORN, pids)], pids, 1)
    (held,) = ledger.leases()
    os.kill(held.pid, signal.SIGKILL)
    (result,) = results
    assert (result.label, result.reason) == ("a", "killed by signal SIGKILL")
    assert_all_end(wait_for_pids(pids, 1))


DISPATCHER = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Dagster gives it what SIGINT has, also in the process of the tests
from pathlib import Path
from nsl_resources.dispatch import LocalPool, WorkerJob
from nsl_resources.gpu import HostBudget, HostProbe, Ledger
ledger = Ledger(HostProbe(HostBudget(1_000, 4)), Path(sys.argv[1]))
preload = tuple(sys.argv[3].split())
command = (sys.executable, "-P", "-m", "run_code")
jobs = [WorkerJob(str(i), (*command, code), 100, preload=preload) for i, code in enumerate(sys.argv[4:])]
list(LocalPool(ledger, grace_s=float(sys.argv[2])).run(jobs))
"""


@pytest.fixture
def start_dispatcher(ledger: Ledger, modules: Path, preload: tuple[str, ...]) -> StartDispatcher:
    """Starts a dispatcher of such workers as a process of its own."""

    def start(grace_s: float, pids: Path, *codes: str) -> "subprocess.Popen[bytes]":
        pids.touch()
        lines = [code.replace("FILE", repr(str(pids))) for code in codes]
        command = [sys.executable, "-c", DISPATCHER, str(ledger.path), str(grace_s), " ".join(preload), *lines]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(modules)})

    return start


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_orphans_after_the_end_of_the_dispatcher(
    ledger: Ledger, tmp_path: Path, start_dispatcher: StartDispatcher, end: int
) -> None:
    pids = tmp_path / "pids"
    dispatcher = start_dispatcher(0.2, pids, SLEEPER, STUBBORN, FAMILY)
    workers = wait_for_pids(pids, 5)
    started = children(dispatcher.pid) + [held.pid for held in ledger.leases()]
    assert len(ledger.leases()) == 3 and len(running(workers)) == 5
    dispatcher.send_signal(end)
    dispatcher.wait()
    assert_all_end(workers + started)
    assert ledger.leases() == []


def test_the_kernel_ends_a_worker_whose_supervisor_dies(
    ledger: Ledger, tmp_path: Path, start_dispatcher: StartDispatcher
) -> None:
    """Also if nobody else can: the dispatcher is stopped meanwhile."""
    pids = tmp_path / "pids"
    dispatcher = start_dispatcher(60, pids, STUBBORN)
    workers = wait_for_pids(pids, 1)
    (held,) = ledger.leases()
    try:
        dispatcher.send_signal(signal.SIGSTOP)
        os.kill(held.pid, signal.SIGKILL)
        assert_all_end(workers)
    finally:
        dispatcher.kill()
        dispatcher.wait()


def test_a_second_interrupt_ends_the_patience(
    ledger: Ledger, tmp_path: Path, start_dispatcher: StartDispatcher
) -> None:
    pids = tmp_path / "pids"
    dispatcher = start_dispatcher(60, pids, STUBBORN)
    workers = wait_for_pids(pids, 1)
    started = children(dispatcher.pid)
    dispatcher.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert dispatcher.poll() is None and running(workers) == workers  # inside the first grace period
    dispatcher.send_signal(signal.SIGINT)
    dispatcher.wait(timeout=20)
    assert_all_end(workers + started)
    assert ledger.leases() == []


def scratch_folders(temporary: Path) -> list[Path]:
    return list(temporary.glob("nsl-worker-*"))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own, for it and the processes that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_the_supervisors_of_a_killed_dispatcher_remove_scratch_folders(
    ledger: Ledger, temporary: Path, tmp_path: Path, start_dispatcher: StartDispatcher
) -> None:
    pids = tmp_path / "pids"
    dispatcher = start_dispatcher(0.2, pids, SLEEPER, STUBBORN)
    workers = wait_for_pids(pids, 2)
    started = children(dispatcher.pid) + [held.pid for held in ledger.leases()]
    assert len(scratch_folders(temporary)) == 2
    dispatcher.kill()
    dispatcher.wait()
    assert_all_end(workers + started)
    assert scratch_folders(temporary) == []


def test_the_next_run_removes_scratch_folders_that_nobody_else_could(
    ledger: Ledger, pool: LocalPool, temporary: Path, tmp_path: Path, start_dispatcher: StartDispatcher
) -> None:
    pids = tmp_path / "pids"
    running_one, killed = (start_dispatcher(0.2, pids, STUBBORN) for _ in range(2))
    workers = wait_for_pids(pids, 2)
    supervisors = [held.pid for held in ledger.leases()]
    of_killed = [pid for pid in supervisors if any(pid in children(p) for p in [killed.pid, *children(killed.pid)])]
    assert len(scratch_folders(temporary)) == 2 and len(of_killed) == 1
    try:
        killed.send_signal(signal.SIGSTOP)
        os.kill(of_killed[0], signal.SIGKILL)
        killed.kill()
        killed.wait()
        assert len(scratch_folders(temporary)) == 2
        assert list(pool.run([])) == []
        assert len(scratch_folders(temporary)) == 1
    finally:
        running_one.kill()
        running_one.wait()
    assert_all_end(workers)


def test_a_worker_that_cannot_be_started_leaves_no_scratch_folder(temporary: Path, tmp_path: Path) -> None:
    def no_more_processes(_: Start) -> Supervisor:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    with pytest.raises(BlockingIOError):
        WorkerProcess(WorkerJob("a", ["true"], 1), 0.2, {}, no_more_processes)
    (tmp_path / "a file").touch()
    with pytest.raises(FileExistsError):
        WorkerProcess(WorkerJob("a", ["true"], 1, log_path=tmp_path / "a file" / "a.log"), 0.2, {})
    assert scratch_folders(temporary) == []
