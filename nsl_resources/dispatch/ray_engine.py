"""The jobs that a Ray cluster has of one run, as `ClusterRun` asks for them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from nsl_resources.dispatch.cluster_run import End, Lost
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, never_started
from nsl_resources.dispatch.messages import Message
from nsl_resources.dispatch.node import NodeBudget
from nsl_resources.dispatch.ray_nodes import Cluster

_TICK_S: Final = 0.2
_STOP_S: Final = 60.0
_KILL_S: Final = 60.0
_FEWEST_QUEUED: Final = 64


class RayEngine:
    """See `Engine`. Ray retries nothing: what is lost, and what ran out of memory, is the dispatcher's to repeat.

    Args:
        cluster: where the jobs run.
        budget: what all workers of one node together may use.
        max_workers: jobs that are with Ray at a time; None: twice as many as there are cores.
        tell: takes the label of a job and what its worker said.
    """

    def __init__(
        self, cluster: Cluster, budget: NodeBudget, max_workers: int | None, tell: Callable[[str, Message], None]
    ) -> None:
        import ray

        self._ray: Any = ray
        self._cluster, self._budget, self._tell = cluster, budget, tell
        self._window = max_workers or max(_FEWEST_QUEUED, 2 * cluster.n_cores)
        self._running: dict[Any, WorkerJob] = {}
        self._mailbox: Any = None

    def open(self) -> None:
        """Starts the mailbox."""
        self._mailbox = self._cluster.mailbox()

    def check(self, job: WorkerJob) -> None:
        """AdmissionError for a job that no node can ever hold."""
        self._cluster.require_room([job])

    @property
    def n_free(self) -> int:
        """How many more jobs Ray is given now."""
        return self._window - len(self._running)

    def submit(self, jobs: Sequence[WorkerJob]) -> None:
        """Gives jobs to Ray."""
        for job in jobs:
            self._running[self._cluster.submit(job, self._budget, self._mailbox)] = job

    def listen(self) -> Iterator[End]:
        """Waits until a job ends, 0.2 s at most."""
        if not self._running:
            return
        self._ray.wait(list(self._running), num_returns=1, timeout=_TICK_S)
        ended, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        for label, message in self._ray.get(self._mailbox.take.remote()):
            self._tell(label, message)
        for ref in ended:
            yield self._end_of(self._running.pop(ref), ref)

    def _end_of(self, job: WorkerJob, ref: Any) -> End:
        errors = self._ray.exceptions
        try:
            result: WorkerResult = self._ray.get(ref)
        except errors.TaskCancelledError:
            return never_started(job.label)
        except errors.OutOfMemoryError as error:
            return never_started(job.label, "out of memory", str(error))
        except self._cluster.lost as error:
            return Lost(job.label, str(error).strip().partition("\n")[0])
        except errors.RayError as error:
            return never_started(job.label, "refused", str(error))
        return result

    def stop(self) -> Iterator[End]:
        """Interrupts what runs; what has not ended after a minute is killed."""
        for ref in self._running:
            self._ray.cancel(ref)
        yield from self._endings(_STOP_S)
        yield from self._killed()

    def kill(self) -> None:
        """Ends the processes that run jobs on the nodes; their supervisors end the workers."""
        for _ in self._killed():
            continue

    def _killed(self) -> Iterator[End]:
        for ref in self._running:
            self._ray.cancel(ref, force=True)
        yield from self._endings(_KILL_S)

    def _endings(self, seconds: float) -> Iterator[End]:
        give_up_s = time.monotonic() + seconds
        while self._running and time.monotonic() < give_up_s:
            yield from self.listen()

    def close(self) -> None:
        """Ends the mailbox."""
        if self._mailbox is not None:
            with suppress(self._ray.exceptions.RayError):  # it has ended with its node
                self._ray.kill(self._mailbox)
