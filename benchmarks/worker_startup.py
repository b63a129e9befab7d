"""Benchmark: what the start of a worker costs, in a fresh interpreter (peer) and forked from a template (ours).

Both go through the local pool, one worker at a time, with the imports of a model stack and code of their own that only
notes the time. CPU seconds are those of all processes: dispatcher, template, supervisor, worker. Elapsed seconds go
from the moment at which nothing but this worker is left to do, to the first line of its code. "Amortised" counts the
imports of the template once over ten workers; "each" is what one more worker costs.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsl_resources.dispatch import LocalPool, WorkerJob
from nsl_resources.gpu import HostBudget, HostProbe, Ledger

STACKS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker and torch": ("nsl_assets.worker", "torch"),
    "and scvi": ("nsl_assets.worker", "torch", "scvi"),
    "and transformers": ("nsl_assets.worker", "torch", "transformers.models.bert.modeling_bert"),
}
N_FORKED, N_FRESH = 10, 3
GATE_RATIO: Final = 3.0
NOTES_THE_TIME = """
import importlib, sys, time
for module in sys.argv[2:]:
    importlib.import_module(module)
with open(sys.argv[1], "a") as file:
    print(time.monotonic(), file=file)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds a worker, of processors and elapsed: with the imports of a template shared by all, and each alone."""

    cpu_s: float
    elapsed_s: float
    each_cpu_s: float
    each_elapsed_s: float


def cost(modules: tuple[str, ...], n_workers: int, *, is_forked: bool) -> Cost:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notes_the_time.py").write_text(NOTES_THE_TIME)
        argv = (sys.executable, "-P", "-m", "notes_the_time", str(folder / "times"), *modules)
        env = {"PYTHONPATH": os.pathsep.join([name, *filter(None, [os.environ.get("PYTHONPATH")])])}
        preload = modules if is_forked else ()
        jobs = [WorkerJob(str(i), argv, 1_000, env=env, preload=preload) for i in range(n_workers)]
        ledger = Ledger(HostProbe(HostBudget(8_000, 1)), folder / "ledger.sqlite")
        cpu_before_s, begins_s, workers_cpu_s = cpu_s(), [time.monotonic()], 0.0
        for result in LocalPool(ledger, max_workers=1).run(jobs):
            assert result.is_success, result.stderr_tail
            begins_s.append(time.monotonic())
            workers_cpu_s += result.cpu_seconds
        total_cpu_s = cpu_s() - cpu_before_s
        first_lines_s = [float(line) for line in (folder / "times").read_text().split()]
    waits_s = [line_s - begin_s for line_s, begin_s in zip(first_lines_s, begins_s, strict=False)]
    each_s = statistics.median(waits_s[1:])
    return Cost(total_cpu_s / n_workers, sum(waits_s) / n_workers, workers_cpu_s / n_workers, each_s)


def cpu_s() -> float:
    """Of this process and all that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def say(name: str, peer_s: float, ours_s: float) -> float:
    print(f"{name}: ratio {peer_s / ours_s:.2f} (peer {peer_s:.3f} s, ours {ours_s:.3f} s)")
    return peer_s / ours_s


def main() -> int:
    ratios = []
    for stack, modules in STACKS.items():
        cost(modules, 2, is_forked=False)  # bytecode and page cache
        peer, ours = cost(modules, N_FRESH, is_forked=False), cost(modules, N_FORKED, is_forked=True)
        ratios.append(say(f"start of a worker, {stack}, CPU, amortised over {N_FORKED}", peer.cpu_s, ours.cpu_s))
        say(f"start of a worker, {stack}, elapsed, amortised over {N_FORKED}", peer.elapsed_s, ours.elapsed_s)
        say(f"start of a worker, {stack}, CPU, each", peer.each_cpu_s, ours.each_cpu_s)
        say(f"start of a worker, {stack}, elapsed, each", peer.each_elapsed_s, ours.each_elapsed_s)
    return 0 if min(ratios) >= GATE_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
