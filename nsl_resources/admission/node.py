"""The probe of a whole node: its host and its GPUs."""

from collections.abc import Collection, Mapping, Sequence

from nsl_resources.admission.host import HostProbe, host_budget
from nsl_resources.admission.needs import HOST, Device, Probe
from nsl_resources.admission.nvml import NvmlProbe


class NodeProbe:
    """Two probes as one: of the host, and of GPUs."""

    def __init__(self, host: Probe, gpus: Probe) -> None:
        self._host, self._gpus = host, gpus

    def devices(self) -> Sequence[Device]:
        """The host, then the GPUs."""
        return (*self._host.devices(), *self._gpus.devices())

    def used_mib(self, device: Device) -> int:
        """See `Probe.used_mib`."""
        return self._probe_of(device).used_mib(device)

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int] | None:
        """See `Probe.used_by_mib`."""
        return self._probe_of(device).used_by_mib(device, pids)

    def _probe_of(self, device: Device) -> Probe:
        return self._host if device.kind == HOST else self._gpus


def node_probe(memory_mib: int | None = None, cores: int | None = None, use_gpus: bool = True) -> Probe:
    """This host within a budget (see `host_budget`), and the GPUs that this process sees, if they are to be used."""
    host = HostProbe(host_budget(memory_mib, cores))
    return NodeProbe(host, NvmlProbe()) if use_gpus else host
