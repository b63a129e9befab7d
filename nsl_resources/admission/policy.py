"""Who may start now: the admission policy as pure functions of requests, leases and measured use.

Nothing here knows processes, clocks or SQLite, so that simulated devices and thousands of jobs can test it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from nsl_resources.admission.needs import GPU, HOST, AdmissionError, Device, Lease, Need, Reading, Request
from nsl_resources.admission.rooms import Node, Room, node

_Kind = tuple[Need, frozenset[str] | None]
"""What makes two requests interchangeable: the need, and the GPUs that may serve it."""


@dataclass(frozen=True)
class Ageing:
    """How waiting turns into rank, so that nothing starves.

    A wait of `whole_device_s` ranks like asking for a whole device. A request that headed its line for `patience_s`
    without fitting is passed by nobody any more: the devices that it lacks are drained for it.

    Who is known to run long ranks as if it had waited that long already, up to `longest_head_start_s`: what is left for
    the end runs alone. Later requests can thus pass one for so long, and no longer.
    """

    whole_device_s: float = 120.0
    patience_s: float = 60.0
    longest_head_start_s: float = 7_200.0


@dataclass(frozen=True)
class Decision:
    """`grants`: request id -> ids of its GPUs. `blocked`: requests that head their line and do not fit.

    There are two lines: workers with a GPU, and workers without.
    """

    grants: Mapping[int, tuple[str, ...]]
    blocked: frozenset[int]


def check(need: Need, devices: Iterable[Device], label: str) -> None:
    """Refuses at once what this node can never hold.

    Raises:
        AdmissionError: names the need, the devices and what to change.
    """
    offered = list(devices)
    hosts = [d for d in offered if d.kind == HOST and need.memory_mib <= d.budget_mib and need.cores <= d.cores]
    gpus = [d for d in offered if d.kind == GPU and not (d.is_partition and need.n_gpus > 1)]
    if need.n_gpus and not gpus:
        raise AdmissionError(
            f"{label} needs {need}, and this process is offered none that serves. Run it on the CPU, or where "
            "`nvidia-smi` lists GPUs and CUDA_VISIBLE_DEVICES does not hide them. MIG devices serve one by one only."
        )
    if hosts and sum(need.gpu_memory_mib <= gpu.budget_mib for gpu in gpus) >= need.n_gpus:
        return
    raise AdmissionError(
        f"{label} needs {need}, more than the whole budget ({'; '.join(map(str, offered))}). "
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

    Starvation-free: age overtakes size, and who heads a line too long is promised what it lacks.
    """
    ageing = ageing or Ageing()
    left = node(readings, leases)
    in_order = ranked(requests, left, now_s, ageing)
    slots = {request.waiter: request.slots for request in in_order}
    grants: dict[int, tuple[str, ...]] = {}
    blocked: dict[str, int] = {}
    too_large: set[_Kind] = set()
    for request in in_order:
        need, is_patient = request.need, not _is_out_of_patience(request, now_s, ageing)
        # Rooms only shrink from here on: what did not fit does not fit, and a line that has its head needs no other.
        if slots[request.waiter] <= 0 or (is_patient and (need, request.gpus) in too_large and _line(need) in blocked):
            continue
        gpus = left.gpus_for(request)
        chosen = _choose(need, gpus, is_somebody_waiting=GPU in blocked)
        if chosen is not None and left.host.fits(need.on_host):
            _take(need, left.host, chosen)
            slots[request.waiter] -= 1
            grants[request.id] = tuple(room.device.id for room in chosen)
            continue
        too_large.add((need, request.gpus))
        if _could_fit(need, left.host, gpus):
            blocked.setdefault(_line(need), request.id)
            if not is_patient:
                _promise(need, left.host, gpus, chosen)
    return Decision(grants, frozenset(blocked.values()))


def _line(need: Need) -> str:
    return GPU if need.n_gpus else HOST


def ranked(requests: Iterable[Request], left: Node, now_s: float, ageing: Ageing) -> list[Request]:
    """In the order in which they are served: by the largest share of one device (memory, cores), plus the age.

    What a worker is expected to run counts as age.
    """
    host = left.host.device
    gpu_mib = max((room.device.budget_mib for room in left.gpus), default=1)

    @cache
    def share(need: Need) -> float:
        of_host = max(need.memory_mib / host.budget_mib, need.cores / max(host.cores, 1))
        return max(of_host, need.gpu_memory_mib / gpu_mib)

    def order(request: Request) -> tuple[float, int, float, int]:
        head_start_s = min(request.expected_s or 0.0, ageing.longest_head_start_s)
        rank = share(request.need) + (now_s - request.since_s + head_start_s) / ageing.whole_device_s
        return -rank, -request.need.n_gpus, request.since_s, request.id

    return sorted(requests, key=order)


def _choose(need: Need, gpus: Iterable[Room], *, is_somebody_waiting: bool) -> list[Room] | None:
    """GPUs for a need, None if there are too few: the emptiest, so that workers share none while others idle.

    While a larger need waits for GPUs it is the tightest, so that one comes free for it.
    """
    share = need.on_gpu
    fitting = [room for room in gpus if room.fits(share)]
    if len(fitting) < need.n_gpus:
        return None
    return sorted(fitting, key=lambda room: room.free_mib, reverse=not is_somebody_waiting)[: need.n_gpus]


def _take(need: Need, host: Room, gpus: Iterable[Room]) -> None:
    host.take(need.on_host)
    for room in gpus:
        room.take(need.on_gpu)


def _could_fit(need: Need, host: Room, gpus: Iterable[Room]) -> bool:
    """Whether it fits once our leases have ended: neither foreign programs nor earlier promises keep it out."""
    share = need.on_gpu
    return host.could_fit(need.on_host) and sum(room.could_fit(share) for room in gpus) >= need.n_gpus


def _is_out_of_patience(request: Request, now_s: float, ageing: Ageing) -> bool:
    return request.blocked_since_s is not None and now_s - request.blocked_since_s >= ageing.patience_s


def _promise(need: Need, host: Room, gpus: Iterable[Room], chosen: Sequence[Room] | None) -> None:
    """First the GPUs, always the first that are large enough, so that the choice does not wander.

    The host only once there are GPUs to start on: until then workers without a GPU go on. The other way round it could
    idle for hours, as long as a training on a GPU takes.
    """
    if chosen is not None:
        host.promise(need.on_host)
    else:
        large_enough = [room for room in gpus if room.could_fit(need.on_gpu)]
        chosen = sorted(large_enough, key=lambda room: -room.free_mib)[: need.n_gpus]
    for room in chosen:
        room.promise(need.on_gpu)
