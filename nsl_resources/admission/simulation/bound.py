"""The time below which no schedule of the same work ends that keeps room for what workers will use.

The largest of these, each over everything that arrives from a moment on (so that waiting for work counts):
- memory of GPUs: each attempt takes its peak of a GPU as long as it runs alone; there is what programs of others and
  the headroom leave;
- arithmetic of GPUs, where workers share it: each attempt takes its share of a GPU;
- memory of the host, cores of the host, likewise;
- the longest chain: the arrival of a worker, and its attempts one after the other.

Repeated work (attempts that crashed or ran out of memory) is work like any other. A failed attempt counts for what it
did until then. No schedule can know when a worker will need its peak, so the peak counts from its start; what a lease
reserves beyond the peak, and every idle moment, is above the bound.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from nsl_resources.admission.nvml import gpu_headroom_mib
from nsl_resources.admission.simulation.mix import NodeSize
from nsl_resources.admission.simulation.run import Attempt, Outcome


@dataclass(frozen=True)
class Bounds:
    """Seconds from the start until the end of everything, at least."""

    gpu_memory_s: float
    gpu_arithmetic_s: float
    host_memory_s: float
    cores_s: float
    chain_s: float

    @property
    def largest_s(self) -> float:
        """The lower bound."""
        return max(map(float, asdict(self).values()))


def lower_bounds(node: NodeSize, outcome: Outcome, *, is_shared_arithmetic: bool = False) -> Bounds:
    """The bounds of what a simulation did, see the module."""
    attempts, free = outcome.attempts, _Capacity(node, outcome)
    return Bounds(
        gpu_memory_s=_area_s(attempts, lambda a: a.worker.n_gpus * _peak_mib(a), free.end_s),
        gpu_arithmetic_s=_area_s(attempts, _gpu_share, _constant(node.n_gpus)) if is_shared_arithmetic else 0.0,
        host_memory_s=_area_s(attempts, lambda a: a.worker.memory_mib, _constant(node.memory_mib)),
        cores_s=_area_s(attempts, lambda a: a.worker.cores, _constant(node.cores)),
        chain_s=_longest_chain_s(attempts),
    )


def _constant(capacity: float) -> Callable[[float, float], float]:
    return lambda at_s, area: at_s + area / capacity


def _gpu_share(attempt: Attempt) -> float:
    return attempt.worker.n_gpus * attempt.worker.gpu_share


def _peak_mib(attempt: Attempt) -> float:
    return attempt.worker.peak_mib if attempt.ending == "done" else attempt.held_mib


def _area_s(
    attempts: Iterable[Attempt], amount: Callable[[Attempt], float], end_s: Callable[[float, float], float]
) -> float:
    """The latest of: from each arrival on, the time to do everything that arrives then or later."""
    areas: dict[float, float] = defaultdict(float)
    for attempt in attempts:
        areas[attempt.worker.arrives_s] += amount(attempt) * attempt.worked_s
    latest_s = area = 0.0
    for arrives_s in sorted(areas, reverse=True):
        area += areas[arrives_s]
        latest_s = max(latest_s, end_s(arrives_s, area))
    return latest_s


def _longest_chain_s(attempts: Iterable[Attempt]) -> float:
    chains: dict[int, float] = {}
    for attempt in attempts:
        worker = attempt.worker
        chains[worker.number] = chains.get(worker.number, worker.arrives_s) + attempt.worked_s
    return max(chains.values(), default=0.0)


class _Capacity:
    """Memory of all GPUs that can be used, as a function of time: what programs of others leave."""

    def __init__(self, node: NodeSize, outcome: Outcome) -> None:
        usable_mib = node.gpu_memory_mib - gpu_headroom_mib(node.gpu_memory_mib)
        changes: dict[float, float] = defaultdict(float)
        for steps in outcome.foreign_mib.values():
            before_mib = 0
            for at_s, mib in steps:
                changes[at_s] += before_mib - mib
                before_mib = mib
        self._times_s = sorted(changes)
        self._usable_mib: list[float] = []
        total_mib = float(usable_mib * node.n_gpus)
        for at_s in self._times_s:
            total_mib += changes[at_s]
            self._usable_mib.append(total_mib)

    def end_s(self, from_s: float, area: float) -> float:
        """When so much (MiB s) can have been used from a moment on."""
        ends_s: Sequence[float] = [*self._times_s[1:], float("inf")]
        for begins_s, until_s, mib in zip(self._times_s, ends_s, self._usable_mib, strict=True):
            at_s = max(begins_s, from_s)
            if until_s <= at_s:
                continue
            if area <= mib * (until_s - at_s):
                return at_s + area / mib
            area -= mib * (until_s - at_s)
        return from_s
