"""One cell of the grid as a job for a dispatcher: its order, the memory that it will need, its device; its repeats."""

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from nsl_assets.errors import InputError
from nsl_assets.identity import CellHashes
from nsl_assets.models import Cost, devices_wanted, estimate_cost
from nsl_assets.study import GridCell, Machine, Study
from nsl_assets.worker import WorkerOrder, WorkerRuntime, preload
from nsl_resources.dispatch import Dispatcher, Failure, Message, Report, WorkerJob, WorkerResult
from nsl_resources.gpu import (
    GPU,
    HOST,
    Candidate,
    Device,
    Need,
    Peak,
    PeakRecords,
    WorkerKind,
    after_out_of_memory,
    gpu_devices,
    node_probe,
    pilots,
)

_LOG: Final = logging.getLogger(__name__)
PROBING_MIB = 500
"""Memory of a worker beside its model: interpreter, torch, the probe's networks."""
CUDA_CONTEXT_MIB: Final = 600
"""What a process takes of a GPU beside torch's allocator, whose peak is what `FitReport` holds."""
_IN_USE: Final = re.compile(r"this process has ([\d.]+) (MiB|GiB) memory in use")


@dataclass(frozen=True)
class CellJob:
    """The job of one cell of the grid, with what its prediction depends on."""

    job: WorkerJob
    cell: GridCell
    n_genes: int


@dataclass(frozen=True)
class JobMaker:
    """Makes the jobs of one study on this machine."""

    study: Study
    machine: Machine
    storage: Path

    def job(self, cell: GridCell, hashes: CellHashes, n_genes: int) -> WorkerJob:
        """The job of one cell of the grid, on a GPU where its model uses one and this machine has one."""
        model = self.study.models[cell.model]
        cost = estimate_cost(model, cell.n_cells, n_genes)
        need = self.need(cell.model, cost, n_genes)
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
            expected_s=cost.seconds,
        )

    def piloted(self, jobs: Sequence[CellJob]) -> list[WorkerJob]:
        """The jobs of a run, of which some wait for a pilot: on GPUs of this machine, of a kind not measured before.

        Not on a cluster: who waits for a pilot there waits in the cluster's line a second time.
        """
        if self.machine.dispatcher != "local":
            return [one.job for one in jobs]
        records = PeakRecords(self.storage)
        on_gpu = [(one, self._kind(one.cell.model, one.n_genes, on_gpu=True)) for one in jobs if one.job.n_gpus]
        waits_for = pilots(
            Candidate(one.job.label, kind, one.cell.n_cells)
            for one, kind in on_gpu
            if not any(record.gpu for record in records.of(kind))
        )
        return [replace(one.job, after=waits_for.get(one.job.label)) for one in jobs]

    def renewed(self, waiting: Iterable[CellJob]) -> list[WorkerJob]:
        """Those of the jobs for which more or less memory is predicted by now, with that."""
        records = PeakRecords(self.storage)
        needs: dict[tuple[str, int, int], Need] = {}
        changed = []
        for one in waiting:
            model, n_cells, n_genes = alike = one.cell.model, one.cell.n_cells, one.n_genes
            if alike not in needs:
                cost = estimate_cost(self.study.models[model], n_cells, n_genes)
                needs[alike] = self.need(model, cost, n_genes, records)
            if needs[alike] != one.job.need:
                changed.append(_with_memory(one.job, needs[alike]))
        return changed

    def need(self, model: str, cost: Cost, n_genes: int | None = None, records: PeakRecords | None = None) -> Need:
        """What a worker of a model leases of this machine: by recorded peaks of its kind where the genes are named.

        `records`: those of the storage, where they are read already.

        Raises:
            InputError: this machine has GPUs, the model uses them, and none is large enough.
        """
        n_devices = devices_wanted(self.study.models[model])
        on_gpu = self._uses_gpus(model, cost, n_devices)
        host_mib, gpu_mib = cost.memory_mib + PROBING_MIB, cost.device_memory_mib if on_gpu else 0.0
        if n_genes is not None:
            kind = self._kind(model, n_genes, on_gpu=on_gpu)
            host_mib, gpu_mib = (records or PeakRecords(self.storage)).predict(kind, host_mib, gpu_mib)
        return Need(
            memory_mib=math.ceil(host_mib),
            cores=self.machine.worker_threads * n_devices,
            n_gpus=n_devices if on_gpu else 0,
            gpu_memory_mib=min(math.ceil(gpu_mib), max(gpu.budget_mib for gpu in self._gpus)) if on_gpu else 0,
        )

    def remember(self, cell: GridCell, n_genes: int, worker: WorkerResult, fit: Mapping[str, Any]) -> None:
        """Records what a worker that ended well has used, for the predictions of the next; `fit`: see `FitReport`."""
        cost = estimate_cost(self.study.models[cell.model], cell.n_cells, n_genes)
        on_gpu_mib = float(fit.get("peak_device_memory_mib") or 0.0)
        PeakRecords(self.storage).note(
            self._kind(cell.model, n_genes, on_gpu=on_gpu_mib > 0),
            cell.n_cells,
            Peak(cost.memory_mib + PROBING_MIB, worker.peak_memory_mib),
            Peak(cost.device_memory_mib, on_gpu_mib + CUDA_CONTEXT_MIB) if on_gpu_mib else None,
        )

    def _kind(self, model: str, n_genes: int, *, on_gpu: bool) -> WorkerKind:
        settings = self.study.models[model]
        return WorkerKind(
            model=settings.kind,
            settings=json.dumps(settings.model_dump(mode="json"), sort_keys=True),
            n_genes=n_genes,
            batch_size=getattr(settings, "batch_size", None),
            device="gpu" if on_gpu else "cpu",
        )

    def _uses_gpus(self, model: str, cost: Cost, n_devices: int) -> bool:
        """Whether the model trains on GPUs here. InputError where it would, but none is large enough."""
        if cost.device_memory_mib <= 0 or not self._gpus:
            return False
        # CUDA shows a process only one partition (MIG) of a GPU.
        usable = [gpu for gpu in self._gpus if n_devices == 1 or not gpu.is_partition]
        if sum(gpu.budget_mib >= cost.device_memory_mib for gpu in usable) >= n_devices:
            return True
        raise InputError(
            f"a worker of model '{model}' is expected to need {cost.device_memory_mib:,.0f} MiB on"
            f" {'a GPU' if n_devices == 1 else f'each of {n_devices} GPUs'}; workers may use"
            f" {', '.join(f'{gpu.budget_mib:,}' for gpu in usable) or 'none'} MiB of the GPUs here. Lower the batch"
            ' size of the model, use a larger GPU, or train on the CPU: device = "cpu" of [machine].'
        )

    @cached_property
    def _gpus(self) -> tuple[Device, ...]:
        if self.machine.dispatcher != "local":
            return self.machine.node_devices() if self.machine.device == "auto" else ()
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


def failed_device_mib(message: Message) -> float | None:
    """The most of a GPU that a failed worker held, as torch's allocator counts, where this message of it says so."""
    return message.payload.get("peak_device_memory_mib") if isinstance(message, Report) else None


def _out_of_memory_text(job: WorkerJob, error: str) -> str:
    """What a worker that ran out of memory is reported with."""
    reserved = f"{job.memory_mib:,} MiB of memory" + f", {job.gpu_memory_mib:,} MiB of a GPU" * (job.n_gpus > 0)
    details = (error.strip().splitlines() or ["no details"])[0]
    return (
        f"out of memory ({details}); {reserved} were reserved. Lower the batch size or the training size of this model,"
        " or give [machine] less to do at a time."
    )


def run_repeating(
    dispatcher: Dispatcher,
    jobs: dict[str, WorkerJob],
    devices: Sequence[Device],
    on_message: Callable[[str, Message], None],
    n_repeats: int,
    *,
    renew: Callable[[Sequence[WorkerJob]], Sequence[WorkerJob]] | None = None,
) -> Generator[tuple[WorkerResult, WorkerJob | None], None, None]:
    """Yield every result, with the job that is run again because of it: None where the result is final.

    Who runs out of memory joins those that wait again at once, each time with 1.5 × its peak, at most `n_repeats` times
    and never beyond the largest budget of the devices. Other jobs that wait take over what `renew` answers, see
    `Dispatcher.run`, at most the whole host. In `jobs` (by label) the repeated or renewed job replaces the first.
    """
    repeats = _Repeats(jobs, devices, n_repeats)

    def renew_others(waiting: Sequence[WorkerJob]) -> Sequence[WorkerJob]:
        others = [job for job in waiting if not repeats.is_repeated(job.label)]
        renewed = [] if renew is None else [_within(job, devices) for job in renew(others)]
        jobs.update({job.label: job for job in renewed})
        return renewed

    def listen(label: str, message: Message) -> None:
        repeats.hear(label, message)
        on_message(label, message)

    running = dispatcher.run(list(jobs.values()), on_message=listen, repeat=repeats.job_after, renew=renew_others)
    with closing(running) as results:
        for result in results:
            yield result, repeats.last


@dataclass(frozen=True)
class _Lack:
    """What a worker said when memory ran out: the error, and the most of a GPU that torch had reserved for it."""

    error: str = ""
    peak_device_mib: float | None = None

    @property
    def used_of_gpu_mib(self) -> float:
        """What it held of the GPU, as the error says or else by torch's count; 0 where nothing is known."""
        found = _IN_USE.search(self.error)
        if found is not None:
            return float(found[1]) * (1024 if found[2] == "GiB" else 1)
        return self.peak_device_mib + CUDA_CONTEXT_MIB if self.peak_device_mib else 0.0


class _Repeats:
    """Who is run again with more memory. `last` is what the last result was answered with."""

    def __init__(self, jobs: dict[str, WorkerJob], devices: Sequence[Device], n_repeats: int) -> None:
        self._jobs, self._devices = jobs, devices
        self._n_left = dict.fromkeys(jobs, n_repeats)
        self._n_repeats = n_repeats
        self._lacked: dict[str, _Lack] = {}
        self.last: WorkerJob | None = None

    def hear(self, label: str, message: Message) -> None:
        """Keeps what a worker says about the memory that it lacked."""
        if isinstance(message, Report) and "out_of_memory" in message.payload:
            self._lacked[label] = _Lack(str(message.payload["out_of_memory"]), failed_device_mib(message))

    def is_repeated(self, label: str) -> bool:
        """Whether a job has run out of memory before: it asks for more than is predicted."""
        return self._n_left[label] < self._n_repeats

    def job_after(self, result: WorkerResult) -> WorkerJob | None:
        """The job to be run because of a result; see `Dispatcher.run`."""
        label, lack = result.label, self._lacked.pop(result.label, _Lack())
        self.last = _larger(self._jobs[label], result, lack, self._devices) if self._n_left[label] else None
        if self.last is not None:
            self._n_left[label] -= 1
            self._jobs[label] = self.last
        return self.last


def node_devices(machine: Machine) -> Sequence[Device]:
    """The host and GPUs that workers of this machine share, or of a node of its cluster, with their budgets."""
    if machine.dispatcher != "local":
        memory_mib = machine.memory_mib or 0  # not known: workers that ran out of it get no more
        return (Device(HOST, "host of a node", memory_mib, 0, memory_mib, machine.cores or 1), *machine.node_devices())
    return node_probe(machine.memory_mib, machine.cores, machine.device == "auto").devices()


def _larger(job: WorkerJob, result: WorkerResult, lack: _Lack, devices: Sequence[Device]) -> WorkerJob | None:
    """The job with more memory of what ran out; None where it did not run out, or there is no more."""
    if result.reason != "out of memory":
        return None
    is_gpu = job.n_gpus > 0 and "cuda" in lack.error.lower()
    kind, peak_mib = (GPU, lack.used_of_gpu_mib) if is_gpu else (HOST, result.peak_memory_mib)
    need = after_out_of_memory(job.need, kind, peak_mib, devices)
    return None if need is None else _with_memory(job, need)


def _within(job: WorkerJob, devices: Sequence[Device]) -> WorkerJob:
    """The job with no more memory than the host has, where that is known: a prediction may err, so it is tried."""
    largest_mib = max((device.budget_mib for device in devices if device.kind == HOST), default=0)
    return replace(job, memory_mib=largest_mib) if 0 < largest_mib < job.memory_mib else job


def _with_memory(job: WorkerJob, need: Need) -> WorkerJob:
    return replace(job, memory_mib=need.memory_mib, gpu_memory_mib=need.gpu_memory_mib)
