"""The compiled loops of the nearest-neighbour search: leaves of near points are compared with one another.

All of them are in this one file: numba's cache on disk notices a change of the file that holds a function, not of
the files of the functions that it calls. Distances are maxima over columns, whose exact rounding keeps their order,
so a leaf is passed over only if none of its points can matter.
"""

# ruff: noqa: PLR0917 - compiled functions take their arguments by position

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nsl_assets.compiling import compiled, inlined

Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.int64]

LEAF: Final = 256
"""Points of a leaf: its columns stay in the first-level cache."""
AT_ONCE: Final = 4
"""Columns compared in one pass over a leaf; the number of columns is a multiple of it."""


class Leaves(NamedTuple):
    """Points in leaves: columns (n_leaves, n_columns, LEAF), padded by infinity, and the box around each leaf.

    ``lows`` and ``highs`` (n_leaves, n_columns) are the box's corners, ``sizes`` (n_leaves,) the numbers of points.
    """

    columns: Floats
    lows: Floats
    highs: Floats
    sizes: Counts


@compiled
def kth_distances(leaves: Leaves, k: int, radii: Floats) -> None:
    """Put the distance from each point to its ``k``-th nearest other point into ``radii`` (n_leaves, LEAF)."""
    n_leaves = len(leaves.columns)
    gaps, distances = np.empty(LEAF, radii.dtype), np.zeros((3, LEAF), radii.dtype)
    nearest = np.empty((LEAF, k), radii.dtype)
    for own in range(n_leaves):
        nearest[:] = np.inf
        for step in range(n_leaves):  # the own leaf first: it leaves little to be searched for
            _update_nearest(leaves, own, (own + step) % n_leaves, gaps, distances, nearest)
        radii[own] = nearest[:, k - 1]


@compiled
def counts_within(leaves: Leaves, radii: Floats, counts: Counts) -> None:
    """Add the number of points at most ``radii`` (n_leaves, LEAF) from each point, itself included, to ``counts``."""
    n_leaves = len(leaves.columns)
    gaps, distances = np.empty(LEAF, radii.dtype), np.zeros((3, LEAF), radii.dtype)
    for own in range(n_leaves):
        for leaf in range(n_leaves):
            _add_counts(leaves, own, leaf, gaps, distances, radii[own], counts[own])


@compiled
def _update_nearest(leaves: Leaves, own: int, leaf: int, gaps: Floats, distances: Floats, nearest: Floats) -> None:
    """Let the points of one leaf join the nearest ones (LEAF, k) of each point of the own leaf."""
    _gaps(leaves, own, leaf, gaps)
    for place in range(leaves.sizes[own]):
        radius = nearest[place, -1]
        if gaps[place] < radius:
            row, count = _distances(leaves, own, place, leaf, radius, distances)
            if count > 0:
                if leaf == own:
                    distances[row, place] = np.inf
                _keep_smallest(distances[row], nearest[place])


@compiled
def _add_counts(
    leaves: Leaves, own: int, leaf: int, gaps: Floats, distances: Floats, radii: Floats, counts: Counts
) -> None:
    _gaps(leaves, own, leaf, gaps)
    for place in range(leaves.sizes[own]):
        if gaps[place] <= radii[place]:
            if _is_inside(leaves, own, place, leaf, radii[place]):
                counts[place] += leaves.sizes[leaf]
            else:
                counts[place] += _distances(leaves, own, place, leaf, radii[place], distances)[1]


@inlined
def _gaps(leaves: Leaves, own: int, leaf: int, gaps: Floats) -> None:
    """Distances from the points of the own leaf to the box of another, 0 inside; two columns at once."""
    columns, lows, highs = leaves.columns, leaves.lows, leaves.highs
    gaps[:] = 0
    for column in range(0, columns.shape[1], 2):
        low, high = lows[leaf, column], highs[leaf, column]
        next_low, next_high = lows[leaf, column + 1], highs[leaf, column + 1]
        for place in range(LEAF):
            at, next_at = columns[own, column, place], columns[own, column + 1, place]
            gap = max(low - at, at - high, next_low - next_at, next_at - next_high)
            gaps[place] = max(gap, gaps[place])


@inlined
def _is_inside(leaves: Leaves, own: int, place: int, leaf: int, radius: float) -> bool:
    """Whether every point of a box is within the radius of one point of the own leaf."""
    for column in range(leaves.columns.shape[1]):
        at = leaves.columns[own, column, place]
        if max(at - leaves.lows[leaf, column], leaves.highs[leaf, column] - at) > radius:
            return False
    return True


@inlined
def _distances(leaves: Leaves, own: int, place: int, leaf: int, radius: float, distances: Floats) -> tuple[int, int]:
    """Distances from one point to those of a leaf: the row of ``distances`` with them, and how many are in reach.

    They are left unfinished as soon as none is in reach. The first row of ``distances`` (3, LEAF) is zeros.
    """
    before, after, count = 0, 1, LEAF
    for first in range(0, leaves.columns.shape[1], AT_ONCE):
        count = _farther(leaves.columns, own, place, leaf, first, radius, distances, before, after)
        before, after = after, 3 - after
        if count == 0:
            break
    return before, count


@inlined
def _farther(
    columns: Floats,
    own: int,
    place: int,
    leaf: int,
    first: int,
    radius: float,
    distances: Floats,
    before: int,
    after: int,
) -> int:
    """Four more columns: from row ``before`` to row ``after``, as a loop that changes one row would not vectorise."""
    at_0, at_1 = columns[own, first, place], columns[own, first + 1, place]
    at_2, at_3 = columns[own, first + 2, place], columns[own, first + 3, place]
    count = np.int32(0)
    for other in range(LEAF):
        pair = max(abs(columns[leaf, first, other] - at_0), abs(columns[leaf, first + 1, other] - at_1))
        next_pair = max(abs(columns[leaf, first + 2, other] - at_2), abs(columns[leaf, first + 3, other] - at_3))
        distance = max(pair, next_pair, distances[before, other])
        distances[after, other] = distance
        count = np.int32(count + np.int32(distance <= radius))
    return int(count)


@compiled
def _keep_smallest(values: Floats, smallest: Floats) -> None:
    """Let values join the smallest ones (k,), which rise."""
    last = len(smallest) - 1
    for value in values:
        if value < smallest[last]:
            place = last
            while place > 0 and smallest[place - 1] > value:
                smallest[place] = smallest[place - 1]
                place -= 1
            smallest[place] = value
