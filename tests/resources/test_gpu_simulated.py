"""The admission policy in simulated time: eight GPUs of 80 GiB under mixed loads that hypothesis invents."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsl_resources.gpu import Ageing, Decision, Device, Lease, Need, Reading, Request, decide

HOST = Device("host", "host", total_mib=512_000, headroom_mib=12_000, budget_mib=480_000, cores=32)
GPUS = tuple(Device("gpu", f"GPU-{i}", 81_920, 1_920, 80_000, 0) for i in range(8))
DEVICES = (HOST, *GPUS)
POLL_S = 5


@dataclass(frozen=True)
class Job:
    need: Need
    arrives_s: int
    runs_s: int
    use: float = 1.0  # of what it reserved


@dataclass
class Simulation:
    """Time, in whole seconds, goes from event to event: arrivals, ends, polls while somebody waits."""

    jobs: Mapping[int, Job]
    foreign_mib: Mapping[str, int] = field(default_factory=dict)
    can_attribute: bool = True
    waiting: dict[int, Request] = field(default_factory=dict)
    running: dict[int, tuple[int, Lease]] = field(default_factory=dict)
    started_s: dict[int, int] = field(default_factory=dict)

    def run(self, end_s: int) -> dict[int, int]:
        """When each job that started by then did; every decision is checked on the way."""
        moments = {job.arrives_s for job in self.jobs.values()}
        now_s = 0
        while now_s < end_s and len(self.started_s) < len(self.jobs):
            self._step(now_s)
            ends = (end for end, _ in self.running.values())
            now_s = min([m for m in (*moments, *ends) if m > now_s] + [now_s + POLL_S])
        return self.started_s

    def _step(self, now_s: int) -> None:
        for number, job in self.jobs.items():
            if job.arrives_s <= now_s and number not in self.started_s and number not in self.waiting:
                self.waiting[number] = Request(number, f"waiter {number}", job.need, float(job.arrives_s))
        self.running = {number: held for number, held in self.running.items() if held[0] > now_s}
        leases = [lease for _, lease in self.running.values()]
        decision = decide(self.waiting.values(), leases, self._readings(leases), float(now_s))
        self._start(decision, now_s)
        for number in decision.blocked:
            if self.waiting[number].blocked_since_s is None:
                self.waiting[number] = replace(self.waiting[number], blocked_since_s=float(now_s))
        self._check()

    def _start(self, decision: Decision, now_s: int) -> None:
        for number, gpus in decision.grants.items():
            job = self.jobs[number]
            assert self.waiting.pop(number).need == job.need
            assert len(set(gpus)) == len(gpus) == job.need.n_gpus
            assert set(gpus) <= {gpu.id for gpu in GPUS}
            lease = Lease(str(number), job.need, gpus, number, "start", "label")
            self.running[number] = (now_s + job.runs_s, lease)
            self.started_s[number] = now_s

    def _readings(self, leases: Iterable[Lease]) -> list[Reading]:
        readings = []
        for device in DEVICES:
            shares = {lease.pid: share for lease in leases if (share := lease.share_of(device)) is not None}
            used = {pid: int(share.memory_mib * self.jobs[pid].use) for pid, share in shares.items()}
            total_mib = sum(used.values()) + self.foreign_mib.get(device.id, 0)
            readings.append(Reading(device, total_mib, used if self.can_attribute else None))
        return readings

    def _check(self) -> None:
        """Over-commits nothing: an independent sum over what runs."""
        leases = [lease for _, lease in self.running.values()]
        assert sum(lease.need.memory_mib for lease in leases) <= HOST.budget_mib
        assert sum(lease.need.cores for lease in leases) <= HOST.cores
        for gpu in GPUS:
            on_gpu_mib = sum(lease.need.gpu_memory_mib for lease in leases if gpu.id in lease.gpus)
            assert on_gpu_mib <= gpu.budget_mib
            if self.can_attribute:
                assert on_gpu_mib + self.foreign_mib.get(gpu.id, 0) <= gpu.total_mib - gpu.headroom_mib


cpu_needs = st.builds(Need, st.integers(0, 480_000), st.integers(0, 32))
gpu_needs = st.builds(Need, st.integers(0, 480_000), st.integers(0, 32), st.integers(1, 8), st.integers(1, 60_000))
small_needs = st.builds(Need, st.integers(100, 40_000), st.integers(1, 4), st.integers(1, 2), st.integers(500, 40_000))
jobs = st.builds(
    Job,
    need=st.one_of(cpu_needs, gpu_needs, small_needs),
    arrives_s=st.integers(0, 300),
    runs_s=st.integers(1, 400),
    use=st.floats(0.0, 1.0),
)
foreign = st.dictionaries(st.sampled_from([gpu.id for gpu in GPUS]), st.integers(0, 20_000), max_size=8)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(jobs, min_size=1, max_size=25), foreign, st.booleans())
def test_every_job_starts_and_no_device_is_ever_given_twice(
    todo: list[Job], foreign_mib: dict[str, int], can_attribute: bool
) -> None:
    """One after the other they would all have ended by the sum of their times, so nobody starts much later than that.

    What is above it: patience of each head, and that jobs run on while a device is drained.
    """
    numbered = dict(enumerate(todo))
    latest_s = 300 + sum(job.runs_s + 60 + POLL_S for job in todo)
    started_s = Simulation(numbered, foreign_mib, can_attribute).run(latest_s + 1)
    assert started_s.keys() == numbered.keys()


def stream(chance: random.Random, first: int, end_s: int) -> dict[int, Job]:
    """Small jobs without end, with a GPU and without: more than the node can run."""
    made: dict[int, Job] = {}
    for now_s in range(end_s):
        on_gpu = Need(2_000, 1, 1, chance.randint(10_000, 40_000))
        made[first + 2 * now_s] = Job(on_gpu, now_s, chance.randint(20, 60))
        on_host = Need(chance.randint(5_000, 60_000), chance.randint(1, 4))
        made[first + 2 * now_s + 1] = Job(on_host, now_s, chance.randint(5, 20))
    return made


def first_start_s(need: Need) -> int | None:
    crowd = stream(random.Random(1), first=1, end_s=300)
    simulation = Simulation({0: Job(need, 50, 10), **crowd})
    return simulation.run(300).get(0)


PATIENCE_S = Ageing().patience_s


def test_a_worker_on_all_gpus_is_not_starved_by_small_ones() -> None:
    """Patience, then the longest job on a GPU, then the longest on the host."""
    start_s = first_start_s(Need(20_000, 8, 8, 70_000))
    assert start_s is not None
    assert 50 + PATIENCE_S <= start_s <= 50 + PATIENCE_S + 60 + 20 + 2 * POLL_S


def test_a_worker_on_one_gpu_and_the_whole_host_is_not_starved() -> None:
    start_s = first_start_s(Need(470_000, 32, 1, 80_000))
    assert start_s is not None
    assert 50 + PATIENCE_S <= start_s <= 50 + PATIENCE_S + 60 + 20 + 2 * POLL_S


def test_a_worker_on_the_whole_host_is_not_starved_by_workers_with_gpus() -> None:
    start_s = first_start_s(Need(480_000, 32))
    assert start_s is not None
    assert 50 + PATIENCE_S <= start_s <= 50 + PATIENCE_S + 60 + 2 * POLL_S


def test_while_gpus_are_drained_the_host_goes_on() -> None:
    """In the minute in which eight GPUs run empty, workers without a GPU start as before."""
    crowd = stream(random.Random(2), first=1, end_s=200)
    all_gpus = Simulation({0: Job(Need(1_000, 1, 8, 80_000), 20, 10), **crowd})
    started_s = all_gpus.run(200)
    drained = range(20 + int(PATIENCE_S) + POLL_S, started_s[0])
    assert len(drained) > 10
    on_host = [n for n, at_s in started_s.items() if at_s in drained and crowd[n].need.n_gpus == 0]
    on_gpu = [n for n, at_s in started_s.items() if at_s in drained and crowd[n].need.n_gpus == 1]
    assert len(on_host) > len(drained) / 4
    assert on_gpu == []
