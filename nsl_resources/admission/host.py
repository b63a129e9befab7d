"""The host as a device: its memory and cores, and who uses them."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsl_resources.admission import cgroup, processes
from nsl_resources.admission.needs import AdmissionError, Device

_MIB: Final = 2**20
_SAMPLE_S: Final = 0.25
_SAMPLING_SHARE: Final = 0.05  # a scan of a host with thousands of processes takes at most this share of a core


@dataclass(frozen=True)
class HostBudget:
    """The most that all leases of this host together may hold."""

    memory_mib: int
    cores: int

    def __post_init__(self) -> None:
        if self.memory_mib < 1 or self.cores < 1:
            raise AdmissionError(f"a host budget of {self}: at least 1 MiB and 1 core are needed")


def host_budget(memory_mib: int | None = None, cores: int | None = None) -> HostBudget:
    """A budget on this host: what is not given is all memory but the headroom, and all cores of this process.

    More memory than that is cut to it, so that settings from a larger machine are usable here.
    """
    total_mib = host_memory_mib()
    most_mib = total_mib - headroom_mib(total_mib)
    return HostBudget(min(memory_mib or most_mib, most_mib), cores or host_cores())


def host_memory_mib(root: Path = Path("/")) -> int:
    """Memory of the machine, or of the control group that limits this process."""
    import psutil

    limits = [limit.limit_mib for limit in cgroup.memory_limits(root)]
    return min([psutil.virtual_memory().total // _MIB, *limits])


def host_cores(root: Path = Path("/")) -> int:
    """Cores that affinity and CPU quota leave to this process."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, int(min(allowed, cgroup.core_limit(root) or allowed)))


def headroom_mib(total_mib: int) -> int:
    """Memory left to the system and to other programs: a tenth, at least 1 GiB, at most a quarter."""
    return min(max(total_mib // 10, 1024), total_mib // 4)


class HostProbe:
    """The host, the one device of kind "host". A budget above the machine's memory is cut to what there is."""

    def __init__(self, budget: HostBudget | None = None) -> None:
        budget = host_budget(budget.memory_mib, budget.cores) if budget else host_budget()
        total_mib = host_memory_mib()
        self._device = Device("host", "host", total_mib, headroom_mib(total_mib), budget.memory_mib, budget.cores)
        self._trees = TreeMemory()

    def devices(self) -> Sequence[Device]:
        """The host."""
        return (self._device,)

    def used_mib(self, device: Device) -> int:
        """MiB that cannot be had now: used by any process of the host or of a limiting control group."""
        import psutil

        available = [psutil.virtual_memory().available // _MIB]
        available += [limit.limit_mib - limit.used_mib for limit in cgroup.memory_limits()]
        return device.total_mib - min(available)

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:  # noqa: ARG002
        """Resident MiB of each process tree; pages shared inside a tree are counted more than once."""
        return {pid: round(mib) for pid, mib in self._trees.read(pids).items()}


class TreeMemory:
    """Resident memory of process trees, from one scan of the host for all; scans no oftener than is cheap."""

    def __init__(self) -> None:
        self._processes: dict[int, processes.Process] = {}
        self._next_scan_s = 0.0

    def trees(self, roots: Collection[int]) -> dict[int, list[processes.Process]]:
        """The processes under each root at the last scan, roots included."""
        if roots and time.monotonic() >= self._next_scan_s:
            self._scan()
        return processes.trees(self._processes, roots)

    def read(self, roots: Collection[int]) -> dict[int, float]:
        """MiB held by each root's tree."""
        return {root: sum(p.memory_mib for p in tree) for root, tree in self.trees(roots).items()}

    def _scan(self) -> None:
        start_s = time.monotonic()
        self._processes = processes.snapshot()
        seconds = time.monotonic() - start_s
        self._next_scan_s = time.monotonic() + max(_SAMPLE_S, seconds / _SAMPLING_SHARE)
