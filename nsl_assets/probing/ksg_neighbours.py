"""Exact nearest neighbours in the maximum norm: near points share a leaf, and far leaves are passed over.

In few dimensions most leaves are passed over; in many, what is left is brute force over vectorised columns.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.ksg_kernels import AT_ONCE, LEAF, Counts, Floats, Leaves, counts_within, kth_distances

Rows = npt.NDArray[np.intp]


class Neighbours:
    """Points (n_points, n_dimensions), float32 or float64, and the distances among them.

    Raises MeasurementError where a point is not finite.
    """

    def __init__(self, points: Floats) -> None:
        n_bad = int((~np.isfinite(points)).any(axis=1).sum())
        if n_bad:
            raise MeasurementError(f"{n_bad} of {len(points)} points hold NaN or infinity: finite numbers are needed.")
        self._order = np.concatenate(_partition(np.ascontiguousarray(points.T), np.arange(len(points))))
        self._leaves = _leaves(points[self._order])

    def kth_distance(self, k: int) -> Floats:
        """Distance (n_points,) from each point to its k-th nearest other point; infinite if there are fewer."""
        radii = np.empty((len(self._leaves.sizes), LEAF), self._leaves.columns.dtype)
        kth_distances(self._leaves, k, radii)
        return self._by_point(radii)

    def n_within(self, radius: Floats) -> Counts:
        """Number (n_points,) of points at most ``radius`` (n_points,) away, itself included; 0 if it is negative."""
        radii = np.zeros((len(self._leaves.sizes), LEAF), self._leaves.columns.dtype)
        radii.reshape(-1)[: len(radius)] = radius[self._order]
        counts = np.zeros(radii.shape, np.int64)
        counts_within(self._leaves, radii, counts)
        return self._by_point(counts)

    def _by_point(self, in_leaves: npt.NDArray[Any]) -> npt.NDArray[Any]:
        values = np.empty(len(self._order), in_leaves.dtype)
        values[self._order] = in_leaves.reshape(-1)[: len(self._order)]
        return values


def _partition(columns: Floats, rows: Rows) -> list[Rows]:
    """Rows by leaf, all of them full but the last: halves along the column (n_columns, n_rows) of largest range."""
    n_leaves = -(-len(rows) // LEAF)
    if n_leaves == 1:
        return [rows]
    n_low = (n_leaves + 1) // 2 * LEAF
    widest = np.ptp(columns, axis=1).argmax()
    order = np.argpartition(columns[widest], n_low - 1)
    low, high = order[:n_low], order[n_low:]
    return [leaf for side in (low, high) for leaf in _partition(columns.take(side, axis=1), rows[side])]


def _leaves(points: Floats) -> Leaves:
    """Leaves of points that are in their order; the last column is repeated until passes over columns are full."""
    n_points, n_columns = points.shape
    n_leaves, n_padded = -(-n_points // LEAF), -(-n_columns // AT_ONCE) * AT_ONCE
    padded = np.full((n_leaves * LEAF, n_padded), np.inf, points.dtype)
    padded[:n_points] = points[:, np.minimum(np.arange(n_padded), n_columns - 1)]
    columns = np.ascontiguousarray(padded.reshape(n_leaves, LEAF, n_padded).transpose(0, 2, 1))
    highs = columns.max(axis=2)
    highs[-1] = padded[(n_leaves - 1) * LEAF : n_points].max(axis=0)
    sizes = np.minimum(LEAF, n_points - LEAF * np.arange(n_leaves))
    return Leaves(columns, columns.min(axis=2), highs, sizes)
