"""The user's own embeddings, one array a noise level: measured like any model, not trained here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from nsl_assets.errors import InputError, MeasurementError, StorageError
from nsl_assets.models.embedding_files import Source, align, read_embeddings
from nsl_assets.models.protocol import Cost, FitReport, ModelKind

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import CountRows, Task

_DESCRIPTION: Final = "embeddings.json"
_MIB: Final = 2**20


class Embeddings(ModelKind):
    """Embeddings that were made elsewhere from counts at the same noise levels."""

    CODE_VERSION: ClassVar[str] = "1"
    NEEDS_TRAINING: ClassVar[bool] = False
    READS_COUNTS: ClassVar[bool] = False

    kind: Literal["embeddings"] = "embeddings"
    """Name of this kind of model."""
    files: dict[str, str] = Field(min_length=1)
    """Noise level -> file, e.g. {"1.0" = "full.npy", "0.1" = "tenth.parquet"}: a .npy with one row for every
    cell of the source file, in its order; a .parquet or .csv with cell names first; "file.h5ad:obsm:KEY"."""

    @field_validator("files")
    @classmethod
    def _levels_are_numbers(cls, files: dict[str, str]) -> dict[str, str]:
        levels = [_as_level(text) for text in files]
        if len(set(levels)) < len(levels):
            raise ValueError(f"a noise level is named twice among {', '.join(files)}")
        return files

    def identity(self) -> dict[str, Any]:
        """The kind alone: the content of the files decides the numbers, not where they lie."""
        return {"kind": self.kind}

    def content(self, level: float | None) -> dict[str, Any]:
        """Hash of the file of a level (and its obsm key), or of every level's."""
        levels = sorted(map(_as_level, self.files)) if level is None else [level]
        sources = {repr(float(each)): self.source(each) for each in levels}
        return {"files": {key: [source.sha256(), source.obsm_key] for key, source in sources.items()}}

    def source(self, level: float) -> Source:
        """The file of a noise level. Raises InputError where none is given."""
        for text, file in self.files.items():
            if math.isclose(_as_level(text), level, rel_tol=1e-9):
                return Source.parse(file)
        raise InputError(
            f"No embeddings are given for noise level {level:g}. There are files for the levels "
            f"{', '.join(sorted(self.files, key=float))}. Add one, or leave the level out of the study."
        )

    def create(self, task: Task, level: float, runtime: Runtime) -> EmbeddingsModel:  # noqa: ARG002 - runs on the CPU
        """The embeddings of one level. Raises InputError where there is no file for it."""
        return EmbeddingsModel(self.source(level), task.counts.shape[0])

    def cost(self, n_train_cells: int, n_genes: int) -> Cost:  # noqa: ARG002 - files alone decide
        """300 MiB for the process and twice the largest file; 5 s and 1 s for every 100 MiB."""
        paths = [Source.parse(file).path for file in self.files.values()]
        largest_mib = max((path.stat().st_size for path in paths if path.is_file()), default=0) / _MIB
        return Cost(memory_mib=300 + 2 * largest_mib, seconds=5 + largest_mib / 100, disk_mib=0.001)


class EmbeddingsModel:
    """Looks embeddings up; there is nothing to train."""

    def __init__(self, source: Source, n_source_cells: int) -> None:
        self._source = source
        self._n_source_cells = n_source_cells

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:  # noqa: ARG002
        """Nothing is learned."""
        return FitReport(train.n_cells, n_validation_cells=validation.n_cells, stop_reason="not trained here")

    def initialise(self, train: CountRows, *, seed: int) -> None:  # noqa: ARG002
        """Raises MeasurementError: the untrained state of a model elsewhere is not known."""
        raise MeasurementError("Embeddings from a file have no untrained baseline. Leave it out for this model.")

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """The embeddings of these cells. Raises InputError for missing cells, wrong sizes and NaN."""
        return align(read_embeddings(self._source), cells, self._n_source_cells, self._source)

    def save(self, folder: Path) -> None:
        """Write which file was used, and its hash."""
        folder.mkdir(parents=True, exist_ok=True)
        description = {"source": str(self._source), "sha256": self._source.sha256()}
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=1))

    def load(self, folder: Path) -> None:
        """Check that the file is still the one that was used. Raises StorageError where it is not."""
        try:
            expected = json.loads((folder / _DESCRIPTION).read_text())["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{folder} does not describe embeddings: {error}. Delete it.") from error
        if expected != self._source.sha256():
            raise StorageError(
                f"{self._source} has changed since its embeddings were measured (SHA-256 {expected[:12]}… "
                "then). Measure again."
            )


def _as_level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = math.nan
    if not math.isfinite(level):
        raise ValueError(f'{text!r} is not a noise level: name each file by a number, such as "0.1"')
    return level
