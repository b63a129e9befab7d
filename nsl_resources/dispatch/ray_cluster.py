"""Workers on a Ray cluster: Ray places each on a node; there it takes its lease from the node's ledger.

Ray is imported when the first cluster is used: it is the extra `ray`.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from nsl_assets.errors import InputError
from nsl_resources.admission.needs import AdmissionError
from nsl_resources.dispatch.crew import Callbacks
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, never_started, require_unique_labels
from nsl_resources.dispatch.messages import Log, Message
from nsl_resources.dispatch.node import RUNNER_MIB, NodeBudget, run_on_node, with_python_of_this_node
from nsl_resources.dispatch.storage_probe import StorageProbe, not_shared, storage_probe

LOCAL_ADDRESS: Final = "local"
TRIES: Final = 3
"""How often a job is started whose node goes away."""
_TICK_S: Final = 0.2
_CONNECT_S: Final = 5.0
_PROBE_S: Final = 120.0
_END_S: Final = 60.0
_FEWEST_QUEUED: Final = 64
_MIB: Final = 2**20


class Ray:
    """Runs jobs on a Ray cluster; see `Dispatcher`.

    A worker, or a node, that is lost takes its job to another node, three times at most.

    Args:
        storage: the storage folder, which all nodes must see under the same path.
        address: "auto" (the cluster of this machine, or that of RAY_ADDRESS), HOST:PORT of its head, or "local": a
            cluster of this machine alone, started here and ended with this process.
        budget: what all workers of one node together may use.
        gpu_memory_mib: memory of one GPU of the cluster. Where it is given, workers share GPUs by memory; otherwise
            each has its GPUs for itself.
        max_workers: a bound on jobs that are with Ray at a time.

    Raises:
        InputError: Ray is not installed, or nothing answers at the address.
    """

    def __init__(
        self,
        storage: Path,
        address: str = "auto",
        budget: NodeBudget | None = None,
        *,
        gpu_memory_mib: int | None = None,
        max_workers: int | None = None,
    ) -> None:
        if find_spec("ray") is None:
            raise InputError('workers are to run on Ray, which is not installed: pip install "nsl[ray]"')
        _require_answer(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        self._storage, self._address, self._budget = storage, address, budget or NodeBudget()
        self._gpu_memory_mib, self._max_workers = gpu_memory_mib, max_workers

    def run(
        self,
        jobs: Iterable[WorkerJob],
        on_result: Callable[[WorkerResult], None] | None = None,
        on_message: Callable[[str, Message], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Generator[WorkerResult, None, None]:
        """See `Dispatcher.run`. Jobs, nodes and the storage folder are checked before the first one starts.

        Raises:
            AdmissionError: a job needs more than any node of the cluster has.
            InputError: two jobs have the same label; there is no cluster at the address; its nodes cannot import nsl.
            StorageError: a node does not see the storage folder.
        """
        todo = list(jobs)
        require_unique_labels(todo)
        if not todo:
            return _nothing()
        cluster = Cluster(self._address, self._gpu_memory_mib)
        cluster.require_room(todo)
        cluster.require_storage(self._storage)
        window = self._max_workers or max(_FEWEST_QUEUED, 2 * cluster.n_cores)
        callbacks = Callbacks(on_result, on_message, should_stop)
        return _Run(todo, cluster, self._budget, window, callbacks).results()


def _nothing() -> Generator[WorkerResult, None, None]:
    yield from ()


def _require_answer(address: str) -> None:
    """Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon and address not in {"auto", LOCAL_ADDRESS}:
        raise InputError(f"ray_address is {address!r}: expected HOST:PORT, 'auto' or '{LOCAL_ADDRESS}'")
    if not colon:
        return
    if not port.isdecimal():
        raise InputError(f"ray_address is {address!r}: {port!r} is no port number")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({error}). Start its head (`ray start --head`), or correct"
            " ray_address of [machine]."
        ) from error


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
        if not ray.is_initialized():
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
            seen = {node.name: self._answer(ref, node) for ref, node in asked.items()}
        blind = [name for name, sees in seen.items() if not sees]
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
        """Where the nodes put what workers say, on the dispatcher's own node, so that it ends with the dispatcher."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        return self._ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()

    def submit(self, job: WorkerJob, budget: NodeBudget, mailbox: Any) -> Any:
        """Gives a job to Ray."""
        task = self._ray.remote(_run_in_task).options(
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


def _run_in_task(job: WorkerJob, budget: NodeBudget, mailbox: Any, dispatcher_python: str) -> WorkerResult:
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


class _Run:
    """The jobs of one call of `run`: those that wait, those that Ray has, results to hand out."""

    def __init__(
        self, jobs: list[WorkerJob], cluster: Cluster, budget: NodeBudget, window: int, callbacks: Callbacks
    ) -> None:
        import ray

        self._ray: Any = ray
        self._cluster, self._budget, self._window, self._callbacks = cluster, budget, window, callbacks
        self._waiting = deque(jobs)
        self._with_ray: dict[Any, WorkerJob] = {}
        self._n_lost: Counter[str] = Counter()
        self._ready: deque[WorkerResult] = deque()
        self._mailbox: Any = None

    def results(self) -> Generator[WorkerResult, None, None]:
        """Runs everything; stops everything if the caller stops iterating."""
        self._mailbox = self._cluster.mailbox()
        try:
            while self._waiting or self._with_ray or self._ready:
                self._submit()
                while self._ready:
                    yield self._hand_out()
                self._take_in(_TICK_S)
                if self._callbacks.is_stop_wanted():
                    self._cancel()
        finally:
            self._close()

    def _hand_out(self) -> WorkerResult:
        result = self._ready.popleft()
        self._callbacks.tell_result(result)
        return result

    def _submit(self) -> None:
        while self._waiting and len(self._with_ray) < self._window:
            job = self._waiting.popleft()
            self._with_ray[self._cluster.submit(job, self._budget, self._mailbox)] = job

    def _take_in(self, pause_s: float) -> None:
        """Waits until a job ends, at most so long, and takes in all that have ended and what was said."""
        if not self._with_ray:
            return
        self._ray.wait(list(self._with_ray), num_returns=1, timeout=pause_s)
        ended, _ = self._ray.wait(list(self._with_ray), num_returns=len(self._with_ray), timeout=0)
        for label, message in self._ray.get(self._mailbox.take.remote()):
            self._callbacks.tell_message(label, message)
        for ref in ended:
            self._finish(self._with_ray.pop(ref), ref)

    def _finish(self, job: WorkerJob, ref: Any) -> None:
        errors = self._ray.exceptions
        try:
            self._ready.append(self._ray.get(ref))
        except errors.TaskCancelledError:
            self._ready.append(never_started(job.label))
        except errors.OutOfMemoryError as error:
            self._ready.append(never_started(job.label, "out of memory", str(error)))
        except self._cluster.lost as error:
            self._lose(job, error)
        except errors.RayError as error:
            self._ready.append(never_started(job.label, "refused", str(error)))

    def _lose(self, job: WorkerJob, error: Exception) -> None:
        self._n_lost[job.label] += 1
        n_lost = self._n_lost[job.label]
        why = str(error).strip().partition("\n")[0]
        if n_lost == TRIES:
            self._ready.append(never_started(job.label, "lost", f"lost {n_lost} times, the last time: {why}"))
        else:
            self._callbacks.tell_message(job.label, Log("WARNING", f"lost with its node, started again: {why}"))
            self._waiting.append(job)

    def _cancel(self) -> None:
        """Interrupts what runs, and waits for it; what waits is cancelled without having started."""
        self._ready += [never_started(job.label) for job in self._waiting]
        self._waiting.clear()
        for ref in self._with_ray:
            self._ray.cancel(ref)
        give_up_s = time.monotonic() + _END_S
        while self._with_ray and time.monotonic() < give_up_s:
            self._take_in(_TICK_S)
            self._drop_what_was_lost()
        self._kill()

    def _drop_what_was_lost(self) -> None:
        self._ready += [never_started(job.label) for job in self._waiting]
        self._waiting.clear()

    def _kill(self) -> None:
        """Ends the processes that run jobs on the nodes; their supervisors end the workers."""
        for ref in self._with_ray:
            self._ray.cancel(ref, force=True)
        while self._with_ray:
            self._take_in(_TICK_S)
            self._drop_what_was_lost()

    def _close(self) -> None:
        """Nothing outlives the run: after an interruption of this very clean-up, without grace."""
        try:
            self._cancel()
        except BaseException:
            self._kill()
            raise
        finally:
            with suppress(self._ray.exceptions.RayError):  # it has ended with its node
                self._ray.kill(self._mailbox)
        while self._ready:
            self._hand_out()
