"""The simulated machine: who uses how much of which GPU, told through the protocol of a probe."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from nsl_resources.admission.needs import GPU, HOST, Device
from nsl_resources.admission.nvml import gpu_headroom_mib
from nsl_resources.admission.simulation.mix import NodeSize

FOREIGN_PID = -1
"""Under this id all programs of others on a GPU are counted together."""


class SimulatedNode:
    """A `Probe`. Processes are numbers; their memory of the host is what they have reserved."""

    def __init__(self, size: NodeSize) -> None:
        headroom_mib = gpu_headroom_mib(size.gpu_memory_mib)
        budget_mib = size.gpu_memory_mib - headroom_mib
        self.host = Device(HOST, HOST, size.memory_mib, 0, size.memory_mib, size.cores)
        self.gpus = tuple(
            Device(GPU, f"GPU-{number}", size.gpu_memory_mib, headroom_mib, budget_mib, 0)
            for number in range(size.n_gpus)
        )
        self._used_mib: dict[str, dict[int, int]] = defaultdict(dict)

    def devices(self) -> Sequence[Device]:
        """The host, then the GPUs."""
        return (self.host, *self.gpus)

    def used_mib(self, device: Device) -> int:
        """By everybody."""
        return sum(self._used_mib[device.id].values())

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:
        """By each of these processes."""
        used = self._used_mib[device.id]
        return {pid: used.get(pid, 0) for pid in pids}

    def free_mib(self, device: Device) -> int:
        """What nobody uses, whoever has reserved it."""
        return device.total_mib - self.used_mib(device)

    def set_use(self, pid: int, device: Device, mib: int) -> bool:
        """A process grows or shrinks to so much. False, and nothing changes, if the device has not that much left."""
        used = self._used_mib[device.id]
        if mib - used.get(pid, 0) > self.free_mib(device):
            return False
        used[pid] = mib
        return True

    def end(self, pid: int) -> None:
        """A process ends; what it used is free."""
        for used in self._used_mib.values():
            used.pop(pid, None)
