"""Workers as array tasks of Slurm. Dispatcher and tasks talk through files of the storage folder (see `exchange`)."""

from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path

from nsl_resources.dispatch import slurm_commands
from nsl_resources.dispatch.callbacks import Callbacks
from nsl_resources.dispatch.cluster_run import ClusterRun
from nsl_resources.dispatch.exchange import Exchange
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, require_unique_labels
from nsl_resources.dispatch.messages import Message
from nsl_resources.dispatch.node import NodeBudget
from nsl_resources.dispatch.slurm_arrays import Submission
from nsl_resources.dispatch.slurm_engine import Pace, SlurmEngine


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
        repeat: Callable[[WorkerResult], WorkerJob | None] | None = None,
        *,
        renew: Callable[[Sequence[WorkerJob]], Iterable[WorkerJob]] | None = None,
    ) -> Generator[WorkerResult, None, None]:
        """See `Dispatcher.run`. Looks at files every second and asks Slurm every ten.

        Raises:
            InputError: two jobs have the same label; `after` of one does not fit.
            SlurmError: Slurm refuses the jobs (too large for every node, an option that it does not know).
            StorageError: a node does not see the storage folder. The first task of a run looks for it, and Slurm lets
                no other begin before that one has ended well.
        """
        todo = list(jobs)
        require_unique_labels(todo)
        return self._results(todo, Callbacks(on_result, on_message, should_stop, repeat, renew))

    def _results(self, todo: list[WorkerJob], callbacks: Callbacks) -> Generator[WorkerResult, None, None]:
        if not todo:
            return
        exchange = Exchange.create(self._storage, "slurm", self._pace.silence_s)
        submission = Submission(exchange, self._options, self._budget, self._max_workers, self._pace.silence_s)
        engine = SlurmEngine(submission, self._storage, self._pace, callbacks.tell_message)
        yield from ClusterRun(todo, engine, callbacks).results()
