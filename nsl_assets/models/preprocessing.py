"""Counts to log-normalised expression, block by block: nothing of size cells by all genes becomes dense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from nsl_assets.tasks import CountRows

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]

COUNTS_PER_CELL: Final = 10_000.0
"""Library size that every cell is scaled to."""

PART_ROWS: Final = 1024
"""Cells worked on at a time: bounds the memory. Fixed, since floating-point sums depend on it."""

_ROUNDING: Final = 1e-11
"""A variance below this fraction of the squared mean is rounding: the gene is constant."""


def library_sizes(part: csr_array) -> FloatArray:
    """Counts of each cell over all genes, (n_cells,)."""
    return np.asarray(part.sum(axis=1), dtype=np.float64).ravel()


def size_factors(part: csr_array) -> FloatArray:
    """Factor that makes each cell's counts sum to 10,000, (n_cells,); any value does for an empty cell."""
    return COUNTS_PER_CELL / np.maximum(library_sizes(part), 1.0)


def normalised(part: csr_array, genes: IndexArray | None = None) -> csr_array:
    """Counts per 10,000 of the chosen genes, see `log_normalised`."""
    chosen = part if genes is None else part[:, genes]
    return with_values(chosen, chosen.data * np.repeat(size_factors(part), np.diff(chosen.indptr)))


def log_normalised(part: csr_array, genes: IndexArray | None = None) -> csr_array:
    """log(1 + counts per 10,000) of the chosen genes (positions, ascending; None: all of them), float64.

    The library size is that of all genes, whichever are chosen. An empty cell stays zero.
    """
    scaled = normalised(part, genes)
    return with_values(scaled, np.log1p(scaled.data))


def with_values(part: csr_array, values: npt.NDArray[Any]) -> csr_array:
    """The same nonzero places with other values, (n_nonzero,)."""
    return type(part)((values, part.indices, part.indptr), shape=part.shape)


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each column over cells, each (n_columns,)."""

    mean: FloatArray
    variance: FloatArray
    is_constant: npt.NDArray[np.bool_]

    @classmethod
    def of_sums(cls, sums: FloatArray, squares: FloatArray, n_cells: int, *, ddof: int) -> Moments:
        """From sums and sums of squares over n_cells; variance has the denominator n_cells - ddof."""
        mean = sums / n_cells
        variance = np.maximum(squares - n_cells * mean**2, 0.0) / max(n_cells - ddof, 1)
        is_constant = variance <= _ROUNDING * mean**2
        return cls(mean, np.where(is_constant, 0.0, variance), is_constant)

    def inverse_deviation(self) -> FloatArray:
        """1 / standard deviation; 0 for constant columns, so that they standardise to 0."""
        deviation = np.where(self.is_constant, 1.0, np.sqrt(self.variance))
        return np.where(self.is_constant, 0.0, 1.0 / deviation)

    def of(self, columns: IndexArray) -> Moments:
        """The moments of some of the columns."""
        return Moments(self.mean[columns], self.variance[columns], self.is_constant[columns])


class ColumnSums:
    """Sums and sums of squares of each column, gathered part by part."""

    def __init__(self, n_columns: int) -> None:
        self._n_cells = 0
        self._sums, self._squares = np.zeros(n_columns), np.zeros(n_columns)

    def add(self, part: csr_array) -> None:
        """Add the rows of one part, (n_cells, n_columns)."""
        self._n_cells += part.shape[0]
        self._sums += part.sum(axis=0)
        self._squares += with_values(part, part.data**2).sum(axis=0)

    def moments(self, *, ddof: int) -> Moments:
        """Mean and variance of each column over all cells added; zeros where there were none."""
        return Moments.of_sums(self._sums, self._squares, max(self._n_cells, 1), ddof=ddof)


def in_storage_order(cells: CountRows) -> tuple[CountRows, IndexArray]:
    """The same cells in the order in which they are stored, and their positions in the given order.

    Reading is then sequential, and sums do not depend on the order in which cells were drawn.
    """
    order = np.argsort(cells.rows, kind="stable")
    return replace(cells, rows=cells.rows[order], cell_names=cells.cell_names[order]), order


def parts(cells: CountRows) -> Iterator[csr_array]:
    """The cells in the order given, 1024 at a time, each (<= 1024, n_genes)."""
    for block in cells.blocks():
        for start in range(0, block.shape[0], PART_ROWS):
            yield block[start : start + PART_ROWS]


def sorted_parts(cells: CountRows) -> Iterator[csr_array]:
    """The cells in the order in which they are stored, 1024 at a time."""
    return parts(in_storage_order(cells)[0])
