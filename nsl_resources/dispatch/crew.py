"""The workers of one run of a local pool, from the first lease to the end of the last process."""

import selectors
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from nsl_resources.admission.host import TreeMemory
from nsl_resources.admission.line import HeldLease, WaitingLine
from nsl_resources.admission.needs import AdmissionError, Need
from nsl_resources.dispatch.callbacks import Callbacks
from nsl_resources.dispatch.followers import Followers
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, never_started
from nsl_resources.dispatch.messages import Log, Message
from nsl_resources.dispatch.process import WorkerProcess, in_fresh_process
from nsl_resources.dispatch.templates import Template, Templates

_TICK_S: Final = 0.1
_REPORT_EVERY_S: Final = 30.0


@dataclass(frozen=True)
class Held:
    """A job with a lease that waits for its template to have imported everything."""

    job: WorkerJob
    lease: HeldLease
    template: Template
    since_s: float

    @property
    def is_overdue(self) -> bool:
        """Whether importing alone has used up the job's time."""
        return self.job.timeout_s is not None and time.monotonic() - self.since_s > self.job.timeout_s


class Crew:
    """The jobs of one call of `run`.

    Those that wait for a lease, by need; those that wait for their template; those that run; results to hand out.

    Args:
        jobs: that can all be admitted.
        check: raises AdmissionError for a job that cannot.
        line: where it waits for leases.
        callbacks: of the caller.
        max_workers: that run at a time.
        grace_s: see `LocalPool`.
    """

    def __init__(
        self,
        jobs: Iterable[WorkerJob],
        check: Callable[[WorkerJob], None],
        line: WaitingLine,
        callbacks: Callbacks,
        *,
        max_workers: int,
        grace_s: float,
    ) -> None:
        self._check, self._line, self._callbacks = check, line, callbacks
        self._max_workers, self._grace_s = max_workers, grace_s
        self._waiting: dict[Need, dict[str, WorkerJob]] = {}
        todo = list(jobs)
        self._followers = Followers(todo)
        for job in todo:
            if job.after is None:
                self._enqueue(job)
        self._taken_in: list[WorkerResult] = []
        self._asked: dict[str, WorkerJob] = {}
        self._held: list[Held] = []
        self._running: dict[WorkerProcess, HeldLease] = {}
        self._ready: deque[WorkerResult] = deque()
        self._is_stopping = False
        self._templates = Templates()
        self._memory = TreeMemory()
        self._selector = selectors.DefaultSelector()
        self._next_tick_s = self._next_poll_s = 0.0
        self._next_report_s = time.monotonic() + _REPORT_EVERY_S

    def results(self) -> Generator[WorkerResult, None, None]:
        """Runs everything; stops everything if the caller stops iterating."""
        try:
            self._selector.register(self._line.doorbell, selectors.EVENT_READ, self._answer)
            while self._waiting or self._held or self._running or self._ready:
                if time.monotonic() >= self._next_tick_s:
                    self._look_after()
                self._admit()  # before the caller takes its time over a result
                while self._ready:
                    yield self._hand_out()
                self._follow_up()
                self._wait()
        finally:
            self._close()

    def _hand_out(self) -> WorkerResult:
        result = self._ready.popleft()
        job = None if self._is_stopping else self._callbacks.job_after(result)
        if job is None:
            self._taken_in.append(result)
        elif self._is_admissible(job):
            self._enqueue(job)
            self._next_poll_s = 0.0
        self._callbacks.tell_result(result)
        return result

    def _is_admissible(self, job: WorkerJob) -> bool:
        """Whether it can ever be admitted; otherwise it has its result."""
        try:
            self._check(job)
        except AdmissionError as error:
            self._ready.append(never_started(job.label, "refused", str(error)))
            return False
        return True

    def _follow_up(self) -> None:
        """The caller knows what ended: who waited for that joins, and what waits takes over the needs known now."""
        ended, self._taken_in = self._taken_in, []
        for result in ended:
            for job in self._followers.release(result.label):
                self._enqueue(job)
        if any(result.is_success for result in ended) and not self._is_stopping:
            self._renew()
        if ended:
            self._next_poll_s = 0.0

    def _renew(self) -> None:
        waiting = {label: job for jobs in self._waiting.values() for label, job in jobs.items()}
        for job in self._callbacks.renewed(list(waiting.values())):
            self._dequeue(waiting[job.label])
            is_asked = self._asked.pop(job.label, None) is not None
            if self._is_admissible(job):
                self._enqueue(job)
                if is_asked:
                    self._join_line(job)
            elif is_asked:
                self._line.withdraw(job.label)

    def _enqueue(self, job: WorkerJob) -> None:
        self._waiting.setdefault(job.need, {})[job.label] = job

    def _dequeue(self, job: WorkerJob) -> None:
        jobs = self._waiting[job.need]
        del jobs[job.label]
        if not jobs:
            del self._waiting[job.need]

    # ---- starting

    @property
    def _slots(self) -> int:
        return self._max_workers - len(self._running) - len(self._held)

    @property
    def _can_start(self) -> bool:
        return bool(self._waiting) and self._slots > 0

    def _admit(self) -> None:
        """Starts what the ledger grants; asks again at once after an end, else after a growing pause."""
        if not self._can_start or time.monotonic() < self._next_poll_s:
            return
        slots = self._slots
        self._ask(slots)
        granted = self._line.poll(slots)
        for label, lease in granted.items():
            self._start(self._asked.pop(label), lease)
        self._next_poll_s = time.monotonic() + self._line.pause_s

    def _ask(self, slots: int) -> None:
        """Jobs with the same need are interchangeable to the policy: the first few of each need stand in line."""
        for jobs in self._waiting.values():
            for label, job in islice(jobs.items(), slots):
                if label not in self._asked:
                    self._join_line(job)

    def _join_line(self, job: WorkerJob) -> None:
        self._line.ask(job.label, job.need, job.label, job.expected_s)
        self._asked[job.label] = job

    def _start(self, job: WorkerJob, lease: HeldLease) -> None:
        self._dequeue(job)
        template = self._templates.of(job)
        if template is not None and template.is_importing:
            self._hold(Held(job, lease, template, time.monotonic()))
        else:
            self._launch(job, lease, template)

    def _hold(self, held: Held) -> None:
        if all(other.template is not held.template for other in self._held):
            self._selector.register(held.template, selectors.EVENT_READ, partial(self._welcome, held.template))
        self._held.append(held)

    def _welcome(self, template: Template) -> None:
        """A template has imported everything, or will never have done so: what waited for it goes on."""
        self._selector.unregister(template)
        if template.is_importing:
            template.hear()
        held = [held for held in self._held if held.template is template]
        self._held = [held for held in self._held if held.template is not template]
        for one in held:
            self._launch(one.job, one.lease, template)

    def _launch(self, job: WorkerJob, lease: HeldLease, template: Template | None) -> None:
        failed = template and template.failed(job)
        if failed:
            self._ready.append(failed)
            self._give_back(lease)
            return
        launch = template.launch if template else in_fresh_process
        worker = WorkerProcess(job, self._grace_s, lease.environment, launch)
        self._running[worker] = lease
        self._selector.register(worker, selectors.EVENT_READ, partial(self._take_in, worker))
        lease.hand_to(worker.pid)  # from now on the lease lives as long as the processes that use the memory
        if template and (warning := template.warning()):
            self._callbacks.tell_message(job.label, Log("WARNING", warning))

    def _give_back(self, lease: HeldLease) -> None:
        lease.release()
        self._next_poll_s = 0.0

    # ---- watching

    def _wait(self) -> None:
        """Sleeps until a worker ends, a template is ready or something is due, and sees to it."""
        if not self._running and not self._held and not self._waiting:
            return
        pause_s = self._next_tick_s - time.monotonic()
        if self._can_start:
            pause_s = min(pause_s, self._next_poll_s - time.monotonic())
        for key, _ in self._selector.select(max(0.0, pause_s)):
            key.data()

    def _answer(self) -> None:
        """Somebody woke this line: there may be room."""
        self._line.doorbell.hush()
        self._next_poll_s = 0.0

    def _take_in(self, worker: WorkerProcess) -> None:
        self._selector.unregister(worker)
        messages = list(worker.messages())
        self._ready.append(self._finish(worker))
        self._tell(worker, messages)

    def _finish(self, worker: WorkerProcess) -> WorkerResult:
        result = worker.finish()
        self._give_back(self._running.pop(worker))
        return result

    def _look_after(self) -> None:
        """What is done every 0.1 s: messages, memory, timeouts, stopping, and a word if nothing can start."""
        self._next_tick_s = time.monotonic() + _TICK_S
        trees = self._memory.trees([worker.pid for worker in self._running])
        for worker in self._running:
            worker.observe(trees[worker.pid])
            self._tell(worker, worker.messages())
            if worker.is_overdue:
                worker.stop("timeout")
        for held in self._held:
            if held.is_overdue and held.template.is_importing:
                held.template.abandon(f"importing alone takes more than the {held.job.timeout_s:g} s of a worker")
        if self._callbacks.is_stop_wanted():
            self._cancel()
        elif not self._running and not self._held:
            self._report_waiting()

    def _tell(self, worker: WorkerProcess, messages: Iterable[Message]) -> None:
        for message in messages:
            self._callbacks.tell_message(worker.job.label, message)

    def _report_waiting(self) -> None:
        if self._asked and time.monotonic() >= self._next_report_s:
            label = next(iter(self._asked))
            self._callbacks.tell_message(label, Log("INFO", str(self._line.describe(label))))
            self._next_report_s = time.monotonic() + _REPORT_EVERY_S

    # ---- ending

    def _cancel(self) -> None:
        """Stops what runs; what waits is cancelled without having started."""
        self._is_stopping = True
        for worker in self._running:
            worker.stop("cancelled")
        self._cancel_held()
        self._ready += [never_started(label) for jobs in self._waiting.values() for label in jobs]
        self._ready += [never_started(job.label) for job in self._followers.release_all()]
        self._waiting.clear()

    def _cancel_held(self) -> None:
        for template in {held.template for held in self._held}:
            self._selector.unregister(template)
        while self._held:
            held = self._held.pop()
            self._ready.append(never_started(held.job.label))
            self._give_back(held.lease)

    def _close(self) -> None:
        """Nothing outlives the run: after an interruption of this very clean-up, without grace."""
        self._is_stopping = True
        try:
            for worker in self._running:
                worker.stop("cancelled")
            self._cancel_held()
            self._drain()
        except BaseException:
            for worker in self._running:
                worker.kill()
            self._drain()
            raise
        finally:
            self._templates.close()
            self._line.close()
            self._selector.close()
        while self._ready:
            self._hand_out()

    def _drain(self) -> None:
        for worker in list(self._running):
            self._ready.append(self._finish(worker))
