"""What is left of a node: the room on its host and on each of its GPUs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nsl_resources.admission.needs import GPU, HOST, AdmissionError, Device, Lease, Reading, Request, Share


@dataclass
class Room:
    """What is left of a device. `empty_mib`, `empty_cores`: what would be left if all our leases ended."""

    device: Device
    free_mib: int
    free_cores: int
    empty_mib: int
    empty_cores: int
    foreign_mib: int

    def fits(self, share: Share) -> bool:
        """Whether the share can be granted now."""
        return share.memory_mib <= self.free_mib and share.cores <= self.free_cores

    def could_fit(self, share: Share) -> bool:
        """Whether the share can be granted once our own leases have ended."""
        return share.memory_mib <= self.empty_mib and share.cores <= self.empty_cores

    def take(self, share: Share) -> None:
        """Books the share."""
        self.free_mib -= share.memory_mib
        self.free_cores -= share.cores

    def promise(self, share: Share) -> None:
        """Keeps the share for somebody. Where it does not fit yet, nothing fits any more: the device is drained."""
        self.take(share)
        self.empty_mib -= share.memory_mib
        self.empty_cores -= share.cores


@dataclass(frozen=True)
class Node:
    """The rooms of a node."""

    host: Room
    gpus: tuple[Room, ...]

    def gpus_for(self, request: Request) -> list[Room]:
        """The GPUs that the request may use, none if it needs none. Several MIG devices serve no single worker."""
        n_gpus, seen = request.need.n_gpus, request.gpus
        if n_gpus == 0:
            return []
        usable = [room for room in self.gpus if n_gpus == 1 or not room.device.is_partition]
        return usable if seen is None else [room for room in usable if room.device.id in seen]


def node(readings: Sequence[Reading], leases: Iterable[Lease]) -> Node:
    """The rooms that leases and measured use leave.

    Raises:
        AdmissionError: the host is not among the readings.
    """
    held = list(leases)
    host = next((reading for reading in readings if reading.device.kind == HOST), None)
    if host is None:
        raise AdmissionError("the probe of the ledger lists no device of kind 'host', which every worker needs")
    gpus = (reading for reading in readings if reading.device.kind == GPU)
    return Node(room(host, held), tuple(room(reading, held) for reading in gpus))


def room(reading: Reading, leases: Iterable[Lease]) -> Room:
    """What is left: total - headroom - Σ max(reserved, used by the holder's tree) - foreign use.

    The leases together also stay within the budget. Where use cannot be told apart, what exceeds all that we reserved
    is foreign: our own use is never counted twice.
    """
    device = reading.device
    shares = [(lease.pid, share) for lease in leases if (share := lease.share_of(device)) is not None]
    reserved = {pid: 0 for pid, _ in shares}
    for pid, share in shares:
        reserved[pid] += share.memory_mib
    used = reserved if reading.used_by_mib is None else {pid: reading.used_by_mib.get(pid, 0) for pid in reserved}
    held = sum(max(reserved[pid], used[pid]) for pid in reserved)
    foreign = max(0, reading.used_mib - sum(used.values()))
    empty = min(device.budget_mib, device.total_mib - device.headroom_mib - foreign)
    free_cores = device.cores - sum(share.cores for _, share in shares)
    return Room(device, empty - held, free_cores, empty, device.cores, foreign)
