"""A pool of workers on this host, sharing its memory and cores with every other pool through the ledger."""

from collections.abc import Callable, Generator, Iterable, Sequence

from nsl_assets.errors import InputError
from nsl_resources.admission.ledger import Ledger
from nsl_resources.dispatch.callbacks import Callbacks
from nsl_resources.dispatch.crew import Crew
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, require_unique_labels
from nsl_resources.dispatch.messages import Message
from nsl_resources.dispatch.scratch import remove_scratch_of_the_dead


class LocalPool:
    """Runs jobs as processes of this host; see `Dispatcher`.

    Single-threaded: everything happens while the caller asks for the next result. The end of a worker wakes it at once;
    messages, timeouts and `should_stop` are looked at every 0.1 s, memory every 0.25 s.

    Args:
        ledger: where memory and cores are leased; by default this node's, with the whole host as budget.
        max_workers: a further bound on workers of this pool that run at a time.
        grace_s: seconds between SIGINT, SIGTERM and SIGKILL for a worker that is stopped.
    """

    def __init__(self, ledger: Ledger | None = None, max_workers: int | None = None, *, grace_s: float = 5.0) -> None:
        if max_workers is not None and max_workers < 1:
            raise InputError(f"max_workers is {max_workers}: at least one worker is needed")
        self._ledger = ledger or Ledger()
        self._max_workers = max_workers
        self._grace_s = grace_s

    def run(
        self,
        jobs: Iterable[WorkerJob],
        on_result: Callable[[WorkerResult], None] | None = None,
        on_message: Callable[[str, Message], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        repeat: Callable[[WorkerResult], WorkerJob | None] | None = None,
        *,
        renew: Callable[[Sequence[WorkerJob]], Iterable[WorkerJob]] | None = None,
    ) -> Generator[WorkerResult, None, None]:
        """See `Dispatcher.run`. The jobs are read and checked before the first one starts.

        Raises:
            AdmissionError: a job needs more than the whole budget.
            InputError: two jobs have the same label; `after` of one does not fit.
        """
        todo = list(jobs)
        require_unique_labels(todo)
        for job in todo:
            self._check(job)
        remove_scratch_of_the_dead()
        cores = sum(device.cores for device in self._ledger.probe.devices())
        callbacks = Callbacks(on_result, on_message, should_stop, repeat, renew)
        line, max_workers = self._ledger.line(), self._max_workers or cores
        return Crew(todo, self._check, line, callbacks, max_workers=max_workers, grace_s=self._grace_s).results()

    def _check(self, job: WorkerJob) -> None:
        self._ledger.check(job.need, job.label)
