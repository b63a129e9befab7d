"""Who may start, by three rules: ours, one worker a GPU, and the way of research code."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from nsl_resources.admission.needs import Lease, Need, Reading, Request
from nsl_resources.admission.policy import Ageing, decide
from nsl_resources.admission.rooms import Room, node, room
from nsl_resources.admission.simulation.node import SimulatedNode

Grants = Mapping[int, tuple[str, ...]]
"""Request -> ids of its GPUs."""
_IN_LINE: Final = 3
"""Requests of one need that stand in line; the others are interchangeable and follow. See `dispatch.crew`."""


class Policy(Protocol):
    """Decides who starts."""

    poll_every_s: float | None
    """How often it looks; None: when something came or ended."""

    def join(self, request: Request) -> None:
        """A worker is asked for."""
        ...

    def renew(self, number: int, need: Need) -> None:
        """A request that still waits asks for something else from now on."""
        ...

    def admit(self, leases: Sequence[Lease], probe: SimulatedNode, now_s: float) -> Grants:
        """Who starts now, and on which GPUs; those that start have left the line."""
        ...


class LedgerPolicy:
    """Ours: `decide` over the requests in line, through the protocol of the probe, as a poll of the ledger does it."""

    poll_every_s: float | None = None

    def __init__(self, ageing: Ageing | None = None) -> None:
        self._ageing = ageing
        self._waiting: dict[Need, dict[int, Request]] = defaultdict(dict)

    def join(self, request: Request) -> None:
        """See `Policy.join`."""
        self._waiting[request.need][request.id] = request

    def renew(self, number: int, need: Need) -> None:
        """See `Policy.renew`. It keeps its age."""
        request = next(same[number] for same in self._waiting.values() if number in same)
        self._take(request)
        self.join(replace(request, need=need))

    def admit(self, leases: Sequence[Lease], probe: SimulatedNode, now_s: float) -> Grants:
        """See `Policy.admit`. Polls until nothing more is granted."""
        granted: dict[int, tuple[str, ...]] = {}
        held = list(leases)
        while new := self._poll(held, probe, now_s):
            granted |= {lease.pid: lease.gpus for lease in new}
            held += new
        return granted

    def _poll(self, leases: Sequence[Lease], probe: SimulatedNode, now_s: float) -> list[Lease]:
        holders = {lease.pid for lease in leases}
        readings = [Reading(d, probe.used_mib(d), probe.used_by_mib(d, holders)) for d in probe.devices()]
        in_line = {
            request.id: request
            for requests in self._waiting.values()
            for request, _ in zip(requests.values(), range(_IN_LINE), strict=False)
        }
        decision = decide(in_line.values(), leases, readings, now_s, self._ageing)
        for blocked in decision.blocked:
            request = in_line[blocked]
            if request.blocked_since_s is None:
                self._waiting[request.need][blocked] = replace(request, blocked_since_s=now_s)
        return [lease_of(self._take(in_line[number]), gpus) for number, gpus in decision.grants.items()]

    def _take(self, request: Request) -> Request:
        same = self._waiting[request.need]
        del same[request.id]
        if not same:
            del self._waiting[request.need]
        return request


class _Queue:
    """First come, first served; who does not fit is passed. The host is shared as in ours."""

    def __init__(self) -> None:
        self._waiting: dict[int, Request] = {}
        self._idle: list[Room] = []

    def join(self, request: Request) -> None:
        self._waiting[request.id] = request

    def renew(self, number: int, need: Need) -> None:
        self._waiting[number] = replace(self._waiting[number], need=need)

    def admit(self, leases: Sequence[Lease], probe: SimulatedNode, now_s: float) -> Grants:  # noqa: ARG002
        host = room(Reading(probe.host, 0), leases)
        granted: dict[int, tuple[str, ...]] = {}
        refused: set[Need] = set()
        self._look(leases, probe)
        for request in list(self._waiting.values()):
            need = request.need
            gpus = self._choose(need) if need not in refused and host.fits(need.on_host) else None
            if gpus is None:
                refused.add(need)
            else:
                host.take(need.on_host)
                granted[request.id] = gpus
                del self._waiting[request.id]
        return granted

    def _look(self, leases: Sequence[Lease], probe: SimulatedNode) -> None:
        raise NotImplementedError

    def _choose(self, need: Need) -> tuple[str, ...] | None:
        raise NotImplementedError


class OneWorkerAGpu(_Queue):
    """A GPU serves one worker at a time, however little that uses of it."""

    poll_every_s: float | None = None

    def _look(self, leases: Sequence[Lease], probe: SimulatedNode) -> None:
        left = node([Reading(d, probe.used_mib(d), {}) for d in probe.devices()], leases)
        taken = {gpu for lease in leases for gpu in lease.gpus}
        self._idle = [one for one in left.gpus if one.device.id not in taken]

    def _choose(self, need: Need) -> tuple[str, ...] | None:
        fitting = [one for one in self._idle if one.fits(need.on_gpu)][: need.n_gpus]
        return _booked(self._idle, fitting) if len(fitting) == need.n_gpus else None


class PollAndPick(_Queue):
    """As the research code does it: a look at the memory in use now and then, and a random GPU that has enough left.

    One start on a GPU at each look. What was started a moment ago uses nothing yet, and nobody reserves anything: a
    worker that runs out of memory is run again.
    """

    def __init__(self, seed: int, poll_every_s: float = 10.0) -> None:
        super().__init__()
        self.poll_every_s: float | None = poll_every_s
        self._chance = random.Random(seed)

    def _look(self, leases: Sequence[Lease], probe: SimulatedNode) -> None:  # noqa: ARG002
        self._idle = [room(Reading(gpu, probe.used_mib(gpu)), []) for gpu in probe.gpus]

    def _choose(self, need: Need) -> tuple[str, ...] | None:
        fitting = [one for one in self._idle if one.fits(need.on_gpu)]
        if len(fitting) < need.n_gpus:
            return None
        return _booked(self._idle, self._chance.sample(fitting, need.n_gpus))


def lease_of(request: Request, gpus: tuple[str, ...]) -> Lease:
    """The lease of a request; its holder is a process of the same number."""
    return Lease(str(request.id), request.need, gpus, request.id, "", "")


def _booked(idle: list[Room], chosen: Iterable[Room]) -> tuple[str, ...]:
    names = tuple(one.device.id for one in chosen)
    idle[:] = [one for one in idle if one.device.id not in names]
    return names
