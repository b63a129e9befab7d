"""Admission: the policy against its formula and in simulated time, the ledger across real processes."""

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from nsl_assets.errors import StorageError
from nsl_resources.admission import cgroup, host, processes, rows, storage
from nsl_resources.admission.line import Pauses
from nsl_resources.admission.rooms import room
from nsl_resources.gpu import (
    AdmissionError,
    AdmissionTimeoutError,
    Ageing,
    Device,
    HostBudget,
    HostProbe,
    Lease,
    Ledger,
    Need,
    Reading,
    Request,
    Wait,
    WaitingLine,
    decide,
    default_ledger_path,
    host_budget,
)

HOST = Device("host", "host", total_mib=10_000, headroom_mib=1_000, budget_mib=9_000, cores=8)
IDLE = (Reading(HOST, used_mib=0),)


class FixedProbe:
    """A host of a given size on which nobody else uses anything."""

    def __init__(self, memory_mib: int = 1_000, cores: int = 4) -> None:
        self.device = Device("host", "host", memory_mib, 0, memory_mib, cores)

    def devices(self) -> tuple[Device, ...]:
        return (self.device,)

    def used_mib(self, device: Device) -> int:  # noqa: ARG002
        return 0

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:  # noqa: ARG002
        return {}


def lease(memory_mib: int, cores: int = 1, pid: int = 1) -> Lease:
    return Lease(f"lease {memory_mib} {pid}", Need(memory_mib, cores), (), pid, "start", "label")


def request(number: int, memory_mib: int, cores: int = 1, since_s: float = 0.0, **more: object) -> Request:
    return Request(number, f"waiter {number}", Need(memory_mib, cores), since_s, **more)  # type: ignore[arg-type]


# ---- policy


def test_room_is_total_less_headroom_larger_of_reserved_and_used_and_foreign_use() -> None:
    leases = [lease(2_000, 2, pid=1), lease(1_000, 1, pid=2), lease(500, 1, pid=2)]
    reading = Reading(HOST, used_mib=5_000, used_by_mib={1: 2_600, 2: 900})
    left = room(reading, leases)
    assert left.foreign_mib == 5_000 - 2_600 - 900
    assert left.free_mib == 10_000 - 1_000 - (2_600 + 1_500) - 1_500
    assert left.free_cores == 8 - 4


def test_room_stays_within_the_budget_even_where_the_machine_has_more() -> None:
    small = Device("host", "host", total_mib=100_000, headroom_mib=1_000, budget_mib=3_000, cores=2)
    assert room(Reading(small, 0), [lease(1_000)]).free_mib == 2_000


def test_the_larger_request_goes_first() -> None:
    decision = decide([request(1, 2_000), request(2, 8_000)], [], IDLE, now_s=0.0)
    assert decision.grants == {2: ()}


def test_a_smaller_request_passes_one_that_does_not_fit() -> None:
    decision = decide([request(1, 8_000), request(2, 1_000)], [lease(5_000)], IDLE, now_s=0.0)
    assert decision.grants == {2: ()}
    assert decision.blocked == {1}


def test_cores_bind_like_memory() -> None:
    assert not decide([request(1, 10, cores=3)], [lease(10, cores=6)], IDLE, now_s=0.0).grants


def test_age_overtakes_size() -> None:
    old_and_small, new_and_large = request(1, 2_000, since_s=0.0), request(2, 8_000, since_s=100.0)
    assert decide([old_and_small, new_and_large], [], IDLE, now_s=100.0).grants == {1: ()}


def test_nobody_passes_a_head_that_has_waited_too_long() -> None:
    head = request(1, 8_000, blocked_since_s=0.0)
    early = decide([head, request(2, 1_000)], [lease(5_000)], IDLE, now_s=59.0)
    late = decide([head, request(2, 1_000)], [lease(5_000)], IDLE, now_s=60.0)
    assert early.grants == {2: ()}
    assert not late.grants


def test_a_head_that_only_foreign_programs_keep_out_blocks_nobody() -> None:
    busy = (Reading(HOST, used_mib=5_000),)
    decision = decide([request(1, 8_000, blocked_since_s=0.0), request(2, 1_000)], [], busy, now_s=100.0)
    assert decision.grants == {2: ()}


def test_a_waiter_gets_no_more_than_its_slots() -> None:
    many = [Request(i, "one waiter", Need(100), 0.0, slots=2) for i in range(5)]
    assert len(decide(many, [], IDLE, now_s=0.0).grants) == 2


def test_nothing_starves_under_an_endless_stream_of_small_jobs() -> None:
    """In simulated time: one job that needs the whole host among small ones that never stop coming."""
    chance = random.Random(1)
    ageing = Ageing(whole_device_s=120.0, patience_s=60.0)
    waiting = {0: request(0, 9_000, since_s=0.0)}
    running: dict[int, tuple[float, Lease]] = {}
    granted_at_s: dict[int, float] = {}
    for now in range(200):
        waiting |= {k: request(k, chance.randint(500, 3_000), since_s=now) for k in (3 * now + 1, 3 * now + 2)}
        running = {k: v for k, v in running.items() if v[0] > now}
        decision = decide(waiting.values(), [held for _, held in running.values()], IDLE, now, ageing)
        for number in decision.grants:
            size = waiting.pop(number).need.memory_mib
            running[number] = (now + chance.randint(2, 20), lease(size, pid=number))
            granted_at_s[number] = now
        for number in decision.blocked & waiting.keys():
            if waiting[number].blocked_since_s is None:
                waiting[number] = request(number, waiting[number].need.memory_mib, 1, waiting[number].since_s,
                                          blocked_since_s=float(now))  # fmt: skip
        assert sum(held.need.memory_mib for _, held in running.values()) <= 9_000
    assert granted_at_s[0] <= 60 + 20 + 1  # patience, then the longest job, then the next look
    assert len(granted_at_s) > 50


# ---- ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(FixedProbe(), tmp_path / "ledger.sqlite")


def test_a_lease_is_held_inside_the_context_and_given_back_after(ledger: Ledger) -> None:
    with ledger.acquire(Need(600, 2), "pca"):
        (held,) = ledger.leases()
        assert (held.need, held.gpus, held.pid, held.label) == (Need(600, 2), (), os.getpid(), "pca")
        assert ledger.try_acquire(Need(600), "second") is None
    assert ledger.leases() == []
    with ledger.acquire(Need(600), "third", timeout=0):
        pass


def test_a_request_beyond_the_whole_budget_is_refused_at_once(ledger: Ledger) -> None:
    with pytest.raises(AdmissionError, match=r"scvi needs 2,000 MiB and 1 core, more.*host: 1,000 MiB and 4 cores"):
        ledger.acquire(Need(2_000), "scvi")
    with pytest.raises(AdmissionError, match="more than the whole budget"):
        ledger.try_acquire(Need(10, cores=5), "threads")


def test_waiting_ends_after_the_timeout_and_says_why(ledger: Ledger) -> None:
    seen: list[Wait] = []
    with (
        ledger.acquire(Need(900), "first"),
        pytest.raises(AdmissionTimeoutError, match=r"free are 100 MiB and 3 cores of 1,000 MiB"),
    ):
        ledger.acquire(Need(200), "second", timeout=0.1, on_wait=seen.append)
    assert [wait.host.free_mib for wait in seen] == [100]
    assert ledger.leases() == []


def test_the_lease_of_a_killed_process_is_reaped(ledger: Ledger) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_SLEEP, str(ledger.path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert ledger.try_acquire(Need(900), "me") is None
    holder.kill()
    holder.wait()
    held = ledger.try_acquire(Need(900), "me")
    assert held is not None
    held.release()


HOLD_AND_SLEEP = """
import sys, time
from pathlib import Path
from nsl_resources.gpu import HostBudget, HostProbe, Ledger, Need
ledger = Ledger(HostProbe(HostBudget(1_000, 4)), Path(sys.argv[1]))
with ledger.acquire(Need(900), "holder"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lease_does_not_pass_to_a_later_process_with_the_same_id(ledger: Ledger) -> None:
    held = ledger.acquire(Need(900), "earlier")
    with storage.transaction(ledger.path) as connection:
        connection.execute("UPDATE lease SET start = 'before'")
    assert ledger.leases() == []
    held.release()


def test_a_lease_that_was_handed_over_lives_as_long_as_its_new_holder(ledger: Ledger) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    ledger.acquire(Need(900), "worker").hand_to(sleeper.pid)
    assert [held.pid for held in ledger.leases()] == [sleeper.pid]
    sleeper.kill()
    while processes.find(sleeper.pid) is not None:  # a zombie counts as ended, though nobody has waited for it yet
        time.sleep(0.01)
    assert ledger.leases() == []
    sleeper.wait()


def test_the_smaller_budget_binds_both_while_both_are_there(tmp_path: Path) -> None:
    wide = Ledger(FixedProbe(1_000, 4), tmp_path / "ledger.sqlite")
    narrow = Ledger(FixedProbe(500, 2), tmp_path / "ledger.sqlite")
    with narrow.acquire(Need(300), "narrow"):
        assert wide.try_acquire(Need(300), "wide") is None
        with wide.acquire(Need(200), "wide"):
            assert wide.try_acquire(Need(0, cores=1), "a third core") is None
    with wide.acquire(Need(900), "alone again", timeout=0):
        pass


def test_a_waiter_that_stopped_polling_is_passed_over(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = ledger.line()
    first = ledger.acquire(Need(600), "first")
    silent.ask("large", Need(1_000), "large")
    assert silent.poll() == {}
    impatient = Ledger(FixedProbe(), ledger.path, ageing=Ageing(patience_s=0.0))
    assert impatient.try_acquire(Need(100), "small") is None  # the device is drained for the large one
    later_s = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    held = impatient.try_acquire(Need(100), "small")
    assert held is not None
    held.release()
    first.release()
    silent.close()


def test_a_waiter_that_leaves_takes_everything_with_it(ledger: Ledger) -> None:
    line = ledger.line()
    line.ask("a", Need(500), "a")
    line.ask("b", Need(900), "b")
    assert list(line.poll(slots=2)) == ["b"]
    line.close()
    assert ledger.leases() == []
    with ledger.acquire(Need(1_000), "all", timeout=0):
        pass


N_ROUNDS = 2
"""Leases that a process takes one after the other if it survives. A time would be too short on a busy machine."""


def test_no_double_grant_and_no_lost_lease_among_processes_that_die_at_random(tmp_path: Path) -> None:
    """Sixteen processes acquire, release and die until each or a successor lived to the end; their log is checked.

    Each writes an event after it has acquired and before it releases (or dies), so the noted intervals lie inside the
    true ones: if their sum ever exceeds the budget, the ledger granted too much.
    """
    path, log = tmp_path / "ledger.sqlite", tmp_path / "events"
    ledger = Ledger(FixedProbe(), path)
    crowd = subprocess.Popen([sys.executable, "-c", CROWD, str(path), str(log), "16", str(N_ROUNDS)])
    while crowd.poll() is None:
        leases = ledger.leases()
        assert sum(held.need.memory_mib for held in leases) <= 1_000
        assert sum(held.need.cores for held in leases) <= 4
        time.sleep(0.05)
    assert crowd.returncode == 0
    events = sorted((float(t), int(mib), int(cores)) for t, mib, cores in map(str.split, log.open()))
    memory_mib = n_cores = most_mib = 0
    for _, mib, cores in events:
        memory_mib, n_cores = memory_mib + mib, n_cores + cores
        most_mib = max(most_mib, memory_mib)
        assert memory_mib <= 1_000 and n_cores <= 4
    assert memory_mib == n_cores == 0
    assert most_mib > 500 and len(events) >= 16 * 2 * N_ROUNDS
    assert ledger.leases() == []
    with ledger.acquire(Need(1_000, 4), "everything", timeout=0):
        pass


CROWD = """
import os, random, signal, sys, time
from pathlib import Path
from nsl_resources.gpu import Device, Ledger, Need

class Fixed:
    device = Device("host", "host", 1_000, 0, 1_000, 4)
    def devices(self): return (self.device,)
    def used_mib(self, device): return 0
    def used_by_mib(self, device, pids): return {}

path, log, n, n_rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(mib, cores):
    os.write(file, f"{time.monotonic():.9f} {mib} {cores}\\n".encode())

def live(seed):
    chance, ledger = random.Random(seed), Ledger(Fixed(), path)
    for _ in range(n_rounds):
        mib, cores = chance.choice([50, 200, 400, 900]), chance.randint(0, 3)
        with ledger.acquire(Need(mib, cores), str(seed)):
            note(mib, cores)
            time.sleep(chance.uniform(0, 0.03))
            note(-mib, -cores)
            if chance.random() < 0.2:
                os.kill(os.getpid(), signal.SIGKILL)

def spawn(seed):
    pid = os.fork()
    if pid == 0:
        try:
            live(seed)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid

alive = {spawn(seed) for seed in range(n)}
seed, failed = n, False
while alive:
    pid, status = os.wait()
    alive.remove(pid)
    if os.WIFSIGNALED(status):
        seed += 1
        alive.add(spawn(seed))
    failed = failed or (os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0)
sys.exit(failed)
"""


# ---- what waiters do to each other


def is_rung(line: WaitingLine) -> bool:
    return bool(select.select([line.doorbell], [], [], 0)[0])


@pytest.fixture
def lines(ledger: Ledger) -> Iterator[list[WaitingLine]]:
    """Three waiters for 400 MiB, of whom the last has looked last."""
    lines = [ledger.line() for _ in range(3)]
    for line in lines:
        line.ask("mine", Need(400), "mine")
    yield lines
    for line in lines:
        line.close()


def test_the_end_of_a_lease_wakes_one_waiter_and_that_one_all_to_whom_it_grants(
    ledger: Ledger, lines: list[WaitingLine]
) -> None:
    with ledger.acquire(Need(900), "large"):
        assert [line.poll() for line in lines] == [{}, {}, {}]
        assert [is_rung(line) for line in lines] == [False, False, False]
    assert [is_rung(line) for line in lines] == [False, False, True]
    assert lines[2].poll() == {}  # who came first gets the room
    assert [is_rung(line) for line in lines] == [True, True, False]
    assert [list(line.poll()) for line in lines] == [["mine"], ["mine"], []]


def test_a_waiter_that_is_gone_is_not_the_one_that_is_woken(ledger: Ledger, lines: list[WaitingLine]) -> None:
    with ledger.acquire(Need(900), "large"):
        for line in lines:
            line.poll()
        lines[2].stop_waiting()
    assert [is_rung(line) for line in lines[:2]] == [False, True]


def test_a_waiter_that_can_start_nothing_more_keeps_nobody_waiting(ledger: Ledger) -> None:
    line = ledger.line()
    for key in ("first", "second"):
        line.ask(key, Need(600), key)
    assert list(line.poll(slots=1)) == ["first"]
    with ledger.acquire(Need(300), "of another", timeout=0):
        pass
    impatient = Ledger(FixedProbe(), ledger.path, ageing=Ageing(patience_s=0.0))
    with impatient.acquire(Need(300), "of another", timeout=0):
        pass
    line.close()


def test_pauses_are_longer_in_a_crowd_and_end_before_a_waiter_counts_as_gone() -> None:
    alone, crowded, huge = Pauses(), Pauses(), Pauses()
    assert max(alone.next_s(1, is_first=False) for _ in range(50)) <= 0.5
    assert 64 / 25 * 0.7 <= crowded.next_s(64, is_first=True) <= 64 / 25
    assert huge.next_s(10_000, is_first=False) <= rows.STALE_S / 2


def test_nobody_waits_while_processes_and_devices_are_looked_at(
    ledger: Ledger, lines: list[WaitingLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a poll takes no more statements when there are more waiters."""
    statements: list[int] = []
    transaction, is_inside = storage.transaction, [False]

    @contextmanager
    def watched(path: Path) -> Iterator[sqlite3.Connection]:
        with transaction(path) as connection:
            is_inside[0] = True
            statements.append(0)
            connection.set_trace_callback(lambda _: statements.append(statements.pop() + 1))
            yield connection
            is_inside[0] = False

    def outside(look: Callable[..., object]) -> Callable[..., object]:
        def looked(*arguments: object) -> object:
            assert not is_inside[0]
            return look(*arguments)

        return looked

    monkeypatch.setattr(storage, "transaction", watched)
    monkeypatch.setattr(processes, "find", outside(processes.find))
    monkeypatch.setattr(FixedProbe, "used_mib", outside(FixedProbe.used_mib))
    held = ledger.acquire(Need(900), "large")
    counts = []
    for line in lines:
        line.poll()
        line.poll()
        counts.append(statements[-1])
    held.release()
    assert len(set(counts)) == 1 and counts[0] < 25


def test_what_dead_processes_held_is_given_back_and_named(ledger: Ledger, lines: list[WaitingLine]) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    ledger.acquire(Need(700), "lost").hand_to(sleeper.pid)
    held = ledger.acquire(Need(300), "kept")
    lines[0].poll()
    assert ledger.reap() == []
    sleeper.kill()
    sleeper.wait()
    assert [lease.label for lease in ledger.reap()] == ["lost"]
    assert ledger.reap() == []
    assert is_rung(lines[0])
    held.release()


# ---- where the ledger lies


def test_the_ledger_moves_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSL_LEDGER", str(tmp_path / "elsewhere"))
    assert default_ledger_path().parent == tmp_path / "elsewhere"
    ledger = Ledger(FixedProbe())
    assert ledger.path.is_file()
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_ledger_on_a_shared_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_filesystem", lambda _: "nfs4")
    with pytest.raises(StorageError, match=r"shared filesystem \(nfs4\).*NSL_LEDGER"):
        Ledger(FixedProbe(), tmp_path / "ledger.sqlite")


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("these are not the leases you are looking for" * 100)
    with pytest.raises(StorageError, match=r"ledger\.sqlite cannot be opened"):
        Ledger(FixedProbe(), tmp_path / "ledger.sqlite")


# ---- host


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_limits_of_control_groups_version_2(tmp_path: Path) -> None:
    top = tmp_path / "sys/fs/cgroup"
    write(tmp_path / "proc/self/cgroup", "0::/slurm/job\n")
    write(top / "cgroup.controllers", "cpu memory")
    write(top / "slurm/job/memory.max", "max")
    write(top / "slurm/job/memory.current", str(100 * 2**20))
    write(top / "slurm/memory.max", str(4_096 * 2**20))
    write(top / "slurm/memory.current", str(1_000 * 2**20))
    write(top / "slurm/memory.stat", f"anon 1\ninactive_file {300 * 2**20}\n")
    write(top / "slurm/job/cpu.max", "150000 100000")
    write(top / "slurm/cpu.max", "max 100000")
    assert cgroup.memory_limits(tmp_path) == [cgroup.MemoryLimit(4_096, 700)]
    assert cgroup.core_limit(tmp_path) == 1.5
    assert host.host_memory_mib(tmp_path) == min(4_096, host.host_memory_mib())
    assert host.host_cores(tmp_path) == 1


def test_limits_of_control_groups_version_1(tmp_path: Path) -> None:
    top = tmp_path / "sys/fs/cgroup"
    write(tmp_path / "proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    write(top / "memory/memory.limit_in_bytes", str(2_048 * 2**20))  # the container sees its own group as the top
    write(top / "memory/memory.usage_in_bytes", str(500 * 2**20))
    write(top / "cpu,cpuacct/cpu.cfs_quota_us", "-1")
    write(top / "cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert cgroup.memory_limits(tmp_path) == [cgroup.MemoryLimit(2_048, 500)]
    assert cgroup.core_limit(tmp_path) is None


def test_no_control_groups_no_limits(tmp_path: Path) -> None:
    assert cgroup.memory_limits(tmp_path) == []
    assert cgroup.core_limit(tmp_path) is None


def test_the_host_keeps_headroom_and_cuts_a_budget_beyond_its_memory() -> None:
    (device,) = HostProbe(HostBudget(10**9, 3)).devices()
    assert device.budget_mib == device.total_mib - device.headroom_mib
    assert device.cores == 3
    assert device.headroom_mib >= min(1_024, device.total_mib // 4)
    assert 0 < HostProbe().used_mib(device) < device.total_mib


def test_a_budget_is_what_is_given_and_else_the_whole_host() -> None:
    whole = host_budget()
    assert whole.cores == host.host_cores()
    assert whole.memory_mib == host.host_memory_mib() - host.headroom_mib(host.host_memory_mib())
    assert host_budget(100, 3) == HostBudget(100, 3)
    assert host_budget(memory_mib=10**9).memory_mib == whole.memory_mib


def test_a_process_belongs_to_its_nearest_root() -> None:
    table = {pid: processes.Process(pid, parent, "s", 1.0) for pid, parent in
             [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (9, 1)]}  # fmt: skip
    grouped = processes.trees(table, {2, 4})
    assert {root: {p.pid for p in tree} for root, tree in grouped.items()} == {2: {2, 3}, 4: {4, 5}}


def test_measured_memory_of_a_tree_is_that_of_its_processes() -> None:
    code = "x = bytearray(64 << 20); print(flush=True); import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    (device,) = HostProbe().devices()
    try:
        used = HostProbe().used_by_mib(device, [child.pid, os.getpid()])
        assert 64 <= used[child.pid] < 100
        assert used[os.getpid()] > 10
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
