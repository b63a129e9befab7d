"""Which dispatcher, as the settings of a machine or of a Dagster resource name it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from nsl_assets.errors import InputError
from nsl_resources.admission.ledger import Ledger
from nsl_resources.dispatch.jobs import Dispatcher
from nsl_resources.dispatch.local import LocalPool
from nsl_resources.dispatch.node import NodeBudget
from nsl_resources.dispatch.ray_cluster import Ray
from nsl_resources.dispatch.slurm import Slurm

DispatcherName = Literal["local", "ray", "slurm"]
DISPATCHERS: Final[tuple[DispatcherName, ...]] = get_args(DispatcherName)


@dataclass(frozen=True)
class DispatcherChoice:
    """A dispatcher and its settings; what belongs to another one is ignored.

    Attributes:
        dispatcher: one of `DISPATCHERS`.
        budget: what all workers of this machine, or of one node of a cluster, together may use.
        max_workers: a bound on workers at a time; see the dispatchers for what it counts.
        node_gpu_memory_mib: memory of one GPU of the nodes, for `Ray`.
        ray_address: see `Ray`.
        slurm_options: see `Slurm`.
    """

    dispatcher: str = "local"
    budget: NodeBudget = field(default_factory=NodeBudget)
    max_workers: int | None = None
    node_gpu_memory_mib: int | None = None
    ray_address: str = "auto"
    slurm_options: tuple[str, ...] = ()

    def make(self, storage: Path) -> Dispatcher:
        """The dispatcher, for work in this storage folder.

        Raises:
            InputError: there is no dispatcher of that name, or its engine cannot be used from here.
        """
        match self.dispatcher:
            case "local":
                return LocalPool(Ledger(self.budget.probe()), self.max_workers)
            case "ray":
                return Ray(
                    storage,
                    self.ray_address,
                    self.budget,
                    gpu_memory_mib=self.node_gpu_memory_mib,
                    max_workers=self.max_workers,
                )
            case "slurm":
                return Slurm(storage, self.slurm_options, self.budget, max_workers=self.max_workers)
        raise InputError(f"no dispatcher is named {self.dispatcher!r}. There are: {', '.join(DISPATCHERS)}.")
