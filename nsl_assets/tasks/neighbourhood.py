"""Where cells are: blocks of tissue that the split keeps whole, and the nearest cells of each cell."""

from __future__ import annotations

from collections.abc import Iterator
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
_CROWDED: Final = 0.05
_FEWEST_IN_CROWD: Final = 20
"""More cells than both at one place: it is no place, but a mark such as (0, 0) that none is known."""


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


def require_different_places(
    coordinates: Coordinates, sections: npt.NDArray[Any], cell_names: npt.NDArray[Any], settings: SpatialPairs
) -> None:
    """Raise InputError, naming a cell, where so many cells of a section are at one place that it is none."""
    crowd = largest_crowd(coordinates, sections)
    if crowd.size <= max(_FEWEST_IN_CROWD, _CROWDED * cell_names.size):
        return
    hint = "" if settings.section else ", or name the column of sections (--section) if they are of different ones"
    raise InputError(
        f"{settings.coordinates} puts {crowd.size:,} of {cell_names.size:,} cells at one place,"
        f" {_shown(coordinates[crowd[0]])}, the first {cell_names[crowd[0]]}: nobody can say who is next to whom. If"
        f" this place means that none is known, leave these cells out of the file{hint}."
    )


def largest_crowd(coordinates: Coordinates, sections: npt.NDArray[Any]) -> Rows:
    """Rows, ascending, of the cells at the place of a section that holds most of them."""
    codes = np.unique(sections.astype(str), return_inverse=True)[1].reshape(-1)
    keys = np.column_stack([coordinates, codes])
    order = np.lexsort(keys.T)
    starts = np.flatnonzero(np.append(True, (np.diff(keys[order], axis=0) != 0).any(axis=1)))
    sizes = np.diff(np.append(starts, order.size))
    start = starts[np.argmax(sizes)]
    return np.sort(order[start : start + sizes.max()])


def blocks(
    coordinates: Coordinates, sections: npt.NDArray[Any], cell_names: npt.NDArray[Any], n_blocks: int
) -> npt.NDArray[Any]:
    """Names of blocks (n_cells,) of nearly equal numbers of cells, about `n_blocks` in all sections together.

    Each section is halved at the median of its longer side, and so are the halves, until a block has no more cells
    than asked for. The same cells get the same blocks in any order.
    """
    most = max(1, -(-cell_names.size // n_blocks))
    by_identity = np.argsort(identity_keys(cell_names), kind="stable")
    names = np.empty(cell_names.size, dtype=object)
    for section, rows in _members(sections, by_identity):
        for number, block in enumerate(_halved_until(rows, coordinates, most)):
            names[block] = f"{section} {number}"
    return names


def nearest_cells(
    coordinates: Coordinates, regions: npt.NDArray[Any], cell_names: npt.NDArray[Any], n_neighbours: int
) -> npt.NDArray[np.int32]:
    """Rows (n_cells, n_neighbours) of the nearest other cells of the same region, nearest first.

    -1 where the region has too few. Equally near cells are ordered by identity. Regions are codes or names.
    """
    nearest = np.full((cell_names.size, n_neighbours), -1, dtype=np.int32)
    keys = identity_keys(cell_names)
    for _, rows in _members(regions, np.arange(cell_names.size)):
        k = min(n_neighbours, rows.size - 1)
        if k:
            nearest[rows, :k] = rows[_nearest(coordinates[rows], keys[rows], k)]
    return nearest


def _members(regions: npt.NDArray[Any], order: Rows) -> Iterator[tuple[str, Rows]]:
    """Each region by name, with its rows in the order given."""
    names, codes = np.unique(regions.astype(str), return_inverse=True)
    rows = order[np.argsort(codes[order], kind="stable")]
    yield from zip(names.tolist(), np.split(rows, np.cumsum(np.bincount(codes))[:-1]), strict=True)


def _halved_until(rows: Rows, coordinates: Coordinates, most: int) -> Iterator[Rows]:
    """Rows halved until no part has more than `most`. Rows are in the order that decides between equal places."""
    if rows.size <= most:
        yield rows
        return
    axis = int(np.argmax(np.ptp(coordinates[rows], axis=0)))
    is_lower = np.zeros(rows.size, dtype=bool)
    is_lower[np.argsort(coordinates[rows, axis], kind="stable")[: rows.size // 2]] = True
    for half in (rows[is_lower], rows[~is_lower]):
        yield from _halved_until(half, coordinates, most)


def _nearest(points: Coordinates, keys: npt.NDArray[np.uint64], k: int) -> Rows:
    """Positions (n_points, k) of the k nearest other points, nearest first, ties by key."""
    from scipy.spatial import cKDTree

    eligible = _first_at_each_place(points, keys, k + 1)
    tree = cKDTree(points[eligible])
    nearest = np.empty((len(points), k), dtype=np.intp)
    waiting, n_looked_at = np.arange(len(points)), min(k + 1 + _MORE_FOR_TIES, eligible.size)
    while waiting.size:
        candidates = eligible[tree.query(points[waiting], k=n_looked_at)[1]]
        distances = np.sqrt(((points[candidates] - points[waiting, None]) ** 2).sum(axis=2))
        farthest = distances.max(axis=1)
        distances[candidates == waiting[:, None]] = np.inf  # itself, last of all
        order = np.lexsort((keys[candidates], distances), axis=1)[:, :k]
        nearest[waiting] = np.take_along_axis(candidates, order, axis=1)
        kth = np.take_along_axis(distances, order, axis=1)[:, -1]
        is_open = (farthest <= kth * (1 + _ROUNDING)) & (n_looked_at < eligible.size)
        waiting, n_looked_at = waiting[is_open], min(2 * n_looked_at, eligible.size)
    return nearest


def _first_at_each_place(points: Coordinates, keys: npt.NDArray[np.uint64], n: int) -> Rows:
    """Positions, ascending, of the n points with the least keys at each place: no other is among n - 1 nearest."""
    order = np.lexsort((keys, *points.T))
    starts = np.append(True, (np.diff(points[order], axis=0) != 0).any(axis=1))
    first = np.flatnonzero(starts)
    rank = np.arange(len(points)) - np.repeat(first, np.diff(np.append(first, len(points))))
    return np.sort(order[rank < n])


def _shown(place: Coordinates) -> str:
    return f"({', '.join(f'{value:g}' for value in place)})"
