"""The Dagster resources: storage (artifacts and results) and workers (admission and dispatch).

The only module of this package that imports dagster; everything else is used from notebooks and workers as well.
"""

from pathlib import Path

import dagster as dg
from pydantic import Field

from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import Dispatcher, LocalPool
from nsl_resources.gpu import Ledger, node_probe
from nsl_resources.results import Results


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


class WorkersResource(dg.ConfigurableResource[Dispatcher]):
    """Worker processes on this host, admitted by memory, cores and GPU memory across all Dagster runs of the host."""

    memory_mib: int | None = Field(default=None, description="MiB for all workers together; empty: 80 % of the host.")
    cores: int | None = Field(default=None, description="Cores for all workers together; empty: all.")
    use_gpus: bool = Field(
        default=True, description="Whether workers get GPUs, of those that CUDA_VISIBLE_DEVICES shows this process."
    )

    def dispatcher(self) -> Dispatcher:
        """A local pool inside the budget."""
        return LocalPool(Ledger(node_probe(self.memory_mib, self.cores, self.use_gpus)))
