"""Benchmark: what Dagster, dispatch and landing cost a grid cell, against one stock Dagster run a partition.

Ours: a study of 400 grid cells through its real asset, local pool, pipes and results; the workers store a fixed
measurement and end. Peer: an asset that does nothing, `dagster asset materialize` with the stock multiprocess executor,
one run a partition; a few runs are timed and their mean is taken for all 400.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import dagster as dg

from nsl_assets.cli.execution import QUIET
from nsl_assets.cli.instance import init_instance
from nsl_assets.defs import keys
from nsl_assets.defs.build import build_definitions
from nsl_assets.noise import level_key
from nsl_assets.study import load_project, storage_root
from nsl_resources.dispatch import Dispatcher, Message, WorkerJob, WorkerResult
from nsl_resources.resources import WorkersResource
from nsl_resources.results import Results

SIZES: Final = tuple(range(20, 120, 5))
N_LEVELS: Final = 20
N_PEER_RUNS: Final = 3
MOST_SECONDS_A_CELL: Final = 0.15
STUDY: Final = f"""
[studies.instant]
sizes = {list(SIZES)}
n_seeds = 1
untrained_baseline = "none"
[studies.instant.tasks.simulated]
kind = "simulated_cells"
n_cells = 300
n_genes = 20
[studies.instant.models.random_projection]
kind = "random_projection"
[studies.instant.noise]
kind = "binomial_thinning"
levels = {[(i + 1) / N_LEVELS for i in range(N_LEVELS)]}
[studies.instant.probing]
estimators = ["gaussian_copula"]
headline = "gaussian_copula"
"""
INSTANT_WORKER: Final = """
import json, sys
from dagster_pipes import open_dagster_pipes
from nsl_assets.worker import WorkerOrder
from nsl_resources.artifacts import Artifacts

with open_dagster_pipes() as pipes:
    order = WorkerOrder.model_validate(pipes.extras)
    pipes.report_custom_message({"step": "measuring", "cell": order.cell.label, "at": ""})
    estimate = dict(value_bits=1.0, low_bits=0.9, high_bits=1.1, floor_bits=0.0, ceiling_bits=None, n_pairs=60,
                    flags=[], diagnostics={})
    depth = dict(umis_per_cell=100.0 * order.cell.level, n_cells=60, n_nonempty_cells=60, truth_bits=None)
    record = dict(estimate=estimate, depth=depth, fit={"n_train_cells": order.cell.n_cells}, versions={})
    (digest,) = order.hashes.trained.measurement.values()
    with Artifacts(order.storage).create("measurement", digest, {}) as folder:
        (folder / "measurement.json").write_text(json.dumps(record))
"""
PEER: Final = """
import dagster as dg

@dg.asset(partitions_def=dg.StaticPartitionsDefinition([str(i) for i in range(400)]))
def peer(context): ...

defs = dg.Definitions([peer])
"""


class InstantWorkers(WorkersResource):
    """The dispatcher of the project, with workers that store a fixed measurement."""

    def dispatcher(self) -> Dispatcher:
        """See `WorkersResource.dispatcher`."""
        return InstantDispatcher(super().dispatcher())


class InstantDispatcher:
    """Swaps the program of every job."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher

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
        """See `Dispatcher.run`."""
        argv = (sys.executable, "-P", "-m", "instant_worker")
        instant = (replace(job, argv=argv) for job in jobs)
        return self.dispatcher.run(instant, on_result, on_message, should_stop, repeat, renew=renew)


def our_cost() -> "Ours":
    """Of the whole grid in one run; prints where the time went."""
    project = load_project()
    study = project.study("instant")
    workers = InstantWorkers(storage=str(storage_root()))
    job = build_definitions(project, {"workers": workers}).resolve_implicit_global_asset_job_def()
    of_task = keys.TaskKeys("instant", "simulated")
    grid = [of_task.of_model("random_projection", asset) for asset in keys.GRID_ASSETS]
    levels = sorted(map(level_key, study.levels_of("simulated")))
    corners = [f"{keys.size_key(SIZES[0])}|{levels[0]}", f"{keys.size_key(SIZES[-1])}|{levels[-1]}"]
    with dg.DagsterInstance.get() as instance:
        materialize(job, instance, [of_task.source])
        materialize(job, instance, [of_task.noised], levels)
        start_s, cpu_before_s = time.perf_counter(), cpu_s()
        materialize(job, instance, grid, corners)
        wall_s, used_s = time.perf_counter() - start_s, cpu_s() - cpu_before_s
    (row,) = Results(storage_root()).query(
        "select count(*) n, sum(seconds) as worker_s from run where status = 'succeeded'"
    )
    assert row["n"] == len(SIZES) * N_LEVELS, row
    n_cells, n_workers = float(row["n"]), os.cpu_count() or 1
    outside_s = (wall_s - row["worker_s"] / n_workers) / n_cells
    print(
        f"ours: {wall_s:.1f} s for {n_cells:.0f} cells, {n_workers} workers at a time; {wall_s / n_cells:.3f} s a cell,"
        f" of which {outside_s:.3f} s outside the workers; CPU of all processes: {used_s / n_cells:.3f} s a cell"
    )
    return Ours(wall_s / n_cells, outside_s)


@dataclass(frozen=True)
class Ours:
    """Wall-clock seconds a grid cell: in all, and without the time in which workers run."""

    seconds: float
    outside_workers_s: float


def cpu_s() -> float:
    """Of this process and all that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def materialize(
    job: dg.JobDefinition, instance: dg.DagsterInstance, assets: list[dg.AssetKey], partitions: list[str] | None = None
) -> None:
    tags = {} if partitions is None else {keys.RANGE_START: partitions[0], keys.RANGE_END: partitions[-1]}
    subset = job.get_subset(asset_selection=set(assets), asset_check_selection=set())
    assert subset.execute_in_process(instance=instance, tags=tags, run_config=QUIET).success


def peer_seconds_a_partition(folder: Path) -> float:
    """Mean wall-clock seconds of a stock Dagster run of one partition, from its process's start to its end."""
    module = folder / "peer.py"
    module.write_text(PEER)
    command = [str(Path(sys.executable).parent / "dagster"), "asset", "materialize", "--select", "peer"]
    home = folder / "stock"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    env = {**os.environ, "DAGSTER_HOME": str(home)}
    start_s = time.perf_counter()
    for partition in range(N_PEER_RUNS):
        done = subprocess.run(
            [*command, "-f", str(module), "--partition", str(partition)],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert re.search(r"Multiprocess executor", done.stderr), "the peer did not run on the multiprocess executor"
    return (time.perf_counter() - start_s) / N_PEER_RUNS


def main() -> None:
    """Prints both, the ratio, and fails where ours is over its bound."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dagster_project.toml").write_text(STUDY)
        (folder / "instant_worker.py").write_text(INSTANT_WORKER)
        home = folder / "storage" / "dagster"
        os.environ |= {"NSL_PROJECT": name, "NSL_STORAGE": str(folder / "storage"), "DAGSTER_HOME": str(home)}
        os.environ |= {"NSL_LEDGER": str(folder / "ledger"), "PYTHONPATH": name}
        init_instance()
        ours = our_cost()
        peer_s = peer_seconds_a_partition(folder)
    n_cells = len(SIZES) * N_LEVELS
    print(f"peer: {peer_s:.1f} s a run (mean of {N_PEER_RUNS}); {n_cells} runs would take {peer_s * n_cells:.0f} s")
    print(f"seconds a grid cell: ratio {peer_s / ours.seconds:.1f} (peer {peer_s:.3f} s, ours {ours.seconds:.3f} s)")
    outside_s = ours.outside_workers_s
    assert outside_s <= MOST_SECONDS_A_CELL, f"{outside_s:.3f} s a cell: at most {MOST_SECONDS_A_CELL} s are wanted"


if __name__ == "__main__":
    main()
