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
_TILE: Final = 4_096
_SCAN: Final = 64


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
def _distances(columns: Points, row: int, out: Points) -> None:
    """Maximum-norm distances from one point to all; ``columns`` is (n_dimensions, n_points)."""
    n_dimensions, n_points = columns.shape
    for start in range(0, n_points, _TILE):
        stop = min(start + _TILE, n_points)
        for other in range(start, stop):
            out[other] = abs(columns[0, other] - columns[0, row])
        for dimension in range(1, n_dimensions):
            at = columns[dimension, row]
            for other in range(start, stop):
                distance = abs(columns[dimension, other] - at)
                out[other] = distance if distance > out[other] else out[other]


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _larger(first: Points, second: Points, out: Points) -> None:
    for other in range(len(out)):
        out[other] = first[other] if first[other] > second[other] else second[other]


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _smallest(values: Points) -> float:
    smallest = values[0]
    for other in range(len(values)):
        smallest = values[other] if values[other] < smallest else smallest
    return smallest


@numba.njit(cache=True, nogil=True)
def _kth_smallest(values: Points, nearest: Points) -> float:
    """The k-th smallest value, k the length of the work space ``nearest``; few tiles can improve on it."""
    nearest[:] = np.inf
    last = len(nearest) - 1
    for start in range(0, len(values), _SCAN):
        tile = values[start : start + _SCAN]
        if _smallest(tile) >= nearest[last]:
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
def _count_below(values: Points, radius: float) -> int:
    count = np.int32(0)
    for other in range(len(values)):
        count += np.int32(values[other] < radius)
    return count


@numba.njit(cache=True, nogil=True)
def _neighbour_counts(x: Points, y: Points, k: int) -> tuple[Counts, Counts, Counts]:
    """Counts of each pair (joint, x, y): neighbours within the k-th joint distance, itself not counted."""
    n_pairs = x.shape[1]
    counts = np.zeros((3, n_pairs), dtype=np.int64)
    x_distance, y_distance, distance = np.empty((3, n_pairs), dtype=x.dtype)
    nearest = np.empty(k, dtype=x.dtype)
    for row in range(n_pairs):
        _distances(x, row, x_distance)
        _distances(y, row, y_distance)
        _larger(x_distance, y_distance, distance)
        distance[row] = np.inf
        radius = _kth_smallest(distance, nearest)
        if radius > 0:
            counts[0, row] = k
            counts[1, row] = _count_below(x_distance, radius) - 1
            counts[2, row] = _count_below(y_distance, radius) - 1
        else:
            counts[0, row] = (distance == 0).sum()
            counts[1, row] = (x_distance == 0).sum() - 1
            counts[2, row] = (y_distance == 0).sum() - 1
    return counts[0], counts[1], counts[2]
