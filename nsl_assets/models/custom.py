"""The user's own model: a class named by a dotted path or a Python file, checked before it is used."""

from __future__ import annotations

import hashlib
import inspect
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, JsonValue

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.models.custom_loading import load_class, source_file
from nsl_assets.models.protocol import Cost, FitReport, Model, ModelKind

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import CountRows, Task


class Custom(ModelKind):
    """A model class of the user's own, see `examples/own_model.py`."""

    CODE_VERSION: ClassVar[str] = "1"

    kind: Literal["custom"] = "custom"
    """Name of this kind of model."""
    class_path: str = Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")
    """Where the class is: "package.module:ClassName", or "path/to/my_model.py:ClassName"."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    memory_mib: float = Field(default=2048.0, gt=0)
    """Your estimate of the peak memory of a run, used until a run has been measured."""
    seconds: float = Field(default=120.0, gt=0)
    """Your estimate of the time of a run."""
    device_memory_mib: float = Field(default=0.0, ge=0)
    """Your estimate of the peak memory on a GPU; 0 if the model does not use one."""

    def identity(self) -> dict[str, Any]:
        """Class name and settings. Where the file lies and the estimates of its cost decide no number."""
        return {"kind": self.kind, "class": self._class_name(), "settings": self.settings}

    def content(self, level: float | None) -> dict[str, Any]:  # noqa: ARG002 - one source for all levels
        """Hash of the source file of the class: an edit trains anew. Modules it imports are not covered."""
        source = source_file(self.class_path)
        return {"source_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}

    def create(self, task: Task, level: float, runtime: Runtime) -> CustomModel:  # noqa: ARG002 - knows no task
        """Import the class and make the model. Raises InputError where the class cannot be used."""
        return CustomModel(_instance(load_class(self.class_path), self), self.class_path)

    def cost(self, n_train_cells: int, n_genes: int) -> Cost:  # noqa: ARG002 - the user's estimate
        """The user's own estimate."""
        return Cost(self.memory_mib, self.seconds, 1.0, self.device_memory_mib)

    def _class_name(self) -> str:
        return self.class_path.rpartition(":")[2]


class CustomModel:
    """Passes calls on to the user's model, and checks what comes back."""

    def __init__(self, model: Model, class_path: str) -> None:
        self._model = model
        self._class_path = class_path

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:
        """The user's `fit`, timed. It may return a FitReport or None."""
        start = time.perf_counter()
        report: object = self._model.fit(train, validation, seed=seed)
        if report is None:
            report = FitReport(train.n_cells, n_validation_cells=validation.n_cells, stop_reason="not reported")
        if not isinstance(report, FitReport):
            raise InputError(
                f"{self._class_path}: fit returned {type(report).__name__}; return a FitReport or nothing."
            )
        return replace(report, seconds=time.perf_counter() - start)

    def initialise(self, train: CountRows, *, seed: int) -> None:
        """The user's `initialise`."""
        self._model.initialise(train, seed=seed)

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """The user's `embed` as float32. Raises MeasurementError for a wrong shape or values not finite."""
        values = np.asarray(self._model.embed(cells))
        if values.ndim != 2 or len(values) != cells.n_cells or values.shape[1] == 0:
            raise MeasurementError(
                f"{self._class_path}: embed returned an array of shape {values.shape} for {cells.n_cells} "
                f"cells. Return one row a cell: ({cells.n_cells}, n_dimensions)."
            )
        n_bad = int(np.count_nonzero(~np.isfinite(values).all(axis=1)))
        if n_bad:
            raise MeasurementError(
                f"{self._class_path}: the embeddings of {n_bad} of {cells.n_cells} cells hold NaN or "
                "infinity. Often these are cells without counts: give them one finite embedding."
            )
        return values.astype(np.float32)

    def save(self, folder: Path) -> None:
        """The user's `save`, into a folder that exists."""
        folder.mkdir(parents=True, exist_ok=True)
        self._model.save(folder)

    def load(self, folder: Path) -> None:
        """The user's `load`."""
        self._model.load(folder)


def _instance(model_class: type, settings: Custom) -> Model:
    try:
        inspect.signature(model_class).bind(**settings.settings)
    except TypeError as error:
        raise InputError(
            f"{settings.class_path} cannot be made with the settings {sorted(settings.settings)}: {error}. "
            f"Its arguments are {inspect.signature(model_class)}."
        ) from error
    model: Model = model_class(**settings.settings)
    return model
