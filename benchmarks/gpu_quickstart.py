"""Quick check on a machine with a GPU: several workers share one GPU through the real pool and ledger.

    python benchmarks/gpu_quickstart.py [--workers 10] [--at-once 5] [--seconds 20] [--host-mib 4000]

Each worker reserves a part of the GPU, fills it with a tensor in two steps, and computes with it. Each second NVML's
used memory, of the device and of each process, is printed beside what the ledger has reserved. The last line is the
verdict: exit code 0 if at least four workers ran at once, all ended well, and nothing was over-committed.

Needed: Linux, an NVIDIA driver, torch with CUDA, psutil, nvidia-ml-py (`pynvml`). Dagster is not.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nsl_resources.gpu import Lease, Ledger, Reading, Room

NEEDED: Final = ("torch", "psutil", "pynvml")
CONTEXT_MIB: Final = 1_024  # the CUDA context and the allocator's slack; NVML counts them as the worker's
FIRST_STEP: Final = 0.9
EVERY_S: Final = 1.0
LEAST_AT_ONCE: Final = 4
WORKER_FLAG: Final = "--as-worker"


def work(mib: int, seconds: float) -> None:
    """A worker: takes nine tenths of its memory, computes, takes the rest, computes; prints what torch measured."""
    import torch

    end_s = time.monotonic() + seconds
    held = []
    for share, until_s in ((FIRST_STEP, end_s - seconds / 2), (1.0 - FIRST_STEP, end_s)):
        held.append(torch.zeros((max(1, int(share * mib)), 2**18), device="cuda"))  # 1 MiB a row
        while time.monotonic() < until_s:
            for tensor in held:
                tensor.add_(1.0)
            torch.cuda.synchronize()
    print(json.dumps({"peak_mib": torch.cuda.max_memory_reserved() / 2**20}))


@dataclass
class Watch:
    """Prints the state every second and keeps what was worst.

    Attributes:
        before_mib: what NVML saw on each GPU before the workers.
        most_at_once: workers with a lease on one GPU, at most.
        most_with_memory: of those, such as NVML saw memory of; 0 where it cannot tell processes apart.
        complaints: each kind of over-commitment, with its numbers when it was first seen.
    """

    before_mib: dict[str, int]
    most_at_once: int = 0
    most_with_memory: int = 0
    complaints: dict[str, str] = field(default_factory=dict)
    _reserved_mib: dict[str, int] = field(default_factory=dict)

    def look(self, ledger: "Ledger", elapsed_s: float) -> None:
        """One look at every GPU."""
        snapshot = ledger.snapshot()
        for room, reading in zip(snapshot.rooms[1:], snapshot.readings[1:], strict=True):
            self._look_at(room, reading, [one for one in snapshot.leases if room.device.id in one.gpus], elapsed_s)

    def _look_at(self, room: "Room", reading: "Reading", leases: "list[Lease]", elapsed_s: float) -> None:
        device, used_by_mib = reading.device, reading.used_by_mib
        reserved_mib = sum(lease.need.gpu_memory_mib for lease in leases)
        print(
            f"{elapsed_s:6.1f} s  {device.id[:12]}  used {reading.used_mib:,} of {device.total_mib:,} MiB,"
            f" by others {room.foreign_mib:,}; reserved {reserved_mib:,} of {device.budget_mib:,} by {len(leases)}"
        )
        self.most_at_once = max(self.most_at_once, len(leases))
        self._complain(reserved_mib > device.budget_mib, f"{device.id}: reserved {reserved_mib:,} MiB of the budget")
        self._complain(
            reading.used_mib > device.total_mib - device.headroom_mib,
            f"{device.id}: used {reading.used_mib:,} MiB, into the headroom of {device.headroom_mib:,}",
        )
        if used_by_mib is None:
            print("          NVML does not tell our processes apart (a container?): only the device is compared")
            known_mib = self.before_mib[device.id] + max(reserved_mib, self._reserved_mib.get(device.id, 0))
            self._complain(reading.used_mib > known_mib, f"{device.id}: used {reading.used_mib:,} of {known_mib:,} MiB")
            self._reserved_mib[device.id] = reserved_mib  # a worker may have ended since NVML was asked
            return
        n_seen = sum(used_by_mib.get(lease.pid, 0) > 0 for lease in leases)
        self.most_with_memory = max(self.most_with_memory, n_seen)
        for lease in leases:
            used_mib, own_mib = used_by_mib.get(lease.pid, 0), lease.need.gpu_memory_mib
            print(f"          {lease.label:12} pid {lease.pid:7}  used {used_mib:8,}  reserved {own_mib:8,} MiB")
            self._complain(used_mib > own_mib, f"{lease.label}: used {used_mib:,} MiB of {own_mib:,} reserved")

    def _complain(self, is_wrong: bool, text: str) -> None:
        if is_wrong:
            self.complaints.setdefault(text.partition(":")[0], text)


def run(n_workers: int, at_once: int, seconds: float, host_mib: int) -> int:
    """Runs the workers and prints the verdict; the exit code. Cores are not what is shown: there are enough."""
    from nsl_resources.dispatch import LocalPool, WorkerJob
    from nsl_resources.gpu import Ledger, gpu_devices, node_probe

    gpus = gpu_devices()
    if not gpus:
        print("NVML lists no GPU that this process may use: see what `nvidia-smi` says.")
        return 2
    mib = gpus[0].budget_mib // at_once
    if mib <= CONTEXT_MIB:
        print(f"{mib:,} MiB a worker is not more than a CUDA context ({CONTEXT_MIB:,} MiB): fewer workers at once.")
        return 2
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0].id
    command = [sys.executable, str(Path(__file__).resolve()), WORKER_FLAG, str(mib - CONTEXT_MIB), str(seconds)]
    jobs = [WorkerJob(f"worker {i}", command, host_mib, n_gpus=1, gpu_memory_mib=mib) for i in range(n_workers)]
    with tempfile.TemporaryDirectory() as folder:
        probe = node_probe(cores=n_workers)
        ledger = Ledger(probe, Path(folder) / "ledger.sqlite")
        watch = Watch({gpu.id: probe.used_mib(gpu) for gpu in probe.devices()[1:]})
        with closing(LocalPool(ledger, max_workers=n_workers).run(jobs)) as results, _watched(ledger, watch):
            failed = [f"{one.label} {one.reason}: {one.stderr_tail}" for one in results if not one.is_success]
    return _verdict(watch, n_workers, failed)


@contextmanager
def _watched(ledger: "Ledger", watch: Watch) -> Iterator[None]:
    """Looks every second, from a thread, while the block runs."""
    is_over, start_s = threading.Event(), time.monotonic()

    def look() -> None:
        while not is_over.wait(EVERY_S):
            watch.look(ledger, time.monotonic() - start_s)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _verdict(watch: Watch, n_workers: int, failed: list[str]) -> int:
    for text in [*watch.complaints.values(), *failed]:
        print(text)
    is_over = bool(watch.complaints)
    is_shared = watch.most_at_once >= LEAST_AT_ONCE
    print(
        f"verdict: {'OVER-COMMITTED' if is_over else 'not over-committed'}; {n_workers - len(failed)} of {n_workers}"
        f" workers ended well, {watch.most_at_once} at most on one GPU at once ({watch.most_with_memory} seen by NVML)"
    )
    return int(is_over or bool(failed) or not is_shared)


def main() -> int:
    """Reads the arguments, says what is not installed."""
    if WORKER_FLAG in sys.argv:
        mib, seconds = sys.argv[2:]
        work(int(mib), float(seconds))
        return 0
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--workers", type=int, default=10)
    arguments.add_argument("--at-once", type=int, default=5, help="workers of which the GPU holds all at once")
    arguments.add_argument("--seconds", type=float, default=20.0, help="how long each computes")
    arguments.add_argument("--host-mib", type=int, default=4_000, help="host memory that each reserves")
    chosen = arguments.parse_args()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}. Needed are {', '.join(NEEDED)}; pynvml is in nvidia-ml-py.")
        return 2
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    return run(chosen.workers, chosen.at_once, chosen.seconds, chosen.host_mib)


if __name__ == "__main__":
    sys.exit(main())
