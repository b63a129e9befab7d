"""Settings of tasks: which counts, which auxiliary signal, which split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

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


class H5adTask(SplitSettings):
    """Counts and an auxiliary signal read from an AnnData file."""

    kind: Literal["h5ad"] = "h5ad"

    path: Path
    """The .h5ad file."""

    layer: str | None = None
    """Where the raw integer counts are: a name in `layers`, or "raw" for `raw.X`; nothing for `X`."""

    auxiliary: str
    """What the embedding should know about: "obs:COLUMN" or "obsm:KEY". Models never see it.

    A cell without a value (missing, NaN) still trains models; it is left out of the measurement.
    """

    auxiliary_kind: Literal["auto", "categorical", "continuous"] = "auto"
    """Classes or numbers. "auto": text, categories, booleans and integers with at most 20 different values
    are classes; other numbers, and everything in obsm, are continuous."""

    auxiliary_transform: Literal["auto", "none", "log1p"] = "auto"
    """For a continuous auxiliary. "auto": log(1 + x) where an obsm holds counts only (such as proteins), then
    every column to mean 0 and variance 1. "log1p": the same whatever it holds. "none": as in the file."""

    unknown_labels: tuple[str, ...] = ()
    """Classes that mean "not known", such as "unknown" or "doublet": their cells train, unmeasured."""

    group: str | None = None
    """obs column whose cells stay together in the split, such as the donor or embryo."""

    max_cells: int | None = Field(None, ge=100)
    """Use at most this many cells, chosen by identity; nothing for all. For a first look at a large file."""

    @field_validator("auxiliary")
    @classmethod
    def _names_its_place(cls, value: str) -> str:
        place, _, key = value.partition(":")
        if place not in ("obs", "obsm") or not key:
            raise ValueError(f"{value!r} is not of the form obs:COLUMN or obsm:KEY, as in obs:cell_type")
        return value


class SimulatedCells(SplitSettings):
    """Cells drawn from a model in which the information in the counts is known at every depth.

    A latent state s ~ N(0, 1) of 1 or 2 dimensions decides the expression profile; each auxiliary column is
    one dimension of s with noise; the library size is log-normal and independent of both.
    """

    kind: Literal["simulated_cells"] = "simulated_cells"

    n_cells: int = Field(6000, ge=100, le=10_000_000)
    """Number of cells."""

    n_genes: int = Field(500, ge=10, le=60_000)
    """Number of genes."""

    latent_dimensions: Literal[1, 2] = 2
    """Dimensions of the latent state, and columns of the auxiliary signal."""

    correlation: float = Field(0.95, ge=0, lt=1)
    """Correlation of each auxiliary column with its latent dimension. Infinitely deep counts hold
    -d/2 log2(1 - correlation^2) bits: 3.36 bits for 0.95 in two dimensions."""

    umis_per_cell: float = Field(2000, gt=0, le=1e6)
    """Mean library size at level 1."""

    library_size_cv: float = Field(0.4, ge=0, le=3)
    """Standard deviation of the library size over its mean."""

    loading_sd: float = Field(0.25, gt=0, le=2)
    """Standard deviation, over genes, of the change of log expression per unit of the latent state."""

    expression_sd: float = Field(1.0, ge=0, le=4)
    """Standard deviation, over genes, of log mean expression."""

    seed: int = Field(0, ge=0)
    """Another seed gives other genes and other cells."""


TaskSettings = Annotated[H5adTask | SimulatedCells, Field(discriminator="kind")]
"""Settings of any task, told apart by `kind`."""
