"""The Dagster resources: storage (artifacts and results) and workers (admission and dispatch).

The only module of this package that imports dagster; everything else is used from notebooks and workers as well.
"""

from pathlib import Path

import dagster as dg
from pydantic import Field

from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import DISPATCHERS, Dispatcher, DispatcherChoice, NodeBudget
from nsl_resources.results import Results
from nsl_resources.run_process import tags_at_start


class StorageResource(dg.ConfigurableResource[Artifacts]):
    """The storage folder: artifacts by content hash, and the results database."""

    root: str = Field(description="Folder of artifacts, results and saved studies.")

    @property
    def artifacts(self) -> Artifacts:
        """Artifacts by content hash."""
        return Artifacts(Path(self.root))

    @property
    def results(self) -> Results:
        """Tables of measurements, laws, runs and studies."""
        return Results(Path(self.root))

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Mark the run with the process that executes it, so that it is ended should the process be lost."""
        if context.run is not None and context.instance is not None:
            context.instance.add_run_tags(context.run.run_id, tags_at_start(context.run.run_id, context.run.tags))


class WorkersResource(dg.ConfigurableResource[Dispatcher]):
    """Worker processes, admitted by memory, cores and GPU memory across all Dagster runs of a node."""

    dispatcher_name: str = Field(default="local", description=f"Where workers run: {', '.join(DISPATCHERS)}.")
    storage: str = Field(default="", description="The storage folder, which all nodes of a cluster must see.")
    memory_mib: int | None = Field(default=None, description="MiB for all workers of a node; empty: 80 % of it.")
    cores: int | None = Field(default=None, description="Cores for all workers of a node; empty: all.")
    use_gpus: bool = Field(
        default=True, description="Whether workers get GPUs, of those that CUDA_VISIBLE_DEVICES shows this process."
    )
    max_workers: int | None = Field(default=None, description="The most workers at a time; empty: what fits.")
    node_gpu_memory_mib: int | None = Field(
        default=None, description="MiB of one GPU of a Ray cluster, so that workers share GPUs; empty: they do not."
    )
    ray_address: str = Field(default="auto", description="HOST:PORT of the head of a Ray cluster, auto or local.")
    slurm_options: list[str] = Field(default=[], description="Further options of sbatch.")

    def dispatcher(self) -> Dispatcher:
        """The dispatcher that is named, inside the budget."""
        choice = DispatcherChoice(
            self.dispatcher_name,
            NodeBudget(self.memory_mib, self.cores, self.use_gpus),
            self.max_workers,
            self.node_gpu_memory_mib,
            self.ray_address,
            tuple(self.slurm_options),
        )
        return choice.make(Path(self.storage))
