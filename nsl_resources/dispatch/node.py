"""The node's side of an engine: one job in the node's own local pool, and the lease of it from the node's ledger."""

import platform
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from nsl_assets.errors import NslError
from nsl_resources.admission.ledger import Ledger
from nsl_resources.admission.needs import Probe
from nsl_resources.admission.node import node_probe
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, never_started
from nsl_resources.dispatch.local import LocalPool
from nsl_resources.dispatch.messages import Message

RUNNER_MIB = 200
"""Memory of the process that runs a job on its node, beside the job: asked of the engine on top."""


@dataclass(frozen=True)
class NodeBudget:
    """What all workers of a node together may use; see `nsl_resources.gpu.node_probe`."""

    memory_mib: int | None = None
    cores: int | None = None
    use_gpus: bool = True

    def probe(self) -> Probe:
        """The devices of this node within the budget."""
        return node_probe(self.memory_mib, self.cores, self.use_gpus)


def run_on_node(
    job: WorkerJob,
    probe: Probe,
    on_message: Callable[[str, Message], None],
    should_stop: Callable[[], bool] | None = None,
) -> WorkerResult:
    """Runs one job here and returns its result, also after an interruption: then the job is cancelled.

    A job that this node can never admit is "refused", with the reason as its output.
    """
    results: list[WorkerResult] = []
    alone = replace(job, preload=())  # preloading pays from the second worker on
    try:
        with closing(
            LocalPool(Ledger(probe), max_workers=1).run([alone], results.append, on_message, should_stop)
        ) as run:
            for _ in run:
                pass
    except NslError as error:
        return replace(never_started(job.label, "refused", str(error)), host=platform.node())
    except KeyboardInterrupt:
        return results[0] if results else never_started(job.label)
    return results[0]


def with_python_of_this_node(job: WorkerJob, dispatcher_python: str) -> WorkerJob:
    """The job with this interpreter where it names the dispatcher's."""
    program, *arguments = job.argv
    return replace(job, argv=(sys.executable, *arguments), preload=()) if program == dispatcher_python else job
