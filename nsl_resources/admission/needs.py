"""The words of admission: needs, devices and their measured use, requests that wait, leases that were granted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from nsl_assets.errors import NslError

HOST: Final = "host"
GPU: Final = "gpu"
"""The kinds of devices. A node has one host and any number of GPUs."""


class AdmissionError(NslError):
    """A worker can never be admitted on this machine."""


class AdmissionTimeoutError(AdmissionError):
    """A worker was not admitted in the time it was willing to wait."""


@dataclass(frozen=True)
class Share:
    """A part of one device."""

    memory_mib: int
    cores: int = 0


@dataclass(frozen=True)
class Need:
    """What one worker needs, granted as a whole or not at all.

    Attributes:
        memory_mib: memory of the host.
        cores: cores of the host.
        n_gpus: how many different GPUs.
        gpu_memory_mib: memory on each of them; 0 if and only if `n_gpus` is.
    """

    memory_mib: int
    cores: int = 1
    n_gpus: int = 0
    gpu_memory_mib: int = 0

    def __post_init__(self) -> None:
        if self.memory_mib < 0 or self.cores < 0:
            raise AdmissionError(f"a need of {self.memory_mib} MiB and {self.cores} cores: both are 0 or more")
        if self.n_gpus < 0 or self.gpu_memory_mib < 0 or (self.n_gpus > 0) != (self.gpu_memory_mib > 0):
            raise AdmissionError(
                f"a need of {self.gpu_memory_mib} MiB on {self.n_gpus} GPUs: give both, or leave both at 0"
            )

    @property
    def on_host(self) -> Share:
        """The share of the host."""
        return Share(self.memory_mib, self.cores)

    @property
    def on_gpu(self) -> Share:
        """The share of each GPU."""
        return Share(self.gpu_memory_mib)

    def __str__(self) -> str:
        host = f"{self.memory_mib:,} MiB and {self.cores} core{'' if self.cores == 1 else 's'}"
        if self.n_gpus == 0:
            return host
        where = "a GPU" if self.n_gpus == 1 else f"each of {self.n_gpus} GPUs"
        return f"{host}, and {self.gpu_memory_mib:,} MiB on {where}"


@dataclass(frozen=True)
class Device:
    """Something with memory that leases share. `budget_mib` caps our leases; the headroom stays free."""

    kind: str
    id: str
    total_mib: int
    headroom_mib: int
    budget_mib: int
    cores: int

    @property
    def is_partition(self) -> bool:
        """Whether this is a part of a GPU (MIG), of which CUDA shows a process one only."""
        return self.id.startswith("MIG-")

    def __str__(self) -> str:
        cores = f" and {self.cores} cores" if self.kind == HOST else ""
        return f"{self.id}: {self.budget_mib:,} MiB{cores}"


@dataclass(frozen=True)
class Reading:
    """Measured use of a device: by everybody, and by the process tree of each lease holder (its id).

    `used_by_mib` is None where nobody can tell whose memory it is.
    """

    device: Device
    used_mib: int
    used_by_mib: Mapping[int, int] | None = field(default_factory=dict)


class Probe(Protocol):
    """Lists devices of this node, the host among them, and measures their use."""

    def devices(self) -> Sequence[Device]:
        """The devices, always in the same order."""
        ...

    def used_mib(self, device: Device) -> int:
        """MiB in use on the device, by whomever."""
        ...

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int] | None:
        """MiB in use by the process tree of each of these processes; nested trees are counted once.

        None if that cannot be told.
        """
        ...


@dataclass(frozen=True)
class Request:
    """One worker that waits. `slots` is how many more workers its waiter can start now.

    `blocked_since_s` is when it first stood at the head of its line without fitting. `gpus` are the ids of those that
    its waiter may use; None: all. `label` is who asks, for observers. `expected_s`: how long it will run, if known.
    """

    id: int
    waiter: str
    need: Need
    since_s: float
    blocked_since_s: float | None = None
    slots: int = 1
    gpus: frozenset[str] | None = None
    label: str = ""
    expected_s: float | None = None


@dataclass(frozen=True)
class Lease:
    """A granted need, alive as long as the process `pid` that started at `start`.

    `gpus`: ids of the GPUs, distinct. `since_s`: when it was granted, on the clock that all processes share.
    """

    id: str
    need: Need
    gpus: tuple[str, ...]
    pid: int
    start: str
    label: str
    since_s: float = 0.0

    def share_of(self, device: Device) -> Share | None:
        """What it holds of a device; None for nothing."""
        if device.kind == HOST:
            return self.need.on_host
        return self.need.on_gpu if device.id in self.gpus else None
