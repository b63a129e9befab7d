"""Mutual information by nearest neighbours (Kraskov, Stögbauer & Grassberger 2004), exact, by brute force.

Brute force over vectorised rows beats neighbour trees from about five dimensions on.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError

Points = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.int64]


def ksg_terms_bits(x: Points, y: Points, *, k: int = 3) -> npt.NDArray[np.float64]:
    """Local terms (n_pairs,) whose mean is the estimate in bits (their equation 8, maximum norm).

    ``x`` (n_pairs, n_x) and ``y`` (n_pairs, n_y). Where k or more other pairs coincide with a pair in both,
    the term for mixtures of atoms and densities is used (Gao et al. 2017, with the same bias correction).
    """
    from scipy.special import digamma

    n_pairs = len(x)
    if n_pairs <= k:
        raise MeasurementError(f"{n_pairs} pairs for {k} nearest neighbours: at least {k + 1} are needed.")
    n_joint, n_x, n_y = _neighbour_counts(np.ascontiguousarray(x.T), np.ascontiguousarray(y.T), k)
    nats = digamma(n_joint) + digamma(n_pairs) - digamma(n_x + 1) - digamma(n_y + 1)
    terms: npt.NDArray[np.float64] = nats / np.log(2)
    return terms


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _distances(columns: Points, row: int, out: Points) -> None:
    """Maximum-norm distances from one point to all; ``columns`` is (n_dimensions, n_points)."""
    out[:] = np.abs(columns[0] - columns[0, row])
    for dimension in range(1, len(columns)):
        column = columns[dimension]
        at = column[row]
        for other in range(len(out)):
            distance = abs(column[other] - at)
            out[other] = distance if distance > out[other] else out[other]


@numba.njit(cache=True, nogil=True)
def _kth_smallest(first: Points, second: Points, row: int, k: int) -> float:
    """The k-th smallest joint distance (the larger of two) to a point other than ``row`` itself."""
    smallest = np.full(k, np.inf)
    for other in range(len(first)):
        distance = max(first[other], second[other])
        if distance < smallest[k - 1] and other != row:
            place = k - 1
            while place > 0 and smallest[place - 1] > distance:
                smallest[place] = smallest[place - 1]
                place -= 1
            smallest[place] = distance
    return float(smallest[k - 1])


@numba.njit(cache=True, nogil=True)
def _neighbour_counts(x: Points, y: Points, k: int) -> tuple[Counts, Counts, Counts]:
    """Counts of each pair (joint, x, y): neighbours within the k-th joint distance, itself not counted."""
    n_pairs = x.shape[1]
    counts = np.zeros((3, n_pairs), dtype=np.int64)
    x_distance = np.empty(n_pairs, dtype=x.dtype)
    y_distance = np.empty(n_pairs, dtype=y.dtype)
    for row in range(n_pairs):
        _distances(x, row, x_distance)
        _distances(y, row, y_distance)
        radius = _kth_smallest(x_distance, y_distance, row, k)
        if radius > 0:
            counts[0, row] = k
            counts[1, row] = (x_distance < radius).sum() - 1
            counts[2, row] = (y_distance < radius).sum() - 1
        else:
            counts[0, row] = ((x_distance == 0) & (y_distance == 0)).sum() - 1
            counts[1, row] = (x_distance == 0).sum() - 1
            counts[2, row] = (y_distance == 0).sum() - 1
    return counts[0], counts[1], counts[2]
