"""Workers on a Ray cluster: Ray places each on a node; there it takes its lease from the node's ledger.

Ray is imported when the first cluster is used: it is the extra `ray`.
"""

import os
import socket
from collections.abc import Callable, Generator, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from nsl_assets.errors import InputError
from nsl_resources.dispatch.callbacks import Callbacks
from nsl_resources.dispatch.cluster_run import ClusterRun
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult, require_unique_labels
from nsl_resources.dispatch.messages import Message
from nsl_resources.dispatch.node import NodeBudget
from nsl_resources.dispatch.ray_engine import RayEngine
from nsl_resources.dispatch.ray_nodes import LOCAL_ADDRESS, Cluster

_CONNECT_S: Final = 5.0


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
        repeat: Callable[[WorkerResult], WorkerJob | None] | None = None,
        *,
        renew: Callable[[Sequence[WorkerJob]], Iterable[WorkerJob]] | None = None,
    ) -> Generator[WorkerResult, None, None]:
        """See `Dispatcher.run`. Jobs, nodes and the storage folder are checked before the first one starts.

        Raises:
            AdmissionError: a job needs more than any node of the cluster has.
            InputError: two jobs have the same label; `after` of one does not fit; there is no cluster at the address;
                its nodes cannot import nsl.
            StorageError: a node does not see the storage folder.
        """
        todo = list(jobs)
        require_unique_labels(todo)
        if not todo:
            return _nothing()
        cluster = Cluster(self._address, self._gpu_memory_mib)
        cluster.require_room(todo)
        cluster.require_storage(self._storage)
        callbacks = Callbacks(on_result, on_message, should_stop, repeat, renew)
        engine = RayEngine(cluster, self._budget, self._max_workers, callbacks.tell_message)
        return ClusterRun(todo, engine, callbacks).results()


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
