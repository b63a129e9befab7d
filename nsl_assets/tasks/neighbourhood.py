"""Where cells are: blocks of tissue that the split keeps whole, and the nearest cells of each cell."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.randomness import identity_keys
from nsl_assets.tasks.h5ad import H5adFile
from nsl_assets.tasks.pair_settings import SpatialPairs

Coordinates = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_MORE_FOR_TIES: Final = 8
"""Cells looked at beyond the nearest, so that the grids of spot-based assays are ordered right."""
_ROUNDING: Final = 1e-9
"""Distances that differ by a smaller fraction may be the same."""


def read_coordinates(file: H5adFile, settings: SpatialPairs) -> Coordinates:
    """Coordinates (n_cells, 2 or 3) of all cells. Raises InputError, naming the cell, where one has none."""
    key = settings.coordinates.partition(":")[2]
    table = file.obsm(key)
    if table.shape[1] not in (2, 3):
        raise InputError(f"{settings.coordinates} has {table.shape[1]} columns: coordinates have 2 or 3.")
    try:
        coordinates = table.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"{settings.coordinates} does not hold numbers ({error}).") from error
    bad = np.flatnonzero(~np.isfinite(coordinates).all(axis=1))
    if bad.size:
        raise InputError(
            f"{settings.coordinates} of cell {file.cell_names()[bad[0]]} is {_shown(coordinates[bad[0]])}"
            f" ({bad.size:,} cell(s) have no place): every cell needs one, or the split cannot keep neighbours apart."
            " Leave these cells out of the file."
        )
    return coordinates


def read_sections(file: H5adFile, settings: SpatialPairs) -> npt.NDArray[Any]:
    """Names of sections (n_cells,), all the same where no column is named.

    Raises InputError, naming the cell, where one has no section.
    """
    if settings.section is None:
        return np.full(file.cell_names().size, "tissue", dtype=object)
    column = file.obs(settings.section.partition(":")[2])
    absent = np.flatnonzero(column.isna().to_numpy())
    if absent.size:
        name = file.cell_names()[absent[0]]
        raise InputError(f"cell {name} has no {settings.section} ({absent.size:,} such cell(s)): every cell needs one.")
    return column.astype(object).astype(str).to_numpy(dtype=object)


def blocks(
    coordinates: Coordinates, sections: npt.NDArray[Any], cell_names: npt.NDArray[Any], n_blocks: int
) -> npt.NDArray[Any]:
    """Names of blocks (n_cells,) of nearly equal numbers of cells, about `n_blocks` in all sections together.

    Each section is halved at the median of its longer side, and so are the halves, until a block has no more cells
    than asked for. The same cells get the same blocks in any order.
    """
    most = max(1, -(-cell_names.size // n_blocks))
    keys = identity_keys(cell_names)
    names = np.empty(cell_names.size, dtype=object)
    for section in np.unique(sections.astype(str)):
        waiting = [np.flatnonzero(sections == section)]
        n_done = 0
        while waiting:
            rows = waiting.pop()
            if rows.size <= most:
                names[rows] = f"{section} {n_done}"
                n_done += 1
            else:
                waiting += _halves(rows, coordinates, keys)
    return names


def nearest_cells(
    coordinates: Coordinates, regions: npt.NDArray[Any], cell_names: npt.NDArray[Any], n_neighbours: int
) -> npt.NDArray[np.int32]:
    """Rows (n_cells, n_neighbours) of the nearest other cells of the same region, nearest first.

    -1 where the region has too few. Equally near cells are ordered by identity. Regions are codes or names.
    """
    nearest = np.full((cell_names.size, n_neighbours), -1, dtype=np.int32)
    keys = identity_keys(cell_names)
    codes = np.unique(regions.astype(str), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(codes))[:-1]):
        k = min(n_neighbours, rows.size - 1)
        if k:
            nearest[rows, :k] = rows[_nearest(coordinates[rows], keys[rows], k)]
    return nearest


def _halves(rows: Rows, coordinates: Coordinates, keys: npt.NDArray[np.uint64]) -> list[Rows]:
    axis = int(np.argmax(np.ptp(coordinates[rows], axis=0)))
    order = np.lexsort((keys[rows], coordinates[rows, axis]))
    return [rows[order[: rows.size // 2]], rows[order[rows.size // 2 :]]]


def _nearest(points: Coordinates, keys: npt.NDArray[np.uint64], k: int) -> Rows:
    """Positions (n_points, k) of the k nearest other points, nearest first, ties by key."""
    from scipy.spatial import cKDTree

    n_looked_at = min(k + 1 + _MORE_FOR_TIES, len(points))
    while True:
        candidates = cKDTree(points).query(points, k=n_looked_at)[1]
        distances = np.sqrt(((points[candidates] - points[:, None]) ** 2).sum(axis=2))
        distances[candidates == np.arange(len(points))[:, None]] = -1.0  # itself, first of all
        order = np.lexsort((keys[candidates], distances), axis=1)
        candidates = np.take_along_axis(candidates, order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
        has_itself = distances[:, 0] < 0
        is_settled = has_itself & (distances[:, -1] > distances[:, k] * (1 + _ROUNDING))
        if n_looked_at == len(points) or is_settled.all():
            return candidates[:, 1 : k + 1]
        n_looked_at = min(2 * n_looked_at, len(points))


def _shown(place: Coordinates) -> str:
    return f"({', '.join(f'{value:g}' for value in place)})"
