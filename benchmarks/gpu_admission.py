"""Benchmark: admission of workers to a machine with GPUs, simulated and under contention of real processes.

First 4,000 workers of gpu_jobs.json on eight simulated GPUs of 80 GiB, with wrong predictions, crashes and programs of
others that come and go: the makespan of our policy over its lower bound (nsl_resources/admission/simulation/bound.py),
and beside it those of one worker a GPU and of the research code's way (poll the memory in use, pick a GPU at random).
Twice: workers that leave each other alone, where memory is what counts; and workers that share a GPU's arithmetic.
At last ours again on eight draws of all that is random.

Then 64 real processes on one ledger file for a minute, that ask, hold and are killed at random: how long a poll holds
the lock, and what of it the decision takes.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nsl_resources.admission.contention import read_log
from nsl_resources.admission.simulation import (
    LedgerPolicy,
    OneWorkerAGpu,
    Policy,
    PollAndPick,
    Simulation,
    draw,
    lower_bounds,
    read_mix,
)

MIX: Final = Path(__file__).with_name("gpu_jobs.json")
SEED: Final = 1
DRAWS: Final = range(1, 9)
POLICIES: Final[dict[str, Callable[[], Policy]]] = {
    "ours": LedgerPolicy,
    "one worker a GPU": OneWorkerAGpu,
    "poll and pick at random": lambda: PollAndPick(SEED),
}
N_PROCESSES, CROWD_S = 64, 60.0


def simulate(*, is_shared_arithmetic: bool) -> None:
    """Each over its own bound, which holds its own repeated work: compare the makespans too."""
    mix = read_mix(MIX)
    workers = draw(mix, SEED)
    where = "workers share arithmetic" if is_shared_arithmetic else "workers leave each other alone"
    for name, make in POLICIES.items():
        is_ours = name == "ours"
        outcome = Simulation(
            mix, workers, make(), foreign_seed=SEED, is_learning=is_ours, is_checked=is_ours,
            is_shared_arithmetic=is_shared_arithmetic,
        ).run()  # fmt: skip
        bounds = lower_bounds(mix.node, outcome, is_shared_arithmetic=is_shared_arithmetic)
        endings = Counter(attempt.ending for attempt in outcome.attempts)
        print(
            f"admission of {len(workers):,} workers, {where}, {name}: ratio {outcome.makespan_s / bounds.largest_s:.2f}"
            f" (makespan {outcome.makespan_s / 3600:.1f} h, lower bound {bounds.largest_s / 3600:.1f} h;"
            f" out of memory {endings['out of memory']:,}, crashed {endings['crash']})",
            flush=True,
        )


def simulate_draws() -> None:
    """Ours on several draws of the errors, the arrivals and the programs of others: one draw says little."""
    mix = read_mix(MIX)
    ratios = []
    for seed in DRAWS:
        outcome = Simulation(mix, draw(mix, seed), LedgerPolicy(), foreign_seed=seed).run()
        ratios.append(outcome.makespan_s / lower_bounds(mix.node, outcome).largest_s)
        print(f"draw {seed}: ratio {ratios[-1]:.3f}", flush=True)
    n_within = sum(ratio <= 1.15 for ratio in ratios)
    print(
        f"{len(ratios)} draws: {min(ratios):.3f} to {max(ratios):.3f}, median {statistics.median(ratios):.3f};"
        f" {n_within} within 15 %"
    )


def contend() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger, log = Path(folder) / "ledger.sqlite", Path(folder) / "log"
        module = "nsl_resources.admission.contention"
        subprocess.run([sys.executable, "-m", module, ledger, log, str(N_PROCESSES), str(CROWD_S)], check=True)
        report = read_log(log)
    assert not report.overcommitted(), report.overcommitted()
    measured = {
        "decision": report.deciding_s,
        "whole poll under the lock, processor": report.under_lock_cpu_s,
        "whole poll under the lock, elapsed": report.under_lock_s,
    }
    for what, seconds in measured.items():
        middle_ms, last_ms = (statistics.quantiles(seconds, n=100)[i] * 1e3 for i in (49, 98))
        print(f"{N_PROCESSES} processes, {what}: median {middle_ms:.2f} ms, 99 % {last_ms:.2f} ms")
    print(
        f"{report.n_leases:,} leases in {CROWD_S:g} s, {report.n_kills} processes killed, nothing granted twice;"
        f" load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: run it with `chrt -r 1` where others are busy"
    )


if __name__ == "__main__":
    contend()
    simulate(is_shared_arithmetic=False)
    simulate(is_shared_arithmetic=True)
    simulate_draws()
