"""What an array task of Slurm runs on its node: one job, in the node's own local pool.

`python -m nsl_resources.dispatch.slurm_task FOLDER`, where FOLDER is that of the task (see `exchange`). SIGTERM, by
which `scancel` and the time limit begin, and the silence of the dispatcher stop the worker; when this process is
killed, its supervisor ends it.
"""

import signal
import sys
from dataclasses import replace
from pathlib import Path

from nsl_resources.dispatch.exchange import Order, Silence, say, write_result
from nsl_resources.dispatch.jobs import WorkerResult
from nsl_resources.dispatch.node import run_on_node
from nsl_resources.dispatch.whole_host import whole_node_probe


def main(task: Path) -> int:
    """Runs the job of this folder, writes its result there; an exit code that Slurm's own accounting understands."""
    order = Order.read(task)
    silence = Silence(task.parent.parent, order.silence_s)
    is_told = False

    def hear(*_: object) -> None:
        nonlocal is_told
        is_told = True

    signal.signal(signal.SIGTERM, hear)
    budget = order.budget
    result = run_on_node(
        order.job,
        whole_node_probe(budget.memory_mib, budget.cores, budget.use_gpus),
        lambda _, message: say(task, message),
        lambda: is_told or silence.is_too_long(),
    )
    if is_told and not result.is_success:  # Slurm tells all processes of the task, so the worker may have been first
        result = replace(result, reason="cancelled")
    write_result(task, result)
    return exit_code(result)


def exit_code(result: WorkerResult) -> int:
    """The worker's, as a shell says it; 1 where it was stopped or never started."""
    if result.is_success:
        return 0
    code = result.returncode or 1
    return code if code > 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
