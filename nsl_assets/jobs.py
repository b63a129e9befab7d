"""One cell of the grid as a job for a dispatcher: its order, the memory that it will need, its device."""

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nsl_assets.identity import CellHashes
from nsl_assets.models import Cost, devices_wanted, estimate_cost
from nsl_assets.study import GridCell, Machine, Study
from nsl_assets.worker import WorkerOrder, WorkerRuntime, preload
from nsl_resources.dispatch import Failure, Message, Report, WorkerJob
from nsl_resources.gpu import gpu_devices

PROBING_MIB = 450
"""Memory of a worker beside its model: interpreter, torch, the probe's networks."""


@dataclass(frozen=True)
class JobMaker:
    """Makes the jobs of one study on this machine."""

    study: Study
    machine: Machine
    storage: Path

    def job(self, cell: GridCell, hashes: CellHashes, n_genes: int) -> WorkerJob:
        """The job of one cell of the grid, on a GPU where its model uses one and this machine has one large enough."""
        model = self.study.models[cell.model]
        cost = estimate_cost(model, cell.n_cells, n_genes)
        n_devices, on_gpu = devices_wanted(model), self.uses_gpu(cost, devices_wanted(model))
        threads = self.machine.worker_threads
        runtime = WorkerRuntime(
            device="cuda" if on_gpu else "cpu",
            n_devices=n_devices,
            n_threads=threads,
            precision=self.machine.gpu_precision if on_gpu else "float32",
        )
        order = WorkerOrder(study=self.study, cell=cell, hashes=hashes, storage=self.storage, runtime=runtime)
        return WorkerJob(
            label=cell.label,
            argv=(sys.executable, "-P", "-m", "nsl_assets.worker"),
            payload=order.model_dump(mode="json"),
            memory_mib=worker_memory_mib(cost),
            cores=threads * n_devices,
            timeout_s=self.machine.worker_timeout_s,
            preload=preload(model),
            n_gpus=n_devices if on_gpu else 0,
            gpu_memory_mib=math.ceil(cost.device_memory_mib) if on_gpu else 0,
        )

    def uses_gpu(self, cost: Cost, n_devices: int) -> bool:
        """Whether so many GPUs of this machine could ever hold the model; where not, the CPU trains it."""
        large_enough = [mib for mib in self._gpu_budgets_mib if mib >= cost.device_memory_mib]
        return cost.device_memory_mib > 0 and len(large_enough) >= n_devices

    @cached_property
    def _gpu_budgets_mib(self) -> tuple[int, ...]:
        return tuple(gpu.budget_mib for gpu in gpu_devices()) if self.machine.device == "auto" else ()


def worker_memory_mib(cost: Cost) -> int:
    """Memory of the host that a worker is predicted to need."""
    return math.ceil(cost.memory_mib) + PROBING_MIB


def failure_text(message: Message, job: WorkerJob) -> str | None:
    """Why the worker of a job failed, where this message of it says so."""
    if isinstance(message, Failure):
        return f"{message.error}: {message.text}"
    if not isinstance(message, Report):
        return None
    if "out_of_memory" in message.payload:
        return _out_of_memory_text(job, message.payload["out_of_memory"])
    failure = message.payload.get("failure")
    return None if failure is None else str(failure)


def _out_of_memory_text(job: WorkerJob, error: str) -> str:
    """What a worker that ran out of memory is reported with."""
    reserved = f"{job.memory_mib:,} MiB of memory" + f", {job.gpu_memory_mib:,} MiB of a GPU" * (job.n_gpus > 0)
    return (
        f"out of memory ({error.strip().splitlines()[0]}); {reserved} were reserved. Lower the batch size or the"
        " training size of this model, or give [machine] less to do at a time."
    )
