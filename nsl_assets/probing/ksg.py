"""Mutual information by nearest neighbours (Kraskov, Stögbauer & Grassberger 2004), exact, by brute force.

Brute force over vectorised rows beats neighbour trees from about five dimensions on.
"""

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError

Points = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.int64]
_TILE: Final = 2_048
_SCAN: Final = 256
_ROWS: Final = 8


def ksg_terms_bits(x: Points, y: Points, *, k: int = 3) -> npt.NDArray[np.float64]:
    """Local terms (n_pairs,) whose mean is the estimate in bits (their equation 8, maximum norm).

    ``x`` (n_pairs, n_x) and ``y`` (n_pairs, n_y). Where k or more other pairs coincide with a pair in both,
    the term for mixtures of atoms and densities is used (Gao et al. 2017, with the same bias correction).
    """
    from scipy.special import digamma

    n_pairs = len(x)
    if n_pairs <= k:
        raise MeasurementError(f"{n_pairs} pairs for {k} nearest neighbours: at least {k + 1} are needed.")
    dtype = np.result_type(x, y)
    columns = [np.ascontiguousarray(side.T, dtype=dtype) for side in (x, y)]
    n_joint, n_x, n_y = _neighbour_counts(columns[0], columns[1], k)
    nats = digamma(n_joint) + digamma(n_pairs) - digamma(n_x + 1) - digamma(n_y + 1)
    terms: npt.NDArray[np.float64] = nats / np.log(2)
    return terms


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _distances(columns: Points, first: int, out: Points) -> None:
    """Maximum-norm distances (n_rows, n_points) of the points from ``first`` on to all; by tiles that stay in cache."""
    for start in range(0, out.shape[1], _TILE):
        for row in range(len(out)):
            tile = out[row][start : start + _TILE]
            for dimension in range(len(columns)):
                column, at = columns[dimension][start : start + _TILE], columns[dimension, first + row]
                for other in range(len(tile)):
                    distance = abs(column[other] - at)
                    tile[other] = distance if dimension == 0 else max(distance, tile[other])


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _larger(first: Points, second: Points, out: Points) -> None:
    for other in range(len(out)):
        out[other] = first[other] if first[other] > second[other] else second[other]


@numba.njit(cache=True, nogil=True)
def _count_below(values: Points, radius: float) -> Any:
    count = np.int32(0)
    for other in range(len(values)):
        count += np.int32(values[other] < radius)
    return count


@numba.njit(cache=True, nogil=True)
def _count_zeros(values: Points) -> int:
    count = 0
    for value in values:
        if value == 0:
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _kth_smallest(values: Points, nearest: Points) -> Any:
    """The k-th smallest value, k the length of the work space ``nearest``; few tiles can improve on it."""
    nearest[:] = np.inf
    last = len(nearest) - 1
    for start in range(0, len(values), _SCAN):
        tile = values[start : start + _SCAN]
        if _count_below(tile, nearest[last]) == 0:
            continue
        for value in tile:
            if value < nearest[last]:
                place = last
                while place > 0 and nearest[place - 1] > value:
                    nearest[place] = nearest[place - 1]
                    place -= 1
                nearest[place] = value
    return nearest[last]


@numba.njit(cache=True, nogil=True)
def _neighbour_counts(x: Points, y: Points, k: int) -> tuple[Counts, Counts, Counts]:
    """Counts of each pair (joint, x, y): neighbours within the k-th joint distance, itself not counted."""
    n_pairs = x.shape[1]
    counts = np.zeros((3, n_pairs), dtype=np.int64)
    x_distances, y_distances = np.empty((_ROWS, n_pairs), x.dtype), np.empty((_ROWS, n_pairs), x.dtype)
    distance, nearest = np.empty(n_pairs, x.dtype), np.empty(k, x.dtype)
    for first in range(0, n_pairs, _ROWS):
        stop = min(first + _ROWS, n_pairs)
        _distances(x, first, x_distances[: stop - first])
        _distances(y, first, y_distances[: stop - first])
        for row in range(first, stop):
            x_distance, y_distance = x_distances[row - first], y_distances[row - first]
            _larger(x_distance, y_distance, distance)
            distance[row] = np.inf
            radius = _kth_smallest(distance, nearest)
            if radius > 0:
                counts[0, row] = k
                counts[1, row] = _count_below(x_distance, radius) - 1
                counts[2, row] = _count_below(y_distance, radius) - 1
            else:
                counts[0, row] = _count_zeros(distance)
                counts[1, row] = _count_zeros(x_distance) - 1
                counts[2, row] = _count_zeros(y_distance) - 1
    return counts[0], counts[1], counts[2]
