"""What runs on the nodes of a Ray cluster: one job each, and the mailbox by which workers are heard."""

import signal
from collections import deque
from typing import Any

from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult
from nsl_resources.dispatch.messages import Message
from nsl_resources.dispatch.node import NodeBudget, run_on_node, with_python_of_this_node


class Mailbox:
    """An actor that keeps messages of workers until the dispatcher takes them."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, Message]] = []

    def put(self, label: str, message: Message) -> None:
        """Keeps a message of the job of that label."""
        self._kept.append((label, message))

    def take(self) -> list[tuple[str, Message]]:
        """All that was put since the last call, in that order."""
        kept, self._kept = self._kept, []
        return kept


def run_in_task(job: WorkerJob, budget: NodeBudget, mailbox: Any, dispatcher_python: str) -> WorkerResult:
    """On the node. All messages are in the mailbox before the result is returned."""
    import ray

    _require_interruptible()
    puts: deque[Any] = deque(maxlen=1)
    own = with_python_of_this_node(job, dispatcher_python)
    result = run_on_node(own, budget.probe(), lambda label, message: puts.append(mailbox.put.remote(label, message)))
    ray.get(list(puts))
    return result


def _require_interruptible() -> None:
    """Ray cancels a task through Python's handler of SIGINT: none is there if its cluster was started in a background.

    Shells start background commands with SIGINT ignored, and all that they start inherits it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
