"""The oracle of simulated cells: the best representation that counts allow, without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError, MeasurementError, StorageError
from nsl_assets.models.preprocessing import in_storage_order, parts
from nsl_assets.models.protocol import Cost, FitReport, ModelKind

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import CountRows, SimulationTruth, Task

_DESCRIPTION: Final = "oracle.json"


class Oracle(ModelKind):
    """Posterior mean of the latent state given the counts; for simulated cells, whose law is known."""

    CODE_VERSION: ClassVar[str] = "1"
    NEEDS_TRAINING: ClassVar[bool] = False

    kind: Literal["oracle"] = "oracle"
    """Name of this kind of model."""

    def create(self, task: Task, level: float, runtime: Runtime) -> OracleModel:  # noqa: ARG002 - right at any level
        """The oracle of a task. Raises InputError for a task of real cells."""
        if task.simulation is None:
            raise InputError(
                'The oracle needs a task of simulated cells (kind = "simulated_cells"): the latent state of '
                "real cells is not known. Leave this model out for this task."
            )
        return OracleModel(task.simulation)

    def cost(self, n_train_cells: int, n_genes: int) -> Cost:  # noqa: ARG002 - training cells are not read
        """300 MiB for the process and 1 MiB for 100 genes of a block; 5 s."""
        return Cost(memory_mib=300 + n_genes / 100, seconds=5, disk_mib=0.001)


class OracleModel:
    """E[latent | counts], (n_cells, n_latent); the same formula at every level."""

    def __init__(self, truth: SimulationTruth) -> None:
        self._truth = truth

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:  # noqa: ARG002
        """Nothing is learned: the law of the cells is known."""
        return FitReport(train.n_cells, n_validation_cells=validation.n_cells, stop_reason="not trained")

    def initialise(self, train: CountRows, *, seed: int) -> None:  # noqa: ARG002
        """Raises MeasurementError: an oracle is never untrained."""
        raise MeasurementError("The oracle has no untrained baseline. Leave it out for this model.")

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """Posterior means; an empty cell has the posterior of having no count."""
        stored, order = in_storage_order(cells)
        embedding = np.empty((cells.n_cells, self._truth.model.latent_dimensions), dtype=np.float32)
        start = 0
        for part in parts(stored):
            embedding[order[start : start + part.shape[0]]] = self._truth.posterior_mean(part)
            start += part.shape[0]
        return embedding

    def save(self, folder: Path) -> None:
        """Write what this is; the task itself holds the law of the cells."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _DESCRIPTION).write_text(json.dumps({"embedding": "posterior mean of the latent state"}))

    def load(self, folder: Path) -> None:
        """Check that the folder is an oracle's. Raises StorageError where it is not."""
        if not (folder / _DESCRIPTION).is_file():
            raise StorageError(f"{folder} is no oracle: it has no {_DESCRIPTION}. Delete it and run again.")
