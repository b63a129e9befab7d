"""Settings that all tasks share: the split, and the file that cells are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from nsl_assets.errors import InputError
from nsl_assets.files import file_sha256
from nsl_assets.settings import Settings


class SplitSettings(Settings):
    """How cells are divided, before anything is fitted, into train pool, validation and probe."""

    probe_fraction: float = Field(0.3, gt=0, lt=1)
    """Share of cells on which mutual information is measured; no model ever trains on them."""

    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of cells for early stopping; the rest is the train pool."""

    split_seed: int = Field(0, ge=0)
    """Another seed gives another split of the same cells."""

    @model_validator(mode="after")
    def _leaves_cells_to_train(self) -> Self:
        if self.probe_fraction + self.validation_fraction > 0.9:
            raise ValueError(
                f"probe_fraction {self.probe_fraction:g} and validation_fraction "
                f"{self.validation_fraction:g} add up to more than 0.9: leave at least a tenth of the cells "
                "to train on"
            )
        return self


class FileTask(SplitSettings):
    """What every task of an AnnData file says, whatever its auxiliary signal is."""

    AUXILIARY_FIELDS: ClassVar[tuple[str, ...]]
    """Fields that decide the auxiliary signal or who is paired with whom, and neither counts nor split."""
    ANNOTATIONS: ClassVar[tuple[str, ...]] = ("total_umis", "sha256")
    """Fields that decide no number that is measured: they are part of no identity."""

    path: Path
    """The .h5ad file; or "data:NAME", a public data set (`nsl data list`), where `nsl data fetch` puts it."""

    layer: str | None = None
    """Where the raw integer counts are: a name in `layers`, or "raw" for `raw.X`; nothing for `X`."""

    max_cells: int | None = Field(None, ge=100)
    """Use at most this many cells, chosen by identity; nothing for all. For a first look at a large file."""

    total_umis: str | float | None = None
    """Where the file holds a panel or a selection of genes: UMIs of each cell over all genes, as "obs:COLUMN", or how
    many times as many they are as those of the panel, as a number. Advice in sequencing reads needs it."""

    sha256: str | None = None
    """SHA-256 of the file, where the study is about that very file: another content is refused."""

    @field_validator("total_umis")
    @classmethod
    def _is_a_column_or_a_factor(cls, value: str | float | None) -> str | float | None:
        if isinstance(value, str):
            return obs_address(value)
        if value is not None and not 1 <= value < float("inf"):
            raise ValueError(
                f"a factor says how many times as many UMIs a cell has over all genes as in its panel: {value:g} is not"
                " a finite number of at least 1"
            )
        return value

    def identity(self) -> dict[str, Any]:
        """What decides the numbers; see `ANNOTATIONS`."""
        return {key: value for key, value in super().identity().items() if key not in self.ANNOTATIONS}

    def content_sha256(self) -> str:
        """SHA-256 of the file. Raises InputError where it cannot be read or is not the one that is expected."""
        found = file_sha256(self.path)
        if self.sha256 is not None and self.sha256.lower() != found:
            raise InputError(
                f"{self.path} has the SHA-256 {found}; the task expects {self.sha256.lower()}: it is another file, or"
                " damaged. Copy or download it again, or take `sha256` out of the task if the new content is meant."
            )
        return found


def obs_address(value: str) -> str:
    """The value, where it is of the form obs:COLUMN. Raises ValueError otherwise."""
    place, _, key = value.partition(":")
    if place != "obs" or not key:
        raise ValueError(f"{value!r} is not of the form obs:COLUMN, as in obs:n_umi")
    return value
