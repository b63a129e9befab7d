"""What every model answers, and what its settings answer before anything is trained. No model is here."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from nsl_assets.settings import Settings

if TYPE_CHECKING:
    from nsl_assets.tasks import CountRows, Task


@dataclass(frozen=True)
class FitReport:
    """What training did. A model that learns nothing reports zero parameters and steps."""

    n_train_cells: int
    """Cells that parameters were fitted to, empty ones included."""
    n_nonempty_train_cells: int = 0
    """Of these, the cells with at least one count at this noise level, of a gene that the model knows."""
    n_validation_cells: int = 0
    """Cells held out for early stopping, on top of the training cells."""
    n_parameters: int = 0
    """Numbers that map a cell to its embedding, fitted or drawn."""
    seconds: float = 0.0
    """Wall time of the fit."""
    steps: int = 0
    """Optimiser steps; 0 for a closed form."""
    epochs: float = 0.0
    """Passes over the training cells; 0 for a closed form."""
    stop_reason: str = "closed form"
    """Why training ended: "closed form", "early stopping", "all epochs", "all steps", "frozen"."""
    device: str = "cpu"
    """Where it was trained: "cpu", or the name of the GPU."""
    n_devices: int = 1
    """Devices that trained together."""
    dtype: str = "float64"
    """Number format of the arithmetic that dominates: "float64", "float32", "bfloat16"."""
    peak_device_memory_mib: float = 0.0
    """Largest memory that was reserved on one GPU; 0 on the CPU."""
    losses: dict[str, list[float]] = field(default_factory=dict)
    """Loss curves by name, one value an epoch or evaluation."""
    notes: dict[str, JsonValue] = field(default_factory=dict)
    """Whatever else a reader of the result should know."""

    def to_json(self) -> dict[str, JsonValue]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Cost:
    """A prediction for one seed of one grid cell, before anything has run."""

    memory_mib: float
    """Peak memory of the worker process, interpreter and libraries included."""
    seconds: float
    """Wall time of training and embedding on one core (or on one device where the model uses one)."""
    disk_mib: float
    """Size of the saved parameters."""
    device_memory_mib: float = 0.0
    """Peak memory on a GPU; 0 for a model that runs on the CPU."""


def _say_nothing(_: str) -> None:
    pass


@dataclass(frozen=True)
class Runtime:
    """What a model may use while it trains and embeds. Numbers differ by rounding; it is recorded, not part of the
    identity."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Kind of device. A worker sees only the GPUs that it was granted."""
    n_devices: int = 1
    """Devices of that kind that train together."""
    n_threads: int = 1
    """Threads on the CPU, for each device."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of matrix products on a GPU; float32 always on the CPU."""
    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """A folder for files that are needed only while training: memory-mapped tokens."""
    say: Callable[[str], None] = _say_nothing
    """Takes a line of progress: epoch, loss, time left."""


@runtime_checkable
class Model(Protocol):
    """A representation model of counts: cells in, embeddings out. The auxiliary signal is never seen."""

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:
        """Learn from the training cells. Raises MeasurementError where they are too few."""
        ...

    def initialise(self, train: CountRows, *, seed: int) -> None:
        """The untrained baseline: parameters as they are before training."""
        ...

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """Embeddings (n_cells, n_dimensions), finite; all empty cells have one and the same."""
        ...

    def save(self, folder: Path) -> None:
        """Write the parameters into a folder, without pickle."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote: embeddings are then identical to the byte."""
        ...


class ModelKind(Settings):
    """Base of the settings of a model. Subclasses add ``kind: Literal[...]`` and stay cheap to import.

    A model's own stack (torch, scvi, transformers) is imported by `create` alone.
    """

    STACK: ClassVar[tuple[str, ...]] = ()
    """Modules that this kind's worker imports, preloaded once for many workers: ("scvi",)."""
    CODE_VERSION: ClassVar[str]
    """Raised when a change of the code changes this kind's embeddings; part of its identity."""
    NEEDS_TRAINING: ClassVar[bool] = True
    """False where embeddings exist without training: then there is no untrained baseline either."""
    READS_COUNTS: ClassVar[bool] = True
    """False where embeddings are looked up by cell: then a model cannot embed counts of another noise level."""

    @abstractmethod
    def create(self, task: Task, level: float, runtime: Runtime) -> Model:
        """The model, not trained yet, for one task at one noise level."""

    @abstractmethod
    def cost(self, n_train_cells: int, n_genes: int) -> Cost:
        """Predicted cost of one seed; the formula is in the docstring of each kind."""

    def needs_training(self) -> bool:
        """Whether the model is trained; where not, it has no untrained baseline either."""
        return self.NEEDS_TRAINING

    def depends_on_size(self) -> bool:
        """Whether embeddings change with the number of training cells."""
        return self.needs_training()

    def devices_wanted(self) -> int:
        """Devices that train one model together."""
        return 1

    def content(self, level: float | None) -> dict[str, Any]:  # noqa: ARG002 - kinds with files use it
        """Content hashes of the user's files at one level, or at all levels where it is None; JSON."""
        return {}
