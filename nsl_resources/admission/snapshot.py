"""The ledger at a glance, for people: devices, leases, and who waits for what."""

import time
from dataclasses import dataclass
from pathlib import Path

from nsl_resources.admission import rows, storage
from nsl_resources.admission.census import take_census
from nsl_resources.admission.line import measure, shared_readings
from nsl_resources.admission.needs import Lease, Probe, Reading, Request
from nsl_resources.admission.policy import Ageing, ranked
from nsl_resources.admission.rooms import Node, Room, node


@dataclass(frozen=True)
class Waiting:
    """A request in line: who asks, how long it has waited, and what the node lacks for it at this moment."""

    request: Request
    waited_s: float
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """The node at a moment.

    Attributes:
        node: what is left of each device.
        readings: measured use of each device, the host first.
        leases: granted, oldest first.
        queue: requests in the order in which they are served.
        now_s: the moment, on the clock of `Lease.since_s`.
    """

    node: Node
    readings: tuple[Reading, ...]
    leases: tuple[Lease, ...]
    queue: tuple[Waiting, ...]
    now_s: float

    @property
    def rooms(self) -> tuple[Room, ...]:
        """The host, then the GPUs."""
        return (self.node.host, *self.node.gpus)

    def used_mib(self, room: Room) -> int:
        """Measured use of a device by everybody."""
        return next(reading.used_mib for reading in self.readings if reading.device.id == room.device.id)

    def used_by_mib(self, lease: Lease, kind: str) -> int | None:
        """Measured use of the host or the most of its GPUs by the processes of a lease's holder; None: nobody can tell.

        Who holds several leases, as a dispatcher does while its workers start, is shown in full for each.
        """
        readings = [r for r in self.readings if r.device.kind == kind and lease.share_of(r.device) is not None]
        used = [reading.used_by_mib.get(lease.pid, 0) for reading in readings if reading.used_by_mib is not None]
        return max(used, default=None)

    def leased_mib(self, room: Room) -> int:
        """What our leases have reserved of a device."""
        shares = (lease.share_of(room.device) for lease in self.leases)
        return sum(share.memory_mib for share in shares if share is not None)


def take_snapshot(path: Path, probe: Probe, ageing: Ageing) -> Snapshot:
    """Reads the ledger in one transaction; asks for nothing and holds nothing."""
    census = take_census(path)
    readings = measure(probe, census.leases)
    now_s = time.monotonic()
    with storage.transaction(path) as connection:
        rows.reap(connection, census.dead, now_s)
        readings = shared_readings(connection, readings)
        leases, requests = rows.leases(connection), rows.requests(connection, now_s)
    left = node(readings, leases)
    queue = [Waiting(one, now_s - one.since_s, lacks(one, left)) for one in ranked(requests, left, now_s, ageing)]
    return Snapshot(left, tuple(readings), tuple(leases), tuple(queue), now_s)


def lacks(request: Request, left: Node) -> tuple[str, ...]:
    """What keeps a request waiting; empty where all is there but kept for one that is served earlier."""
    need, host = request.need, left.host
    missing = []
    if need.memory_mib > host.free_mib:
        missing.append(f"{need.memory_mib - max(0, host.free_mib):,} MiB of the host")
    if need.cores > host.free_cores:
        missing.append(f"{need.cores - max(0, host.free_cores)} cores")
    rooms = left.gpus_for(request)
    n_missing = need.n_gpus - sum(room.fits(need.on_gpu) for room in rooms)
    if n_missing > 0:
        freest_mib = max((room.free_mib for room in rooms), default=0)
        gpus = "1 GPU" if n_missing == 1 else f"{n_missing} GPUs"
        missing.append(f"{gpus} with {need.gpu_memory_mib:,} MiB free (most: {max(0, freest_mib):,})")
    return tuple(missing)
