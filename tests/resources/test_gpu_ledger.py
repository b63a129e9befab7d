"""Leases with GPUs across real processes: granted, handed over, given back and reaped as a whole."""

import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from nsl_resources.admission import processes, storage
from nsl_resources.gpu import AdmissionTimeoutError, Ageing, Device, Ledger, Need, Wait, default_ledger_path


class FixedProbe:
    """A host of 1,000 MiB and 4 cores with some GPUs of 800 MiB, which nobody else uses."""

    def __init__(self, *gpus: int, gpu_mib: int = 800) -> None:
        cards = (Device("gpu", f"GPU-{i}", gpu_mib, 0, gpu_mib, 0) for i in gpus)
        self._devices = (Device("host", "host", 1_000, 0, 1_000, 4), *cards)

    def devices(self) -> tuple[Device, ...]:
        return self._devices

    def used_mib(self, device: Device) -> int:  # noqa: ARG002
        return 0

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:  # noqa: ARG002
        return {}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger(FixedProbe(0, 1), path)


def everything_is_free(ledger: Ledger) -> bool:
    with ledger.acquire(Need(1_000, 4, 2, 800), "everything", timeout=0):
        return True


def test_a_worker_sees_its_gpus_and_no_others(ledger: Ledger) -> None:
    with ledger.acquire(Need(100, 1, 1, 500), "scvi") as one, ledger.acquire(Need(100, 1, 2, 300), "geneformer") as two:
        assert (one.devices, one.environment) == (("GPU-0",), {"CUDA_VISIBLE_DEVICES": "GPU-0"})
        assert (two.devices, two.environment) == (("GPU-1", "GPU-0"), {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-0"})
        assert [held.gpus for held in ledger.leases()] == [("GPU-0",), ("GPU-1", "GPU-0")]
        assert ledger.try_acquire(Need(0, 0, 1, 501), "third") is None
    assert everything_is_free(ledger)


def test_a_worker_without_a_gpu_sees_none(ledger: Ledger) -> None:
    with ledger.acquire(Need(100), "pca") as held:
        assert (held.devices, held.environment) == ((), {"CUDA_VISIBLE_DEVICES": ""})


def test_a_lease_moves_and_ends_as_a_whole(ledger: Ledger) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    ledger.acquire(Need(900, 3, 2, 700), "worker").hand_to(sleeper.pid)
    (held,) = ledger.leases()
    assert (held.pid, held.need, held.gpus) == (sleeper.pid, Need(900, 3, 2, 700), ("GPU-0", "GPU-1"))
    assert ledger.try_acquire(Need(0, 0, 1, 200), "on a GPU") is None
    assert ledger.try_acquire(Need(200, 0), "on the host") is None
    sleeper.kill()
    while processes.find(sleeper.pid) is not None:
        time.sleep(0.01)
    assert ledger.leases() == []
    assert everything_is_free(ledger)
    sleeper.wait()


HOLD = """
import sys, time
from pathlib import Path
from nsl_resources.gpu import Device, Ledger, Need

class Fixed:
    def devices(self):
        return (Device("host", "host", 1_000, 0, 1_000, 4),
                *(Device("gpu", f"GPU-{i}", 800, 0, 800, 0) for i in range(2)))
    def used_mib(self, device): return 0
    def used_by_mib(self, device, pids): return {}
"""

HOLD_AND_SLEEP = f"""{HOLD}
ledger = Ledger(Fixed(), Path(sys.argv[1]))
with ledger.acquire(Need(500, 2, 2, 600), "holder"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_crash_leaves_no_part_of_a_lease(ledger: Ledger) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_SLEEP, str(ledger.path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert ledger.try_acquire(Need(0, 0, 1, 300), "me") is None
    holder.kill()
    holder.wait()
    assert everything_is_free(ledger)


def test_waiting_for_a_gpu_says_what_the_gpus_hold(ledger: Ledger) -> None:
    seen: list[Wait] = []
    with (
        ledger.acquire(Need(100, 1, 2, 700), "first"),
        pytest.raises(AdmissionTimeoutError, match=r"200 MiB on a GPU.*GPU-0 has 100 of 800 MiB free.*GPU-1 has 100"),
    ):
        ledger.acquire(Need(100, 1, 1, 200), "second", timeout=0.05, on_wait=seen.append)
    assert [room.free_mib for room in seen[0].gpus] == [100, 100]


# ---- processes that see different GPUs


def test_each_waiter_gets_of_the_gpus_that_it_sees(path: Path) -> None:
    first, second = Ledger(FixedProbe(0), path), Ledger(FixedProbe(1), path)
    with first.acquire(Need(10, 1, 1, 800), "a") as a, second.acquire(Need(10, 1, 1, 800), "b") as b:
        assert (a.devices, b.devices) == (("GPU-0",), ("GPU-1",))
        assert first.try_acquire(Need(10, 1, 1, 100), "c") is None


def test_the_smaller_budget_of_a_gpu_binds_both(path: Path) -> None:
    wide, narrow = Ledger(FixedProbe(0), path), Ledger(FixedProbe(0, gpu_mib=500), path)
    with narrow.acquire(Need(10, 1, 1, 300), "narrow"):
        assert wide.try_acquire(Need(10, 1, 1, 300), "wide") is None
        with wide.acquire(Need(10, 1, 1, 200), "wide", timeout=0):
            pass


def test_who_sees_no_gpu_still_keeps_the_host_for_an_overdue_worker_with_one(path: Path) -> None:
    """Else a process without GPUs would starve it: every one of its small workers would pass."""
    ageing = Ageing(patience_s=0.0)
    blind, seeing = Ledger(FixedProbe(), path, ageing=ageing), Ledger(FixedProbe(0), path, ageing=ageing)
    large = seeing.line()
    with blind.acquire(Need(300), "running"):
        large.ask("large", Need(800, 1, 1, 800), "large")
        assert large.poll() == {}
        assert blind.try_acquire(Need(100), "small") is None
    (held,) = large.poll().values()
    assert held.devices == ("GPU-0",)
    with blind.acquire(Need(200), "beside it", timeout=0):
        pass
    large.close()
    with blind.acquire(Need(1_000), "all", timeout=0):
        pass


# ---- many at once

N_ROUNDS = 3
CROWD = f"""{HOLD}
import os, random, signal
path, log, n, n_rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(sign, held):
    need = held.lease.need
    shares = [("host", need.memory_mib), *((gpu, need.gpu_memory_mib) for gpu in held.devices)]
    for device, mib in shares:
        os.write(file, f"{{time.monotonic():.9f}} {{device}} {{sign * mib}}\\n".encode())

def live(seed):
    chance, ledger = random.Random(seed), Ledger(Fixed(), path)
    for _ in range(n_rounds):
        n_gpus = chance.randint(0, 2)
        need = Need(chance.choice([50, 400]), 1, n_gpus, chance.choice([100, 500, 800]) if n_gpus else 0)
        with ledger.acquire(need, str(seed)) as held:
            note(1, held)
            time.sleep(chance.uniform(0, 0.02))
            note(-1, held)
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

alive, seed, failed = {{spawn(seed) for seed in range(n)}}, n, False
while alive:
    pid, status = os.wait()
    alive.remove(pid)
    if os.WIFSIGNALED(status):
        seed += 1
        alive.add(spawn(seed))
    failed = failed or (os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0)
sys.exit(failed)
"""


def test_no_gpu_is_granted_twice_among_processes_that_die_at_random(ledger: Ledger, tmp_path: Path) -> None:
    """As the test of the host in test_gpu.py: the noted intervals lie inside the true ones."""
    log = tmp_path / "events"
    subprocess.run([sys.executable, "-c", CROWD, str(ledger.path), str(log), "8", str(N_ROUNDS)], check=True)
    events = sorted((float(t), device, int(mib)) for t, device, mib in map(str.split, log.open()))
    held_mib = dict.fromkeys(("host", "GPU-0", "GPU-1"), 0)
    for _, device, mib in events:
        held_mib[device] += mib
        assert held_mib[device] <= (1_000 if device == "host" else 800)
    assert set(held_mib.values()) == {0}
    assert len(events) >= 8 * 2 * N_ROUNDS  # a lease without a GPU is noted once, any other more often
    assert everything_is_free(ledger)


def test_ledgers_of_different_schemas_lie_in_different_files() -> None:
    assert default_ledger_path().name.startswith(f"nsl-ledger-{storage._SCHEMA_VERSION}-")


def test_who_asks_anew_keeps_its_age_and_place(ledger: Ledger) -> None:
    line = ledger.line()
    with ledger.acquire(Need(1_000), "somebody else"):
        line.ask("a", Need(100, 1, 1, 500), "scvi")
        assert line.poll() == {}
        (before,) = ledger.snapshot().queue
        line.ask("a", Need(200, 1, 1, 700), "scvi")
        assert line.poll() == {}
        (now,) = ledger.snapshot().queue
        assert (now.request.need, now.request.id) == (Need(200, 1, 1, 700), before.request.id)
        assert now.request.since_s == before.request.since_s
        assert now.request.blocked_since_s is not None
    assert line.poll()["a"].lease.need == Need(200, 1, 1, 700)
    line.close()


def test_who_withdraws_one_need_keeps_the_others(ledger: Ledger) -> None:
    line = ledger.line()
    line.ask("a", Need(100), "a")
    line.ask("b", Need(1_000), "b")
    with ledger.acquire(Need(1_000), "somebody else"):
        assert line.poll() == {}
        line.withdraw("b")
        assert [waiting.request.label for waiting in ledger.snapshot().queue] == ["a"]
    assert list(line.poll(2)) == ["a"]
    line.close()
