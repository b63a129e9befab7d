"""Turns normalised counts back into counts: each cell was divided by a number that its own values give away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_SMALLEST_COUNT: Final = 12
"""The smallest count of a cell that is tried: 1 in all but the oddest cells."""
_SURE_COUNT: Final = 50
"""Counts up to here are rounded right by a scale from one value with 3 digits; they give a better scale."""


@dataclass(frozen=True)
class Inverted:
    """Counts of a block of cells.

    Attributes
    ----------
    counts
        (n_cells, n_genes), data int64.
    smallest
        The smallest count of each cell, (n_cells,): which multiple of its unit its smallest value is.
    residual
        The largest distance of a value, in counts, from the whole number that it was rounded to, (n_cells,).
    """

    counts: csr_array
    smallest: npt.NDArray[np.int64]
    residual: npt.NDArray[np.float64]


def rounded(values: csr_array, tolerance: float) -> Inverted:
    """For each cell the largest unit by which all its values are whole within ``tolerance``, and the rounded counts.

    The unit is the smallest value over 1, 2, …, refined by least squares, since values are stored with few digits.
    Where no unit fits, ``residual`` is above the tolerance, and it and the counts are those of the best one.
    """
    rows = _NonEmptyRows(values)
    unit, smallest = rows.least(), np.ones(rows.n, np.int64)
    counts, residual = rows.fitted(unit)
    for trial in range(2, MOST_SMALLEST_COUNT + 1):
        if np.all(residual <= tolerance):
            break
        tried, trial_residual = rows.fitted(unit / trial)
        is_better = (residual > tolerance) & (trial_residual < residual)
        smallest[is_better], residual[is_better] = trial, trial_residual[is_better]
        counts = np.where(is_better[rows.of_entry], tried, counts)
    return Inverted(rows.matrix(counts), rows.spread(smallest, 1), rows.spread(residual, 0.0))


def truncated(values: csr_array) -> csr_array:
    """The published inversion: over the smallest value of the cell, decimals cut off, so 2.9999 becomes 2."""
    rows = _NonEmptyRows(values.astype(np.float32))
    factor = 1 / rows.least().astype(np.float64)
    return rows.matrix((rows.data * factor[rows.of_entry]).astype(np.int64))


class _NonEmptyRows:
    """Sums and minima over the rows of a sparse block that have entries."""

    def __init__(self, values: csr_array) -> None:
        lengths = np.diff(values.indptr)
        self._values, self._is_filled = values, lengths > 0
        self._starts = values.indptr[:-1][self._is_filled]
        self.n = int(self._starts.size)
        self.data = values.data.astype(np.float64) if values.data.dtype != np.float32 else values.data
        self.of_entry = np.repeat(np.arange(self.n), lengths[self._is_filled])

    def least(self) -> npt.NDArray[Any]:
        """The smallest entry of each row, (n,)."""
        return np.minimum.reduceat(self.data, self._starts) if self.n else np.zeros(0)

    def fitted(self, unit: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Whole multiples of a unit refined from ``unit`` (n,): the counts (n_entries,) and residuals (n,)."""
        unit = self._refined(self._refined(unit, most=_SURE_COUNT), most=np.inf)
        multiples = self.data / unit[self.of_entry]
        counts = np.rint(multiples)
        far = np.abs(multiples - counts)
        residual = np.maximum.reduceat(far, self._starts) if self.n else np.zeros(0)
        return counts.astype(np.int64), residual

    def _refined(self, unit: npt.NDArray[Any], most: float) -> npt.NDArray[Any]:
        counts = np.rint(self.data / unit[self.of_entry])
        counts[counts > most] = 0
        return np.asarray(self._sums(counts * self.data) / self._sums(counts * counts))

    def _sums(self, entries: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.add.reduceat(entries, self._starts) if self.n else np.zeros(0)

    def matrix(self, data: npt.NDArray[Any]) -> csr_array:
        """The same rows and columns with other values."""
        from scipy.sparse import csr_array

        return csr_array((data, self._values.indices, self._values.indptr), shape=self._values.shape)

    def spread(self, of_filled: npt.NDArray[Any], of_empty: float) -> npt.NDArray[Any]:
        """Values of the rows with entries (n,), and one value for those without: (n_rows,)."""
        result = np.full(self._is_filled.size, of_empty, dtype=of_filled.dtype)
        result[self._is_filled] = of_filled
        return result
