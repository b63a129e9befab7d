"""A connection to a Ray cluster: its nodes, whether they can hold a job and see the storage folder, and its tasks.

Ray is imported when the first cluster is used: it is the extra `ray`.
"""

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from nsl_assets.errors import InputError
from nsl_resources.admission.needs import AdmissionError
from nsl_resources.dispatch.jobs import WorkerJob
from nsl_resources.dispatch.node import RUNNER_MIB, NodeBudget
from nsl_resources.dispatch.ray_task import Mailbox, run_in_task
from nsl_resources.dispatch.storage_probe import StorageProbe, not_shared, storage_probe

LOCAL_ADDRESS: Final = "local"
_PROBE_S: Final = 120.0
_MIB: Final = 2**20


@dataclass(frozen=True)
class Node:
    """A living node of the cluster, and all that it has."""

    id: str
    name: str
    memory_mib: int
    cores: int
    n_gpus: int

    def can_hold(self, job: WorkerJob) -> bool:
        """Whether the job fits on the empty node."""
        fits_host = job.memory_mib + RUNNER_MIB <= self.memory_mib and job.cores <= self.cores
        return fits_host and job.n_gpus <= self.n_gpus

    def __str__(self) -> str:
        return f"{self.name}: {self.memory_mib:,} MiB, {self.cores} cores, {self.n_gpus} GPUs"


class Cluster:
    """A connection to a Ray cluster."""

    def __init__(self, address: str, gpu_memory_mib: int | None) -> None:
        import ray

        self._ray: Any = ray
        self._gpu_memory_mib = gpu_memory_mib
        if ray.is_initialized():
            self._require_same(address)
        else:
            self._connect(address)
        self.nodes = [_node(entry) for entry in self._ray.nodes() if entry["Alive"]]

    def _connect(self, address: str) -> None:
        try:
            with _kept_handler(signal.SIGTERM):  # else Ray turns it into SystemExit, where Dagster has a handler
                self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"cannot use the Ray cluster at ray_address = {address!r}: {error}. Start one (`ray start --head`), or"
                f' write ray_address = "{LOCAL_ADDRESS}" for a cluster of this machine alone.'
            ) from error

    def _require_same(self, address: str) -> None:
        """InputError where this process is connected to another cluster: Ray allows one, and would stay with it.

        By the port, as hosts have many names; the addresses "auto", "local" and those of Ray's client do not tell.
        """
        if ":" not in address or address.startswith("ray://"):
            return
        connected = str(self._ray.get_runtime_context().gcs_address)
        if address.rpartition(":")[2] != connected.rpartition(":")[2]:
            raise InputError(
                f"cannot use the Ray cluster at ray_address = {address!r}: this process uses the one at {connected}"
                " already. Start nsl again for the other one."
            )

    @property
    def n_cores(self) -> int:
        """Cores of all nodes."""
        return sum(node.cores for node in self.nodes)

    def require_room(self, jobs: Iterable[WorkerJob]) -> None:
        """AdmissionError for a job that no node can ever hold."""
        for job in {job.need: job for job in jobs}.values():
            if not any(node.can_hold(job) for node in self.nodes):
                raise AdmissionError(
                    f"{job.label} needs {job.need} (and {RUNNER_MIB} MiB to run it), which no node of the Ray cluster"
                    f" has: {'; '.join(map(str, self.nodes))}. Add a larger node, or lower the training sizes."
                )

    def require_storage(self, storage: Path) -> None:
        """StorageError where a node does not see the storage folder; InputError where one cannot import nsl."""
        with storage_probe(storage) as probe:
            asked = {self._on(node, probe): node for node in self.nodes}
            blind = [node.name for ref, node in asked.items() if not self._answer(ref, node)]
        if blind:
            raise not_shared(storage, blind)

    def _on(self, node: Node, probe: StorageProbe) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(node.id, soft=False)
        return self._ray.remote(StorageProbe.is_seen).options(num_cpus=0, scheduling_strategy=here).remote(probe)

    def _answer(self, ref: Any, node: Node) -> bool:
        try:
            return bool(self._ray.get(ref, timeout=_PROBE_S))
        except self._ray.exceptions.RayError as error:
            raise InputError(
                f"node {node.name} of the Ray cluster cannot run nsl: {_last_line(error)}. All nodes need the same"
                " Python, Ray and nsl as the machine that dispatches."
            ) from error

    def mailbox(self) -> Any:
        """Where the nodes put what workers say, on the dispatcher's own node, so that it ends with the dispatcher.

        Ray starts it anew where its process is killed; what it held is then lost, and no result.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        survives = {"max_restarts": -1, "max_task_retries": -1}
        return self._ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here, **survives).remote()

    def submit(self, job: WorkerJob, budget: NodeBudget, mailbox: Any) -> Any:
        """Gives a job to Ray."""
        task = self._ray.remote(run_in_task).options(
            num_cpus=job.cores,
            memory=(job.memory_mib + RUNNER_MIB) * _MIB,
            num_gpus=self._gpu_share(job),
            max_retries=0,
            name=f"nsl: {job.label}",
        )
        return task.remote(job, budget, mailbox, sys.executable)

    def _gpu_share(self, job: WorkerJob) -> float:
        """GPUs to ask for; a part of one (in steps of 1/10,000, as Ray has them) where memory is shared."""
        if job.n_gpus != 1 or self._gpu_memory_mib is None:
            return float(job.n_gpus)
        return min(1.0, -(-job.gpu_memory_mib * 10_000 // self._gpu_memory_mib) / 10_000)

    @cached_property
    def lost(self) -> tuple[type[Exception], ...]:
        """What Ray raises where a node, or the process that ran a job on it, went away."""
        errors = self._ray.exceptions
        return errors.NodeDiedError, errors.WorkerCrashedError, errors.LocalRayletDiedError, errors.ObjectLostError


@contextmanager
def _kept_handler(number: signal.Signals) -> Iterator[None]:
    """Puts back the handler of a signal. Only the main thread can change one."""
    before = signal.getsignal(number)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, before)


def _node(entry: dict[str, Any]) -> Node:
    has = entry["Resources"]
    return Node(
        entry["NodeID"],
        entry["NodeManagerHostname"],
        int(has.get("memory", 0)) // _MIB,
        int(has.get("CPU", 0)),
        int(has.get("GPU", 0)),
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
