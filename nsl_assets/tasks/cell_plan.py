"""Which cells of a file take part, and what each is for: known before any count is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.tasks.clones import read_clones, require_pairable
from nsl_assets.tasks.h5ad import H5adFile
from nsl_assets.tasks.h5ad_task import kept_cells, read_groups
from nsl_assets.tasks.neighbourhood import (
    blocks,
    nearest_cells,
    read_coordinates,
    read_sections,
    require_different_places,
)
from nsl_assets.tasks.pair_settings import ClonalPairs, SpatialPairs
from nsl_assets.tasks.pairing import ClonalPairing, Pairing, SpatialPairing
from nsl_assets.tasks.settings import H5adTask
from nsl_assets.tasks.split import PROBE, split_around_probe, split_cells

if TYPE_CHECKING:
    from nsl_assets.tasks.base_settings import FileTask


@dataclass(frozen=True, eq=False)
class CellPlan:
    """The cells of a task in the order of the file.

    Attributes
    ----------
    kept
        Which cells of the file take part, (n_file_cells,); all other arrays are of these alone.
    names, groups
        (n_cells,) names of cells, and of the groups that stay together (None: cells are independent).
    roles
        TRAIN, VALIDATION or PROBE, (n_cells,).
    is_probed
        (n_cells,) cells that are measured: those of the role PROBE, or, as published, all of them.
    n_pairable
        Number of clones that have early and late cells; None for other tasks.
    """

    kept: npt.NDArray[np.bool_]
    names: npt.NDArray[Any]
    groups: npt.NDArray[Any] | None
    roles: npt.NDArray[np.int8]
    is_probed: npt.NDArray[np.bool_]
    n_pairable: int | None = None

    @property
    def n_groups(self) -> int | None:
        """Number of groups."""
        return None if self.groups is None else int(np.unique(self.groups.astype(str)).size)

    def group_codes(self) -> npt.NDArray[np.int32]:
        """Codes (n_cells,) of the groups, as an opened task has them; each cell its own where there are none."""
        names = self.names if self.groups is None else self.groups
        return np.unique(names.astype(str), return_inverse=True)[1].astype(np.int32)


def plan_cells(file: H5adFile, settings: FileTask) -> CellPlan:
    """The cells of a task of a file. Raises InputError where columns are missing or the split is impossible."""
    kept = kept_cells(file.cell_names(), settings)
    names = file.cell_names()[kept]
    groups: npt.NDArray[Any] | None
    n_pairable = None
    if isinstance(settings, ClonalPairs):
        clones = read_clones(file, settings).take(kept)
        require_pairable(clones, settings)
        groups, roles = clones.names, split_around_probe(clones.names, clones.pairable(), settings)
        n_pairable = int(np.unique(clones.names[clones.pairable()].astype(str)).size)
        overlaps = settings.probe_overlap
    elif isinstance(settings, SpatialPairs):
        places, sections = read_coordinates(file, settings)[kept], read_sections(file, settings)[kept]
        require_different_places(places, sections, names, settings)
        groups = blocks(places, sections, names, settings.n_blocks)
        roles, overlaps = split_cells(names, groups, settings), settings.probe_overlap
    else:
        groups = _groups(file, settings, kept)
        roles, overlaps = split_cells(names, groups, settings), False
    is_probed = np.ones(names.size, dtype=bool) if overlaps else roles == PROBE
    return CellPlan(kept, names, groups, roles, is_probed, n_pairable)


def read_pairing(file: H5adFile, settings: FileTask, plan: CellPlan) -> Pairing | None:
    """Who may be paired with whom; None where the signal of a cell is its own."""
    if isinstance(settings, ClonalPairs):
        return ClonalPairing(settings.paired_auxiliary, read_clones(file, settings).take(plan.kept).times)
    if isinstance(settings, SpatialPairs):
        neighbours = probed_neighbours(file, settings, plan)
        return SpatialPairing(settings.paired_auxiliary, neighbours, settings.spatial_neighbours == "redrawn")
    return None


def probed_neighbours(file: H5adFile, settings: SpatialPairs, plan: CellPlan) -> npt.NDArray[np.int32]:
    """Rows (n_cells, n_neighbours) of the nearest probed cells of the same block; -1 where there is none.

    Where the probe overlaps with training, as published, neighbours are of the same section.
    """
    places = read_coordinates(file, settings)[plan.kept]
    regions = read_sections(file, settings)[plan.kept] if settings.probe_overlap else plan.groups
    assert regions is not None
    probed = np.flatnonzero(plan.is_probed)
    found = nearest_cells(places[probed], regions[probed], plan.names[probed], settings.n_neighbours)
    neighbours = np.full((plan.names.size, settings.n_neighbours), -1, dtype=np.int32)
    neighbours[probed] = np.where(found >= 0, probed[found], -1)
    return neighbours


def _groups(file: H5adFile, settings: FileTask, kept: npt.NDArray[np.bool_]) -> npt.NDArray[Any] | None:
    if not isinstance(settings, H5adTask) or settings.group is None:
        return None
    return read_groups(file, settings.group, file.cell_names())[kept]
