"""Many real processes at once: on one ledger, killed at random; and as workers of one pool."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nsl_resources.admission.contention import FixedNode, read_log
from nsl_resources.dispatch import LocalPool, WorkerJob
from nsl_resources.gpu import Device, HostBudget, HostProbe, Ledger, Need


def crowd(path: Path, log: Path, n_processes: int, seconds: float) -> None:
    module = "nsl_resources.admission.contention"
    arguments = [str(path), str(log), str(n_processes), str(seconds)]
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


@pytest.mark.parametrize(("n_processes", "seconds"), [(6, 3.0), pytest.param(64, 20.0, marks=pytest.mark.slow)])
def test_nothing_is_lost_or_granted_twice_among_processes_that_are_killed_at_random(
    tmp_path: Path, n_processes: int, seconds: float
) -> None:
    """The crowd itself fails where a holder does not find its lease; the sums of its log are checked here."""
    path = tmp_path / "ledger.sqlite"
    crowd(path, tmp_path / "log", n_processes, seconds)
    report = read_log(tmp_path / "log")
    assert report.n_leases and report.n_kills
    assert report.overcommitted() == {}
    ledger = Ledger(FixedNode(), path)
    assert ledger.leases() == []
    with ledger.acquire(Need(500_000, 64, 8, 80_000), "everything", timeout=0):
        pass


def test_the_check_of_the_log_finds_what_was_granted_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "1.0 10 holds host:100 cores:1 GPU-0:50000\n"
        "2.0 11 holds host:100 cores:1 GPU-0:40000\n"
        "2.5 10 polled 0.1 0.1 0.1\n"
        "3.0 10 killed \n"
        "3.1 10 holds host:100 cores:1 GPU-0:70000\n"  # after its end was noted: not counted
        "4.0 11 returns\n"
    )
    report = read_log(log)
    assert report.overcommitted() == {"GPU-0": 90_000}
    assert (report.n_leases, report.n_kills) == (2, 1)


class Host:
    """1,000 MiB and 40 cores, of which nobody else uses anything; what is ours is measured by `TreeMemory`."""

    def __init__(self) -> None:
        self._device = Device("host", "host", 1_000, 0, 1_000, 40)

    def devices(self) -> tuple[Device, ...]:
        return (self._device,)

    def used_mib(self, device: Device) -> int:  # noqa: ARG002
        return 0

    def used_by_mib(self, device: Device, pids: object) -> dict[int, int]:  # noqa: ARG002
        return {}


@pytest.mark.slow
def test_two_hundred_workers_at_once_all_end_within_the_budget(tmp_path: Path) -> None:
    """Each allocates 8 MiB of the 40 that it reserves and sleeps a moment; the sum of leases is watched meanwhile."""
    ledger = Ledger(Host(), tmp_path / "ledger.sqlite")
    code = "import time; held = bytearray(8 * 2**20); time.sleep(0.2)"
    jobs = [WorkerJob(f"worker {i}", [sys.executable, "-S", "-c", code], 40) for i in range(200)]
    most_mib, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            most_mib.append(sum(lease.need.memory_mib for lease in ledger.leases()))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    results = list(LocalPool(ledger).run(jobs))
    is_over.set()
    watcher.join()
    assert {result.label for result in results} == {job.label for job in jobs}
    assert [result.reason for result in results if not result.is_success] == []
    assert max(result.peak_memory_mib for result in results) <= 40
    assert 400 < max(most_mib) <= 1_000
    assert ledger.leases() == []


WAIT_FOR_ALL = """
import sys, time
from pathlib import Path
folder, number, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
held = bytearray(8 * 2**20)
(folder / number).touch()
while len(list(folder.iterdir())) < n:
    time.sleep(0.5)
"""


@pytest.mark.slow
def test_two_hundred_workers_are_there_at_the_same_time_and_their_memory_stays_in_the_budget(tmp_path: Path) -> None:
    """None ends before all are there. Memory is measured: of all workers and supervisors, shared pages twice."""
    n, reserved_mib, folder = 200, 40, tmp_path / "there"
    folder.mkdir()
    ledger = Ledger(HostProbe(HostBudget(n * reserved_mib, n)), tmp_path / "ledger.sqlite")
    command = [sys.executable, "-S", "-c", WAIT_FOR_ALL, str(folder)]
    jobs = [WorkerJob(f"worker {i}", [*command, str(i), str(n)], reserved_mib, timeout_s=600) for i in range(n)]
    looks, is_over = [(0, 0, 0)], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.5):
            now = ledger.snapshot()
            used_mib = {one.pid: now.used_by_mib(one, "host") or 0 for one in now.leases if one.pid != os.getpid()}
            looks.append((len(now.leases), now.leased_mib(now.node.host), sum(used_mib.values())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    results = list(LocalPool(ledger).run(jobs))
    is_over.set()
    watcher.join()
    most_leases, most_leased_mib, most_used_mib = (max(column) for column in zip(*looks, strict=True))
    sys.stdout.write(f"{most_leases} workers at once, {most_leased_mib:,} MiB leased, {most_used_mib:,} MiB used\n")
    assert [result.reason for result in results if not result.is_success] == []
    assert (len(results), most_leases) == (n, n)
    assert most_used_mib <= most_leased_mib <= n * reserved_mib
    assert ledger.leases() == []
