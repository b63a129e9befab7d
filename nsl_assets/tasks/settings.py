"""Settings of tasks: which counts, which auxiliary signal, which split."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from nsl_assets.tasks.base_settings import FileTask, SplitSettings
from nsl_assets.tasks.pair_settings import ClonalPairs, SpatialPairs, text_of
from nsl_assets.tasks.stages import ALPHABETICAL, require_order


class H5adTask(FileTask):
    """Counts and an auxiliary signal of each cell, read from an AnnData file."""

    AUXILIARY_FIELDS: ClassVar[tuple[str, ...]] = (
        "auxiliary",
        "auxiliary_kind",
        "auxiliary_transform",
        "unknown_labels",
        "stages",
    )

    kind: Literal["h5ad"] = "h5ad"

    auxiliary: str
    """What the embedding should know about: "obs:COLUMN" or "obsm:KEY". Models never see it.

    A cell without a value (missing, NaN) still trains models; it is left out of the measurement.
    """

    auxiliary_kind: Literal["auto", "categorical", "continuous", "ordered"] = "auto"
    """Classes or numbers. "auto": text, categories, booleans and integers with at most 20 different values
    are classes; other numbers, and everything in obsm, are continuous. "ordered": the classes of `stages`."""

    stages: tuple[str, ...] | Literal["alphabetical"] = ()
    """For "ordered": every stage, such as time points, earliest first. A number stands for the one label that holds it:
    300 for "300_minutes". A label of the file that is no stage is an error, unless `unknown_labels` names it.
    "alphabetical": all labels, in alphabetical order, which must be that of the numbers in them: E0875, E0900, P0."""

    auxiliary_transform: Literal["auto", "none", "log1p"] = "auto"
    """For a continuous auxiliary. "auto": log(1 + x) where an obsm holds counts only (such as proteins), then
    every column to mean 0 and variance 1. "log1p": the same whatever it holds. "none": as in the file."""

    unknown_labels: tuple[str, ...] = ()
    """Classes that mean "not known", such as "unknown" or "doublet": their cells train, unmeasured."""

    group: str | None = None
    """obs column whose cells stay together in the split, such as the donor or embryo."""

    @field_validator("auxiliary")
    @classmethod
    def _names_its_place(cls, value: str) -> str:
        place, _, key = value.partition(":")
        if place not in ("obs", "obsm") or not key:
            raise ValueError(f"{value!r} is not of the form obs:COLUMN or obsm:KEY, as in obs:cell_type")
        return value

    @field_validator("group")
    @classmethod
    def _without_its_place(cls, value: str | None) -> str | None:
        """Other columns are named obs:COLUMN, so this one may be too."""
        return None if value is None else value.removeprefix("obs:")

    @field_validator("stages", mode="before")
    @classmethod
    def _as_text(cls, values: object) -> object:
        return [text_of(value) for value in values] if isinstance(values, list | tuple) else values

    @model_validator(mode="after")
    def _stages_are_ordered(self) -> Self:
        is_ordered = self.auxiliary_kind == "ordered"
        if is_ordered != bool(self.stages):
            raise ValueError('auxiliary_kind = "ordered" and stages = [...], earliest first, belong together')
        if is_ordered and self.auxiliary.startswith("obsm:"):
            raise ValueError(f"{self.auxiliary} may have many columns: stages are of one column, obs:COLUMN")
        if self.stages != ALPHABETICAL:
            require_order(self.stages)
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the numbers; stages only where there are any, so that other tasks keep their identity."""
        identity = super().identity()
        if not self.stages:
            del identity["stages"]
        return identity


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


TaskSettings = Annotated[H5adTask | ClonalPairs | SpatialPairs | SimulatedCells, Field(discriminator="kind")]
"""Settings of any task, told apart by `kind`."""
