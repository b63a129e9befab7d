"""Workers as array tasks of Slurm. Dispatcher and tasks talk through files of the storage folder (see `exchange`)."""

import shlex
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Final

from nsl_resources.admission.needs import Need
from nsl_resources.dispatch import slurm_commands
from nsl_resources.dispatch.crew import Callbacks
from nsl_resources.dispatch.exchange import Exchange, Order, read_result
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, never_started, require_unique_labels
from nsl_resources.dispatch.messages import Log, Message, MessageFile
from nsl_resources.dispatch.node import RUNNER_MIB, NodeBudget
from nsl_resources.dispatch.outcome import Ending, reason
from nsl_resources.dispatch.slurm_commands import Account, SlurmError, TaskId
from nsl_resources.dispatch.storage_probe import not_shared

TRIES: Final = 3
"""How often a job is submitted whose node goes away."""
TASKS_AN_ARRAY: Final = 1_000
"""Slurm's own limit (MaxArraySize) is 1,001 unless a site raises it."""
NOT_SHARED_EXIT_CODE: Final = 66
_LOST_STATES: Final = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"})
_UNFINISHED_STATES: Final = frozenset({"", "PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "RESIZING"})
_REASONS: Final = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "CANCELLED": "cancelled",
}
_TAIL_BYTES: Final = 4_000
_END_S: Final = 300.0


@dataclass(frozen=True)
class Pace:
    """How patient the dispatcher is, in seconds.

    Attributes:
        look_s: between two looks at the files of running tasks.
        ask_s: between two questions to `squeue`.
        settle_s: what a result file or the accounting may need to be seen after a task has left the queue.
        silence_s: after so long without a sign of the dispatcher its tasks end by themselves.
    """

    look_s: float = 1.0
    ask_s: float = 10.0
    settle_s: float = 60.0
    silence_s: float = 600.0


class Slurm:
    """Runs jobs as array tasks of Slurm; see `Dispatcher`.

    Jobs with the same needs share an array. A job whose node is lost is submitted again, three times at most. Runs
    whose dispatcher was killed are cancelled by the next run, and end by themselves after ten minutes.

    Args:
        storage: the storage folder, which all nodes must see under the same path.
        options: further options of `sbatch`, such as `--partition=gpu`.
        budget: what all workers of one node together may use.
        max_workers: the most tasks of one array that run at a time.
        pace: how patient it is.

    Raises:
        InputError: Slurm's commands are not installed.
    """

    def __init__(
        self,
        storage: Path,
        options: Sequence[str] = (),
        budget: NodeBudget | None = None,
        *,
        max_workers: int | None = None,
        pace: Pace | None = None,
    ) -> None:
        slurm_commands.require_commands()
        self._storage, self._options, self._budget = storage, tuple(options), budget or NodeBudget()
        self._max_workers, self._pace = max_workers, pace or Pace()

    def run(
        self,
        jobs: Iterable[WorkerJob],
        on_result: Callable[[WorkerResult], None] | None = None,
        on_message: Callable[[str, Message], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Generator[WorkerResult, None, None]:
        """See `Dispatcher.run`. Looks at files every second and asks Slurm every ten.

        Raises:
            InputError: two jobs have the same label.
            SlurmError: Slurm refuses the jobs (too large for every node, an option that it does not know).
            StorageError: a node does not see the storage folder: none of its tasks has begun, and all are cancelled.
        """
        todo = list(jobs)
        require_unique_labels(todo)
        callbacks = Callbacks(on_result, on_message, should_stop)
        return self._results(todo, callbacks)

    def _results(self, todo: list[WorkerJob], callbacks: Callbacks) -> Generator[WorkerResult, None, None]:
        if not todo:
            return
        exchange = Exchange.create(self._storage, "slurm", self._pace.silence_s)
        for other in exchange.left_behind():
            slurm_commands.cancel(other.name)
            other.remove()
        submit = _Submission(exchange, self._options, self._budget, self._max_workers, self._pace.silence_s)
        yield from _Run(todo, submit, self._storage, self._pace, callbacks).results()


@dataclass(frozen=True)
class Task:
    """A job that Slurm has."""

    job: WorkerJob
    folder: Path
    messages: MessageFile


class _Submission:
    """Gives jobs to Slurm."""

    def __init__(
        self,
        exchange: Exchange,
        options: Sequence[str],
        budget: NodeBudget,
        max_workers: int | None,
        silence_s: float,
    ) -> None:
        self.exchange = exchange
        self._options, self._budget, self._silence_s = options, budget, silence_s
        self._throttle = "" if max_workers is None else f"%{max_workers}"
        self._numbers = count()

    def of(self, jobs: Iterable[WorkerJob]) -> Iterator[tuple[TaskId, Task]]:
        """Submits jobs, those with the same needs together."""
        groups: dict[tuple[Need, float | None], list[WorkerJob]] = {}
        for job in jobs:
            groups.setdefault((job.need, job.timeout_s), []).append(job)
        for group in groups.values():
            rest = iter(group)
            while part := list(islice(rest, TASKS_AN_ARRAY)):
                yield from self._array(part)

    def _array(self, jobs: list[WorkerJob]) -> Iterator[tuple[TaskId, Task]]:
        folder = self.exchange.folder / str(next(self._numbers))
        tasks = [self._task(folder / str(index), job) for index, job in enumerate(jobs)]
        script = folder / "task.sh"
        script.write_text(_script(self.exchange.token, folder), encoding="utf-8")
        memory_mib = jobs[0].memory_mib + RUNNER_MIB
        indices = f"0-{len(jobs) - 1}{self._throttle}"
        array = slurm_commands.submit(
            script, jobs[0], memory_mib, name=self.exchange.name, indices=indices, options=self._options
        )
        for index, task in enumerate(tasks):
            yield TaskId(array, index), task

    def _task(self, folder: Path, job: WorkerJob) -> Task:
        folder.mkdir(parents=True)
        Order(job, self._budget, self._silence_s).write(folder)
        return Task(job, folder, MessageFile(folder))


def _script(token: Path, folder: Path) -> str:
    """What each task runs. It needs the storage folder, so it looks for it first."""
    task = f"{shlex.quote(str(folder))}/$SLURM_ARRAY_TASK_ID"
    python = f"{shlex.quote(sys.executable)} -P -m nsl_resources.dispatch.slurm_task"
    return (
        "#!/bin/sh\n"
        f"[ -f {shlex.quote(str(token))} ] || exit {NOT_SHARED_EXIT_CODE}\n"
        f'exec {python} "{task}" >"{task}/output.log" 2>&1\n'
    )


class _Run:
    """The jobs of one call of `run`: those to submit, those that Slurm has, results to hand out."""

    def __init__(
        self, jobs: list[WorkerJob], submission: _Submission, storage: Path, pace: Pace, callbacks: Callbacks
    ) -> None:
        self._submission, self._storage, self._pace, self._callbacks = submission, storage, pace, callbacks
        self._exchange = submission.exchange
        self._waiting = jobs
        self._tasks: dict[TaskId, Task] = {}
        self._states: dict[TaskId, str] = {}
        self._gone_since_s: dict[TaskId, float] = {}
        self._next_question_s = 0.0
        self._n_lost: Counter[str] = Counter()
        self._ready: deque[WorkerResult] = deque()
        self._is_cancelling = False

    def results(self) -> Generator[WorkerResult, None, None]:
        """Runs everything; stops everything if the caller stops iterating."""
        try:
            while self._waiting or self._tasks or self._ready:
                self._submit()
                while self._ready:
                    yield self._hand_out()
                self._look()
                if self._callbacks.is_stop_wanted():
                    self._cancel()
        finally:
            self._close()

    def _hand_out(self) -> WorkerResult:
        result = self._ready.popleft()
        self._callbacks.tell_result(result)
        return result

    def _submit(self) -> None:
        jobs, self._waiting = self._waiting, []
        for task_id, task in self._submission.of(jobs):
            self._tasks[task_id] = task

    # ---- watching

    def _look(self) -> None:
        """Once `look_s`: heartbeat, queue, messages, results."""
        time.sleep(self._pace.look_s if self._tasks and not self._ready else 0.0)
        self._exchange.beat()
        is_question_due = time.monotonic() >= self._next_question_s
        if is_question_due:
            self._ask_for_states()
        for task_id in [task for task in self._tasks if self._states.get(task) == "RUNNING"]:
            self._read(task_id)
        silent = [task_id for task_id in list(self._gone_since_s) if not self._read(task_id)]
        if silent and is_question_due:
            self._look_for(silent)

    def _ask_for_states(self) -> None:
        try:
            self._states = slurm_commands.queued(self._exchange.name)
        except SlurmError as error:  # its controller is restarted now and then: what was known stays
            self._tell_all(Log("WARNING", str(error)))
        now_s = time.monotonic()
        self._next_question_s = now_s + self._pace.ask_s
        gone = [task_id for task_id in self._tasks if task_id not in self._states]
        self._gone_since_s = {task_id: self._gone_since_s.get(task_id, now_s) for task_id in gone}

    def _tell_all(self, message: Message) -> None:
        for task in islice(self._tasks.values(), 1):
            self._callbacks.tell_message(task.job.label, message)

    def _read(self, task_id: TaskId) -> bool:
        """Takes in what a task says, and its result if it has one."""
        task = self._tasks[task_id]
        result = read_result(task.folder)  # before the messages, so that none is missed
        for message in task.messages.read():
            self._callbacks.tell_message(task.job.label, message)
        is_cut_short = result is not None and result.reason == "cancelled" and not self._is_cancelling
        if result is None or is_cut_short:  # by whom, or by what limit, the accounting knows
            return False
        self._finish(task_id, result)
        return True

    def _finish(self, task_id: TaskId, result: WorkerResult) -> None:
        self._gone_since_s.pop(task_id, None)
        del self._tasks[task_id]
        self._ready.append(result)

    def _look_for(self, gone: Sequence[TaskId]) -> None:
        """What the accounting says about tasks that left the queue and did not say themselves how they ended."""
        known = self._accounts(gone)
        for task_id in gone:
            account = known.get(task_id)
            if account is not None and account.state not in _UNFINISHED_STATES | {"COMPLETED"}:
                self._end(task_id, account)
            elif time.monotonic() - self._gone_since_s[task_id] > self._pace.settle_s:
                self._give_up(task_id)

    def _accounts(self, tasks: Sequence[TaskId]) -> dict[TaskId, Account]:
        try:
            return slurm_commands.accounts(tasks)
        except SlurmError as error:  # a site without accounting: then a task without a result is lost
            self._tell_all(Log("WARNING", str(error)))
            return {}

    def _end(self, task_id: TaskId, account: Account) -> None:
        task = self._tasks[task_id]
        result = read_result(task.folder)
        if account.returncode == NOT_SHARED_EXIT_CODE and not (task.folder / "output.log").exists():
            raise not_shared(self._storage, [account.node])
        if account.state in _LOST_STATES:
            self._lose(task_id, f"{account.state} of {account.node}")
        elif result is None:
            ending = never_started(task.job.label, _reason(account), _tail(task.folder / "output.log"))
            ran = replace(ending, returncode=account.returncode, seconds=account.seconds, host=account.node)
            self._finish(task_id, ran)
        else:
            self._finish(task_id, replace(result, reason=_REASONS.get(account.state, result.reason)))

    def _give_up(self, task_id: TaskId) -> None:
        """The accounting knows nothing: what the task itself has said counts, if it has."""
        result = read_result(self._tasks[task_id].folder)
        if result is None:
            self._lose(task_id, "it left the queue without a result")
        else:
            self._finish(task_id, result)

    def _lose(self, task_id: TaskId, why: str) -> None:
        job = self._tasks[task_id].job
        self._n_lost[job.label] += 1
        n_lost = self._n_lost[job.label]
        if self._is_cancelling:
            self._finish(task_id, never_started(job.label))
        elif n_lost == TRIES:
            self._finish(task_id, never_started(job.label, "lost", f"lost {n_lost} times, the last time: {why}"))
        else:
            del self._tasks[task_id], self._gone_since_s[task_id]
            self._waiting.append(job)
            self._callbacks.tell_message(job.label, Log("WARNING", f"lost, submitted again: {why}"))

    # ---- ending

    def _cancel(self) -> None:
        """Cancels everything and waits until Slurm has ended it."""
        self._is_cancelling = True
        self._ready += [never_started(job.label) for job in self._waiting]
        self._waiting = []
        if self._tasks:
            self._end_all()
        for task_id in list(self._tasks):
            if not self._read(task_id):
                self._finish(task_id, never_started(self._tasks[task_id].job.label))

    def _end_all(self) -> None:
        """Lets Slurm end all tasks, and waits until it has."""
        is_told = False
        give_up_s = time.monotonic() + _END_S
        while time.monotonic() < give_up_s:
            try:
                if not slurm_commands.queued(self._exchange.name):
                    return
                if not is_told:
                    slurm_commands.cancel(self._exchange.name)
                    is_told = True
            except SlurmError as error:  # its controller is restarted now and then: asked again
                self._tell_all(Log("WARNING", str(error)))
            self._exchange.beat()
            time.sleep(self._pace.look_s)

    def _close(self) -> None:
        """Nothing outlives the run. Where this is interrupted, Slurm still ends what it was told to end."""
        self._cancel()
        self._exchange.remove()
        while self._ready:
            self._hand_out()


def _reason(account: Account) -> str:
    if account.state in _REASONS:
        return _REASONS[account.state]
    return reason(Ending(account.returncode)) if account.returncode else account.state


def _tail(path: Path) -> str:
    """The end of what the process that watched the worker has written."""
    try:
        return path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
