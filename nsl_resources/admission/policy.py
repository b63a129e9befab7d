"""Who may start now: the admission policy as pure functions of requests, leases and measured use.

Nothing here knows processes, clocks or SQLite, so that simulated devices and thousands of jobs can test it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nsl_resources.admission.needs import AdmissionError, Device, Lease, Need, Reading, Request


@dataclass(frozen=True)
class Ageing:
    """How waiting turns into rank, so that nothing starves.

    A wait of `whole_device_s` ranks like asking for the whole device. A request that headed its kind for
    `patience_s` without fitting is passed by nobody any more: the device is drained for it.
    """

    whole_device_s: float = 120.0
    patience_s: float = 60.0


@dataclass
class Room:
    """What is left of a device. `empty_mib`: what would be left if all our leases ended."""

    device: Device
    free_mib: int
    free_cores: int
    empty_mib: int
    foreign_mib: int
    is_drained: bool = False

    def fits(self, need: Need) -> bool:
        """Whether the need can be granted here now."""
        return (
            not self.is_drained
            and need.kind == self.device.kind
            and need.memory_mib <= self.free_mib
            and need.cores <= self.free_cores
        )

    def could_fit(self, need: Need) -> bool:
        """Whether the need can be granted here once our own leases have ended."""
        return (
            not self.is_drained
            and need.kind == self.device.kind
            and need.memory_mib <= self.empty_mib
            and need.cores <= self.device.cores
        )

    def take(self, need: Need) -> None:
        """Books the need."""
        self.free_mib -= need.memory_mib
        self.free_cores -= need.cores


@dataclass(frozen=True)
class Decision:
    """`grants`: request id -> device id. `blocked`: requests that head their kind and do not fit."""

    grants: Mapping[int, str]
    blocked: frozenset[int]


def room(reading: Reading, leases: Iterable[Lease]) -> Room:
    """What is left: total - headroom - Σ max(reserved, used by the holder's tree) - foreign use.

    The leases together also stay within the budget.
    """
    device = reading.device
    own = [lease for lease in leases if lease.device == device.id]
    used = {lease.pid: reading.used_by_mib.get(lease.pid, 0) for lease in own}
    reserved = dict.fromkeys(used, 0)
    for lease in own:
        reserved[lease.pid] += lease.memory_mib
    held = sum(max(reserved[pid], used[pid]) for pid in used)
    foreign = max(0, reading.used_mib - sum(used.values()))
    empty = min(device.budget_mib, device.total_mib - device.headroom_mib - foreign)
    free_cores = device.cores - sum(lease.cores for lease in own)
    return Room(device, empty - held, free_cores, empty, foreign)


def check(need: Need, devices: Iterable[Device], label: str) -> None:
    """Refuses at once what no device can ever hold.

    Raises:
        AdmissionError: names the need, the largest device and what to change.
    """
    candidates = [device for device in devices if device.kind == need.kind]
    if any(need.memory_mib <= d.budget_mib and need.cores <= d.cores for d in candidates):
        return
    offered = "; ".join(f"{d.id}: {Need(d.budget_mib, d.cores)}" for d in candidates) or "none of that kind"
    raise AdmissionError(
        f"{label} needs {need} of a {need.kind}, more than the whole budget ({offered}). "
        "Raise the budget if the machine has more, use a larger machine, or make the job smaller."
    )


def decide(
    requests: Iterable[Request],
    leases: Collection[Lease],
    readings: Sequence[Reading],
    now_s: float,
    ageing: Ageing | None = None,
) -> Decision:
    """Grants what fits, largest and longest-waiting first; smaller requests may pass one that does not fit.

    Starvation-free: age overtakes size, and who heads its kind too long gets one device drained (always the
    first that is large enough, so that the choice does not wander while workers end elsewhere).
    """
    ageing = ageing or Ageing()
    rooms = [room(reading, leases) for reading in readings]
    ranked = sorted(requests, key=lambda r: (-_rank(r, rooms, now_s, ageing), r.since_s, r.id))
    slots = {request.waiter: request.slots for request in ranked}
    grants: dict[int, str] = {}
    blocked: dict[str, int] = {}
    for request in ranked:
        if slots[request.waiter] <= 0:
            continue
        place = _tightest(request.need, rooms)
        if place is None:
            blocked.setdefault(request.need.kind, request.id)
            _drain_for(request, rooms, now_s, ageing)
            continue
        place.take(request.need)
        slots[request.waiter] -= 1
        grants[request.id] = place.device.id
    return Decision(grants, frozenset(blocked.values()))


def _rank(request: Request, rooms: Sequence[Room], now_s: float, ageing: Ageing) -> float:
    devices = [room.device for room in rooms if room.device.kind == request.need.kind]
    memory = request.need.memory_mib / max((device.budget_mib for device in devices), default=1)
    cores = request.need.cores / max((device.cores for device in devices if device.cores), default=1)
    return max(memory, cores) + (now_s - request.since_s) / ageing.whole_device_s


def _tightest(need: Need, rooms: Iterable[Room]) -> Room | None:
    return min((room for room in rooms if room.fits(need)), key=lambda room: room.free_mib, default=None)


def _drain_for(request: Request, rooms: Iterable[Room], now_s: float, ageing: Ageing) -> None:
    if request.blocked_since_s is None or now_s - request.blocked_since_s < ageing.patience_s:
        return
    target = next((room for room in rooms if room.could_fit(request.need)), None)
    if target is not None:
        target.is_drained = True
