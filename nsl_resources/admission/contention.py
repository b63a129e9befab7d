"""A crowd of real processes that ask, hold and are killed at random on one ledger; an independent check of its log.

    python -m nsl_resources.admission.contention LEDGER LOG PROCESSES SECONDS

A process notes what it holds after it has acquired it and before it gives it back, and its killer notes the moment
before the kill. The noted intervals thus lie inside the true ones: if their sum ever exceeds a device, the ledger gave
something away twice. The program ends with 1 if a lease was gone that its holder still held.
"""

import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nsl_resources.admission import line, storage
from nsl_resources.admission.ledger import Ledger
from nsl_resources.admission.needs import GPU, HOST, Device, Need
from nsl_resources.admission.policy import Decision, decide

N_GPUS: Final = 8
LONGEST_HOLD_S: Final = 0.05
KILL_EVERY_S: Final = 0.1
_LOST: Final = 1


class FixedNode:
    """A host and eight GPUs on which nobody else uses anything. A `Probe`."""

    def __init__(self) -> None:
        gpus = (Device(GPU, f"GPU-{number}", 80_000, 0, 80_000, 0) for number in range(N_GPUS))
        self._devices = (Device(HOST, HOST, 500_000, 0, 500_000, 64), *gpus)

    def devices(self) -> Sequence[Device]:
        """The host, then the GPUs."""
        return self._devices

    def used_mib(self, device: Device) -> int:  # noqa: ARG002
        """Nothing."""
        return 0

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:  # noqa: ARG002
        """Nothing."""
        return {}


# ---- the crowd


@dataclass
class _Log:
    """Lines that several processes append to one file. The times of the last poll are kept until its lease is noted."""

    path: Path
    file: int = field(init=False)

    def __post_init__(self) -> None:
        self.file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, pid: int, what: str, *more: object) -> None:
        os.write(self.file, f"{time.monotonic():.9f} {pid} {what} {' '.join(map(str, more))}\n".encode())


def run_crowd(ledger: Path, log: Path, n_processes: int, seconds: float) -> int:
    """Keeps so many processes alive for so long, killing one every now and then. 1 if a lease was lost, else 0."""
    written, chance = _Log(log), random.Random(0)
    end_s, n_born = time.monotonic() + seconds, 0
    alive: set[int] = set()
    code = 0
    while time.monotonic() < end_s or alive:
        while len(alive) < n_processes and time.monotonic() < end_s:
            n_born += 1
            alive.add(_spawn(ledger, written, n_born, end_s))
        if time.monotonic() < end_s:
            time.sleep(chance.expovariate(1 / KILL_EVERY_S))
            victim = chance.choice(sorted(alive))
            written.write(victim, "killed")
            os.kill(victim, signal.SIGKILL)
        pid, status = os.wait()
        alive.remove(pid)
        code = code or (os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0)
    return code


def _spawn(ledger: Path, log: _Log, seed: int, end_s: float) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        code = _live(ledger, log, random.Random(seed), end_s)
    except BaseException:  # noqa: BLE001  (a fork must never return into its parent's code)
        import traceback

        traceback.print_exc()
        code = _LOST
    os._exit(code)


def _live(path: Path, log: _Log, chance: random.Random, end_s: float) -> int:
    _note_times(log)
    ledger = Ledger(FixedNode(), path)
    while time.monotonic() < end_s:
        n_gpus = chance.choice([0, 0, 1, 1, 1, 2])
        need = Need(
            chance.choice([5_000, 50_000]), chance.randint(1, 8), n_gpus, chance.randint(5_000, 79_000) * (n_gpus > 0)
        )
        with ledger.acquire(need, "one of a crowd") as held:
            shares = [f"{HOST}:{need.memory_mib}", f"cores:{need.cores}"]
            log.write(os.getpid(), "holds", *shares, *(f"{gpu}:{need.gpu_memory_mib}" for gpu in held.devices))
            time.sleep(chance.uniform(0, LONGEST_HOLD_S))
            if chance.random() < 0.2 and held.lease.id not in {lease.id for lease in ledger.leases()}:
                return _LOST
            log.write(os.getpid(), "returns")
    return 0


def _note_times(log: _Log) -> None:
    """Notes how long each poll holds the lock, and how long the policy takes of that."""
    transaction, seconds = storage.transaction, [0.0]

    def timed_decide(*arguments: Any) -> Decision:
        start_s = time.perf_counter()
        decision = decide(*arguments)
        seconds[0] = time.perf_counter() - start_s
        return decision

    @contextmanager
    def timed(path: Path) -> Iterator[Any]:
        seconds[0] = 0.0
        with transaction(path) as connection:
            start_s, start_cpu_s = time.perf_counter(), time.thread_time()
            yield connection
        if seconds[0]:
            elapsed_s, cpu_s = time.perf_counter() - start_s, time.thread_time() - start_cpu_s
            log.write(os.getpid(), "polled", elapsed_s, cpu_s, seconds[0])

    storage.transaction = timed
    line.decide = timed_decide  # type: ignore[assignment,attr-defined]


# ---- what its log says


@dataclass(frozen=True)
class CrowdReport:
    """What a crowd did.

    Attributes:
        n_leases, n_kills: granted leases, killed processes.
        under_lock_s: how long each poll held the lock.
        under_lock_cpu_s: how long it computed meanwhile; the rest the host gave to others, or it read files.
        deciding_s: how long the policy took of that.
        most: the largest sum that was held of each device at a time, as noted ("cores" beside the ids).
    """

    n_leases: int
    n_kills: int
    under_lock_s: list[float]
    under_lock_cpu_s: list[float]
    deciding_s: list[float]
    most: dict[str, int]

    def overcommitted(self) -> dict[str, int]:
        """Devices of which more was held than there is, and how much."""
        host, *gpus = FixedNode().devices()
        there_is = {HOST: host.budget_mib, "cores": host.cores, **{gpu.id: gpu.budget_mib for gpu in gpus}}
        return {name: held for name, held in self.most.items() if held > there_is[name]}


def read_log(path: Path) -> CrowdReport:
    """Adds up what was held when. What a process notes after the moment in which its killer struck is left out."""
    lines = sorted((line.split() for line in path.read_text().splitlines()), key=lambda words: float(words[0]))
    held: dict[str, dict[str, int]] = {}
    now: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)
    killed: set[str] = set()
    polls = [tuple(map(float, words[3:])) for words in lines if words[2] == "polled"]
    n_leases = 0
    for _, pid, what, *more in lines:
        if pid in killed or what == "polled":
            continue
        if what == "holds":
            n_leases += 1
            held[pid] = {name: int(mib) for name, mib in (share.split(":") for share in more)}
            for name, mib in held[pid].items():
                now[name] += mib
                most[name] = max(most[name], now[name])
            continue
        for name, mib in held.pop(pid, {}).items():
            now[name] -= mib
        if what == "killed":
            killed.add(pid)
    under_lock_s, cpu_s, deciding_s = (list(column) for column in zip(*polls, strict=True))
    return CrowdReport(n_leases, len(killed), under_lock_s, cpu_s, deciding_s, dict(most))


if __name__ == "__main__":
    sys.exit(run_crowd(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
