"""One cell of the grid as a job for a dispatcher: its order, the memory that it will need, its device."""

import logging
import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from nsl_assets.identity import CellHashes
from nsl_assets.models import Cost, devices_wanted, estimate_cost
from nsl_assets.study import GridCell, Machine, Study
from nsl_assets.worker import WorkerOrder, WorkerRuntime, preload
from nsl_resources.dispatch import Failure, Message, Report, WorkerJob
from nsl_resources.gpu import Device, Need, gpu_devices

_LOG: Final = logging.getLogger(__name__)
PROBING_MIB = 500
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
        need = self.need(cell.model, estimate_cost(model, cell.n_cells, n_genes))
        runtime = WorkerRuntime(
            device="cuda" if need.n_gpus else "cpu",
            n_devices=devices_wanted(model),
            n_threads=self.machine.worker_threads,
            precision=self.machine.gpu_precision if need.n_gpus else "float32",
        )
        order = WorkerOrder(study=self.study, cell=cell, hashes=hashes, storage=self.storage, runtime=runtime)
        return WorkerJob(
            label=cell.label,
            argv=(sys.executable, "-P", "-m", "nsl_assets.worker"),
            payload=order.model_dump(mode="json"),
            memory_mib=need.memory_mib,
            cores=need.cores,
            timeout_s=self.machine.worker_timeout_s,
            preload=preload(model),
            n_gpus=need.n_gpus,
            gpu_memory_mib=need.gpu_memory_mib,
        )

    def need(self, model: str, cost: Cost) -> Need:
        """What a worker of a model leases of this machine."""
        n_devices = devices_wanted(self.study.models[model])
        on_gpu = self._can_use_gpus(cost, n_devices)
        return Need(
            memory_mib=math.ceil(cost.memory_mib) + PROBING_MIB,
            cores=self.machine.worker_threads * n_devices,
            n_gpus=n_devices if on_gpu else 0,
            gpu_memory_mib=math.ceil(cost.device_memory_mib) if on_gpu else 0,
        )

    def _can_use_gpus(self, cost: Cost, n_devices: int) -> bool:
        """Whether so many GPUs of this machine could ever hold the model; where not, the CPU trains it."""
        large_enough = [
            gpu
            for gpu in self._gpus
            # CUDA shows a process only one partition (MIG) of a GPU.
            if gpu.budget_mib >= cost.device_memory_mib and (n_devices == 1 or not gpu.is_partition)
        ]
        return cost.device_memory_mib > 0 and len(large_enough) >= n_devices

    @cached_property
    def _gpus(self) -> tuple[Device, ...]:
        gpus = tuple(gpu_devices()) if self.machine.device == "auto" else ()
        if gpus and not torch_has_cuda():
            _LOG.warning(
                "%s GPUs are here, but the installed torch is built for the CPU alone: workers train on the CPU."
                " Install a CUDA build of torch to use the GPUs.",
                len(gpus),
            )
            return ()
        return gpus


def torch_has_cuda() -> bool:
    """Whether the installed torch can use NVIDIA GPUs at all. Imports it, so ask only where there are GPUs."""
    import torch

    return torch.version.cuda is not None


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
    details = (error.strip().splitlines() or ["no details"])[0]
    return (
        f"out of memory ({details}); {reserved} were reserved. Lower the batch size or the training size of this model,"
        " or give [machine] less to do at a time."
    )
