"""The tasks that Slurm has of one run, as `ClusterRun` asks for them: their files, the queue, the accounting."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from nsl_resources.dispatch import slurm_commands
from nsl_resources.dispatch.cluster_run import End, Lost
from nsl_resources.dispatch.exchange import read_result
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, never_started
from nsl_resources.dispatch.messages import Log, Message
from nsl_resources.dispatch.outcome import Ending, reason
from nsl_resources.dispatch.slurm_arrays import Submission, Task
from nsl_resources.dispatch.slurm_commands import Account, SlurmError, TaskId
from nsl_resources.dispatch.slurm_first import NOT_SHARED_EXIT_CODE, FirstTask
from nsl_resources.dispatch.storage_probe import not_shared

_LOST_STATES: Final = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"})
_REASONS: Final = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "CANCELLED": "cancelled",
}
_TAIL_BYTES: Final = 4_000
_STOP_S: Final = 300.0


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


class SlurmEngine:
    """See `Engine`.

    Args:
        submission: gives jobs to Slurm.
        storage: the storage folder.
        pace: how patient it is.
        tell: takes the label of a job and what its worker said.
    """

    def __init__(self, submission: Submission, storage: Path, pace: Pace, tell: Callable[[str, Message], None]) -> None:
        self._submission, self._storage, self._pace, self._tell = submission, storage, pace, tell
        self._exchange = submission.exchange
        self._first: FirstTask | None = None
        self._has_begun = self._is_stopping = self._is_end_sure = False
        self._tasks: dict[TaskId, Task] = {}
        self._refused: list[WorkerResult] = []
        self._states: dict[TaskId, str] = {}
        self._gone_since_s: dict[TaskId, float] = {}
        self._next_question_s = 0.0

    # ---- starting

    def open(self) -> None:
        """Cancels what killed dispatchers left."""
        for other in self._exchange.left_behind():
            slurm_commands.cancel(other.name)
            other.remove()

    def check(self, job: WorkerJob) -> None:
        """Nothing: `sbatch` itself refuses what no node can hold."""

    @property
    def n_free(self) -> int:
        """Any number: Slurm keeps the queue."""
        return sys.maxsize

    def submit(self, jobs: Sequence[WorkerJob]) -> None:
        """Submits jobs, the first ones after the task that they wait for.

        SlurmError where Slurm refuses the first ones; later ones end as "refused".
        """
        if not self._has_begun:
            self._first = self._submission.first_task(jobs, self._storage)
        for group in self._submission.groups(jobs):
            try:
                self._tasks |= self._submission.array(group, self._first)
            except SlurmError as error:
                if not self._has_begun:
                    raise
                self._refused += [never_started(job.label, "refused", str(error)) for job in group]
        self._has_begun = True

    # ---- watching

    def listen(self) -> Iterator[End]:
        """Once `look_s`: heartbeat, queue, messages, results."""
        while self._refused:
            yield self._refused.pop()
        if not self._tasks:
            return
        time.sleep(self._pace.look_s)
        self._exchange.beat()
        yield from self._read([task_id for task_id in self._tasks if self._states.get(task_id) == "RUNNING"])
        yield from self._read(list(self._gone_since_s))
        if time.monotonic() >= self._next_question_s:
            yield from self._ask()

    def _ask(self) -> Iterator[End]:
        """Asks for the queue, and for how those tasks ended that have left it and do not say so themselves."""
        now_s = time.monotonic()
        self._next_question_s = now_s + self._pace.ask_s
        try:
            self._states = slurm_commands.queued(self._exchange.name)
        except SlurmError as error:  # its controller is restarted now and then: what was known stays
            self._warn(error)
            yield from self._read(list(self._tasks))
            return
        self._look_after_first()
        gone = [task_id for task_id in self._tasks if task_id not in self._states]
        self._gone_since_s = {task_id: self._gone_since_s.get(task_id, now_s) for task_id in gone}
        yield from self._read(gone)
        yield from self._look_for(list(self._gone_since_s))

    def _warn(self, error: SlurmError) -> None:
        for task in islice(self._tasks.values(), 1):
            self._tell(task.job.label, Log("WARNING", str(error)))

    def _read(self, task_ids: Sequence[TaskId]) -> Iterator[WorkerResult]:
        """Takes in what tasks say, and the results of those that have one."""
        for task_id in task_ids:
            task = self._tasks[task_id]
            result = read_result(task.folder)  # before the messages, so that none is missed
            for message in task.messages.read():
                self._tell(task.job.label, message)
            is_cut_short = result is not None and result.reason == "cancelled" and not self._is_stopping
            if result is not None and not is_cut_short:  # by whom it was, or by what limit, the accounting knows
                self._forget(task_id)
                yield result

    def _forget(self, task_id: TaskId) -> None:
        del self._tasks[task_id]
        self._gone_since_s.pop(task_id, None)

    # ---- tasks that left the queue and did not say themselves how they ended

    def _look_after_first(self) -> None:
        """Lets go of the first task once it has ended well."""
        first = self._first
        if first is None or first.id in self._states:
            return
        account = self._accounts([first.id]).get(first.id)
        if first.has_passed(account, self._pace.settle_s):
            self._first = None

    def _look_for(self, gone: Sequence[TaskId]) -> Iterator[End]:
        """What the accounting says about them."""
        known = self._accounts(gone)
        for task_id in gone:
            account = known.get(task_id)
            if account is not None and account.is_over and account.state != "COMPLETED":
                yield self._end_of(task_id, account)
            elif time.monotonic() - self._gone_since_s[task_id] > self._pace.settle_s:
                yield self._given_up(task_id)

    def _accounts(self, tasks: Sequence[TaskId]) -> dict[TaskId, Account]:
        if not tasks:
            return {}
        try:
            return slurm_commands.accounts(tasks)
        except SlurmError as error:  # a site without accounting: then a task without a result is lost
            self._warn(error)
            return {}

    def _end_of(self, task_id: TaskId, account: Account) -> End:
        task = self._tasks[task_id]
        output = task.folder / "output.log"
        if account.returncode == NOT_SHARED_EXIT_CODE and not output.exists():
            raise not_shared(self._storage, [account.node])
        self._forget(task_id)
        if account.state in _LOST_STATES:
            return Lost(task.job.label, f"{account.state} of {account.node}")
        result = read_result(task.folder)
        if result is not None:
            return replace(result, reason=_REASONS.get(account.state, result.reason))
        ending = never_started(task.job.label, _reason(account), _tail(output))
        return replace(ending, returncode=account.returncode, seconds=account.seconds, host=account.node)

    def _given_up(self, task_id: TaskId) -> End:
        """The accounting knows nothing: what the task itself has said counts, if it has."""
        task = self._tasks[task_id]
        self._forget(task_id)
        return read_result(task.folder) or Lost(task.job.label, "it left the queue without a result")

    # ---- ending

    def stop(self) -> Iterator[End]:
        """Lets Slurm end all tasks, and waits until it has."""
        self._is_stopping = True
        give_up_s = time.monotonic() + _STOP_S
        while time.monotonic() < give_up_s and not self._has_ended_all():
            self._exchange.beat()
            time.sleep(self._pace.look_s)
        yield from self._refused
        yield from self._read(list(self._tasks))

    def _has_ended_all(self) -> bool:
        try:
            is_over = not slurm_commands.queued(self._exchange.name)
            if not is_over and not self._is_end_sure:
                slurm_commands.cancel(self._exchange.name)
        except SlurmError as error:  # asked again
            self._warn(error)
            return False
        self._is_end_sure = True
        return is_over

    def kill(self) -> None:
        """Tells Slurm to end all tasks, without waiting for it."""
        with suppress(SlurmError):  # then the next run does, and the tasks end without a heartbeat
            slurm_commands.cancel(self._exchange.name)
            self._is_end_sure = True

    def close(self) -> None:
        """Removes the run's folder; not where the next run must cancel what Slurm was not told to end."""
        if not self._tasks or self._is_end_sure:
            self._exchange.remove()


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
