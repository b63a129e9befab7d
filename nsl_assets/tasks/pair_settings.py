"""Settings of tasks in which the auxiliary signal of a cell is another cell: its clone, or its neighbourhood."""

from __future__ import annotations

import re
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from nsl_assets.tasks.base_settings import FileTask, obs_address

_NUMBER: Final = re.compile(r"-?\d{1,15}(\.\d+)?")


class PairedTask(FileTask):
    """What tasks of paired cells share."""

    AUXILIARY_FIELDS: ClassVar[tuple[str, ...]] = ("paired_auxiliary", "n_reference_components")

    paired_auxiliary: Literal["fixed", "same_model"] = "fixed"
    """What of the partner is to be known. "fixed": its principal components at the measured depth, fitted on the train
    pool, so that the signal does not degrade with the noise. "same_model" (published): its embedding by the same
    model at the same noise level."""

    n_reference_components: int = Field(16, ge=1, le=512)
    """Principal components of the partner, for the fixed auxiliary."""

    probe_overlap: bool = False
    """True (published): all cells are probed, those that models train on included. False: none of them."""


class ClonalPairs(PairedTask):
    """Pairs of an early and a late cell of one clone: what a cell says of what became of its sisters.

    Each seed draws one random pair of every clone that has cells at both times. Clones are kept whole in the split;
    cells of the other clones, and those without a clone, train.
    """

    kind: Literal["clonal_pairs"] = "clonal_pairs"

    clone: str
    """Column of clones, "obs:COLUMN". A cell without a value has no clone."""

    time: str
    """Column of time points, "obs:COLUMN"."""

    early: tuple[str, ...] = Field(min_length=1)
    """Time points of the cell that is embedded, such as ["2", "4"]."""

    late: tuple[str, ...] = Field(min_length=1)
    """Time points of its partner, such as ["6"]."""

    no_clone: tuple[str, ...] = ()
    """Values of the column of clones that mean "no clone", such as "-1"."""

    probe_fraction: float = Field(0.5, gt=0, lt=1)
    """Share of the clones with cells at both times that is probed: one pair each. The cells of all others train."""

    @field_validator("clone", "time")
    @classmethod
    def _is_a_column(cls, value: str) -> str:
        return obs_address(value)

    @field_validator("no_clone", mode="before")
    @classmethod
    def _as_text(cls, values: object) -> object:
        """Clones may be numbers in a study file; columns are compared as text."""
        return [text_of(value) for value in values] if isinstance(values, list | tuple) else values

    @field_validator("early", "late", mode="before")
    @classmethod
    def _as_times(cls, values: object) -> object:
        return [time_of(value) for value in values] if isinstance(values, list | tuple) else values

    @model_validator(mode="after")
    def _times_are_apart(self) -> Self:
        if both := sorted(set(self.early) & set(self.late)):
            raise ValueError(f"time point {both[0]} is both early and late: each belongs to one of them")
        return self


class SpatialPairs(PairedTask):
    """Pairs of neighbouring cells: what a cell says of its neighbourhood.

    The tissue is cut into blocks of equal numbers of cells, which are kept whole in the split; neighbours are searched
    within a block.
    """

    AUXILIARY_FIELDS: ClassVar[tuple[str, ...]] = (
        *PairedTask.AUXILIARY_FIELDS,
        "n_neighbours",
        "spatial_neighbours",
    )

    kind: Literal["spatial_pairs"] = "spatial_pairs"

    coordinates: str = "obsm:spatial"
    """Where cells are: "obsm:KEY", 2 or 3 columns."""

    section: str | None = None
    """Column of sections, slices or samples, "obs:COLUMN": coordinates of different ones are not compared."""

    n_neighbours: int = Field(5, ge=1, le=100)
    """The partner is one of so many nearest cells."""

    spatial_neighbours: Literal["drawn_once", "redrawn"] = "drawn_once"
    """Whether every cell has one partner throughout, or (published) another one at each noise level and seed."""

    n_blocks: int = Field(64, ge=10, le=100_000)
    """The tissue is cut into about so many blocks: more of them make narrower intervals of the split, but more cells
    whose neighbours lie across a border."""

    @field_validator("coordinates")
    @classmethod
    def _is_a_matrix(cls, value: str) -> str:
        place, _, key = value.partition(":")
        if place != "obsm" or not key:
            raise ValueError(f"{value!r} is not of the form obsm:KEY, as in obsm:spatial")
        return value

    @field_validator("section")
    @classmethod
    def _is_a_column(cls, value: str | None) -> str | None:
        return None if value is None else obs_address(value)


def time_of(value: object) -> str:
    """A time point as text: as `text_of`, and text that is a number as that number, so that "2.0" is 2."""
    text = text_of(value)
    return text_of(float(text)) if _NUMBER.fullmatch(text) else text


def text_of(value: object) -> str:
    """A value of a column as text: whole numbers without a decimal point, whatever type the column has."""
    return f"{value:.15g}" if isinstance(value, float) else str(value)
