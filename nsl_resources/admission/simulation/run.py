"""Time goes on: workers arrive, start, grow, run out of memory, crash and end; programs of others come and go.

Workers on one GPU slow each other once they would use more than all of its arithmetic (`is_shared_arithmetic`). What
is granted is checked each time: never more than the budgets, never more than is there.
"""

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from nsl_resources.admission.needs import GPU, Device, Lease, Need, Request
from nsl_resources.admission.pilots import Candidate, pilots
from nsl_resources.admission.policy import check
from nsl_resources.admission.prediction import Peak, after_out_of_memory, predicted_mib
from nsl_resources.admission.simulation.mix import Foreign, Mix, Worker, draw_foreign
from nsl_resources.admission.simulation.node import FOREIGN_PID, SimulatedNode
from nsl_resources.admission.simulation.policies import Grants, Policy, lease_of

_FIRST_USE: Final = 0.9  # of the peak, from the start of training on; the last tenth comes later
ROW: Final = 60
"""Workers of a model that stand in line at a time: two rows of its grid, which Dagster runs one after the other."""
_TAKES_IN_S: Final = 1.0
"""A caller takes in a result after what ended has made room for others: see `dispatch.crew`."""
Ending = Literal["done", "crash", "out of memory"]


class OverCommitError(AssertionError):
    """A policy granted what is not there."""


@dataclass
class Attempt:
    """One start of a worker. `held_mib`: the most that it used of each GPU; `worked_s`: what it did, alone."""

    worker: Worker
    lease: Lease
    started_s: float
    held_mib: int = 0
    worked_s: float = 0.0
    ended_s: float = 0.0
    ending: Ending | None = None
    is_first: bool = True
    speed: float = 0.0
    updated_s: float = 0.0
    version: int = 0
    milestones: list[tuple[float, str]] = field(default_factory=list)

    def advance(self, now_s: float) -> None:
        """Counts what it did until now."""
        self.worked_s += self.speed * (now_s - self.updated_s)
        self.updated_s = now_s


@dataclass(frozen=True)
class _Asked:
    """A worker in line. `is_grown`: it ran out of memory, and asks for more than is predicted."""

    worker: Worker
    need: Need
    is_first: bool
    is_grown: bool = False


@dataclass(frozen=True)
class _Piloted:
    """Workers of a model that wait until the worker `pilot` has ended."""

    pilot: str
    followers: Sequence[Worker]


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation.

    Attributes:
        attempts: all starts, in the order of their ends.
        makespan_s: when the last worker was done.
        started_s: worker -> when it first started.
        foreign_mib: for each GPU, (from when, how much programs of others held), in time.
        n_decisions: polls of the policy.
        leases_left: leases in the ledger after the last poll.
    """

    attempts: list[Attempt]
    makespan_s: float
    started_s: Mapping[int, float]
    foreign_mib: Mapping[str, list[tuple[float, int]]]
    n_decisions: int
    leases_left: tuple[Lease, ...]


class Simulation:
    """One run of a mix.

    Args:
        mix: the machine and what goes wrong.
        workers: what is to be run.
        policy: who may start.
        foreign_seed: decides the programs of others.
        is_learning: whether predictions come from recorded peaks, and a worker that ran out of memory asks for more.
        is_shared_arithmetic: whether workers on one GPU slow each other.
        is_checked: whether a grant beyond what is there ends the simulation.
    """

    def __init__(
        self, mix: Mix, workers: Iterable[Worker], policy: Policy, *, foreign_seed: int = 0, is_learning: bool = True,
        is_shared_arithmetic: bool = False, is_checked: bool = True,
    ) -> None:  # fmt: skip
        self.node = SimulatedNode(mix.node)
        self._policy, self._is_learning, self._is_checked = policy, is_learning, is_checked
        self._is_shared = is_shared_arithmetic
        self._ids = itertools.count(1)
        self._events: list[tuple[float, int, str, object]] = []
        self._order = itertools.count()
        self._asked: dict[int, _Asked] = {}
        self._piloted: dict[str, _Piloted] = {}
        self._backlog: dict[str, deque[Worker]] = defaultdict(deque)
        self._n_in_line: dict[str, int] = defaultdict(int)
        self._running: dict[int, Attempt] = {}
        self._leases: dict[int, Lease] = {}
        self._on_gpu: dict[str, dict[int, Attempt]] = {gpu.id: {} for gpu in self.node.gpus}
        self._peaks: dict[str, list[Peak]] = defaultdict(list)
        self._attempts: list[Attempt] = []
        self._started_s: dict[int, float] = {}
        self._foreign_mib: dict[str, list[tuple[float, int]]] = {gpu.id: [(0.0, 0)] for gpu in self.node.gpus}
        self._n_left = self._n_decisions = 0
        for worker in workers:
            self._n_left += 1
            self._plan(worker.arrives_s, "arrives", worker)
        for programs in draw_foreign(mix, foreign_seed):
            self._plan_foreign(programs)

    def run(self) -> Outcome:
        """Until the last worker is done.

        Raises:
            OverCommitError: the policy granted what is not there.
            AdmissionError: a worker can never run on this machine.
        """
        now_s = 0.0
        while self._n_left:
            now_s = self._events[0][0]
            is_news = False
            while self._events and self._events[0][0] <= now_s:
                is_news |= self._happens(*heapq.heappop(self._events)[2:], now_s)
            if self._line_up(now_s) or is_news:
                self._admit(now_s)
        self._reap()
        left = tuple(self._leases.values())
        return Outcome(self._attempts, now_s, self._started_s, self._foreign_mib, self._n_decisions, left)

    # ---- events

    def _plan(self, at_s: float, kind: str, what: object) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), kind, what))

    def _happens(self, kind: str, what: object, now_s: float) -> bool:
        """Whether somebody may start now who could not before."""
        if isinstance(what, Worker):
            return self._follow_up(what, now_s) if kind == "known" else self._arrives(what)
        if kind == "milestone":
            assert isinstance(what, tuple)
            attempt, version = what
            return self._milestone(attempt, version, now_s)
        if isinstance(what, Foreign):
            return self._foreign_changes(what, now_s, is_here=kind == "comes")
        if isinstance(what, Iterator):
            self._plan_foreign(what)
        return kind == "poll"

    # ---- asking

    def _predicted(self, worker: Worker) -> Need:
        mib = worker.formula_mib
        if self._is_learning and worker.n_gpus:
            largest_mib = max(gpu.budget_mib for gpu in self.node.gpus)
            mib = min(predicted_mib(mib, self._peaks[worker.model], GPU), largest_mib)
        return Need(worker.memory_mib, worker.cores, worker.n_gpus, mib)

    def _line_up(self, now_s: float) -> bool:
        """Puts the next workers of each model into line, with what is known by now. Whether there were any."""
        n_before = len(self._asked)
        for model, backlog in self._backlog.items():
            n_next = min(ROW - self._n_in_line[model], len(backlog))
            if model not in self._piloted and n_next > 0:
                self._ask_first([backlog.popleft() for _ in range(n_next)], now_s)
        return len(self._asked) > n_before

    def _ask_first(self, workers: Sequence[Worker], now_s: float) -> None:
        """Those that wait for a pilot follow later."""
        waits_for = pilots(
            Candidate(str(worker.number), worker.model, worker.n_cells)
            for worker in workers
            if self._is_learning and worker.n_gpus and not self._peaks[worker.model]
        )
        for worker in workers:
            if str(worker.number) not in waits_for:
                self._ask(_Asked(worker, self._predicted(worker), is_first=True), now_s)
        for pilot in set(waits_for.values()):
            followers = [worker for worker in workers if waits_for.get(str(worker.number)) == pilot]
            self._piloted[followers[0].model] = _Piloted(pilot, followers)

    def _arrives(self, worker: Worker) -> bool:
        self._backlog[worker.model].append(worker)
        return False

    def _follow_up(self, ended: Worker, now_s: float) -> bool:
        """It is known that a worker is done or failed: others follow it, and what waits takes over what is known."""
        self._release_followers(ended, now_s)
        if self._is_learning:
            self._renew(ended.model)
        return True

    def _release_followers(self, pilot: Worker, now_s: float) -> None:
        piloted = self._piloted.get(pilot.model)
        if piloted is not None and piloted.pilot == str(pilot.number):
            for worker in self._piloted.pop(pilot.model).followers:
                self._ask(_Asked(worker, self._predicted(worker), is_first=True), now_s)

    def _renew(self, model: str) -> None:
        """What waits takes over what is known now, except who asks for more because it ran out of memory."""
        needs: dict[int, Need] = {}
        for number, asked in self._asked.items():
            worker = asked.worker
            if worker.model == model and not asked.is_grown:
                if worker.n_cells not in needs:
                    needs[worker.n_cells] = self._predicted(worker)
                self._ask_anew(number, asked, needs[worker.n_cells])

    def _ask_anew(self, number: int, asked: _Asked, need: Need) -> None:
        if need != asked.need:
            self._asked[number] = replace(asked, need=need)
            self._policy.renew(number, need)

    def _ask(self, asked: _Asked, now_s: float) -> None:
        check(asked.need, self.node.devices(), str(asked.worker.number))
        number = next(self._ids)
        self._asked[number] = asked
        self._n_in_line[asked.worker.model] += 1
        self._policy.join(
            Request(number, "waiter", asked.need, now_s, slots=1_000_000, expected_s=asked.worker.expected_s)
        )

    def _admit(self, now_s: float) -> None:
        self._n_decisions += 1
        self._reap()
        grants = self._policy.admit(list(self._leases.values()), self.node, now_s)
        if self._is_checked and grants:
            self._check_grants(grants)
        for number, gpus in grants.items():
            self._start(number, gpus, now_s)
        if self._line_up(now_s):
            self._plan(now_s, "poll", None)
        if self._policy.poll_every_s is not None and self._asked:
            self._poll_again(now_s + self._policy.poll_every_s)

    def _reap(self) -> None:
        """Each poll begins with it: the leases of processes that are dead."""
        self._leases = {pid: lease for pid, lease in self._leases.items() if pid in self._running}

    def _poll_again(self, at_s: float) -> None:
        if not any(kind == "poll" for _, _, kind, _ in self._events):
            self._plan(at_s, "poll", None)

    def _check_grants(self, grants: Grants) -> None:
        """An independent sum: reserved or used, whichever is more, and programs of others."""
        new = [(number, self._asked[number].need, gpus) for number, gpus in grants.items()]
        needs = [attempt.lease.need for attempt in self._running.values()] + [need for _, need, _ in new]
        host = self.node.host
        if sum(n.memory_mib for n in needs) > host.budget_mib or sum(n.cores for n in needs) > host.cores:
            raise OverCommitError("the host was given away twice")
        for gpu in self.node.gpus:
            granted_mib = sum(need.gpu_memory_mib for _, need, gpus in new if gpu.id in gpus)
            if granted_mib and granted_mib + self._kept_mib(gpu) > gpu.total_mib - gpu.headroom_mib:
                raise OverCommitError(f"{gpu.id} was given away twice")
            if any(len(set(gpus)) != need.n_gpus for _, need, gpus in new):
                raise OverCommitError("a worker did not get the GPUs that it asked for")

    def _kept_mib(self, gpu: Device) -> int:
        on_gpu = self._on_gpu[gpu.id]
        used = self.node.used_by_mib(gpu, on_gpu)
        reserved = sum(max(used[pid], attempt.lease.need.gpu_memory_mib) for pid, attempt in on_gpu.items())
        return reserved + self.node.used_by_mib(gpu, [FOREIGN_PID])[FOREIGN_PID]

    # ---- working

    def _start(self, number: int, gpus: tuple[str, ...], now_s: float) -> None:
        asked = self._asked.pop(number)
        worker = asked.worker
        self._n_in_line[worker.model] -= 1
        lease = lease_of(Request(number, "waiter", asked.need, now_s), gpus)
        attempt = Attempt(worker, lease, now_s, is_first=asked.is_first)
        attempt.updated_s = now_s
        attempt.milestones = sorted(_milestones(worker, is_first=asked.is_first), reverse=True)
        self._running[number] = attempt
        self._leases[number] = attempt.lease
        self._started_s.setdefault(worker.number, now_s)
        for gpu in gpus:
            self._on_gpu[gpu][number] = attempt
        self._change_speeds(gpus, now_s)
        if not gpus:
            self._set_speed(attempt, 1.0, now_s)

    def _change_speeds(self, gpus: Iterable[str], now_s: float) -> None:
        for attempt in {id(a): a for gpu in gpus for a in self._on_gpu[gpu].values()}.values():
            self._set_speed(attempt, min(self._speed_on(gpu) for gpu in attempt.lease.gpus), now_s)

    def _speed_on(self, gpu: str) -> float:
        if not self._is_shared:
            return 1.0
        return 1 / max(1.0, sum(attempt.worker.gpu_share for attempt in self._on_gpu[gpu].values()))

    def _set_speed(self, attempt: Attempt, speed: float, now_s: float) -> None:
        if speed != attempt.speed:
            attempt.advance(now_s)
            attempt.speed = speed
            self._plan_milestone(attempt, now_s)

    def _plan_milestone(self, attempt: Attempt, now_s: float) -> None:
        attempt.version += 1
        left_s = max(attempt.milestones[-1][0] - attempt.worked_s, 0.0)
        self._plan(now_s + left_s / attempt.speed, "milestone", (attempt, attempt.version))

    def _milestone(self, attempt: Attempt, version: int, now_s: float) -> bool:
        if version != attempt.version:
            return False
        attempt.advance(now_s)
        what = attempt.milestones.pop()[1]
        if what in ("done", "crash"):
            return self._end(attempt, "done" if what == "done" else "crash", now_s)
        share = _FIRST_USE if what == "begins" else 1.0
        if not self._grow(attempt, int(share * attempt.worker.peak_mib)):
            return self._end(attempt, "out of memory", now_s)
        self._plan_milestone(attempt, now_s)
        return False

    def _grow(self, attempt: Attempt, mib: int) -> bool:
        """False if a GPU has not that much left; what there was has been used by then."""
        pid = int(attempt.lease.id)
        gpus = [gpu for gpu in self.node.gpus if gpu.id in attempt.lease.gpus]
        if all(self.node.set_use(pid, gpu, mib) for gpu in gpus):
            attempt.held_mib = mib
            return True
        attempt.held_mib = max(attempt.held_mib, *(min(mib, self._within_reach(pid, gpu)) for gpu in gpus))
        return False

    def _within_reach(self, pid: int, gpu: Device) -> int:
        return self.node.free_mib(gpu) + self.node.used_by_mib(gpu, [pid])[pid]

    def _end(self, attempt: Attempt, ending: Ending, now_s: float) -> bool:
        attempt.ending, attempt.ended_s = ending, now_s
        attempt.version += 1
        number, worker = int(attempt.lease.id), attempt.worker
        self._attempts.append(attempt)
        del self._running[number]
        for gpu in attempt.lease.gpus:
            del self._on_gpu[gpu][number]
        if ending != "crash":
            del self._leases[number]
        self.node.end(number)
        self._change_speeds(attempt.lease.gpus, now_s)
        if ending == "done":
            self._n_left -= 1
            if worker.n_gpus:
                self._peaks[worker.model].append(Peak(worker.formula_mib, worker.peak_mib))
                self._plan(now_s + _TAKES_IN_S, "known", worker)
        elif ending == "crash":
            self._plan(now_s + _TAKES_IN_S, "known", worker)
            self._ask(_Asked(worker, attempt.lease.need, is_first=False), now_s)
        else:
            self._ask(_Asked(worker, self._grown(attempt), attempt.is_first, is_grown=True), now_s)
        return True

    def _grown(self, attempt: Attempt) -> Need:
        if not self._is_learning:
            return attempt.lease.need
        grown = after_out_of_memory(attempt.lease.need, GPU, attempt.held_mib, self.node.gpus)
        return grown or attempt.lease.need

    # ---- programs of others

    def _plan_foreign(self, programs: Iterator[Foreign]) -> None:
        program = next(programs)
        self._plan(program.starts_s, "comes", program)
        self._plan(program.ends_s, "goes", program)
        self._plan(program.ends_s, "next", programs)

    def _foreign_changes(self, program: Foreign, now_s: float, *, is_here: bool) -> bool:
        gpu = self.node.gpus[program.gpu]
        mib = min(program.memory_mib, self.node.free_mib(gpu)) if is_here else 0
        self.node.set_use(FOREIGN_PID, gpu, mib)
        self._foreign_mib[gpu.id].append((now_s, mib))
        return not is_here


def _milestones(worker: Worker, *, is_first: bool) -> Iterator[tuple[float, str]]:
    """(seconds of work, what happens then)."""
    yield worker.seconds, "done"
    if is_first and worker.crashes_at is not None:
        yield worker.crashes_at * worker.seconds, "crash"
    if worker.n_gpus:
        yield worker.starts_up_s, "begins"
        yield max(worker.starts_up_s, worker.grows_at * worker.seconds), "grows"
