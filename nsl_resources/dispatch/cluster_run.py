"""One run on a cluster: the loop that hands out results, whichever engine chooses the nodes."""

from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from nsl_resources.admission.needs import AdmissionError
from nsl_resources.dispatch.callbacks import Callbacks
from nsl_resources.dispatch.followers import Followers
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, never_started
from nsl_resources.dispatch.messages import Log

TRIES: Final = 3
"""How often a job is started whose node goes away."""


@dataclass(frozen=True)
class Lost:
    """A job whose node, or the process that ran it there, went away."""

    label: str
    why: str


End = WorkerResult | Lost


class Engine(Protocol):
    """What a cluster's engine does in one run. It tells the messages of workers by itself."""

    def open(self) -> None:
        """Gets ready, before anything is submitted."""
        ...

    def check(self, job: WorkerJob) -> None:
        """AdmissionError for a job that no node can ever hold."""
        ...

    @property
    def n_free(self) -> int:
        """How many more jobs it takes now."""
        ...

    def submit(self, jobs: Sequence[WorkerJob]) -> None:
        """Takes jobs, none of which it has."""
        ...

    def listen(self) -> Iterable[End]:
        """Waits a moment if it has jobs; how those ended that have, after all that they said was told."""
        ...

    def stop(self) -> Iterable[End]:
        """Ends all jobs, politely at first, and waits for that; how they ended."""
        ...

    def kill(self) -> None:
        """Ends all jobs at once, where `stop` was interrupted."""
        ...

    def close(self) -> None:
        """Removes what it made for the run."""
        ...


class ClusterRun:
    """The jobs of one call of `run`: those that wait, those that the engine has, results to hand out."""

    def __init__(self, jobs: Iterable[WorkerJob], engine: Engine, callbacks: Callbacks) -> None:
        self._engine, self._callbacks = engine, callbacks
        todo = list(jobs)
        self._followers = Followers(todo)
        self._waiting = deque(job for job in todo if job.after is None)
        self._taken_in: list[WorkerResult] = []
        self._submitted: dict[str, WorkerJob] = {}
        self._n_lost: Counter[str] = Counter()
        self._ready: deque[WorkerResult] = deque()
        self._is_stopping = False

    def results(self) -> Generator[WorkerResult, None, None]:
        """Runs everything; stops everything if the caller stops iterating."""
        try:
            self._engine.open()
            while self._waiting or self._submitted or self._ready:
                self._submit()
                while self._ready:
                    yield self._hand_out()
                self._follow_up()
                for end in self._engine.listen():
                    self._take_in(end)
                if self._callbacks.is_stop_wanted():
                    self._stop()
        finally:
            self._close()

    def _submit(self) -> None:
        jobs = [self._waiting.popleft() for _ in range(min(self._engine.n_free, len(self._waiting)))]
        if jobs:
            self._submitted |= {job.label: job for job in jobs}
            self._engine.submit(jobs)

    def _hand_out(self) -> WorkerResult:
        result = self._ready.popleft()
        job = None if self._is_stopping else self._callbacks.job_after(result)
        if job is None:
            self._taken_in.append(result)
        else:
            self._enqueue(job)
        self._callbacks.tell_result(result)
        return result

    def _follow_up(self) -> None:
        """The caller knows what ended: who waited for that joins, and what waits takes over the needs known now."""
        ended, self._taken_in = self._taken_in, []
        for result in ended:
            self._waiting += self._followers.release(result.label)
        if any(result.is_success for result in ended) and not self._is_stopping:
            self._renew()

    def _renew(self) -> None:
        waiting = list(self._waiting)
        renewed = {job.label: job for job in self._callbacks.renewed(waiting)}
        self._waiting.clear()
        for job in waiting:
            if job.label in renewed:
                self._enqueue(renewed[job.label])
            else:
                self._waiting.append(job)

    def _enqueue(self, job: WorkerJob) -> None:
        try:
            self._engine.check(job)
        except AdmissionError as error:
            self._ready.append(never_started(job.label, "refused", str(error)))
        else:
            self._waiting.append(job)

    def _take_in(self, end: End) -> None:
        job = self._submitted.pop(end.label)
        if isinstance(end, WorkerResult):
            self._ready.append(end)
        elif self._is_stopping:
            self._ready.append(never_started(end.label))
        else:
            self._lose(job, end.why)

    def _lose(self, job: WorkerJob, why: str) -> None:
        self._n_lost[job.label] += 1
        n_lost = self._n_lost[job.label]
        if n_lost == TRIES:
            self._ready.append(never_started(job.label, "lost", f"lost {n_lost} times, the last time: {why}"))
        else:
            self._callbacks.tell_message(job.label, Log("WARNING", f"lost, started again: {why}"))
            self._waiting.append(job)

    def _stop(self) -> None:
        """Ends what runs, and waits for it; what waits is cancelled without having started."""
        self._is_stopping = True
        self._ready += [never_started(job.label) for job in self._waiting]
        self._waiting.clear()
        self._ready += [never_started(job.label) for job in self._followers.release_all()]
        if self._submitted:
            for end in self._engine.stop():
                self._take_in(end)
        self._ready += [never_started(label) for label in self._submitted]
        self._submitted.clear()

    def _close(self) -> None:
        """Nothing outlives the run: after an interruption of this very clean-up, without grace."""
        try:
            self._stop()
        except BaseException:
            self._engine.kill()
            raise
        finally:
            self._engine.close()
        while self._ready:
            self._callbacks.tell_result(self._ready.popleft())
