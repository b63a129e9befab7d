"""Jobs as arrays of Slurm: what is submitted, and the folder and script of each task."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Final

from nsl_resources.admission.needs import Need
from nsl_resources.dispatch import slurm_commands
from nsl_resources.dispatch.exchange import Exchange, Order
from nsl_resources.dispatch.jobs import WorkerJob
from nsl_resources.dispatch.messages import MessageFile
from nsl_resources.dispatch.node import RUNNER_MIB, NodeBudget
from nsl_resources.dispatch.slurm_commands import Request, TaskId
from nsl_resources.dispatch.slurm_first import NOT_SHARED_EXIT_CODE, FirstTask

TASKS_AN_ARRAY: Final = 1_000
"""Slurm's own limit (MaxArraySize) is 1,001 unless a site raises it."""
_FIRST_LIMIT_S: Final = 300
_SPARE_S: Final = 600
"""Time for start-up and for waiting on the node's ledger, which is not the worker's own."""


@dataclass(frozen=True)
class Task:
    """A job that Slurm has."""

    job: WorkerJob
    folder: Path
    messages: MessageFile


class Submission:
    """Gives jobs to Slurm.

    Args:
        exchange: the run's folder.
        options: of the user, for `sbatch`.
        budget: what all workers of one node together may use.
        max_workers: tasks of one array that run at a time.
        silence_s: after so long without a sign of the dispatcher a task ends by itself.
    """

    def __init__(
        self,
        exchange: Exchange,
        options: Sequence[str],
        budget: NodeBudget,
        max_workers: int | None,
        silence_s: float,
    ) -> None:
        self.exchange = exchange
        self._options, self._budget, self._silence_s = tuple(options), budget, silence_s
        self._throttle = "" if max_workers is None else f"%{max_workers}"
        self._numbers = count()

    def groups(self, jobs: Iterable[WorkerJob]) -> Iterator[list[WorkerJob]]:
        """Jobs that can share an array: of the same needs and time limit, at most 1,000."""
        groups: dict[tuple[Need, float | None], list[WorkerJob]] = {}
        for job in jobs:
            groups.setdefault((job.need, job.timeout_s), []).append(job)
        for group in groups.values():
            rest = iter(group)
            while part := list(islice(rest, TASKS_AN_ARRAY)):
                yield part

    def first_task(self, jobs: Iterable[WorkerJob], storage: Path) -> FirstTask:
        """Submits the task that looks whether its node sees the storage folder.

        It asks for a GPU where all jobs do: there are partitions that take no others.
        """
        folder, answer = self._new_folder(), self.exchange.folder / "seen"
        folder.mkdir()
        script = f"{_look_for(self.exchange.token)}touch {shlex.quote(str(answer))} || exit {NOT_SHARED_EXIT_CODE}\n"
        n_gpus = min(1, *(job.n_gpus for job in jobs))
        request = Request(1, RUNNER_MIB, n_gpus, _FIRST_LIMIT_S, is_requeued=True)
        return FirstTask(TaskId(self._submit(folder, script, request, "0-0", self._options), 0), answer, storage)

    def array(self, jobs: Sequence[WorkerJob], first: FirstTask | None) -> dict[TaskId, Task]:
        """Submits jobs of one group; Slurm lets them begin once `first` has ended well."""
        folder = self._new_folder()
        tasks = [self._task(folder / str(index), job) for index, job in enumerate(jobs)]
        options = (*([f"--dependency=afterok:{first.id.array}"] if first else []), *self._options)
        indices = f"0-{len(jobs) - 1}{self._throttle}"
        array = self._submit(folder, _script(self.exchange.token, folder), _request(jobs[0]), indices, options)
        return {TaskId(array, index): task for index, task in enumerate(tasks)}

    def _new_folder(self) -> Path:
        return self.exchange.folder / str(next(self._numbers))

    def _submit(self, folder: Path, text: str, request: Request, indices: str, options: Sequence[str]) -> str:
        script = folder / "task.sh"
        script.write_text(text, encoding="utf-8")
        return slurm_commands.submit(script, request, name=self.exchange.name, indices=indices, options=options)

    def _task(self, folder: Path, job: WorkerJob) -> Task:
        folder.mkdir(parents=True)
        Order(job, self._budget, self._silence_s).write(folder)
        return Task(job, folder, MessageFile(folder))


def _request(job: WorkerJob) -> Request:
    limit_s = None if job.timeout_s is None else int(job.timeout_s) + _SPARE_S
    return Request(job.cores, job.memory_mib + RUNNER_MIB, job.n_gpus, limit_s)


def _script(token: Path, folder: Path) -> str:
    """What each task runs. It needs the storage folder, so it looks for it first: not all nodes need be alike."""
    task = f"{shlex.quote(str(folder))}/$SLURM_ARRAY_TASK_ID"
    python = f"{shlex.quote(sys.executable)} -P -m nsl_resources.dispatch.slurm_task"
    return f'{_look_for(token)}exec {python} "{task}" >"{task}/output.log" 2>&1\n'


def _look_for(token: Path) -> str:
    return f"#!/bin/sh\n[ -f {shlex.quote(str(token))} ] || exit {NOT_SHARED_EXIT_CODE}\n"
