"""The host as a batch system's nodes show it: also where this process is confined to the share of its own job.

A Slurm job sees the limits of its control group and its own cores only. Its ledger is the node's: there the share of
every job counts, so the budget is that of the machine.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import psutil

from nsl_resources.admission.host import TreeMemory, headroom_mib
from nsl_resources.admission.needs import HOST, Device, Probe
from nsl_resources.admission.node import NodeProbe
from nsl_resources.admission.nvml import NvmlProbe

_MIB: Final = 2**20


class WholeHostProbe:
    """All memory and cores of the machine, whatever limits this process has; see `Probe`."""

    def __init__(self, memory_mib: int | None = None, cores: int | None = None) -> None:
        total_mib = psutil.virtual_memory().total // _MIB
        most_mib = total_mib - headroom_mib(total_mib)
        budget_mib = min(memory_mib or most_mib, most_mib)
        self._device = Device(
            HOST, "host", total_mib, headroom_mib(total_mib), budget_mib, cores or os.cpu_count() or 1
        )
        self._trees = TreeMemory()

    def devices(self) -> Sequence[Device]:
        """The host."""
        return (self._device,)

    def used_mib(self, device: Device) -> int:
        """MiB in use by any process of the machine."""
        return device.total_mib - psutil.virtual_memory().available // _MIB

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:  # noqa: ARG002
        """Resident MiB of each process tree."""
        return {pid: round(mib) for pid, mib in self._trees.read(pids).items()}


def whole_node_probe(memory_mib: int | None, cores: int | None, use_gpus: bool) -> Probe:
    """The whole machine within a budget, and the GPUs that this process sees, if they are to be used."""
    host = WholeHostProbe(memory_mib, cores)
    return NodeProbe(host, NvmlProbe()) if use_gpus else host
