"""The words of admission: needs, devices and their measured use, requests that wait, leases that were granted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nsl_assets.errors import NslError


class AdmissionError(NslError):
    """A worker can never be admitted on this machine."""


class AdmissionTimeoutError(AdmissionError):
    """A worker was not admitted in the time it was willing to wait."""


@dataclass(frozen=True)
class Need:
    """What one worker needs of one device of a kind: MiB and cores.

    Devices without cores of their own are asked for with `cores=0`.
    """

    memory_mib: int
    cores: int = 1
    kind: str = "host"

    def __post_init__(self) -> None:
        if self.memory_mib < 0 or self.cores < 0:
            raise AdmissionError(f"a need of {self}: memory and cores are 0 or more")

    def __str__(self) -> str:
        return f"{self.memory_mib:,} MiB and {self.cores} core{'' if self.cores == 1 else 's'}"


@dataclass(frozen=True)
class Device:
    """Something with memory that leases share. `budget_mib` caps our leases; the headroom stays free."""

    kind: str
    id: str
    total_mib: int
    headroom_mib: int
    budget_mib: int
    cores: int


@dataclass(frozen=True)
class Reading:
    """Measured use of a device: by everybody, and by the process tree of each lease holder (its id)."""

    device: Device
    used_mib: int
    used_by_mib: Mapping[int, int] = field(default_factory=dict)


class Probe(Protocol):
    """Lists the devices of one kind on this node and measures their use."""

    def devices(self) -> Sequence[Device]:
        """The devices, always in the same order."""
        ...

    def used_mib(self, device: Device) -> int:
        """MiB in use on the device, by whomever."""
        ...

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:
        """MiB in use by the process tree of each of these processes; nested trees are counted once."""
        ...


@dataclass(frozen=True)
class Request:
    """One worker that waits. `slots` is how many more workers its waiter can start now.

    `blocked_since_s` is when it first stood at the head of its kind without fitting.
    """

    id: int
    waiter: str
    need: Need
    since_s: float
    blocked_since_s: float | None = None
    slots: int = 1


@dataclass(frozen=True)
class Lease:
    """A granted share of a device, alive as long as the process `pid` that started at `start`."""

    id: str
    device: str
    memory_mib: int
    cores: int
    pid: int
    start: str
    label: str
